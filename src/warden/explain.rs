//! A verdict in one plain sentence, with the facts that decided it and their ages.

use std::fmt::Write as _;
use std::time::Duration;

use super::cause::Cause;
use super::diagnosis::{Verdict, intercepted, on_purpose, stale_addresses};
use super::evidence::{Active, Answer, Elsewhere, Families, Family, Load, Reach, Ready, Transport};
use super::facts::{Doubt, Facts, Shaken};
use super::route::Fault;

/// The sentence for `verdict`.
pub fn explain(verdict: Verdict, f: &Facts<'_>) -> String {
    let Some(cause) = verdict.cause else {
        return unknown(f);
    };
    let mut proof = vec![unit(f), connections(f), names(f)];
    match cause {
        Cause::HostOffline
        | Cause::ClockWrong
        | Cause::EdgeBlocked
        | Cause::EdgeUnresponsive
        | Cause::QuicBlocked
        | Cause::TransportBlocked
        | Cause::StaleTransport => proof.extend([dial(f), way_out(f)]),
        Cause::ConnectorPhantom => proof.extend([dial(f), received(f), elsewhere(f)]),
        Cause::ConnectorAsleep | Cause::Reconnecting => proof.push(dial(f)),
        Cause::EdgeIncident => proof.push(elsewhere(f)),
        Cause::Misrouted => proof.extend(f.looks.astray().take(3).map(|(name, fault)| fault.words(name))),
        Cause::ConfigInvalid => proof.push(text(f, f.log.config_invalid.as_ref())),
        Cause::CredentialsUnusable => proof.push(text(f, f.log.credentials_unusable.as_ref())),
        Cause::CredentialsRejected => proof.push(text(f, f.log.unauthorized.as_ref())),
        Cause::RegistrationRefused => proof.push(text(f, f.log.refused.as_ref())),
        Cause::Healthy
        | Cause::UnitMissing
        | Cause::UnitBroken
        | Cause::OperatorStopped
        | Cause::StoppedFromOutside
        | Cause::PlannedRestart
        | Cause::TunnelDeleted
        | Cause::UnitRestarting
        | Cause::UnitFailed
        | Cause::ConnectorFrozen
        | Cause::IngressEmpty
        | Cause::OriginDown
        | Cause::PartlyConnected => (),
    }
    if cause != Cause::Healthy {
        proof.extend(f.announced.iter().take(2).map(|announced| announced.words()));
    }
    proof.retain(|part| !part.is_empty());
    format!("{}: {}.", claim(cause, f), proof.join(", "))
}

fn claim(cause: Cause, f: &Facts<'_>) -> String {
    let (transport, over) = (f.transport().word(), over(f));
    match cause {
        Cause::Healthy => "The tunnel works".into(),
        Cause::UnitMissing => "systemd knows no such unit".into(),
        Cause::UnitBroken => "systemd cannot execute the unit".into(),
        Cause::OperatorStopped if f.unit.is_some_and(|unit| unit.frozen) => {
            "The unit was frozen on purpose, so it stays frozen".into()
        }
        Cause::OperatorStopped if f.unit.is_some_and(|unit| unit.disabled) => {
            "The unit is disabled and does not run, so it is not started".into()
        }
        Cause::OperatorStopped if f.unit.is_some_and(|unit| unit.load == Load::Masked) => {
            "The unit is masked and does not run, so it is not started".into()
        }
        Cause::OperatorStopped if on_purpose(f) => {
            "The unit was stopped on purpose, so it stays stopped".into()
        }
        Cause::OperatorStopped => "The unit does not run and who ended it is not known, so it is not started".into(),
        Cause::StoppedFromOutside => "A signal from outside systemd ended cloudflared".into(),
        Cause::PlannedRestart => "Somebody else restarted cloudflared a moment ago".into(),
        Cause::ConfigInvalid => "cloudflared refuses its configuration, which no restart can mend".into(),
        Cause::CredentialsUnusable => {
            "cloudflared cannot use its credentials, which no restart can mend".into()
        }
        Cause::HostOffline => "This host has no way out, so a restart would only make it worse".into(),
        Cause::ClockWrong if f.host.is_some_and(|host| host.unsynchronised) => {
            "Certificates are refused because of the local time, and nothing keeps this host's clock right"
                .into()
        }
        Cause::ClockWrong => "Certificates are refused because of the local time".into(),
        Cause::EdgeBlocked if intercepted(f) => {
            "Something on the way shows cloudflared another certificate than the edge's".into()
        }
        Cause::EdgeBlocked => {
            format!("Port 7844 is shut on TCP and UDP{over} while the rest of the network works")
        }
        Cause::EdgeUnresponsive => format!("Port 7844 accepts connections{over} and never answers"),
        Cause::QuicBlocked => format!("UDP port 7844 is shut{over} and cloudflared insists on QUIC"),
        Cause::TransportBlocked if f.forced == Some(Transport::Http2) => {
            format!("TCP port 7844 is shut{over} and cloudflared is set to http2")
        }
        Cause::TransportBlocked => format!("TCP port 7844 is shut{over} and cloudflared goes by http2"),
        Cause::TunnelDeleted => "The tunnel was deleted at Cloudflare".into(),
        Cause::CredentialsRejected => "Cloudflare refuses this connector's credentials".into(),
        Cause::RegistrationRefused => "The edge refuses registrations and cloudflared keeps trying".into(),
        Cause::UnitRestarting => "systemd is restarting cloudflared".into(),
        Cause::UnitFailed => "systemd has given up on the unit".into(),
        Cause::ConnectorFrozen => "The cloudflared process hangs".into(),
        Cause::StaleTransport => match stale_addresses(f) {
            Some(to) => format!(
                "cloudflared dials {to}, which is not the edge's address any more; it looks addresses up only when it starts"
            ),
            None => "cloudflared clings to http2 though TCP is dead and QUIC would work".into(),
        },
        Cause::ConnectorAsleep => {
            format!(
                "cloudflared sleeps with no connection although the edge answers our own {transport} dial{over}"
            )
        }
        Cause::Reconnecting => "cloudflared is reconnecting by itself".into(),
        Cause::Misrouted
            if f.looks.astray().all(|(_, fault)| matches!(fault, Fault::Missing { .. }))
                && f.looks.astray().next().is_some() =>
        {
            "cloudflared is connected and a public name does not exist in DNS".into()
        }
        Cause::Misrouted if f.comes_and_goes() => {
            "cloudflared is connected and names come and go, so another connector of the tunnel answers for them \
             now and then, and fails"
                .into()
        }
        Cause::Misrouted => {
            "cloudflared is connected and names still fail, so their route points elsewhere".into()
        }
        Cause::ConnectorPhantom => {
            "cloudflared believes it is connected and the edge knows nothing of it".into()
        }
        Cause::IngressEmpty => "cloudflared is connected and has no ingress rules".into(),
        Cause::OriginDown if !f.origin_down() => {
            "The tunnel works and a name does not answer as [[tunnel.probe]] expects".into()
        }
        Cause::OriginDown => "The tunnel works and the origin behind it does not answer".into(),
        Cause::PartlyConnected => "cloudflared holds fewer connections than usual".into(),
        Cause::EdgeIncident => "Everything on this host is right and the edge still errs".into(),
    }
}

