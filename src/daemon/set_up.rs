//! Follows what a running cloudflared says of its own set-up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::discover::{self, Found};
use super::event_loop::Signal;
use super::names::NameProbes;
use crate::client::edge::Family;
use crate::sense::journal::Told;
use crate::sense::{edge, effective};
use crate::warden::event::Event;
use crate::warden::evidence::{Families, Finding, Setup};

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
        let heard = hear(found.setup, &said, setup);
        if setup != heard {
            setup = heard;
            families.send_modify(|families| {
                families.insert(found.unit.clone(), edge::wanted(setup.families));
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

/// `now` with what the process says is set for it, where its files and its environment did not say so: they are not always ours
/// to read.
fn hear(written: Setup, said: &Told, now: Setup) -> Setup {
    let told = || discover::families(said.edge_bind_address.as_deref(), said.edge_ip_version.as_deref());
    let known = [written.families, told()].into_iter().find(|families| *families != Families::Unknown);
    let families = known.unwrap_or_else(|| edge::families(said.version.as_deref()));
    let connections = written.connections.or(said.ha_connections.map(discover::at_least_one));
    Setup { families, connections, ..now }
}

/// cloudflared shows nothing in `/config` of private networks that its file only switches on, so what the file says stands.
fn private_network(written: Option<bool>, in_effect: bool) -> Option<bool> {
    Some(in_effect || written == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_what_its_files_do_not_and_its_version_the_rest() {
        let written = |families, connections| Setup { families, connections, ..Setup::default() };
        let told = |version: &str, set: Option<&str>, ha_connections| Told {
            version: Some(version.into()),
            edge_ip_version: set.map(str::to_owned),
            ha_connections,
            ..Told::default()
        };
        let nothing = written(Families::Unknown, None);
        for (written, told, expected) in [
            (nothing, Told::default(), (Families::Unknown, None)),
            (nothing, told("2026.8.2", None, None), (Families::Auto, None)),
            (nothing, told("2026.3.0", None, None), (Families::V4, None)),
            (nothing, told("2026.8.2", Some("4"), Some(2)), (Families::V4, Some(2))),
            (nothing, told("2026.3.0", Some("auto"), Some(0)), (Families::Auto, Some(1))),
            (written(Families::V6, Some(8)), told("2026.8.2", Some("4"), Some(2)), (Families::V6, Some(8))),
        ] {
            let now = Setup { private_network: Some(true), ..written };
            let Setup { families, connections, private_network, .. } = hear(written, &told, now);
            assert_eq!(
                (families, connections, private_network),
                (expected.0, expected.1, Some(true)),
                "{told:?}"
            );
        }
    }

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
