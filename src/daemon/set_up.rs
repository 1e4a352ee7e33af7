//! Follows what a running cloudflared says of its own set-up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::discover::Found;
use super::event_loop::Signal;
use super::names::NameProbes;
use crate::client::edge::Family;
use crate::sense::journal::Told;
use crate::sense::{edge, effective};
use crate::warden::evidence::{Families, Finding};
use crate::warden::machine::Event;

const PERIOD: Duration = Duration::from_secs(60);

/// Until nobody listens: the names in effect, private routes, the families by which it reaches the edge, the tunnel's id.
/// Names that somebody configured for us stand.
pub(super) async fn follow_set_up(
    found: Found,
    mut names: NameProbes,
    mut told: watch::Receiver<Told>,
    signals: mpsc::Sender<Signal>,
    families: Arc<watch::Sender<BTreeMap<String, Family>>>,
) {
    let (mut known, mut setup) = (found.names.clone(), found.setup);
    let (mut said, mut pushed) = (Told::default(), false);
    loop {
        let now = told.borrow_and_update().clone();
        if (&now.tunnel_id, &now.version) != (&said.tunnel_id, &said.version) {
            let (id, version) = (now.tunnel_id.clone(), now.version.clone());
            let known = Signal::Known { unit: found.unit.clone(), id, version };
            if signals.send(known).await.is_err() {
                return;
            }
        }
        said = now;
        let by = match found.setup.families {
            Families::Unknown => edge::families(said.version.as_deref()),
            told @ (Families::V4 | Families::V6 | Families::Auto) => told,
        };
        if setup.families != by {
            setup.families = by;
            families.send_modify(|families| {
                families.insert(found.unit.clone(), edge::wanted(by));
            });
            let finding = Finding::Setup(setup);
            let _ = names.events.send(Event::Observed { unit: found.unit.clone(), finding }).await;
        }
        if let Some(seen) = effective::look(&found.port, &said).await {
            let private_network = private_network(found.setup.private_network, seen.private_network);
            if setup.private_network != private_network {
                setup.private_network = private_network;
                let finding = Finding::Setup(setup);
                let _ = names.events.send(Event::Observed { unit: found.unit.clone(), finding }).await;
            }
            pushed |= seen.remote;
            // Rules of its own count where no others were pushed to it in all that time, and where we cannot read its file.
            let own = !pushed && !found.names_read && !seen.names.is_empty();
            let ours = !found.names_configured && (seen.remote || own);
            let served = found.watched(seen.names);
            if ours && served != known {
                tracing::info!(unit_name = %found.unit, "cloudflared serves {}", served.join(", "));
                known.clone_from(&served);
                let event = Event::Tunnel { unit: found.unit.clone(), names: served };
                if names.events.send(event).await.is_err() {
                    return;
                }
                names.set(&known);
            }
        }
        // A new process says so in its journal, and needs a moment to be asked.
        match timeout(PERIOD, told.changed()).await {
            Ok(Ok(())) => sleep(Duration::from_secs(2)).await,
            Ok(Err(_)) => return,
            Err(_) => (),
        }
    }
}

/// cloudflared shows nothing in `/config` of private networks that its file only switches on, so what the file says stands.
fn private_network(written: Option<bool>, in_effect: bool) -> Option<bool> {
    Some(in_effect || written == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_that_the_file_switches_on_are_not_taken_back_by_an_empty_answer() {
        assert_eq!(private_network(Some(true), false), Some(true));
        assert_eq!(private_network(None, true), Some(true));
        assert_eq!(
            (private_network(Some(false), false), private_network(None, false)),
            (Some(false), Some(false))
        );
    }
}
