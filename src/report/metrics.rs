//! Prometheus metrics: one struct, registered once, labelled by our own enums and by names from the configuration.
//! Most are set from the warden when they are read; only counts of events are kept between.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::snapshot::{About, elsewhere, route};
use crate::client::cloudflare_api::{Asked, Outcome};
use crate::client::cloudflared_log::LABELS;
use crate::warden::cause::Cause;
use crate::warden::diagnosis::Health;
use crate::warden::evidence::{Active, Answer, Exchange, Reach, Sense};
use crate::warden::history::{DAY, HOUR};
use crate::warden::incident::Closing;
use crate::warden::machine::Warden;
use crate::warden::note::{Happening, Note};
use crate::warden::rails::Hold;
use crate::warden::remedy::{Ending, Remedy};
use crate::warden::route::WORDS;
use crate::warden::time::Now;
use crate::warden::tunnel::Tunnel;

/// Who restarted a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Systemd,
    Tunnelwarden,
    Other,
}

impl By {
    const ALL: [Self; 3] = [Self::Systemd, Self::Tunnelwarden, Self::Other];

    fn label(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Tunnelwarden => "tunnelwarden",
            Self::Other => "other",
        }
    }
}

/// Everything under `/metrics`.
pub struct Metrics {
    registry: Registry,
    mode: IntGaugeVec,
    powerless: IntGauge,
    verdict: IntGaugeVec,
    cause: IntGaugeVec,
    incident_open: IntGaugeVec,
    incidents: IntCounterVec,
    remedies: IntCounterVec,
    held: IntCounterVec,
    hold: IntGaugeVec,
    hold_until: GaugeVec,
    budget: IntGaugeVec,
    detect: HistogramVec,
    recover: HistogramVec,
    name_up: IntGaugeVec,
    name_answer: IntGaugeVec,
    name_route: IntGaugeVec,
    observer_up: IntGaugeVec,
    probe_seconds: HistogramVec,
    probe_duration: GaugeVec,
    probe_http: GaugeVec,
    certificate_expiry: GaugeVec,
    connections: IntGaugeVec,
    edge_reachable: IntGaugeVec,
    unit_active: IntGaugeVec,
    unit_restarts: IntCounterVec,
    journal_lines: IntCounterVec,
    journal_gaps: IntCounter,
    sense_seen: GaugeVec,
    sense_blind: IntGaugeVec,
    cycles: IntCounter,
    reload_ok: IntGauge,
    memory_lost: IntGauge,
    api_requests: IntCounterVec,
    api_token_expiry: GaugeVec,
    audit_findings: IntGaugeVec,
}

fn ok<T>(made: Result<T, prometheus::Error>) -> T {
    match made {
        Ok(made) => made,
        // Names and labels are constants of this file; the tests make every one of them.
        Err(error) => unreachable!("a metric of ours is misnamed: {error}"),
    }
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    ok(IntGaugeVec::new(Opts::new(name, help), labels))
}

fn float_gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    ok(GaugeVec::new(Opts::new(name, help), labels))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    ok(IntCounterVec::new(Opts::new(name, help), labels))
}

fn histograms(name: &str, help: &str, buckets: &[f64]) -> HistogramVec {
    ok(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &["tunnel"]))
}

