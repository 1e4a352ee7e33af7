//! The public picture of the moment: `/status`, `tunnelwarden status`, `explain`. Core types stay inside; these
//! are the promise.

mod form;

use std::time::Duration;

pub use form::{
    Budget, Connector, Edge, FindingStatus, HoldStatus, IncidentStatus, Name, SenseStatus, Status,
    StepStatus, TunnelStatus, UnitState,
};

use crate::clock::rfc3339;
use crate::warden::cause::Cause;
use crate::warden::diagnosis::Health;
use crate::warden::evidence::{Blind, Reach, Ready, Sense};
use crate::warden::explain::explain;
use crate::warden::facts::Facts;
use crate::warden::history::{DAY, HOUR};
use crate::warden::machine::Warden;
use crate::warden::time::Now;
use crate::warden::tunnel::Tunnel;

/// What the picture needs beside the warden: who we are and what the set-up calls things.
#[derive(Clone, Debug)]
pub struct About {
    /// Unix time of our start.
    pub started: Duration,
    /// By unit: the configured name, the tunnel id, cloudflared's version, what could not be read.
    pub tunnels: Vec<AboutTunnel>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutTunnel {
    pub unit: String,
    pub name: String,
    pub id: Option<String>,
    pub version: Option<String>,
    /// Files that could not be read, and what is wrong with the API's credentials.
    pub unread: Vec<String>,
    /// Why Cloudflare's API cannot be read, if it cannot.
    pub api: Option<String>,
    pub findings: Vec<FindingStatus>,
}

impl About {
    /// What a process said of itself.
    pub fn learn(&mut self, unit: &str, id: Option<String>, version: Option<String>) {
        for tunnel in self.tunnels.iter_mut().filter(|tunnel| tunnel.unit == unit) {
            tunnel.id = tunnel.id.take().or_else(|| id.clone());
            tunnel.version = version.clone().or_else(|| tunnel.version.take());
        }
    }

    /// Why Cloudflare's API cannot be read; `None` once it can.
    pub fn read_api(&mut self, unit: &str, trouble: Option<&str>) {
        for tunnel in self.tunnels.iter_mut().filter(|tunnel| tunnel.unit == unit) {
            tunnel.api = trouble.map(str::to_owned);
        }
    }

    /// What the audits have to say of a unit.
    pub fn audited(&mut self, unit: &str, findings: Vec<FindingStatus>) {
        for tunnel in self.tunnels.iter_mut().filter(|tunnel| tunnel.unit == unit) {
            tunnel.findings.clone_from(&findings);
        }
    }

    /// Keeps what was learnt since: what processes said of themselves, and whether the API can be read.
    #[must_use]
    pub fn after(mut self, before: Self) -> Self {
        for old in before.tunnels {
            for new in self.tunnels.iter_mut().filter(|new| new.unit == old.unit) {
                new.id = new.id.take().or(old.id.clone());
                new.version = new.version.take().or(old.version.clone());
                new.findings.clone_from(&old.findings);
                new.api.clone_from(&old.api);
            }
        }
        self
    }
}

/// What `blind` says of a sense that nobody asked for.
pub const NOT_CONFIGURED: &str = "not configured";

impl Status {
    /// The picture of the moment.
    pub fn new(warden: &Warden, about: &About, now: Now) -> Self {
        let policy = warden.policy();
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            mode: if policy.observe_only { "observe" } else { "remedy" }.into(),
            powerless: powerless(warden),
            since: rfc3339(about.started),
            paused_until: warden.paused().map(|pause| rfc3339(now.wall_of(pause.until))),
            tunnels: warden.tunnels().map(|tunnel| one(warden, tunnel, about, now)).collect(),
        }
    }
}

/// The reasons, each once; with the units' names where others may be acted on.
fn powerless(warden: &Warden) -> Option<String> {
    let powerless = &warden.policy().powerless;
    let all = warden.tunnels().all(|tunnel| powerless.contains_key(&tunnel.unit));
    let mut said: Vec<_> = powerless
        .iter()
        .map(|(unit, why)| if all { why.clone() } else { format!("{unit} alone, because {why}") })
        .collect();
    said.dedup();
    (!said.is_empty()).then(|| said.join("; "))
}