fn unknown(f: &Facts<'_>) -> String {
    if f.unit.is_none() {
        return "Unknown, so nothing is done: systemd cannot be asked about the unit.".into();
    }
    if let Some(doubt) = f.doubt() {
        return format!("Unknown, so nothing is done: {}.", doubtful(doubt, f));
    }
    if 0 < f.names_known && f.looks.names.is_empty() {
        return "Unknown, so nothing is done: no public name has been looked at yet.".into();
    }
    let parts = [unit(f), connections(f), names(f), dial(f), way_out(f)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("Unknown, so nothing is done: {}.", parts.join(", "))
}

fn doubtful(doubt: Doubt, f: &Facts<'_>) -> String {
    let ago = |at: Duration| span(f.now.since(at));
    match doubt {
        Doubt::Shaken(Shaken::StoodStill { at, lasted }) => format!(
            "this daemon stood still for {} until {} ago (the host slept or is overloaded), and everything is looked at anew",
            span(lasted),
            ago(at)
        ),
        Doubt::Shaken(Shaken::ClockJumped { at, by }) => format!(
            "the clock jumped by {} {} ago, so that times in the journal cannot be placed",
            span(by),
            ago(at)
        ),
        Doubt::JournalBlind => {
            "the journal cannot be read, and with it what cloudflared and systemd say".into()
        }
        Doubt::JournalGap(at) => format!("the journal lost lines of this unit {} ago", ago(at)),
        Doubt::JournalLate(at) => format!("the journal was running late {} ago", ago(at)),
    }
}

fn unit(f: &Facts<'_>) -> String {
    let Some(unit) = f.unit else { return String::new() };
    let state = match unit.active {
        Active::Active => "active",
        Active::Activating => "activating",
        Active::Deactivating => "deactivating",
        Active::Inactive => "inactive",
        Active::Failed => "failed",
        Active::Other => "other",
    };
    format!("unit {state} ({}, result {}) for {}", unit.sub, unit.result, span(f.now.since(unit.since)))
}

fn connections(f: &Facts<'_>) -> String {
    match (f.connections, f.ready.map(|sight| sight.ready)) {
        (Some(0), _) => match f.age(f.track.zero_since) {
            Some(age) => format!("0 connections for {}", span(age)),
            None => "0 connections".into(),
        },
        (Some(n), _) => format!("{n} connections"),
        (None, Some(Ready::Silent)) => format!("/ready silent {} times", f.track.silent),
        (None, Some(Ready::Refused)) => "metrics port refused".into(),
        (None, Some(Ready::Connections(_)) | None) => "connections not readable".into(),
    }
}

fn names(f: &Facts<'_>) -> String {
    if f.names_known == 0 {
        return "no public name known".into();
    }
    let mut parts = Vec::new();
    for answer in Answer::ALL {
        let of: Vec<_> = f.looks.names.iter().filter(|(_, _, sight)| sight.answer == answer).collect();
        let Some((first, track, sight)) = of.first() else { continue };
        let mut part = match of.len() {
            1 => (*first).to_owned(),
            n => format!("{first} and {} more", n - 1),
        };
        let _ = match (answer, sight.status, sight.code) {
            (Answer::Blind, _, _) => write!(part, " could not be looked at ({})", sight.detail),
            (Answer::Unexpected, _, _) => write!(part, " answered other than expected ({})", sight.detail),
            (_, Some(status), Some(code)) => write!(part, " answered {status} with error {code}"),
            (_, Some(status), None) => write!(part, " {} {status}", verb(answer)),
            (_, None, _) => write!(part, " {}", verb(answer)),
        };
        if let Some(colo) = sight.colo.as_ref().filter(|_| answer != Answer::Served) {
            let _ = write!(part, " at {colo}");
        }
        // Blindness pauses an answer, and is as old as itself.
        let since = if answer == Answer::Blind { track.blind_since } else { Some(track.since) };
        if let Some(since) = since.filter(|_| answer != Answer::Served) {
            let _ = write!(part, " for {}", span(f.now.since(since)));
        }
        parts.push(part);
    }
    parts.join(", ")
}

fn verb(answer: Answer) -> &'static str {
    match answer {
        Answer::Served => "served",
        Answer::TunnelError | Answer::DnsError | Answer::EdgeError | Answer::OriginError => "answered",
        Answer::Access => "asked for an Access login with",
        Answer::Challenge => "challenged the probe with",
        Answer::Cached => "came from a cache with",
        Answer::Unexpected => "answered other than expected with",
        Answer::Blind => "unseen",
    }
}

