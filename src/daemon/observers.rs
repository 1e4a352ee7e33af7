//! Asks probers elsewhere about names that err here, and about no others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::client::blackbox::Blackbox;
use crate::client::http::with_nonce;
use crate::sense::observer;
use crate::sense::polling::jittered;
use crate::warden::event::Event;
use crate::warden::evidence::Finding;

/// A prober waits for the name, and we for it.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(20);
/// Of many names that err, these stand for the others.
const NAMES_AT_MOST: usize = 4;

/// The observers of one tunnel's names.
pub(super) struct Observers {
    pub(super) unit: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) client: Blackbox,
    pub(super) observers: Vec<Url>,
    /// What is asked of a name that is refined; of others it is `/`.
    pub(super) targets: BTreeMap<String, Url>,
    /// Names that the edge cannot lead to a tunnel.
    pub(super) ailing: watch::Receiver<BTreeSet<String>>,
}

impl Observers {
    /// Until the names' own probes end.
    pub(super) async fn run(mut self) {
        loop {
            let ailing = match self.ailing.wait_for(|ailing| !ailing.is_empty()).await {
                Ok(ailing) => ailing.clone(),
                Err(_) => return,
            };
            for hostname in ailing.into_iter().take(NAMES_AT_MOST) {
                let url = match self.targets.get(&hostname) {
                    Some(url) => Some(url.clone()),
                    None => Url::parse(&format!("https://{hostname}/")).ok(),
                };
                let Some(target) = url.map(|url| with_nonce(&url)) else { continue };
                let seen = observer::look(&self.client, &self.observers, target.as_str(), LIMIT).await;
                let finding = Finding::Elsewhere { hostname, seen };
                if self.events.send(Event::Observed { unit: self.unit.clone(), finding }).await.is_err() {
                    return;
                }
            }
            sleep(jittered(PERIOD)).await;
        }
    }
}
