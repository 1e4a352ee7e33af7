//! What is said of holds and blind senses: each once.

use std::time::Duration;

use super::cause::Cause;
use super::event::Command;
use super::explain::span;
use super::note::{Happening, Note};
use super::rails::{Held, Hold};
use super::remedy::Remedy;
use super::time::Now;
use super::tunnel::{Blindness, Phase, Tunnel};

const BLIND_TOLD_AFTER: Duration = Duration::from_secs(60);

fn open_id(tunnel: &Tunnel) -> Option<String> {
    tunnel.history.incident.as_ref().filter(|incident| incident.open()).map(|incident| incident.id.clone())
}

/// Says it once.
pub(super) fn tell(tunnel: &Tunnel, happening: Happening, text: String, out: &mut Vec<Command>) {
    let note = Note { unit: tunnel.unit.clone(), incident: open_id(tunnel), happening, text };
    out.push(Command::Tell(note));
}

pub(super) fn tell_holds(
    tunnel: &mut Tunnel,
    wanted: Option<(Remedy, Cause)>,
    now: Now,
    out: &mut Vec<Command>,
) {
    if !matches!(tunnel.phase, Phase::Watching) {
        tunnel.holds.clear();
        if let Phase::LastLook { give_up, .. } = tunnel.phase {
            tunnel.holds.push(Held::until(Hold::LastLook, give_up));
        }
        return;
    }
    let Some((remedy, cause)) = wanted else {
        tunnel.held_told.clear();
        return;
    };
    let holds = std::mem::take(&mut tunnel.holds);
    for held in &holds {
        if !tunnel.held_told.insert(held.hold) {
            continue;
        }
        let until = held.until.map(|until| format!(", for {} more", span(until.saturating_sub(now.boot))));
        let detail = if held.detail.is_empty() { String::new() } else { format!(": {}", held.detail) };
        let text = format!(
            "{} held by {}: {}{detail}{}. {}",
            remedy.name(),
            held.hold.name(),
            held.hold.reason(),
            until.unwrap_or_default(),
            tunnel.words(now)
        );
        if let Some(incident) = tunnel.history.incident.as_mut().filter(|incident| incident.open()) {
            incident.note(now.wall, "held", text.clone());
        }
        tell(tunnel, Happening::RemedyHeld { hold: held.hold, cause }, text, out);
    }
    tunnel.holds = holds;
}

pub(super) fn tell_blindness(tunnel: &mut Tunnel, now: Now, out: &mut Vec<Command>) {
    for (number, (sense, blind)) in tunnel.blindness().into_iter().enumerate() {
        let misses = blind.filter(|_| tunnel.has_to_see_by(sense));
        match (misses, tunnel.blind[number]) {
            (Some(_), None) => {
                tunnel.blind[number] = Some(Blindness { since: now.boot, told: false });
            }
            (Some(why), Some(Blindness { since, told: false })) if BLIND_TOLD_AFTER <= now.since(since) => {
                tunnel.blind[number] = Some(Blindness { since, told: true });
                let text = format!("The {} sense is blind: {}.", sense.word(), why.words());
                tell(tunnel, Happening::SenseBlind { sense }, text, out);
            }
            (None, Some(Blindness { told, since })) => {
                tunnel.blind[number] = None;
                if told {
                    let text =
                        format!("The {} sense sees again after {}.", sense.word(), span(now.since(since)));
                    tell(tunnel, Happening::SenseSees { sense }, text, out);
                }
            }
            (Some(_), Some(_)) | (None, None) => (),
        }
    }
}