impl Metrics {
    /// All metrics, registered, with everything present that does not depend on a tunnel.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            mode: gauges("tunnelwarden_mode", "1 for the mode in force: remedy or observe.", &["mode"]),
            powerless: ok(IntGauge::new(
                "tunnelwarden_powerless",
                "1 if this host lets us only watch a unit (polkit too old, absent or refusing).",
            )),
            verdict: gauges(
                "tunnelwarden_verdict",
                "1 for the present verdict on the tunnel.",
                &["tunnel", "verdict"],
            ),
            cause: gauges("tunnelwarden_cause", "1 for the present cause.", &["tunnel", "cause"]),
            incident_open: gauges("tunnelwarden_incident_open", "1 while an incident is open.", &["tunnel"]),
            incidents: counters(
                "tunnelwarden_incidents_total",
                "Incidents closed, by cause and outcome.",
                &["tunnel", "cause", "outcome"],
            ),
            remedies: counters(
                "tunnelwarden_remedies_total",
                "Remedies finished, by what they are and how they ended.",
                &["tunnel", "remedy", "outcome"],
            ),
            held: counters(
                "tunnelwarden_held_total",
                "Times a rail began to hold a remedy back.",
                &["tunnel", "hold"],
            ),
            hold: gauges("tunnelwarden_hold", "1 while the rail holds a remedy back.", &["tunnel", "hold"]),
            hold_until: float_gauges(
                "tunnelwarden_hold_until_timestamp_seconds",
                "When the last of the present holds may lift, 0 if nothing holds or the time is not known.",
                &["tunnel"],
            ),
            budget: gauges(
                "tunnelwarden_budget_remaining",
                "Remedies left in the window.",
                &["tunnel", "window"],
            ),
            detect: histograms(
                "tunnelwarden_time_to_detect_seconds",
                "From the first sight of trouble to its incident.",
                &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0],
            ),
            recover: histograms(
                "tunnelwarden_time_to_recover_seconds",
                "From the first sight of trouble to health.",
                &[5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0],
            ),
            name_up: gauges(
                "tunnelwarden_name_up",
                "1 if the public name is served.",
                &["tunnel", "hostname"],
            ),
            name_answer: gauges(
                "tunnelwarden_name_answer",
                "1 for the kind of the last answer of the public name.",
                &["tunnel", "hostname", "answer"],
            ),
            name_route: gauges(
                "tunnelwarden_name_route",
                "1 for where DNS leads the public name: to Cloudflare (routed), elsewhere (misrouted), nowhere (missing).",
                &["tunnel", "hostname", "route"],
            ),
            observer_up: gauges(
                "tunnelwarden_observer_up",
                "1 if a prober elsewhere (probe.observers) was served the public name when it last erred here; absent where none was asked or answered.",
                &["tunnel", "hostname"],
            ),
            probe_seconds: histograms(
                "tunnelwarden_probe_seconds",
                "Time that a look at a public name took.",
                &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
            ),
            probe_duration: float_gauges(
                "tunnelwarden_probe_duration_seconds",
                "Time of each phase of the last look at a public name: dns (0 while its addresses are known), tcp, tls, first_byte. Absent for a phase that was not reached.",
                &["tunnel", "hostname", "phase"],
            ),
            probe_http: float_gauges(
                "tunnelwarden_probe_http_version",
                "Version of HTTP that the public name last answered in; absent without an answer.",
                &["tunnel", "hostname"],
            ),
            certificate_expiry: float_gauges(
                "tunnelwarden_certificate_expiry_timestamp_seconds",
                "When the certificate that the public name last showed ends.",
                &["tunnel", "hostname"],
            ),
            connections: gauges(
                "tunnelwarden_connector_connections",
                "Connections to the edge as cloudflared's /ready says, -1 while it cannot be read.",
                &["tunnel"],
            ),
            edge_reachable: gauges(
                "tunnelwarden_edge_reachable",
                "1 if our own dial to port 7844 got through.",
                &["region", "transport"],
            ),
            unit_active: gauges("tunnelwarden_unit_active", "1 while the unit is active.", &["tunnel"]),
            unit_restarts: counters(
                "tunnelwarden_unit_restarts_total",
                "New lives of the unit since we watch, by who began them.",
                &["tunnel", "by"],
            ),
            journal_lines: counters(
                "tunnelwarden_journal_lines_total",
                "Journal lines of the unit, by meaning.",
                &["tunnel", "meaning"],
            ),
            journal_gaps: ok(IntCounter::new(
                "tunnelwarden_journal_gaps_total",
                "Times that the journal lost lines of a watched unit.",
            )),
            sense_seen: float_gauges(
                "tunnelwarden_sense_last_sight_timestamp_seconds",
                "When the sense last saw something, 0 for never.",
                &["tunnel", "sense"],
            ),
            sense_blind: gauges(
                "tunnelwarden_sense_blind",
                "1 while the sense cannot look.",
                &["tunnel", "sense"],
            ),
            cycles: ok(IntCounter::new("tunnelwarden_decision_cycles_total", "Finished decision cycles.")),
            reload_ok: ok(IntGauge::new(
                "tunnelwarden_config_reload_success",
                "1 if the last load of the configuration succeeded.",
            )),
            memory_lost: ok(IntGauge::new(
                "tunnelwarden_memory_lost",
                "1 while the state file was unreadable and nothing is done for that reason.",
            )),
            api_requests: counters(
                "tunnelwarden_api_requests_total",
                "Requests to Cloudflare's API, by what was asked for and how they ended.",
                &["endpoint", "outcome"],
            ),
            api_token_expiry: float_gauges(
                "tunnelwarden_api_token_expiry_timestamp_seconds",
                "When the token for Cloudflare's API ends; absent without a token, or with one that does not.",
                &[],
            ),
            audit_findings: gauges(
                "tunnelwarden_audit_findings",
                "What the audits found.",
                &["tunnel", "audit", "severity"],
            ),
        };
        for asked in Asked::ALL {
            for outcome in Outcome::ALL {
                metrics.api_requests.with_label_values(&[asked.label(), outcome.label()]);
            }
        }
        metrics.register();
        metrics
    }

    /// So many findings of a severity has an audit of this tunnel.
    pub fn audited(&self, tunnel: &str, audit: &str, severity: &str, findings: usize) {
        let findings = i64::try_from(findings).unwrap_or(i64::MAX);
        self.audit_findings.with_label_values(&[tunnel, audit, severity]).set(findings);
    }

    fn register(&self) {
        let Self {
            registry,
            mode,
            powerless,
            verdict,
            cause,
            incident_open,
            incidents,
            remedies,
            held,
            hold,
            hold_until,
            budget,
            detect,
            recover,
            name_up,
            name_answer,
            name_route,
            observer_up,
            probe_seconds,
            probe_duration,
            probe_http,
            certificate_expiry,
            connections,
            edge_reachable,
            unit_active,
            unit_restarts,
            journal_lines,
            journal_gaps,
            sense_seen,
            sense_blind,
            cycles,
            reload_ok,
            memory_lost,
            api_requests,
            api_token_expiry,
            audit_findings,
        } = self; // New field? Register it here.
        let build = gauges("tunnelwarden_build_info", "1, with what is running.", &["version", "revision"]);
        let revision = option_env!("TUNNELWARDEN_REVISION").unwrap_or("unknown");
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        let collectors: [Box<dyn Collector>; 36] = [
            Box::new(build),
            Box::new(mode.clone()),
            Box::new(powerless.clone()),
            Box::new(verdict.clone()),
            Box::new(cause.clone()),
            Box::new(incident_open.clone()),
            Box::new(incidents.clone()),
            Box::new(remedies.clone()),
            Box::new(held.clone()),
            Box::new(hold.clone()),
            Box::new(hold_until.clone()),
            Box::new(budget.clone()),
            Box::new(detect.clone()),
            Box::new(recover.clone()),
            Box::new(name_up.clone()),
            Box::new(name_answer.clone()),
            Box::new(name_route.clone()),
            Box::new(observer_up.clone()),
            Box::new(probe_seconds.clone()),
            Box::new(probe_duration.clone()),
            Box::new(probe_http.clone()),
            Box::new(certificate_expiry.clone()),
            Box::new(connections.clone()),
            Box::new(edge_reachable.clone()),
            Box::new(unit_active.clone()),
            Box::new(unit_restarts.clone()),
            Box::new(journal_lines.clone()),
            Box::new(journal_gaps.clone()),
            Box::new(sense_seen.clone()),
            Box::new(sense_blind.clone()),
            Box::new(cycles.clone()),
            Box::new(reload_ok.clone()),
            Box::new(memory_lost.clone()),
            Box::new(api_requests.clone()),
            Box::new(api_token_expiry.clone()),
            Box::new(audit_findings.clone()),
        ];
        for collector in collectors {
            ok(registry.register(collector));
        }
        ok(registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())));
    }

    /// A tunnel is watched from now on: everything that can be said of it exists.
    pub fn appear(&self, tunnel: &str) {
        for cause in Cause::all() {
            self.cause.with_label_values(&[tunnel, cause.label()]).set(0);
            for closing in Closing::ALL {
                self.incidents.with_label_values(&[tunnel, cause.label(), closing.label()]);
            }
        }
        for meaning in LABELS {
            self.journal_lines.with_label_values(&[tunnel, meaning]);
        }
        for remedy in Remedy::ALL {
            for ending in Ending::ALL {
                self.remedies.with_label_values(&[tunnel, remedy.label(), ending.label()]);
            }
        }
        for hold in Hold::ALL {
            self.held.with_label_values(&[tunnel, hold.label()]);
        }
        for by in By::ALL {
            self.unit_restarts.with_label_values(&[tunnel, by.label()]);
        }
        self.detect.with_label_values(&[tunnel]);
        self.recover.with_label_values(&[tunnel]);
        self.probe_seconds.with_label_values(&[tunnel]);
    }

    /// Counts what a note tells.
    pub fn count(&self, tunnel: &str, note: &Note) {
        match &note.happening {
            Happening::IncidentOpened { after, .. } => {
                self.detect.with_label_values(&[tunnel]).observe(after.as_secs_f64());
            }
            Happening::RemedyFinished { remedy, ending } => {
                self.remedies.with_label_values(&[tunnel, remedy.label(), ending.label()]).inc();
            }
            Happening::RemedyHeld { hold, .. } => self.held.with_label_values(&[tunnel, hold.label()]).inc(),
            Happening::IncidentClosed { closing, cause, lasted } => {
                self.incidents.with_label_values(&[tunnel, cause.label(), closing.label()]).inc();
                self.recover.with_label_values(&[tunnel]).observe(lasted.as_secs_f64());
            }
            Happening::CauseChanged { .. }
            | Happening::RemedyOrdered { .. }
            | Happening::Escalated { .. }
            | Happening::SenseBlind { .. }
            | Happening::SenseSees { .. } => (),
        }
    }

    pub fn probed(&self, tunnel: &str, took: Duration) {
        self.probe_seconds.with_label_values(&[tunnel]).observe(took.as_secs_f64());
    }

    pub fn journal_line(&self, tunnel: &str, meaning: &'static str) {
        self.journal_lines.with_label_values(&[tunnel, meaning]).inc();
    }

    pub fn journal_gap(&self) {
        self.journal_gaps.inc();
    }

    pub fn unit_restarted(&self, tunnel: &str, by: By) {
        self.unit_restarts.with_label_values(&[tunnel, by.label()]).inc();
    }

    pub fn api_asked(&self, asked: Asked, outcome: Outcome) {
        self.api_requests.with_label_values(&[asked.label(), outcome.label()]).inc();
    }

    /// When the API's token ends (Unix time, in seconds), where that is known.
    pub fn api_token_ends(&self, at: Option<f64>) {
        self.api_token_expiry.reset();
        if let Some(at) = at {
            self.api_token_expiry.with_label_values::<&str>(&[]).set(at);
        }
    }

    pub fn reloaded(&self, good: bool) {
        self.reload_ok.set(i64::from(good));
    }

    /// Sets the gauges from the warden and writes everything in Prometheus' text form 0.0.4.
    pub fn scrape(&self, warden: &Warden, about: &About, now: Now) -> String {
        let policy = warden.policy();
        self.mode.with_label_values(&["remedy"]).set(i64::from(!policy.observe_only));
        self.mode.with_label_values(&["observe"]).set(i64::from(policy.observe_only));
        self.powerless.set(i64::from(!policy.powerless.is_empty()));
        self.memory_lost.set(i64::from(warden.memory_lost().is_some()));
        self.cycles.inc_by(warden.cycles().saturating_sub(self.cycles.get()));
        self.edge_reachable.reset();
        // What was not reached in the last look has no time, and names go.
        for vec in [&self.probe_duration, &self.probe_http] {
            vec.reset();
        }
        self.observer_up.reset();
        if let Some((_, Ok(edge))) = &warden.host().edge.latest {
            for link in &edge.links {
                let reachable = i64::from(link.reach == Reach::Reachable);
                self.edge_reachable
                    .with_label_values(&[link.region.as_str(), link.transport.word()])
                    .set(reachable);
            }
        }
        for tunnel in warden.tunnels() {
            self.tunnel(warden, tunnel, name_of(about, &tunnel.unit), now);
        }
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }

    fn tunnel(&self, warden: &Warden, tunnel: &Tunnel, name: &str, now: Now) {
        let policy = warden.policy();
        for health in Health::ALL {
            let is = tunnel.verdict.health == health;
            self.verdict.with_label_values(&[name, health.label()]).set(i64::from(is));
        }
        for cause in Cause::all() {
            let is = tunnel.verdict.cause == Some(cause);
            self.cause.with_label_values(&[name, cause.label()]).set(i64::from(is));
        }
        let open = tunnel.history.incident.as_ref().is_some_and(|incident| incident.open());
        self.incident_open.with_label_values(&[name]).set(i64::from(open));
        for hold in Hold::ALL {
            let is = tunnel.holds.iter().any(|held| held.hold == hold);
            self.hold.with_label_values(&[name, hold.label()]).set(i64::from(is));
        }
        let until = tunnel.holds.iter().filter_map(|held| held.until).max();
        let until = until.map_or(0.0, |until| now.wall_of(until).as_secs_f64());
        self.hold_until.with_label_values(&[name]).set(until);
        let left = |limit: u32, window| i64::from(limit.saturating_sub(tunnel.history.spent(now, window)));
        self.budget.with_label_values(&[name, "hour"]).set(left(policy.per_hour, HOUR));
        self.budget.with_label_values(&[name, "day"]).set(left(policy.per_day, DAY));
        for (hostname, track) in &tunnel.evidence.names {
            self.exchange(
                &[name, hostname.as_str()],
                track.latest.as_ref().map(|(_, sight)| &sight.exchange),
            );
            let answer = track.latest.as_ref().map_or(Answer::Blind, |(_, sight)| sight.answer);
            if let Some(word) = elsewhere(tunnel, hostname) {
                let up = i64::from(word == "served");
                self.observer_up.with_label_values(&[name, hostname.as_str()]).set(up);
            }
            for word in WORDS {
                let is = i64::from(route(tunnel, hostname) == Some(word));
                self.name_route.with_label_values(&[name, hostname.as_str(), word]).set(is);
            }
            let up = i64::from(answer == Answer::Served);
            self.name_up.with_label_values(&[name, hostname.as_str()]).set(up);
            for kind in Answer::ALL {
                self.name_answer
                    .with_label_values(&[name, hostname.as_str(), kind.word()])
                    .set(i64::from(kind == answer));
            }
        }
        let connections = tunnel.connections().map_or(-1, i64::from);
        self.connections.with_label_values(&[name]).set(connections);
        let unit = tunnel.evidence.unit.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok());
        let active = unit.is_some_and(|unit| unit.active == Active::Active);
        self.unit_active.with_label_values(&[name]).set(i64::from(active));
        let host = warden.host();
        let of_host = [
            (Sense::Control, host.control.blind(), host.control.seen_at),
            (Sense::Edge, host.edge.blind(), host.edge.seen_at),
            (Sense::Host, host.host.blind(), host.host.seen_at),
        ];
        let of_tunnel = tunnel.blindness().map(|(sense, blind)| (sense, blind, tunnel.seen_at(sense)));
        // Without credentials there is no such sense, and nobody to be alarmed.
        let there = |sense| sense != Sense::Tunnel || tunnel.reads_records();
        for (sense, blind, seen) in of_tunnel.into_iter().chain(of_host).filter(|(sense, ..)| there(*sense)) {
            let labels = [name, sense.word()];
            self.sense_blind.with_label_values(&labels).set(i64::from(blind.is_some()));
            let seen = seen.map_or(0.0, |at| now.wall_of(at).as_secs_f64());
            self.sense_seen.with_label_values(&labels).set(seen);
        }
    }
}

