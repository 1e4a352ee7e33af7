//! One judgement of one tunnel: facts, verdict, objections, and what follows from them.

use super::announcement::annotate;
use super::cause::Cause;
use super::course::{follow_incident, may_move};
use super::diagnosis::{Health, Verdict, diagnose, listed_lost, on_purpose};
use super::event::Command;
use super::evidence::{Answer, HostEvidence};
use super::explain::explain;
use super::facts::{Facts, Shaken};
use super::history::Charge;
use super::looks::Looks;
use super::note::Happening;
use super::operator::Pause;
use super::order::{follow_phase, order_remedy};
use super::over_time::follow;
use super::policy::Policy;
use super::rails::{Case, Held, objections};
use super::remedy::Remedy;
use super::telling::{tell, tell_blindness, tell_holds};
use super::time::Now;
use super::track::EdgeTrack;
use super::tunnel::{Phase, Tunnel, UNKNOWN_PAUSES};

/// What a judgement needs besides the tunnel.
pub(super) struct Around<'a> {
    pub(super) policy: &'a Policy,
    pub(super) host: &'a HostEvidence,
    pub(super) edge_track: &'a EdgeTrack,
    pub(super) host_charges: &'a [Charge],
    pub(super) memory_lost: Option<&'a str>,
    pub(super) paused: Option<&'a Pause>,
    pub(super) shaken: Option<Shaken>,
}

pub(super) fn judge(tunnel: &mut Tunnel, around: &Around<'_>, now: Now, out: &mut Vec<Command>) {
    let Around { policy, host, edge_track, shaken, .. } = *around;
    let looks = Looks::of(&tunnel.evidence, policy, now);
    let mut dirty = follow(&tunnel.evidence, &looks, &mut tunnel.track, &mut tunnel.history, policy, now);
    let facts = tunnel.facts(looks, now, policy, host, edge_track, shaken);
    let verdict = diagnose(&facts);
    // Every name that leads here is served: what is wrong with the others is not the connector's.
    let carries = verdict.cause == Some(Cause::PartlyConnected)
        || (matches!(verdict.cause, Some(Cause::Misrouted | Cause::EdgeIncident))
            && facts.looks.witnesses.all(Answer::Served));
    let case = verdict.cause.and_then(|cause| {
        let remedy = chosen(cause, &facts)?;
        Some(Case {
            unit: &tunnel.unit,
            facts: &facts,
            cause,
            remedy,
            history: &tunnel.history,
            host_charges: around.host_charges,
            memory_lost: around.memory_lost,
            paused: around.paused,
            look_again: tunnel.look_again,
        })
    });
    let holds = case.as_ref().map(objections).unwrap_or_default();
    let wanted = case.map(|case| (case.remedy, case.cause));
    let limits = facts.unit.map(|unit| (unit.stop_limit, unit.start_limit)).unwrap_or_default();
    let deadline = wanted.map(|(remedy, _)| remedy.deadline(limits.0, limits.1));
    let before = facts.unit.and_then(|unit| unit.invocation);
    let on_purpose = on_purpose(&facts);
    let announced: Vec<String> = facts.announced.iter().map(|announced| announced.words()).collect();
    // Putting it into words costs as much as the whole judgement, and mostly there is nothing to say.
    if may_speak(tunnel, policy, verdict, &holds, now) {
        let explanation = explain(verdict, &facts);
        tunnel.explain(explanation, now);
    }

    set_verdict(tunnel, verdict, now, out);
    dirty |= verdict.cause == Some(Cause::CredentialsRejected) && tunnel.latch(now);
    tunnel.holds = holds;
    dirty |= follow_health(tunnel, policy, carries, now);
    let order = follow_phase(tunnel, wanted, on_purpose, host, now, out);
    dirty |= follow_incident(tunnel, policy, order.is_some(), on_purpose, now, out);
    dirty |= annotate(tunnel, &announced, now);
    tell_holds(tunnel, wanted, now, out);
    tell_blindness(tunnel, now, out);
    let hurry = wants_hurry(tunnel, now);
    if hurry != tunnel.hurried {
        tunnel.hurried = hurry;
        out.push(Command::Hurry { unit: tunnel.unit.clone(), hurry });
    }
    if let (Some((remedy, cause)), Some(deadline)) = (order, deadline) {
        order_remedy(tunnel, policy, (remedy, cause), deadline, before, now, out);
    } else if dirty {
        out.push(Command::Persist);
    }
    tunnel.wake = tunnel.next_judgement(now);
}

