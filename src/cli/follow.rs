//! `restart --follow`: the unit's journal with its meanings, until it is known whether the restart cured.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::daemon::{self, Call};
use super::{Exit, access, out, say};
use crate::client::cloudflared_log::{meaning, parse, systemd_meaning};
use crate::client::journal::{Blind, Entry, JournalEvent, JournalHandle, Options, follow};
use crate::clock::rfc3339;
use crate::daemon::survey::HISTORY;
use crate::report::snapshot::{Status, TunnelStatus};
use crate::warden::remedy::Ending;

const LOOK_EACH: Duration = Duration::from_secs(1);
/// A daemon that is restarted is back by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than systemd may take over a restart, with the proof that follows.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    exit: Exit,
    /// As in the incident: `Cured`, `NotCured`, `Failed`.
    word: &'static str,
    says: String,
}

/// Follows an ordered restart to its end.
pub(super) fn main(tunnel: &str, incident: &str, json: bool) -> Exit {
    say(&format!(
        "Restart of {tunnel} ordered, incident {incident}. Following it; to interrupt this changes nothing."
    ));
    let followed = match access::run(to_the_end(tunnel, incident, json)) {
        Ok(followed) => followed,
        Err(exit) => return exit,
    };
    match followed {
        Ok(Outcome { exit, word, says }) => {
            if json {
                out(&format!(
                    "{}\n",
                    json!({ "tunnel": tunnel, "incident": incident, "outcome": word, "says": says })
                ));
            } else {
                out(&format!("\n{}\n", super::wrapped(&says, 80, 0)));
            }
            exit
        }
        Err(why) => {
            say(&format!("{why}\nHow it went on: tunnelwarden incidents {incident}"));
            Exit::Blind
        }
    }
}

async fn to_the_end(tunnel: &str, incident: &str, json: bool) -> Result<Outcome, String> {
    let began = Instant::now();
    let (mut lines, mut started, mut asked) = (None, false, Instant::now());
    let mut ticks = interval(LOOK_EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = next(&mut lines) => match event {
                Some(event) => show(&event, json),
                None => lines = None,
            },
            _ = ticks.tick() => {
                match daemon::ask(&Call::Status).await.and_then(|json| daemon::read(&json)) {
                    Ok(status) => {
                        asked = Instant::now();
                        let found = status.tunnels.iter().find(|known| known.name == tunnel || known.unit == tunnel);
                        if let Some(found) = found.filter(|_| !started) {
                            (lines, started) = (journal(&found.unit), true);
                        }
                        if let Some(outcome) = outcome(&status, tunnel, incident) {
                            drain(&mut lines, json);
                            return Ok(outcome);
                        }
                    }
                    Err(refused) if PATIENCE < asked.elapsed() => {
                        return Err(format!("the daemon cannot be asked any more: {}", refused.why));
                    }
                    Err(_) => (),
                }
                if LONGEST < began.elapsed() {
                    return Err("it has taken too long to be followed".into());
                }
            }
        }
    }
}

type Lines = (JournalHandle, tokio::sync::mpsc::Receiver<JournalEvent>);

fn journal(unit: &str) -> Option<Lines> {
    let options = Options { units: vec![unit.to_owned()], cursor: None, history: HISTORY, directory: None };
    match follow(options) {
        Ok(lines) => Some(lines),
        Err(error) => {
            say(&format!("the journal cannot be followed: {error}"));
            None
        }
    }
}

async fn next(lines: &mut Option<Lines>) -> Option<JournalEvent> {
    match lines {
        Some((_, events)) => events.recv().await,
        None => std::future::pending().await,
    }
}

fn drain(lines: &mut Option<Lines>, json: bool) {
    while let Some(event) = lines.as_mut().and_then(|(_, events)| events.try_recv().ok()) {
        show(&event, json);
    }
}

fn show(event: &JournalEvent, json: bool) {
    match event {
        JournalEvent::Lines(entries) => {
            for entry in entries {
                out(&line(entry, json, std::io::stdout().is_terminal()));
            }
        }
        JournalEvent::Gap { suppressed, .. } => {
            say(&format!("journald lost {suppressed} lines of the unit here"))
        }
        JournalEvent::Blind(why) => say(match why {
            Blind::NoPermission => {
                "The journal may not be read (group systemd-journal, or sudo); waiting for the outcome alone."
            }
            Blind::NoJournal => "This host keeps no journal; waiting for the outcome alone.",
            Blind::Failed(_) => "The journal cannot be read; waiting for the outcome alone.",
        }),
        JournalEvent::Cursor(_) | JournalEvent::CaughtUp | JournalEvent::CursorLost | JournalEvent::Sees => {}
    }
}

/// One line with the word for its meaning; what says nothing has none.
fn line(entry: &Entry, json: bool, cut: bool) -> String {
    let label = match entry.by_systemd() {
        Some(said) => systemd_meaning(&said).label(),
        // It begins in the middle, with words that anybody may have chosen.
        None if entry.mid_line => "unknown",
        None => meaning(&parse(&entry.message)).label(),
    };
    let at = rfc3339(Duration::from_micros(entry.realtime_us));
    if json {
        let line = json!({ "at": at, "meaning": label, "message": entry.message, "history": entry.history });
        return format!("{line}\n");
    }
    let word = match label {
        "noise" | "unknown" | "companion" | "unit_noise" | "unit_unknown" => String::new(),
        label => label.replace('_', " "),
    };
    let time = at.get(11..19).unwrap_or(&at);
    // Foreign text shall not steer a terminal.
    let message = entry.message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let message: String = if cut { message.take(MESSAGE_SHOWN).collect() } else { message.collect() };
    format!("{time} {word:<19} {message}\n")
}

/// On a terminal a line is cut at about three of its own.
const MESSAGE_SHOWN: usize = 200;

/// What became of the restart, once that is known: the incident says it after the request, or it is closed, which takes
/// proven health or an operator's stop.
fn outcome(status: &Status, tunnel: &str, incident: &str) -> Option<Outcome> {
    let Some(found) = status.tunnels.iter().find(|known| known.name == tunnel || known.unit == tunnel) else {
        let says = format!("{tunnel} is not watched any more, so that nobody looks whether it was cured.");
        return Some(Outcome { exit: Exit::Wrong, word: "NotCured", says });
    };
    match found.incident.as_ref().filter(|open| open.id == incident) {
        Some(open) => {
            let asked = open.steps.iter().rposition(|step| step.what == "requested").map_or(0, |at| at + 1);
            let ended = open.steps[asked..].iter().find_map(|step| {
                let ending = Ending::ALL.into_iter().find(|ending| ending.name() == step.what)?;
                Some((ending, step.detail.clone()))
            });
            ended.map(|(ending, says)| match ending {
                Ending::Cured => Outcome { exit: Exit::Fine, word: ending.name(), says },
                Ending::NotCured | Ending::Failed => {
                    Outcome { exit: Exit::Wrong, word: ending.name(), says: advised(says, found) }
                }
            })
        }
        None if found.healthy() => {
            let says = format!("Cured, and the incident is over. {}", found.explanation);
            Some(Outcome { exit: Exit::Fine, word: "Cured", says })
        }
        None => {
            let says = format!("The incident is over without a cure. {}", found.explanation);
            Some(Outcome { exit: Exit::Wrong, word: "NotCured", says: advised(says, found) })
        }
    }
}

fn advised(says: String, tunnel: &TunnelStatus) -> String {
    if tunnel.advice.is_empty() { says } else { format!("{says} {}", tunnel.advice) }
}

#[cfg(test)]
mod tests;
