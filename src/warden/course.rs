//! The course of an incident: when it opens, escalates and closes.

use std::time::Duration;

use super::cause::Cause;
use super::diagnosis::Verdict;
use super::event::Command;
use super::evidence::Answer;
use super::explain::span;
use super::incident::{Closing, Incident};
use super::note::Happening;
use super::policy::Policy;
use super::rails::{Held, Hold};
use super::telling::tell;
use super::time::Now;
use super::tunnel::{Phase, Tunnel};

const EDGE_INCIDENT_ESCALATES: Duration = Duration::from_secs(300);

/// An incident may open, escalate or close at this moment, and then it is put into words.
pub(super) fn may_move(tunnel: &Tunnel, policy: &Policy, verdict: Verdict, holds: &[Held], now: Now) -> bool {
    let Some(cause) = verdict.cause else { return false };
    match tunnel.history.incident.as_ref().filter(|incident| incident.open()) {
        None => tunnel.trouble_since.is_some_and(|since| sustained(tunnel, policy, since, now)),
        Some(_) if !cause.is_incident() => cause == Cause::OperatorStopped || tunnel.proven(now),
        Some(incident) => !incident.escalated && needs_a_person(tunnel, cause, holds, now),
    }
}

/// Opens, escalates and closes. True if what must survive us has changed.
pub(super) fn follow_incident(
    tunnel: &mut Tunnel,
    policy: &Policy,
    ordering: bool,
    on_purpose: bool,
    now: Now,
    out: &mut Vec<Command>,
) -> bool {
    let open = tunnel.history.incident.as_ref().is_some_and(Incident::open);
    let Verdict { cause, .. } = tunnel.verdict;
    match (open, tunnel.trouble_since, cause) {
        (false, Some(since), Some(cause)) if ordering || sustained(tunnel, policy, since, now) => {
            open_incident(tunnel, policy, cause, since, now, out);
            true
        }
        (true, _, Some(cause)) => {
            // What is under way of ours is waited for.
            let at_it = matches!(tunnel.phase, Phase::Acting { .. } | Phase::Verifying { .. });
            let resolved = cause == Cause::OperatorStopped && on_purpose && !at_it;
            // A connection that is missing, or a name that leads elsewhere, is trouble however well the rest is served.
            let over = tunnel.proven(now) && matches!(tunnel.phase, Phase::Watching) && !cause.is_incident();
            if resolved || over {
                close_incident(tunnel, resolved, now, out);
                return true;
            }
            escalate(tunnel, cause, now, out)
        }
        (true | false, _, _) => false,
    }
}

fn sustained(tunnel: &Tunnel, policy: &Policy, since: Duration, now: Now) -> bool {
    let failing = tunnel.evidence.names.values().filter(|name| {
        name.latest.as_ref().is_some_and(|(_, s)| s.answer.conclusive() && s.answer != Answer::Served)
    });
    let rounds = failing.map(|name| name.streak).min().unwrap_or(u32::MAX);
    policy.sustained <= now.since(since) && policy.rounds <= rounds
}

fn open_incident(
    tunnel: &mut Tunnel,
    policy: &Policy,
    cause: Cause,
    since: Duration,
    now: Now,
    out: &mut Vec<Command>,
) {
    let began_wall = now.wall_of(since);
    let reopened = tunnel.history.incident.take().filter(|incident| {
        let lately = incident.closed.is_some_and(|(at, _)| now.since(at) < policy.healthy_after);
        // A wish that was granted was no trouble that could come back.
        lately && incident.cured && tunnel.history.step != 0 && incident.cause != Cause::PlannedRestart
    });
    let relapse = reopened.is_some();
    let mut incident = reopened.unwrap_or_else(|| begin(&tunnel.unit, cause, since, began_wall));
    incident.closed = None;
    incident.cured = false;
    // Whoever was called then has seen it end.
    incident.escalated = false;
    incident.cause = cause;
    incident.began = since;
    incident.note(now.wall, if relapse { "relapsed" } else { "opened" }, tunnel.words(now));
    tunnel.history.incident = Some(incident);
    tunnel.held_told.clear();
    let text = tunnel.words(now).to_owned();
    tell(tunnel, Happening::IncidentOpened { cause, after: now.since(since) }, text, out);
}

/// An incident for what a person ordered, if none is open.
pub(super) fn open_for(tunnel: &mut Tunnel, cause: Cause, text: &str, now: Now, out: &mut Vec<Command>) {
    if tunnel.history.incident.as_ref().is_some_and(Incident::open) {
        return;
    }
    tunnel.history.incident = Some(begin(&tunnel.unit, cause, now.boot, now.wall));
    let happening = Happening::IncidentOpened { cause, after: Duration::ZERO };
    tell(tunnel, happening, text.to_owned(), out);
}

fn begin(unit: &str, cause: Cause, began: Duration, began_wall: Duration) -> Incident {
    Incident {
        id: format!("{}-{}", unit.trim_end_matches(".service"), began_wall.as_secs()),
        began,
        began_wall,
        cause,
        steps: Vec::new(),
        cured: false,
        escalated: false,
        closed: None,
    }
}

fn close_incident(tunnel: &mut Tunnel, resolved: bool, now: Now, out: &mut Vec<Command>) {
    let good = tunnel.good_since.unwrap_or(now.boot);
    let words = tunnel.words(now).to_owned();
    let Some(incident) = &mut tunnel.history.incident else { return };
    let closing = match (resolved || incident.cause == Cause::PlannedRestart, incident.cured) {
        (true, _) => Closing::Resolved,
        (false, true) => Closing::Cured,
        (false, false) => Closing::RecoveredAlone,
    };
    let lasted = good.saturating_sub(incident.began);
    let text = format!("Incident over after {}, {}: {words}", span(lasted), closing.name());
    incident.note(now.wall, "closed", text.clone());
    let cause = incident.cause;
    tell(tunnel, Happening::IncidentClosed { closing, cause, lasted }, text, out);
    if let Some(incident) = &mut tunnel.history.incident {
        incident.closed = Some((now.boot, closing));
        let incident = Box::new(incident.clone());
        out.push(Command::Record { unit: tunnel.unit.clone(), incident });
    }
}

/// What can be done was done, or it is not ours to do.
fn needs_a_person(tunnel: &Tunnel, cause: Cause, holds: &[Held], now: Now) -> bool {
    let exhausted = holds.iter().any(|held| matches!(held.hold, Hold::NotCured | Hold::BudgetSpent));
    let edge = cause == Cause::EdgeIncident && EDGE_INCIDENT_ESCALATES <= now.since(tunnel.cause_since);
    exhausted || edge
}

fn escalate(tunnel: &mut Tunnel, cause: Cause, now: Now, out: &mut Vec<Command>) -> bool {
    let told = tunnel.history.incident.as_ref().is_none_or(|incident| incident.escalated);
    if told || !needs_a_person(tunnel, cause, &tunnel.holds, now) {
        return false;
    }
    let text = format!("This needs a person. {} {}", tunnel.words(now), cause.advice());
    if let Some(incident) = &mut tunnel.history.incident {
        incident.escalated = true;
        incident.note(now.wall, "escalated", text.clone());
    }
    tell(tunnel, Happening::Escalated { cause }, text, out);
    true
}
