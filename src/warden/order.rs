//! A remedy's way: a last look, ordered, done, proven or not.

use std::time::Duration;

use super::cause::Cause;
use super::event::Command;
use super::evidence::{HostEvidence, Invocation};
use super::explain::span;
use super::note::Happening;
use super::policy::Policy;
use super::remedy::{Ending, Outcome, Remedy};
use super::telling::tell;
use super::time::Now;
use super::tunnel::{Phase, Tunnel};

pub(super) const VERIFY_FOR: Duration = Duration::from_secs(120);
const LOOK_LIMIT: Duration = Duration::from_secs(2);
const LOOK_MARGIN: Duration = Duration::from_millis(1500);
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// Spreads the acts of hosts that see the same outage.
const JITTER_MS: u64 = 1500;
const VERIFY_MORE: Duration = Duration::from_secs(60);

/// Moves the phase on; `Some` means: order this now.
pub(super) fn follow_phase(
    tunnel: &mut Tunnel,
    wanted: Option<(Remedy, Cause)>,
    on_purpose: bool,
    host: &HostEvidence,
    now: Now,
    out: &mut Vec<Command>,
) -> Option<(Remedy, Cause)> {
    match tunnel.phase.clone() {
        Phase::Watching => {
            let (remedy, cause) = wanted.filter(|_| tunnel.holds.is_empty())?;
            let jitter = Duration::from_millis(u64::from(now.boot.subsec_micros()) % JITTER_MS);
            let look_at = if remedy == Remedy::ResetAndStart { now.boot } else { now.boot + jitter };
            let give_up = look_at + LOOK_LIMIT + LOOK_MARGIN;
            tunnel.phase = Phase::LastLook { remedy, cause, look_at, asked: None, looked: false, give_up };
            ask(tunnel, now, out);
            None
        }
        Phase::LastLook { asked: None, .. } => {
            ask(tunnel, now, out);
            None
        }
        Phase::LastLook { remedy, asked: Some(asked), looked, give_up, .. } => {
            let agreed = wanted.filter(|(wanted, _)| tunnel.holds.is_empty() && *wanted == remedy);
            if looked && agreed.is_some() && tunnel.seen_anew(host, asked) {
                return agreed;
            }
            if looked || give_up <= now.boot {
                tunnel.phase = Phase::Watching;
                tunnel.look_again = Some(now.boot + LOOK_PAUSE);
            }
            None
        }
        Phase::Acting { give_up, .. } => {
            if give_up <= now.boot {
                remedy_done(tunnel, Outcome::Pending, now, out);
            }
            None
        }
        Phase::Verifying { .. }
            if tunnel.overtaken() || (tunnel.verdict.cause == Some(Cause::OperatorStopped) && on_purpose) =>
        {
            // Whatever it would have proven, that is nobody's failure.
            tunnel.phase = Phase::Watching;
            tunnel.history.in_flight = None;
            out.push(Command::Persist);
            None
        }
        Phase::Verifying { remedy, since, give_up, .. } => {
            let proven = tunnel.proven(now)
                && tunnel.good_since.is_some_and(|good| since <= good + Duration::from_secs(1));
            let more = tunnel.good_since.is_some() && now.boot < give_up + VERIFY_MORE;
            if proven {
                verified(tunnel, remedy, Ending::Cured, now, out);
            } else if give_up <= now.boot && !more {
                verified(tunnel, remedy, Ending::NotCured, now, out);
            }
            None
        }
    }
}

fn ask(tunnel: &mut Tunnel, now: Now, out: &mut Vec<Command>) {
    let unit = tunnel.unit.clone();
    if let Phase::LastLook { look_at, asked, .. } = &mut tunnel.phase
        && *look_at <= now.boot
    {
        *asked = Some(now.boot);
        out.push(Command::Look { unit, limit: LOOK_LIMIT });
    }
}

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
    let text = format!("{} ordered. {}", remedy.name(), tunnel.words(now));
    if let Some(incident) = &mut tunnel.history.incident {
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
            if remedy == Remedy::ResetAndStart {
                // With the failure systemd has forgotten what was started before.
                tunnel.track.starts.retain(|at| since <= *at);
            }
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

fn verified(tunnel: &mut Tunnel, remedy: Remedy, ending: Ending, now: Now, out: &mut Vec<Command>) {
    let text = match ending {
        Ending::Cured => format!("{} cured it: {}", remedy.name(), tunnel.words(now)),
        Ending::NotCured | Ending::Failed => {
            format!("{} did not cure it: {}", remedy.name(), tunnel.words(now))
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
