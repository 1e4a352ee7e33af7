//! Guard rails: each may object to a remedy, with a name and the time at which it may lift.

mod budget;

use std::time::Duration;

use super::cause::Cause;
use super::evidence::{Active, Job, Reach, Transport};
use super::facts::{FALLBACK_OVER, Facts};
use super::history::{Charge, History};
pub use super::hold::{Held, Hold};
use super::operator::Pause;
use super::remedy::Remedy;
use super::track::Origin;
use budget::{budget_spent, cooldown, not_cured, unit_limit_near};

/// Everything a rail may look at.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub unit: &'a str,
    pub facts: &'a Facts<'a>,
    pub cause: Cause,
    pub remedy: Remedy,
    pub history: &'a History,
    /// Charges of every tunnel on this host.
    pub host_charges: &'a [Charge],
    pub memory_lost: Option<&'a str>,
    pub paused: Option<&'a Pause>,
    /// A last look that judged otherwise; no new one before this.
    pub look_again: Option<Duration>,
}

type Rail = fn(&Case<'_>) -> Option<Held>;

const RAILS: [Rail; 22] = [
    memory_lost,
    observe_only,
    paused,
    outside_window,
    operator_intent,
    job_queued,
    upgrading,
    shutting_down,
    boot_grace,
    start_grace,
    not_sustained,
    patience,
    credentials_latched,
    start_would_fail,
    live_connections,
    unit_limit_near,
    not_cured,
    cooldown,
    budget_spent,
    self_doubt,
    cloudflare_incident,
    last_look,
];

/// Every objection to the remedy of `case`; none means: act.
pub fn objections(case: &Case<'_>) -> Vec<Held> {
    let stands = |held: &Held| case.facts.policy.rail_stands(held.hold);
    RAILS.iter().filter_map(|rail| rail(case)).filter(stands).collect()
}

const ANOTHERS_GRACE: Duration = Duration::from_secs(90);
/// While Cloudflare announces an incident, a remedy that it may make vain waits for so long.
const INCIDENT_WAITS: Duration = Duration::from_secs(300);
/// Remote rules that are younger may still be on their way.
const RULES_SETTLED: Duration = Duration::from_secs(120);
/// A failed unit is systemd's own word; only the journal's lag of up to half a second is waited for.
const JOURNAL_LAG: Duration = Duration::from_secs(1);

fn memory_lost(case: &Case<'_>) -> Option<Held> {
    case.memory_lost.map(|why| Held::because(Hold::MemoryLost, why.to_owned()))
}

fn observe_only(case: &Case<'_>) -> Option<Held> {
    let policy = case.facts.policy;
    if let Some(why) = policy.powerless.get(case.unit) {
        return Some(Held::because(Hold::ObserveOnly, why.clone()));
    }
    if policy.observe_only {
        return Some(Held::because(Hold::ObserveOnly, "mode = \"observe\""));
    }
    (case.cause == Cause::StoppedFromOutside && !policy.start_stopped)
        .then(|| Held::because(Hold::OperatorIntent, "remedy.start_stopped is false"))
}

fn paused(case: &Case<'_>) -> Option<Held> {
    let pause = case.paused?;
    let held = Held { hold: Hold::Paused, until: Some(pause.until), detail: pause.reason.clone().into() };
    (case.facts.now.boot < pause.until).then_some(held)
}

fn outside_window(case: &Case<'_>) -> Option<Held> {
    let Some(host) = case.facts.host else {
        let unseen = "whether it is open is looked at with the host, which is not seen";
        return case.facts.policy.windows.then(|| Held::because(Hold::OutsideWindow, unseen));
    };
    let until = host.window_shut_until?;
    (case.facts.now.boot < until).then(|| Held::until(Hold::OutsideWindow, until))
}

fn upgrading(case: &Case<'_>) -> Option<Held> {
    case.facts.host_stands.is_some_and(|host| host.upgrading).then(|| Held::new(Hold::Upgrading))
}

fn operator_intent(case: &Case<'_>) -> Option<Held> {
    let unit = case.facts.unit?;
    (unit.frozen || unit.job == Some(Job::Stop)).then(|| Held::new(Hold::OperatorIntent))
}

fn job_queued(case: &Case<'_>) -> Option<Held> {
    let unit = case.facts.unit?;
    let endless_start =
        unit.active == Active::Activating && unit.start_limit.is_none() && unit.job == Some(Job::Start);
    (unit.job.is_some() && !endless_start).then(|| Held::new(Hold::JobQueued))
}

fn shutting_down(case: &Case<'_>) -> Option<Held> {
    case.facts.host_stands.is_some_and(|host| host.shutting_down).then(|| Held::new(Hold::ShuttingDown))
}

fn boot_grace(case: &Case<'_>) -> Option<Held> {
    let grace = case.facts.policy.boot_grace;
    (case.facts.now.boot < grace).then(|| Held::until(Hold::BootGrace, grace))
}

fn start_grace(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    if matches!(case.remedy, Remedy::Start | Remedy::ResetAndStart) {
        return None;
    }
    let life = f.life()?;
    let udp_shut =
        f.edge.is_some_and(|edge| edge.dead(Transport::Quic, f.families)) && f.may_start_for(FALLBACK);
    let grace = match life.origin {
        _ if udp_shut && f.transport() == Transport::Quic => FALLBACK,
        Origin::Other => ANOTHERS_GRACE.max(f.policy.start_grace),
        Origin::Before | Origin::Ours | Origin::Systemd => f.policy.start_grace,
    };
    let until = life.began + grace;
    (f.now.boot < until).then(|| Held::until(Hold::StartGrace, until))
}

/// Nine failed QUIC dials take up to 235 s.
const FALLBACK: Duration = Duration::from_secs(240);

/// Since when the trouble that `cause` names has been seen, and in how many rounds.
fn evidence_of(case: &Case<'_>) -> (Option<Duration>, u32) {
    let (f, track) = (case.facts, case.facts.track);
    let streak = f.looks.conclusive().map(|(_, name, _)| name.streak).min();
    match case.cause {
        Cause::UnitFailed | Cause::StoppedFromOutside => (f.unit.map(|unit| unit.since), u32::MAX),
        Cause::ConnectorFrozen => (track.silent_since, track.silent),
        // Without rules at Cloudflare none are missing here.
        Cause::IngressEmpty => {
            let rules = f.tunnel.and_then(|(_, tunnel)| tunnel.remote_rules_since);
            let since = track.names_bad_since.zip(rules).map(|(bad, rules)| bad.max(rules + RULES_SETTLED));
            (since, streak.unwrap_or(0))
        }
        // As long as there was no way to the edge, that it knows nothing of the connector says nothing against it.
        Cause::ConnectorPhantom => (track.names_bad_since.max(f.dial_ok_since()), streak.unwrap_or(0)),
        // And a way that opens for a moment is none yet.
        Cause::ConnectorAsleep => (track.zero_since.max(f.dial_ok_since()), track.zero_looks),
        Cause::Healthy
        | Cause::UnitMissing
        | Cause::UnitBroken
        | Cause::OperatorStopped
        | Cause::PlannedRestart
        | Cause::ConfigInvalid
        | Cause::CredentialsUnusable
        | Cause::HostOffline
        | Cause::ClockWrong
        | Cause::EdgeBlocked
        | Cause::EdgeUnresponsive
        | Cause::QuicBlocked
        | Cause::TransportBlocked
        | Cause::TunnelDeleted
        | Cause::CredentialsRejected
        | Cause::RegistrationRefused
        | Cause::UnitRestarting
        | Cause::StaleTransport
        | Cause::Reconnecting
        | Cause::Misrouted
        | Cause::OriginDown
        | Cause::PartlyConnected
        | Cause::EdgeIncident => (track.zero_since, track.zero_looks),
    }
}

fn not_sustained(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    let (since, rounds) = evidence_of(case);
    let Some(since) = since else {
        let no_rules = "Cloudflare's records know of no rules that a restart would bring";
        let why = if case.cause == Cause::IngressEmpty { no_rules } else { "" };
        return Some(Held::because(Hold::NotSustained, why));
    };
    let needed = match case.cause == Cause::UnitFailed {
        true => JOURNAL_LAG,
        false => f.policy.sustained,
    };
    let until = since + needed;
    if f.now.boot < until {
        return Some(Held::until(Hold::NotSustained, until));
    }
    (rounds < f.policy.rounds).then(|| Held::new(Hold::NotSustained))
}

fn patience(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    if case.cause != Cause::Reconnecting {
        return None;
    }
    let Some(zero) = f.track.zero_since else {
        return Some(Held::new(Hold::Patience));
    };
    if let Some(unit) = f.unit
        && unit.active == Active::Activating
        && f.now.since(unit.since) < FALLBACK_OVER
    {
        return Some(Held::until(Hold::Patience, unit.since + FALLBACK_OVER));
    }
    let dial = f.dial_ok_since();
    let until = dial.map(|dial| zero.max(dial) + f.patience()).filter(|until| f.now.boot < *until);
    Some(Held { until, ..Held::new(Hold::Patience) })
}

fn credentials_latched(case: &Case<'_>) -> Option<Held> {
    let until = "until a registration or a newer file";
    let Some(latch) = case.history.latch else {
        // Concluded this very moment; the latch comes with it.
        let rejected = case.cause == Cause::CredentialsRejected;
        return rejected.then(|| Held::because(Hold::CredentialsLatched, until));
    };
    let changed = case.facts.files.and_then(|files| files.changed);
    let newer = match (changed, latch.files) {
        (Some(changed), Some(then)) => then < changed,
        (Some(_), None) => case.facts.files_newer(latch.at),
        (None, _) => false,
    };
    let until =
        if latch.tried { "a newer file was tried; until a registration or the next one" } else { until };
    (!newer).then(|| Held::because(Hold::CredentialsLatched, until))
}

fn start_would_fail(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    let held = |detail: &'static str| Some(Held::because(Hold::StartWouldFail, detail));
    if let Some(why) = f.files.and_then(|files| files.unusable.as_ref()) {
        return Some(Held::because(Hold::StartWouldFail, why.clone()));
    }
    if f.other_region {
        return None;
    }
    let Some(edge) = f.edge else {
        return held("no dial of ours to the edge has an answer yet");
    };
    if !edge.resolved {
        return held("the edge's names do not resolve");
    }
    let first = f.forced.unwrap_or(Transport::Quic);
    let patient = f.may_start_for(FALLBACK);
    let waits_for_fallback = f.forced.is_none() && patient && edge.reachable(Transport::Http2, f.families);
    let reachable = edge.reachable(first, f.families);
    if edge.opens(first, f.families) || (patient && reachable) || waits_for_fallback {
        return None;
    }
    let mut links = edge.links_of(f.families).filter(|link| link.transport == first);
    held(if reachable {
        if edge.links_of(f.families).any(|link| link.family == edge.first) {
            "the address family it tries first does not answer"
        } else {
            "the edge was not dialled yet by the address family it tries first"
        }
    } else if links.any(|link| link.reach == Reach::Silent) {
        "the edge does not answer the transport it tries first"
    } else {
        "the transport it tries first is shut"
    })
}

fn live_connections(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    match case.cause {
        Cause::ConnectorPhantom | Cause::IngressEmpty => return None,
        // Only a connector that knew QUIC, under a unit that waits for the fallback, gains anything.
        Cause::QuicBlocked if !f.quic_worked() || !f.may_start_for(Duration::from_secs(300)) => {
            return Some(Held::because(Hold::StartWouldFail, "a new process could never fall back to http2"));
        }
        Cause::Healthy
        | Cause::UnitMissing
        | Cause::UnitBroken
        | Cause::OperatorStopped
        | Cause::StoppedFromOutside
        | Cause::PlannedRestart
        | Cause::ConfigInvalid
        | Cause::CredentialsUnusable
        | Cause::HostOffline
        | Cause::ClockWrong
        | Cause::EdgeBlocked
        | Cause::EdgeUnresponsive
        | Cause::QuicBlocked
        | Cause::TransportBlocked
        | Cause::TunnelDeleted
        | Cause::CredentialsRejected
        | Cause::RegistrationRefused
        | Cause::UnitRestarting
        | Cause::UnitFailed
        | Cause::ConnectorFrozen
        | Cause::StaleTransport
        | Cause::ConnectorAsleep
        | Cause::Reconnecting
        | Cause::Misrouted
        | Cause::OriginDown
        | Cause::PartlyConnected
        | Cause::EdgeIncident => (),
    }
    if f.connections.is_some_and(|n| 0 < n) {
        return Some(Held::new(Hold::LiveConnections));
    }
    // A name is through while R = 0: another replica covers, or our reading of R is wrong.
    let covered = f.through && f.unit.is_some_and(|unit| unit.up());
    let why = match f.track.requests_rising() {
        Some(false) => return None,
        Some(true) => "requests still reach this connector",
        None => "names are served, and its counters do not say by whom",
    };
    covered.then(|| Held::because(Hold::LiveConnections, why))
}

fn self_doubt(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    if f.other_region {
        let why = "it connects to another region of the edge than the one that is dialled (edge.region)";
        return Some(Held::because(Hold::SelfDoubt, why));
    }
    let nothing_outside = !f.way_out() && (f.edge.is_none() || f.edge_dead());
    nothing_outside
        .then(|| Held::because(Hold::SelfDoubt, "neither the control name nor the edge answers us"))
}

/// Where Cloudflare itself has trouble with tunnels, a process that lost them is seldom mended by another; and it is not
/// waited for for ever.
fn cloudflare_incident(case: &Case<'_>) -> Option<Held> {
    let announced = case.facts.announced.first()?;
    if !matches!(case.cause, Cause::ConnectorPhantom | Cause::ConnectorAsleep) {
        return None;
    }
    // A way that breaks now and then begins no new wait.
    let track = case.facts.track;
    let asleep = case.cause == Cause::ConnectorAsleep;
    let since = if asleep { track.zero_since } else { track.names_bad_since };
    let until = since? + INCIDENT_WAITS;
    let held = Held { hold: Hold::CloudflareIncident, until: Some(until), detail: announced.words().into() };
    (case.facts.now.boot < until).then_some(held)
}

fn last_look(case: &Case<'_>) -> Option<Held> {
    let until = case.look_again?;
    (case.facts.now.boot < until).then(|| Held::until(Hold::LastLook, until))
}
