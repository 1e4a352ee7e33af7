//! A remedy's way: ordered, done, proven or not.

use std::time::Duration;

use super::cause::Cause;
use super::evidence::Invocation;
use super::explain::span;
use super::machine::Command;
use super::note::Happening;
use super::policy::Policy;
use super::remedy::{Ending, Outcome, Remedy};
use super::telling::tell;
use super::time::Now;
use super::tunnel::{Phase, Tunnel};

pub(super) const VERIFY_FOR: Duration = Duration::from_secs(120);

/// Charge, persist, then act.
pub(super) fn order_remedy(
    tunnel: &mut Tunnel,
    policy: &Policy,
    (remedy, cause): (Remedy, Cause),
    deadline: Duration,
    before: Option<Invocation>,
    now: Now,
    out: &mut Vec<Command>,
) {
    tunnel.history.charge(now, remedy, before, policy);
    if let Some(latch) = &mut tunnel.history.latch {
        latch.tried = true;
    }
    let text = format!("{} ordered. {}", remedy.name(), tunnel.explanation);
    if let Some(incident) = &mut tunnel.history.incident {
        incident.remedies += 1;
        incident.note(now.wall, "ordered", text.clone());
    }
    tell(tunnel, Happening::RemedyOrdered { remedy, cause }, text, out);
    out.push(Command::Persist);
    out.push(Command::Apply { unit: tunnel.unit.clone(), remedy, deadline });
    let give_up = now.boot + deadline + Duration::from_secs(5);
    tunnel.phase = Phase::Acting { remedy, cause, since: now.boot, give_up };
    tunnel.holds.clear();
    tunnel.look_again = None;
}

/// The hands are done (or have given up); what remains is proof.
pub(super) fn remedy_done(tunnel: &mut Tunnel, outcome: Outcome, now: Now, out: &mut Vec<Command>) {
    let Phase::Acting { remedy, cause, since, .. } = tunnel.phase.clone() else { return };
    let took = span(now.since(since));
    match outcome {
        Outcome::Done | Outcome::Pending => {
            let word = if outcome == Outcome::Done { "done" } else { "pending" };
            if let Some(incident) = &mut tunnel.history.incident {
                incident.note(now.wall, word, format!("{} {word} after {took}", remedy.name()));
            }
            // Health from before proves nothing about the new process.
            tunnel.good_since = None;
            tunnel.phase =
                Phase::Verifying { remedy, cause, since: now.boot, give_up: now.boot + VERIFY_FOR };
        }
        Outcome::Failed { kind, detail } => {
            let text = format!("{} failed: {} ({detail})", remedy.name(), kind.words());
            finished(tunnel, remedy, Ending::Failed, text, now, out);
        }
    }
    out.push(Command::Persist);
}

pub(super) fn verified(
    tunnel: &mut Tunnel,
    remedy: Remedy,
    ending: Ending,
    now: Now,
    out: &mut Vec<Command>,
) {
    let text = match ending {
        Ending::Cured => format!("{} cured it: {}", remedy.name(), tunnel.explanation),
        Ending::NotCured | Ending::Failed => {
            format!("{} did not cure it: {}", remedy.name(), tunnel.explanation)
        }
    };
    finished(tunnel, remedy, ending, text, now, out);
    out.push(Command::Persist);
}

fn finished(
    tunnel: &mut Tunnel,
    remedy: Remedy,
    ending: Ending,
    text: String,
    now: Now,
    out: &mut Vec<Command>,
) {
    tunnel.phase = Phase::Watching;
    tunnel.history.in_flight = None;
    match ending {
        Ending::Cured => tunnel.history.not_cured = 0,
        Ending::NotCured => tunnel.history.not_cured += 1,
        Ending::Failed => (),
    }
    if let Some(incident) = &mut tunnel.history.incident {
        incident.cured |= ending == Ending::Cured;
        incident.note(now.wall, ending.name(), text.clone());
    }
    tell(tunnel, Happening::RemedyFinished { remedy, ending }, text, out);
}
