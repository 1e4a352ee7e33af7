//! The audits of the unit and of its ingress rules, run all the time: slowly, and soon after a file that they read has
//! changed. The audits that need root's eyes or a workflow are commands alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::discover::Found;
use super::event_loop::Signal;
use crate::audit::ingress::{Expected, Ingress};
use crate::audit::service::Service;
use crate::audit::{Audit, Finding, Place, Severity, unit};
use crate::client::cloudflared_config::{self, ConfigError};
use crate::client::file_changes::FileChanges;
use crate::client::systemd::Systemd;
use crate::client::unit_file;
use crate::clock;
use crate::config::{self, Settings};
use crate::report::metrics::Metrics;
use crate::report::snapshot::FindingStatus;
use crate::sense::unit::newer_program;

/// Not while everything else begins.
const FIRST: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_secs(600);
/// Whoever writes a file writes another one, too.
const SETTLES: Duration = Duration::from_secs(2);
/// Rules are compared with one another; more than these would keep a core busy.
const RULES_AT_MOST: usize = 200;

/// The audits of one tunnel.
pub(super) struct Audits {
    pub(super) systemd: Arc<Systemd>,
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) unit: String,
    /// As metrics call the tunnel.
    pub(super) name: String,
    pub(super) config: Option<PathBuf>,
    pub(super) expected: Vec<Expected>,
}

impl Audits {
    pub(super) fn new(
        found: &Found,
        expected: Vec<Expected>,
        systemd: Arc<Systemd>,
        signals: mpsc::Sender<Signal>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (unit, name, config) = (found.unit.clone(), found.name.clone(), found.files.config.clone());
        Self { systemd, signals, metrics, unit, name, config, expected }
    }

    /// Until the daemon ends.
    pub(super) async fn run(self) {
        self.count(&[]);
        let folder = self.config.as_deref().and_then(Path::parent);
        let changes = FileChanges::of(folder)
            .inspect_err(|error| tracing::warn!("changes of files will be noticed late: {error}"))
            .ok();
        let mut told: Vec<Finding> = Vec::new();
        sleep(FIRST).await;
        loop {
            let found = self.look().await;
            for new in found.iter().filter(|new| new.severity != Severity::Note && !told.contains(new)) {
                let place = new.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
                let (unit, audit, severity) = (&self.unit, new.audit.label(), new.severity.label());
                tracing::warn!(unit_name = %unit, "audit of {audit}: {severity}{place}: {}", new.what);
            }
            self.count(&found);
            let findings = found.iter().map(status).collect();
            told = found;
            if self.signals.send(Signal::Audited { unit: self.unit.clone(), findings }).await.is_err() {
                return;
            }
            let until = Instant::now() + PERIOD;
            match &changes {
                Some(changes) => match timeout(PERIOD, changes.changed()).await {
                    Ok(Ok(())) => sleep(SETTLES).await,
                    Ok(Err(_)) => sleep(until - Instant::now()).await,
                    Err(_) => (),
                },
                None => sleep(PERIOD).await,
            }
        }
    }

    fn count(&self, found: &[Finding]) {
        for audit in Audit::ALL {
            for severity in Severity::ALL {
                let number =
                    found.iter().filter(|one| one.audit == audit && one.severity == severity).count();
                self.metrics.audited(&self.name, audit.label(), severity.label(), number);
            }
        }
    }

    async fn look(&self) -> Vec<Finding> {
        let (path, expected) = (self.config.clone(), self.expected.clone());
        // Not on the one thread that decides.
        let rules = tokio::task::spawn_blocking(move || path.map(|path| rules(&path, &expected)));
        let mut findings = rules.await.ok().flatten().unwrap_or_default();
        findings.extend(self.of_unit().await);
        findings.sort_by(Finding::order);
        findings
    }