/// Something may have to be said at this moment: of the verdict, a hold, the remedy under way, or the incident.
fn may_speak(tunnel: &Tunnel, policy: &Policy, verdict: Verdict, holds: &[Held], now: Now) -> bool {
    let ends = match tunnel.phase {
        Phase::Watching | Phase::Acting { .. } => false,
        Phase::LastLook { looked, .. } => looked,
        Phase::Verifying { give_up, .. } => give_up <= now.boot || tunnel.proven(now),
    };
    ends || verdict != tunnel.verdict
        || new_cause(tunnel, verdict).is_some()
        || holds.iter().any(|held| !tunnel.held_told.contains(&held.hold))
        || may_move(tunnel, policy, verdict, holds, now)
}

/// The remedy for a cause under these facts: swift only where nothing live can be harmed.
fn chosen(cause: Cause, facts: &Facts<'_>) -> Option<Remedy> {
    let remedy = cause.remedy()?;
    let unproven_life = facts.life().is_none_or(|life| !life.through);
    let swift = if cause == Cause::ConnectorPhantom {
        // Whoever is served elsewhere gets the grace period.
        let harmless = facts.private_network == Some(false) && !unproven_life;
        listed_lost(facts) || facts.quic_dead() || (harmless && !facts.served_elsewhere())
    } else {
        remedy == Remedy::SwiftRestart
    };
    match (remedy, swift && facts.policy.swift) {
        (Remedy::Restart | Remedy::SwiftRestart, true) => Some(Remedy::SwiftRestart),
        (Remedy::Restart | Remedy::SwiftRestart, false) => Some(Remedy::Restart),
        (Remedy::Start | Remedy::ResetAndStart, _) => Some(remedy),
    }
}

fn set_verdict(tunnel: &mut Tunnel, verdict: Verdict, now: Now, out: &mut Vec<Command>) {
    let (new, another) = (tunnel.verdict != verdict, new_cause(tunnel, verdict));
    if new {
        if tunnel.verdict.cause != verdict.cause {
            tunnel.cause_since = now.boot;
        }
        tunnel.verdict = verdict;
        tunnel.since = now.boot;
    }
    if !new && another.is_none() {
        return;
    }
    let text = tunnel.words(now).to_owned();
    let Some(incident) = tunnel.history.incident.as_mut().filter(|incident| incident.open()) else { return };
    if new {
        let what = verdict.cause.map_or("unknown", Cause::name);
        incident.note(now.wall, what, text.clone());
    }
    if let Some(cause) = another {
        incident.cause = cause;
        tell(tunnel, Happening::CauseChanged { cause }, text, out);
    }
}

/// The cause of the open incident by this verdict, if it is another than before.
fn new_cause(tunnel: &Tunnel, verdict: Verdict) -> Option<Cause> {
    let incident = tunnel.history.incident.as_ref().filter(|incident| incident.open())?;
    let cause = verdict.cause.filter(|cause| cause.is_incident() && *cause != incident.cause)?;
    // A restart that we ordered is no news about the cause.
    let at_it = matches!(tunnel.phase, Phase::Acting { .. } | Phase::Verifying { .. });
    let our_doing = at_it && (cause == Cause::UnitRestarting || incident.cause == Cause::PlannedRestart);
    (!our_doing).then_some(cause)
}

/// Since when it is good, or in trouble. True if what must survive us has changed.
fn follow_health(tunnel: &mut Tunnel, policy: &Policy, carries: bool, now: Now) -> bool {
    let Verdict { health, cause } = tunnel.verdict;
    match health {
        Health::Healthy => {
            tunnel.good_since.get_or_insert(now.boot);
            tunnel.trouble_since = None;
            tunnel.unknown_since = None;
        }
        Health::Unknown => {
            let since = *tunnel.unknown_since.get_or_insert(now.boot);
            tunnel.good_since = None;
            tunnel.history.healthy_since = None;
            if UNKNOWN_PAUSES < now.since(since) {
                tunnel.trouble_since = None;
            }
        }
        Health::Degraded | Health::Down => {
            tunnel.unknown_since = None;
            if carries {
                tunnel.good_since.get_or_insert(now.boot);
            } else {
                tunnel.good_since = None;
            }
            tunnel.history.healthy_since = None;
            if cause.is_some_and(Cause::is_incident) {
                tunnel.trouble_since.get_or_insert(now.boot);
            } else {
                tunnel.trouble_since = None;
            }
        }
    }
    let at_rest = tunnel.history.in_flight.is_none();
    if at_rest && tunnel.proven(now) && tunnel.history.healthy_since.is_none() {
        tunnel.history.healthy_since = tunnel.good_since;
    }
    tunnel.history.forget_after_health(now, policy)
}

/// Looks are worth their price: something is under way, or not proven to be well.
fn wants_hurry(tunnel: &Tunnel, now: Now) -> bool {
    let at_rest = matches!(tunnel.verdict.cause, Some(Cause::OperatorStopped | Cause::UnitMissing));
    let calm = tunnel.verdict.health == Health::Healthy && tunnel.proven(now);
    !matches!(tunnel.phase, Phase::Watching) || !(at_rest || calm)
}
