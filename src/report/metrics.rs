//! Prometheus metrics: one struct, registered once, labelled by our own enums and by names from the configuration.
//! Most are set from the warden when they are read; only counts of events are kept between.

mod gauges;
mod names;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::snapshot::About;
use crate::client::cloudflare_api::{Asked, Outcome};
use crate::client::cloudflared_log::LABELS;
use crate::warden::cause::Cause;
use crate::warden::incident::Closing;
use crate::warden::note::{Happening, Note};
use crate::warden::rails::Hold;
use crate::warden::remedy::{Ending, Remedy};

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
    probe_seconds: HistogramVec,
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
    cloudflare_incidents: IntGaugeVec,
}

fn ok<T>(made: Result<T, prometheus::Error>) -> T {
    match made {
        Ok(made) => made,
        // Names and labels are constants of this file; the tests make every one of them.
        Err(error) => unreachable!("a metric of ours is misnamed: {error}"),
    }
}

/// Makes metrics, each registered as it is made.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn kept<C: Collector + Clone + 'static>(&self, made: Result<C, prometheus::Error>) -> C {
        let made = ok(made);
        ok(self.0.register(Box::new(made.clone())));
        made
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.kept(IntGauge::new(name, help))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.kept(IntCounter::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.kept(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.kept(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.kept(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramVec {
        self.kept(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &["tunnel"]))
    }
}

impl Metrics {
    /// All metrics, registered, with everything present that does not depend on a tunnel.
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            mode: make.gauges("tunnelwarden_mode", "1 for the mode in force: remedy or observe.", &["mode"]),
            powerless: make.gauge(
                "tunnelwarden_powerless",
                "1 if this host lets us only watch a unit (polkit too old, absent or refusing).",
            ),
            verdict: make.gauges(
                "tunnelwarden_verdict",
                "1 for the present verdict on the tunnel.",
                &["tunnel", "verdict"],
            ),
            cause: make.gauges("tunnelwarden_cause", "1 for the present cause.", &["tunnel", "cause"]),
            incident_open: make.gauges("tunnelwarden_incident_open", "1 while an incident is open.", &["tunnel"]),
            incidents: make.counters(
                "tunnelwarden_incidents_total",
                "Incidents closed, by cause and outcome.",
                &["tunnel", "cause", "outcome"],
            ),
            remedies: make.counters(
                "tunnelwarden_remedies_total",
                "Remedies finished, by what they are and how they ended.",
                &["tunnel", "remedy", "outcome"],
            ),
            held: make.counters(
                "tunnelwarden_held_total",
                "Times a rail began to hold a remedy back.",
                &["tunnel", "hold"],
            ),
            hold: make.gauges("tunnelwarden_hold", "1 while the rail holds a remedy back.", &["tunnel", "hold"]),
            hold_until: make.float_gauges(
                "tunnelwarden_hold_until_timestamp_seconds",
                "When the last of the present holds may lift, 0 if nothing holds or the time is not known.",
                &["tunnel"],
            ),
            budget: make.gauges(
                "tunnelwarden_budget_remaining",
                "Remedies left in the window.",
                &["tunnel", "window"],
            ),
            detect: make.histograms(
                "tunnelwarden_time_to_detect_seconds",
                "From the first sight of trouble to its incident.",
                &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0],
            ),
            recover: make.histograms(
                "tunnelwarden_time_to_recover_seconds",
                "From the first sight of trouble to health.",
                &[5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0],
            ),
            probe_seconds: make.histograms(
                "tunnelwarden_probe_seconds",
                "Time that a look at a public name took.",
                &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
            ),
            connections: make.gauges(
                "tunnelwarden_connector_connections",
                "Connections to the edge as cloudflared's /ready says, -1 while it cannot be read.",
                &["tunnel"],
            ),
            edge_reachable: make.gauges(
                "tunnelwarden_edge_reachable",
                "1 if our own dial to port 7844 got through.",
                &["region", "transport"],
            ),
            unit_active: make.gauges("tunnelwarden_unit_active", "1 while the unit is active.", &["tunnel"]),
            unit_restarts: make.counters(
                "tunnelwarden_unit_restarts_total",
                "New lives of the unit since we watch, by who began them.",
                &["tunnel", "by"],
            ),
            journal_lines: make.counters(
                "tunnelwarden_journal_lines_total",
                "Journal lines of the unit, by meaning.",
                &["tunnel", "meaning"],
            ),
            journal_gaps: make.counter(
                "tunnelwarden_journal_gaps_total",
                "Times that the journal lost lines of a watched unit.",
            ),
            sense_seen: make.float_gauges(
                "tunnelwarden_sense_last_sight_timestamp_seconds",
                "When the sense last saw something, 0 for never.",
                &["tunnel", "sense"],
            ),
            sense_blind: make.gauges(
                "tunnelwarden_sense_blind",
                "1 while the sense cannot look at what there is to be seen.",
                &["tunnel", "sense"],
            ),
            cycles: make.counter("tunnelwarden_decision_cycles_total", "Finished decision cycles."),
            reload_ok: make.gauge(
                "tunnelwarden_config_reload_success",
                "1 if the last load of the configuration succeeded.",
            ),
            memory_lost: make.gauge(
                "tunnelwarden_memory_lost",
                "1 while the state file was unreadable and nothing is done for that reason.",
            ),
            api_requests: make.counters(
                "tunnelwarden_api_requests_total",
                "Requests to Cloudflare's API, by what was asked for and how they ended.",
                &["endpoint", "outcome"],
            ),
            api_token_expiry: make.float_gauges(
                "tunnelwarden_api_token_expiry_timestamp_seconds",
                "When the token for Cloudflare's API ends; absent without a token, or with one that does not.",
                &[],
            ),
            audit_findings: make.gauges(
                "tunnelwarden_audit_findings",
                "What the audits found.",
                &["tunnel", "audit", "severity"],
            ),
            cloudflare_incidents: make.gauges(
                "tunnelwarden_cloudflare_incidents",
                "Open incidents on the status page (edge.status_page) that name tunnels, Access or a location that answers us; absent where none is set.",
                &["tunnel"],
            ),
            registry: registry.clone(),
        };
        let build =
            make.gauges("tunnelwarden_build_info", "1, with what is running.", &["version", "revision"]);
        let revision = option_env!("TUNNELWARDEN_REVISION").unwrap_or("unknown");
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        ok(registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())));
        for asked in Asked::ALL {
            for outcome in Outcome::ALL {
                metrics.api_requests.with_label_values(&[asked.label(), outcome.label()]);
            }
        }
        metrics
    }

    /// So many findings of a severity has an audit of this tunnel.
    pub fn audited(&self, tunnel: &str, audit: &str, severity: &str, findings: usize) {
        let findings = i64::try_from(findings).unwrap_or(i64::MAX);
        self.audit_findings.with_label_values(&[tunnel, audit, severity]).set(findings);
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
    use prometheus::TextEncoder;

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