    async fn of_unit(&self) -> Vec<Finding> {
        // The unit sense tells of a bus that does not answer.
        let Ok(state) = self.systemd.unit(&self.unit).await else { return Vec::new() };
        if state.load_state != "loaded" {
            return Vec::new();
        }
        let settings = unit_file::of_unit(&state);
        let config = self.config.as_deref().and_then(|path| cloudflared_config::read(path).ok());
        let newer_program = newer_program(&state, clock::now());
        let service = Service {
            name: self.unit.clone(),
            settings,
            state: Some(state),
            // Reading it from the program would take many times what this daemon is made of.
            cloudflared: None,
            systemd: self.systemd.version().await.ok().flatten(),
            retries: config.as_ref().and_then(|config| config.retries),
            protocol: config.and_then(|config| config.protocol),
            newer_program,
            update_timer: self.systemd.brief("cloudflared-update.timer").await.ok(),
        };
        unit::check(&service).findings
    }
}

/// The checklist of our own configuration for this unit.
pub(super) fn expected(settings: &Settings, unit: &str) -> Vec<Expected> {
    let tunnel = settings.tunnels.iter().find(|tunnel| tunnel.unit.as_str() == unit);
    tunnel.map(checklist).unwrap_or_default()
}

/// The routes that a tunnel must have by our own configuration.
pub(crate) fn checklist(tunnel: &config::Tunnel) -> Vec<Expected> {
    let of = |rule: &config::Expected| Expected {
        hostname: rule.hostname.clone(),
        path: rule.path.clone(),
        service: rule.service.clone(),
    };
    tunnel.expected.iter().map(of).collect()
}

/// What there is to say of the rules in a file. One that may not be read says nothing: that is told elsewhere.
fn rules(path: &Path, expected: &[Expected]) -> Vec<Finding> {
    let file = path.display().to_string();
    match cloudflared_config::read_ingress(path) {
        Ok(written) => {
            let (ingress, mut findings) = Ingress::of(&written, &file);
            if ingress.rules().len() <= RULES_AT_MOST {
                findings.extend(ingress.findings().unwrap_or_default());
                if !expected.is_empty() {
                    findings.extend(ingress.compare(expected).1);
                }
            }
            findings
        }
        Err(ConfigError::Read { .. }) => Vec::new(),
        Err(error) => vec![Finding {
            audit: Audit::Ingress,
            severity: Severity::Error,
            rule: "unreadable-file",
            place: Some(Place { file, line: None }),
            what: error.to_string(),
            why: "cloudflared would not start with it.".into(),
            fix: "Correct it; tunnelwarden audit ingress says more.".into(),
        }],
    }
}

fn status(finding: &Finding) -> FindingStatus {
    FindingStatus {
        audit: finding.audit.label().into(),
        severity: finding.severity.label().into(),
        rule: finding.rule.into(),
        file: finding.place.as_ref().map(|place| place.file.clone()),
        line: finding.place.as_ref().and_then(|place| place.line),
        what: finding.what.clone(),
        fix: finding.fix.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_judged_as_the_command_judges_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        let found = |text: &str, expected: &[Expected]| -> Vec<_> {
            std::fs::write(&path, text).unwrap();
            rules(&path, expected).iter().map(|finding| (finding.rule, finding.severity)).collect()
        };
        let good = "tunnel: a\ningress:\n- hostname: app.example.com\n  service: http://127.0.0.1:8080\n\
                    - service: http_status:404\n";
        assert_eq!(found(good, &[]), []);
        let route =
            Expected { hostname: "api.example.com".into(), path: None, service: "http://api:80".into() };
        assert_eq!(found(good, &[route]), [("missing-route", Severity::Error)]);
        let bad = "ingress:\n- hostname: app.example.com\n  service: http://127.0.0.1:8080\n";
        assert_eq!(found(bad, &[]), [("missing-catch-all", Severity::Error)]);
        assert_eq!(found("ingress: [", &[]), [("unreadable-file", Severity::Error)]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(rules(&path, &[]), []);
    }
}
