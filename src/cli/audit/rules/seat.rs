//! Where the rules of a tunnel of this host are: its file, and the port of its own cloudflared.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::cli::report::step;
use crate::cli::{Exit, say};
use crate::client::cloudflared::{self, EffectiveConfig};
use crate::config::Settings;
use crate::daemon::discover::{self, Found};

/// Where a tunnel's rules are.
pub(super) struct Seat {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) config: Option<PathBuf>,
    metrics: Option<SocketAddr>,
    /// Whose a port may be that is believed.
    users: Vec<u32>,
}

impl Seat {
    pub(super) fn of_unit(found: &Found) -> Self {
        Self {
            name: found.name.clone(),
            unit: found.unit.clone(),
            config: found.files.config.clone(),
            metrics: found.port.configured,
            users: vec![found.port.uid],
        }
    }
}

/// Without systemd: what is configured, or else where cloudflared itself looks.
pub(super) fn usual(settings: &Settings) -> Vec<Seat> {
    let users = vec![0, rustix::process::getuid().as_raw()];
    let mut seats: Vec<Seat> = settings
        .tunnels
        .iter()
        .map(|tunnel| Seat {
            name: tunnel.name.clone().unwrap_or_else(|| tunnel.unit.as_str().to_owned()),
            unit: tunnel.unit.as_str().to_owned(),
            config: tunnel.config.clone().or_else(|| discover::usual_config(false)),
            metrics: tunnel.metrics,
            users: users.clone(),
        })
        .collect();
    if seats.is_empty() {
        let unit = "cloudflared.service".to_owned();
        let config = discover::usual_config(false);
        seats.push(Seat { name: unit.clone(), unit, config, metrics: None, users });
    }
    seats
}

pub(super) fn choose<'a>(seats: &'a [Seat], name: Option<&str>) -> Result<&'a Seat, Exit> {
    let names = || seats.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, seats) {
        (None, [only]) => Ok(only),
        (_, []) => {
            say("no unit on this host runs a tunnel; name the file: tunnelwarden audit ingress FILE");
            Err(Exit::Blind)
        }
        (None, _) => {
            say(&format!("which one? --tunnel with one of {}", names()));
            Err(Exit::Usage)
        }
        (Some(name), _) => {
            seats.iter().find(|seat| seat.name == name || seat.unit == name).ok_or_else(|| {
                say(&format!("no tunnel is called {name}; there is {}", names()));
                Exit::Usage
            })
        }
    }
}

/// The rules that the tunnel's cloudflared runs with, from a port that is surely its own.
pub(super) async fn running(seat: &Seat, only: bool) -> Result<(SocketAddr, EffectiveConfig), String> {
    let local = |address: SocketAddr| {
        let any = address.ip().is_unspecified();
        if any { SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())) } else { address }
    };
    let candidates: Vec<SocketAddr> = match seat.metrics {
        Some(address) => vec![local(address)],
        None if only => {
            cloudflared::PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect()
        }
        None => {
            return Err(
                "of several tunnels it is not known whose port is which; set metrics under each [[tunnel]]"
                    .into(),
            );
        }
    };
    step("asking cloudflared for the rules that it runs with");
    let mut why = "nothing of cloudflared's listens where it usually does".to_owned();
    for address in candidates {
        let Ok(owner) = cloudflared::socket_owner(address) else { continue };
        if !seat.users.iter().any(|user| owner.belongs_to(*user) == Some(true)) {
            why = format!("what listens on {address} may be somebody else's");
            continue;
        }
        match cloudflared::config(address).await {
            Ok(config) => return Ok((address, config)),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
