//! The audits of a host, run all the time: slowly, and soon after a file that they read has changed, or DNS has. Whatever
//! only root may read is said to be unread. The audit of workflows is a command alone: they lie in a repository, not here.

mod look;

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::event_loop::Signal;
use super::routes::Leads;
use crate::audit::credentials::ApiSight;
use crate::audit::ingress::Expected;
use crate::audit::{Audit, Finding, Severity};
use crate::client::cloudflare_api::VerifiedToken;
use crate::client::file_changes::FileChanges;
use crate::client::systemd::Systemd;
use crate::config::{self, Settings};
use crate::report::metrics::Metrics;
use crate::report::snapshot::FindingStatus;
use crate::sense::journal::Told;
use crate::sense::ready::Where;

/// Not while everything else begins.
const FIRST: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_secs(600);
/// Whoever writes a file writes another one, too.
const SETTLES: Duration = Duration::from_secs(2);
/// However often something changes.
const AT_MOST_EACH: Duration = Duration::from_secs(10);

/// The audits of one tunnel.
pub(super) struct Audits {
    pub(super) systemd: Arc<Systemd>,
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) unit: String,
    /// As metrics call the tunnel.
    pub(super) name: String,
    /// Its id, as far as it was known beforehand.
    pub(super) tunnel: Option<String>,
    pub(super) config: Option<PathBuf>,
    /// Where cloudflared says which rules it runs with.
    pub(super) port: Where,
    pub(super) expected: Vec<Expected>,
    pub(super) told: watch::Receiver<Told>,
    pub(super) leads: watch::Receiver<Leads>,
    pub(super) api: Api,
}

/// What the daemon asks Cloudflare's API with.
#[derive(Clone)]
pub(super) enum Api {
    Nothing,
    GlobalKey,
    Token(watch::Receiver<Option<VerifiedToken>>),
}

impl Api {
    fn sight(&self) -> ApiSight {
        match self {
            Self::Nothing => ApiSight::None,
            Self::GlobalKey => ApiSight::GlobalKey,
            Self::Token(token) => ApiSight::Token(token.borrow().clone()),
        }
    }
}

fn watch(folders: &BTreeSet<PathBuf>) -> Option<FileChanges> {
    let watched = FileChanges::of(folders.iter().map(PathBuf::as_path));
    watched.inspect_err(|error| tracing::warn!("changes of files will be noticed late: {error}")).ok()
}

impl Audits {
    /// Until the daemon ends.
    pub(super) async fn run(mut self) {
        self.count(&[]);
        let mut told: Vec<Finding> = Vec::new();
        let mut known = BTreeSet::new();
        sleep(FIRST).await;
        loop {
            let began = Instant::now();
            // Anew each time, as a folder may have been made anew; and before the look, so that nothing is missed meanwhile.
            let mut watched = watch(&known);
            let look::Looked { findings: found, folders } = self.look().await;
            self.tell(&found, &told);
            let findings = found.iter().map(status).collect();
            told = found;
            if self.signals.send(Signal::Audited { unit: self.unit.clone(), findings }).await.is_err() {
                return;
            }
            if known != folders {
                watched = watch(&folders);
                known = folders;
            }
            self.rest(watched.as_ref(), began).await;
        }
    }

    /// Waits for a change, or for the period's end.
    async fn rest(&mut self, changes: Option<&FileChanges>, began: Instant) {
        let Self { leads, api, .. } = self;
        let of_file = async {
            match changes {
                Some(changes) if changes.changed().await.is_ok() => (),
                // The kernel tells no more.
                Some(_) | None => pending().await,
            }
        };
        let of_token = async {
            match api {
                Api::Token(token) => changed(token).await,
                Api::Nothing | Api::GlobalKey => pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(began + PERIOD) => return,
            () = of_file => sleep(SETTLES).await,
            () = changed(leads) => (),
            () = of_token => (),
        }
        sleep_until(began + AT_MOST_EACH).await;
    }

    /// Says in the journal what is new, and counts all of it.
    fn tell(&self, found: &[Finding], told: &[Finding]) {
        for new in found.iter().filter(|new| new.severity != Severity::Note && !told.contains(new)) {
            let place = new.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
            let (unit, audit, severity) = (&self.unit, new.audit.label(), new.severity.label());
            tracing::warn!(unit_name = %unit, "audit of {audit}: {severity}{place}: {}", new.what);
        }
        self.count(found);
    }

    fn count(&self, found: &[Finding]) {
        for audit in Audit::OF_A_HOST {
            for severity in Severity::ALL {
                let number =
                    found.iter().filter(|one| one.audit == audit && one.severity == severity).count();
                self.metrics.audited(&self.name, audit.label(), severity.label(), number);
            }
        }
    }
}

/// The value becomes another; never, where nobody is left to change it.
async fn changed<T>(of: &mut watch::Receiver<T>) {
    if of.changed().await.is_err() {
        pending().await
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