fn dial(f: &Facts<'_>) -> String {
    let Some(edge) = f.edge else {
        return if f.other_region { "its region of the edge not dialled" } else { "edge not dialled" }.into();
    };
    let one = |transport: Transport| {
        let family = edge.family(transport, f.families);
        let mut links = edge.links_of(f.families).filter(|l| l.transport == transport && l.family == family);
        let reach = links.next().map(|l| l.reach);
        let works = edge.reachable(transport, f.families);
        let port = match transport {
            Transport::Quic => "UDP 7844 (QUIC)",
            Transport::Http2 => "TCP 7844 (http2)",
        };
        let over = if two_families(f) { format!(" over {}", family.word()) } else { String::new() };
        match (works, reach) {
            (true, _) => match f.age(f.edge_track.ok_since(transport, family)) {
                Some(age) => format!("{port} answers{over} for {}", span(age)),
                None => format!("{port} answers{over}"),
            },
            (false, Some(reach)) => format!("{port} {}{over}", reach_words(reach)),
            (false, None) => format!("{port} not dialled{over}"),
        }
    };
    let resolved = if edge.resolved { "" } else { ", edge names do not resolve" };
    format!("{}, {}{resolved}", one(Transport::Http2), one(Transport::Quic))
}

/// This host, or what cloudflared is set to, leaves another family to be thought of.
fn two_families(f: &Facts<'_>) -> bool {
    f.families.only().is_some() || f.edge.is_some_and(|edge| edge.first == Family::V6)
}

/// By which family the connector would get to the edge, where that is not said by the way.
fn over(f: &Facts<'_>) -> String {
    match f.families {
        Families::V4 | Families::V6 | Families::Unknown if two_families(f) => {
            format!(" over {}", f.family().word())
        }
        Families::V4 | Families::V6 | Families::Unknown | Families::Auto => String::new(),
    }
}

fn reach_words(reach: Reach) -> &'static str {
    match reach {
        Reach::Reachable => "answers",
        Reach::Refused => "refused",
        Reach::TimedOut => "timed out",
        Reach::Unreachable => "has no route",
        Reach::Silent => "connects and stays silent",
        Reach::BrokenOff => "breaks off the handshake",
    }
}

fn way_out(f: &Facts<'_>) -> String {
    if f.host.is_some_and(|host| !host.route) {
        return "no default route".into();
    }
    if f.way_out() { "own way out works".into() } else { "own way out does not work".into() }
}

/// Whether anything comes from the edge by QUIC.
fn received(f: &Facts<'_>) -> String {
    match f.quic_silent_for() {
        Some(silent) if silent.is_zero() => "QUIC still brings bytes from the edge".into(),
        Some(silent) => format!("QUIC has brought nothing from the edge for {}", span(silent)),
        None => String::new(),
    }
}

/// What probers elsewhere see.
fn elsewhere(f: &Facts<'_>) -> String {
    let one = |(name, seen): &(&str, &Elsewhere)| {
        let verb = if seen.served { "is served" } else { "is not served" };
        let status = seen.status.map(|status| format!(" ({status})")).unwrap_or_default();
        format!("{} {verb} {name}{status}", seen.by)
    };
    f.elsewhere.iter().take(3).map(one).collect::<Vec<_>>().join(", ")
}

fn text(f: &Facts<'_>, told: Option<&(Duration, String)>) -> String {
    match told {
        Some((at, text)) => format!("its journal said {} ago: {text}", span(f.now.since(*at))),
        None => String::new(),
    }
}

/// A length of time for people: `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
