//! The probes of one tunnel's public names: a task each, which come and go with the names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::HeaderName;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use super::credentials;
use crate::client::http::{Expected, Known, PublicClient, PublicTarget};
use crate::config::{Credential, NameProbe, Probe, Resolve};
use crate::sense::polling::{Pace, Periods, poll};
use crate::sense::public;
use crate::warden::evidence::{Answer, Finding};
use crate::warden::machine::Event;

/// Looks at the names it is told to.
pub(super) struct NameProbes {
    pub(super) unit: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) client: PublicClient,
    /// Bounds the looks that run at once.
    pub(super) slots: Arc<Semaphore>,
    pub(super) pace: watch::Receiver<Pace>,
    pub(super) settings: Probe,
    /// How configured names are asked.
    pub(super) refined: Vec<NameProbe>,
    /// Probes of this tunnel, for the last look to wait for.
    pub(super) count: Arc<AtomicUsize>,
    pub(super) running: BTreeMap<String, AbortHandle>,
    /// The names, for whoever else looks at them.
    pub(super) listed: watch::Sender<Vec<String>>,
    /// Those that the edge cannot lead to a tunnel.
    pub(super) ailing: watch::Sender<BTreeSet<String>>,
}

impl NameProbes {
    /// From now on these names are looked at, and no others.
    pub(super) fn set(&mut self, names: &[String]) {
        self.listed.send_if_modified(|listed| {
            let others = listed != names;
            if others {
                *listed = names.to_vec();
            }
            others
        });
        self.ailing.send_modify(|ailing| ailing.retain(|name| names.contains(name)));
        self.running.retain(|name, task| {
            let stays = names.contains(name);
            if !stays {
                task.abort();
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
        for (place, name) in names.iter().enumerate() {
            if self.running.contains_key(name) {
                continue;
            }
            let Some((target, access)) = self.target(name) else {
                tracing::warn!(unit_name = %self.unit, "{name:?} is no name to ask");
                continue;
            };
            // First looks are spread over a second, later ones by their jitter.
            let delay = Duration::from_millis(1000 * place as u64 / names.len() as u64);
            self.running.insert(name.clone(), self.start(name.clone(), target, access, delay));
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn start(
        &self,
        hostname: String,
        mut target: PublicTarget,
        access: Option<Credential>,
        delay: Duration,
    ) -> AbortHandle {
        let Probe { period, period_down, timeout, .. } = self.settings;
        let periods = Periods { calm: period, hurried: period_down, limit: timeout, delay };
        let (client, slots) = (self.client.clone(), Arc::clone(&self.slots));
        let send = || {
            let (events, unit, hostname) = (self.events.clone(), self.unit.clone(), hostname.clone());
            async move |sight| {
                let finding = Finding::Name { hostname: hostname.clone(), sight };
                // The loop is gone only when we are going down.
                let _ = events.send(Event::Observed { unit: unit.clone(), finding }).await;
            }
        };
        let (tell, blind) = (send(), send());
        let mut known = Known::default();
        let (ailing, name) = (self.ailing.clone(), hostname.clone());
        let probe = poll(
            periods,
            self.pace.clone(),
            async move |limit| {
                let Ok(_slot) = slots.acquire().await else { return };
                // Read anew for a name that is not let in, so that a token that was changed counts from the next look.
                if target.access.is_none() {
                    target.access = access.as_ref().and_then(token);
                }
                let sight = public::look(&client, &target, &mut known, limit).await;
                let ails = matches!(sight.answer, Answer::TunnelError | Answer::DnsError);
                ailing.send_if_modified(|ailing| match ails {
                    true => ailing.insert(name.clone()),
                    false => ailing.remove(&name),
                });
                if sight.answer == Answer::Access {
                    target.access = None;
                }
                tell(sight).await;
            },
            async move || blind(public::too_long(timeout)).await,
        );
        tokio::spawn(probe).abort_handle()
    }

    /// How a name is asked, and where the token lies that it is asked with.
    fn target(&self, hostname: &str) -> Option<(PublicTarget, Option<Credential>)> {
        let refined = self.refined.iter().find(|probe| probe.url.host().as_str() == hostname);
        let mut target = match refined {
            Some(probe) => {
                let expected = expected(probe);
                PublicTarget { expected, ..PublicTarget::of(probe.url.url().clone()) }
            }
            None => PublicTarget::https(hostname, "/").ok()?,
        };
        target.resolve = match self.settings.resolve {
            Resolve::EdgeDirect => self.settings.edge_addresses.clone(),
            Resolve::System | Resolve::At(_) => Vec::new(),
        };
        Some((target, refined.and_then(|probe| probe.access.clone())))
    }
}

/// What the origin's own answer to this probe is known by.
pub(crate) fn expected(probe: &NameProbe) -> Expected {
    // Its name was checked when it was read.
    let header = probe.header.as_ref().and_then(|header| {
        Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, header.value.clone()))
    });
    Expected { status: probe.status.clone(), header, body: probe.body.clone() }
}

/// The token, if it can be read; that it cannot was told when the unit was found.
fn token(credential: &Credential) -> Option<crate::client::http::ServiceToken> {
    credentials::access(credential, super::environment)
        .inspect_err(|why| tracing::debug!("an Access service token cannot be used: {why}"))
        .ok()
}
