//! What a command may know of this host's tunnels without the daemon: found as the daemon finds them, looked at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::discover;
use crate::client::cloudflared::PORTS;
use crate::client::journal::{Options, follow};
use crate::client::systemd::Systemd;
use crate::config::{NameProbe, Settings};
use crate::sense::effective::{self, Effective};
use crate::sense::journal::{Listeners, Told, listen};
use crate::sense::ready::{self, Where};
use crate::sense::unit;
use crate::warden::event::Event;
use crate::warden::evidence::{Finding, Ready};

/// The journal's last lines are read in milliseconds.
const JOURNAL_LIMIT: Duration = Duration::from_secs(3);
const READY_LIMIT: Duration = Duration::from_secs(2);
/// Of each unit: enough to hold the lines with which a process begins.
pub(crate) const HISTORY: usize = 200;

/// A tunnel that a unit of this host runs.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub unit: String,
    /// As configured; the unit otherwise.
    pub name: String,
    pub id: Option<String>,
    /// The names in effect, as far as they are known.
    pub names: Vec<String>,
    /// How configured names are asked.
    pub probes: Vec<NameProbe>,
    /// What its process calls itself, and how many connections it says it holds.
    pub connector: Option<String>,
    pub connections: Option<u8>,
    /// What could not be read, for people.
    pub unread: Vec<String>,
}

/// The units of this host that run a tunnel.
///
/// # Errors
/// If systemd cannot be asked.
pub(crate) async fn units(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let systemd = Systemd::connect().await.context("cannot reach systemd over the system bus")?;
    let found = discover::tunnels(&systemd, settings).await.context("cannot ask systemd for its units")?;
    Ok(found.into_iter().map(|found| found.unit).collect())
}

/// Finds the tunnels of this host and asks their processes who they are.
///
/// # Errors
/// If systemd cannot be asked.
pub(crate) async fn tunnels(settings: &Settings) -> anyhow::Result<Vec<Here>> {
    let systemd = Systemd::connect().await.context("cannot reach systemd over the system bus")?;
    let found = discover::tunnels(&systemd, settings).await.context("cannot ask systemd for its units")?;
    let units: Vec<_> = found.iter().map(|found| found.unit.clone()).collect();
    let mut told = told(&units).await;
    let alone = found.len() == 1;
    let mut here = Vec::new();
    for found in found {
        let said = told.remove(&found.unit).unwrap_or_default();
        let life = unit::look(&systemd, &found.unit).await.ok().and_then(|unit| unit.invocation);
        let life = life.map(|life| life.to_string());
        let sight =
            ready::look(&found.port, &mut None, &said, life.as_deref(), false, READY_LIMIT).await.ok();
        let connections = sight.as_ref().and_then(|sight| match sight.ready {
            Ready::Connections(n) => Some(n),
            Ready::Refused | Ready::Silent => None,
        });
        let effective = in_effect(&found.port, &said, alone).await;
        let counts = |seen: &Effective| !found.names_configured && (seen.remote || !found.names_read);
        let names = match effective.filter(counts) {
            Some(effective) => found.watched(effective.names),
            None => found.names,
        };
        here.push(Here {
            unit: found.unit,
            name: found.name,
            id: said.tunnel_id.or(found.id),
            names,
            probes: found.probes,
            connector: sight.and_then(|sight| sight.connector),
            connections,
            unread: found.unread,
        });
    }
    Ok(here)
}

/// The rules that a process says are in effect. Where nothing names its port, the usual ones are tried; on a host with
/// several tunnels that could be another's.
async fn in_effect(port: &Where, told: &Told, alone: bool) -> Option<Effective> {
    if let Some(seen) = effective::look(port, told).await {
        return Some(seen);
    }
    for usual in PORTS.filter(|_| alone) {
        let configured = Some(SocketAddr::from(([127, 0, 0, 1], usual)));
        let place = Where { configured, uid: port.uid };
        if let Some(seen) = effective::look(&place, &Told::default()).await {
            return Some(seen);
        }
    }
    None
}

/// What the journal says of the processes that run now; nothing where it cannot be read.
async fn told(units: &[String]) -> BTreeMap<String, Told> {
    let options = Options { units: units.to_vec(), cursor: None, history: HISTORY, directory: None };
    let Ok((_handle, journal)) = follow(options) else { return BTreeMap::new() };
    let (events, mut heard) = mpsc::channel(64);
    let (tell, told): (BTreeMap<_, _>, BTreeMap<_, _>) = units
        .iter()
        .map(|unit| (unit, watch::channel(Told::default())))
        .map(|(unit, (tx, rx))| ((unit.clone(), tx), (unit.clone(), rx)))
        .unzip();
    let listeners = Listeners {
        events,
        told: tell,
        units: units.to_vec(),
        count: Box::new(|_, _, _| ()),
        keep: Box::new(|_| ()),
    };
    let listening = tokio::spawn(listen(journal, listeners));
    let caught_up = async {
        while let Some(event) = heard.recv().await {
            if matches!(event, Event::Observed { finding: Finding::Journal(_), .. }) {
                break;
            }
        }
    };
    if timeout(JOURNAL_LIMIT, caught_up).await.is_err() {
        tracing::debug!("the journal did not catch up in time");
    }
    listening.abort();
    told.into_iter().map(|(unit, rx)| (unit, rx.borrow().clone())).collect()
}