impl Metrics {
    fn exchange(&self, labels: &[&str; 2], exchange: Option<&Exchange>) {
        let Some(exchange) = exchange else { return };
        let Exchange { dns, tcp, tls, first_byte, http, certificate_expiry } = exchange;
        for (phase, took) in [("dns", dns), ("tcp", tcp), ("tls", tls), ("first_byte", first_byte)] {
            if let Some(took) = took {
                let labels = [labels[0], labels[1], phase];
                self.probe_duration.with_label_values(&labels).set(took.as_secs_f64());
            }
        }
        let version = http.as_ref().and_then(|http| http.strip_prefix("HTTP/")?.parse().ok());
        if let Some(version) = version {
            self.probe_http.with_label_values(labels).set(version);
        }
        if let Some(ends) = certificate_expiry {
            self.certificate_expiry.with_label_values(labels).set(*ends as f64);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The configured name of a tunnel, else its unit.
pub fn name_of<'a>(about: &'a About, unit: &'a str) -> &'a str {
    about.tunnels.iter().find(|tunnel| tunnel.unit == unit).map_or(unit, |tunnel| tunnel.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_can_be_made_and_a_tunnel_appears_whole() {
        let metrics = Metrics::new();
        metrics.appear("cloudflared.service");
        metrics.reloaded(true);
        let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
        for cause in Cause::all() {
            assert!(text.contains(&format!("cause=\"{}\"", cause.label())), "{}", cause.label());
        }
        assert!(text.contains("process_resident_memory_bytes"));
        let asked = "tunnelwarden_api_requests_total{endpoint=\"connections\",outcome=\"limited\"} 0";
        assert!(text.contains(asked), "{text}");
        let expiry = |ends| {
            metrics.api_token_ends(ends);
            let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
            text.contains("\ntunnelwarden_api_token_expiry_timestamp_seconds 1800000000\n")
        };
        assert!(!text.contains("tunnelwarden_api_token_expiry") && expiry(Some(1.8e9)) && !expiry(None));
    }
}