fn one(warden: &Warden, tunnel: &Tunnel, about: &About, now: Now) -> TunnelStatus {
    let time = |at: Duration| rfc3339(now.wall_of(at));
    let known = about.tunnels.iter().find(|about| about.unit == tunnel.unit).cloned().unwrap_or_default();
    let evidence = &tunnel.evidence;
    let ready = evidence.ready.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok());
    let connections = match ready.map(|sight| sight.ready) {
        Some(Ready::Connections(n)) => Some(n),
        Some(Ready::Refused | Ready::Silent) | None => None,
    };
    let policy = warden.policy();
    let left = |limit: u32, window| limit.saturating_sub(tunnel.history.spent(now, window));
    let unit = evidence.unit.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok());
    let facts = warden.facts(&tunnel.unit, now);
    TunnelStatus {
        name: if known.name.is_empty() { tunnel.unit.clone() } else { known.name },
        unit: tunnel.unit.clone(),
        id: known.id,
        verdict: tunnel.verdict.health.name().into(),
        cause: tunnel.verdict.cause.map(|cause| cause.name().into()),
        since: time(tunnel.since),
        explanation: facts
            .as_ref()
            .map_or_else(|| tunnel.last_words().to_owned(), |facts| explain(tunnel.verdict, facts)),
        advice: tunnel.verdict.cause.map_or("", Cause::advice).into(),
        connector: Connector {
            id: ready.and_then(|sight| sight.connector.clone()),
            version: known.version,
            transport: evidence.log.transport.map(|(transport, _)| transport.word().into()),
            connections,
        },
        unit_state: unit.map(|unit| UnitState {
            active: format!("{:?}", unit.active).to_lowercase(),
            sub: unit.sub.clone(),
            result: unit.result.clone(),
            since: time(unit.since),
        }),
        names: names(tunnel, now),
        edge: edge(warden, tunnel, now),
        holds: tunnel
            .holds
            .iter()
            .map(|held| HoldStatus {
                hold: held.hold.name().into(),
                until: held.until.map(time),
                reason: match &*held.detail {
                    "" => held.hold.reason().into(),
                    detail => format!("{}: {detail}", held.hold.reason()),
                },
            })
            .collect(),
        budget: Budget { hour: left(policy.per_hour, HOUR), day: left(policy.per_day, DAY) },
        incident: tunnel.history.incident.as_ref().filter(|incident| incident.open()).map(|incident| {
            IncidentStatus {
                id: incident.id.clone(),
                opened: rfc3339(incident.began_wall),
                cause: incident.cause.name().into(),
                steps: incident
                    .steps
                    .iter()
                    .map(|step| StepStatus {
                        at: rfc3339(step.wall),
                        what: step.what.clone(),
                        detail: step.detail.clone(),
                    })
                    .collect(),
            }
        }),
        senses: senses(warden, tunnel, now),
        unread: known.unread.into_iter().chain(known.api).collect(),
        findings: known.findings,
        notes: facts.map(|facts| notes(tunnel.verdict.health, &facts)).unwrap_or_default(),
    }
}

fn notes(health: Health, facts: &Facts<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if facts.unit.is_some_and(|unit| unit.newer_program) {
        notes.push(
            "cloudflared on disk is newer than the running process: an update is installed and not yet running"
                .into(),
        );
    }
    // Where something is wrong its explanation says it.
    if health == Health::Healthy {
        notes.extend(facts.announced.iter().map(|announced| announced.words()));
    }
    notes
}

