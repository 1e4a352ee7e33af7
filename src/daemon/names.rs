//! The probes of one tunnel's public names: a task each, which come and go with the names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use crate::client::http::{Known, PublicClient, PublicTarget};
use crate::config::{NameProbe, Probe};
use crate::sense::polling::{Pace, Periods, poll};
use crate::sense::public;
use crate::warden::evidence::Finding;
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
}

impl NameProbes {
    /// From now on these names are looked at, and no others.
    pub(super) fn set(&mut self, names: &[String]) {
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
            let Some(target) = self.target(name) else {
                tracing::warn!(unit_name = %self.unit, "{name:?} is no name to ask");
                continue;
            };
            // First looks are spread over a second, later ones by their jitter.
            let delay = Duration::from_millis(1000 * place as u64 / names.len() as u64);
            self.running.insert(name.clone(), self.start(name.clone(), target, delay));
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn start(&self, hostname: String, target: PublicTarget, delay: Duration) -> AbortHandle {
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
        let probe = poll(
            periods,
            self.pace.clone(),
            async move |limit| {
                let Ok(_slot) = slots.acquire().await else { return };
                tell(public::look(&client, &target, &mut known, limit).await).await;
            },
            async move || blind(public::too_long(timeout)).await,
        );
        tokio::spawn(probe).abort_handle()
    }

    fn target(&self, hostname: &str) -> Option<PublicTarget> {
        let refined = self.refined.iter().find(|probe| probe.url.host().as_str() == hostname);
        match refined {
            Some(probe) => Some(PublicTarget { url: probe.url.url().clone(), resolve: Vec::new() }),
            None => PublicTarget::https(hostname, "/").ok(),
        }
    }
}