fn names(tunnel: &Tunnel, now: Now) -> Vec<Name> {
    let one = |(hostname, track): (&String, &crate::warden::evidence::NameTrack)| {
        let latest = track.latest.as_ref();
        let sight = latest.map(|(_, sight)| sight);
        Name {
            hostname: hostname.clone(),
            answer: sight.map_or("blind", |sight| sight.answer.word()).into(),
            status: sight.and_then(|sight| sight.status),
            code: sight.and_then(|sight| sight.code),
            at: latest.map(|(at, _)| rfc3339(now.wall_of(*at))),
            latency_ms: sight.map(|sight| u64::try_from(sight.latency.as_millis()).unwrap_or(u64::MAX)),
            colo: sight.and_then(|sight| sight.colo.clone()),
            http: sight.and_then(|sight| sight.exchange.http.clone()),
            certificate_ends: sight.and_then(|sight| certificate_ends(sight.exchange.certificate_expiry?)),
            route: route(tunnel, hostname).map(str::to_owned),
            elsewhere: elsewhere(tunnel, hostname).map(str::to_owned),
            detail: sight.map(|sight| sight.detail.clone()).unwrap_or_default(),
        }
    };
    tunnel.evidence.names.iter().map(one).collect()
}

/// Where DNS leads a name, as last seen.
pub(super) fn route(tunnel: &Tunnel, hostname: &str) -> Option<&'static str> {
    let (_, sight) = tunnel.evidence.routes.get(hostname)?.sight.as_ref()?;
    Some(sight.word())
}

/// What a prober elsewhere last saw of a name.
pub(super) fn elsewhere(tunnel: &Tunnel, hostname: &str) -> Option<&'static str> {
    let (_, seen) = tunnel.evidence.elsewhere.get(hostname)?.latest.as_ref()?;
    seen.as_ref().ok().map(|seen| if seen.served { "served" } else { "not_served" })
}

fn certificate_ends(unix: i64) -> Option<String> {
    Some(rfc3339(Duration::from_secs(u64::try_from(unix).ok()?)))
}

/// Each region by each transport, as far as the tunnel's families of addresses go.
fn edge(warden: &Warden, tunnel: &Tunnel, now: Now) -> Vec<Edge> {
    let Some((at, Ok(sight))) = &warden.host().edge.latest else { return Vec::new() };
    let mut all: Vec<Edge> = Vec::new();
    for link in sight.links_of(tunnel.evidence.setup.families) {
        let transport = link.transport.word();
        let reachable = link.reach == Reach::Reachable;
        match all.iter_mut().find(|known| known.region == link.region && known.transport == transport) {
            Some(known) => known.reachable |= reachable,
            None => all.push(Edge {
                region: link.region.clone(),
                transport: transport.into(),
                reachable,
                at: rfc3339(now.wall_of(*at)),
            }),
        }
    }
    all
}

/// Some senses are there only where somebody wants them.
pub(super) fn asked_for(warden: &Warden, tunnel: &Tunnel, sense: Sense) -> bool {
    match sense {
        Sense::Tunnel => tunnel.reads_records(),
        Sense::StatusPage => warden.host().announced.latest.is_some(),
        Sense::Unit
        | Sense::Journal
        | Sense::Ready
        | Sense::Public
        | Sense::Control
        | Sense::Edge
        | Sense::Dns
        | Sense::Host => true,
    }
}

/// Each sense of a tunnel and of its host: why it is blind, if it is, and when it last saw something (time since boot).
pub(super) fn sensed(
    warden: &Warden,
    tunnel: &Tunnel,
) -> impl Iterator<Item = (Sense, Option<Blind>, Option<Duration>)> {
    let host = warden.host();
    let of_host = [
        (Sense::Control, host.control.blind(), host.control.seen_at),
        (Sense::Edge, host.edge.blind(), host.edge.seen_at),
        (Sense::Host, host.host.blind(), host.host.seen_at),
        (Sense::StatusPage, host.announced.blind(), host.announced.seen_at),
    ];
    let of_tunnel = tunnel.blindness().map(|(sense, blind)| (sense, blind, tunnel.seen_at(sense)));
    of_tunnel.into_iter().chain(of_host)
}

fn senses(warden: &Warden, tunnel: &Tunnel, now: Now) -> Vec<SenseStatus> {
    let one = |(sense, blind, seen_at): (Sense, Option<Blind>, Option<Duration>)| SenseStatus {
        sense: sense.word().into(),
        seen_at: seen_at.map(|at| rfc3339(now.wall_of(at))),
        blind: blind.map(|blind| match asked_for(warden, tunnel, sense) {
            true => blind.words().into(),
            false => NOT_CONFIGURED.into(),
        }),
    };
    sensed(warden, tunnel).map(one).collect()
}
