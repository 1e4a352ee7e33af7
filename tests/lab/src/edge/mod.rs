//! A stand-in for Cloudflare's edge: the tunnel port for connectors, HTTPS for visitors, and a control
//! socket to make both fail.

pub mod api;
pub mod beside;
pub mod carrier;
pub mod control;
pub mod events;
pub mod gate;
pub mod hub;
pub mod pages;
pub mod public;
pub mod session;
pub mod tunnel;
mod websocket;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::{events::Events, hub::Hub, hub::Transport, public::Public, tunnel::Port};
use crate::pki;

/// Everything an edge has to be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tunnel port addresses of both regions, each served over TCP and UDP.
    pub tunnel_addresses: Vec<SocketAddr>,
    pub public_address: SocketAddr,
    pub control_socket: PathBuf,
    /// Where the certificates are, or will be.
    pub pki_dir: PathBuf,
    pub event_log: Option<PathBuf>,
    pub tunnel_id: String,
    /// In base64.
    pub tunnel_secret: String,
    pub hosts: Vec<String>,
    pub control_host: String,
    /// A connector that answers no ping for this long leaves the route.
    pub silence_limit: Duration,
    /// Pushed to every connector that registers.
    pub remote_config: Option<Value>,
}

/// Names that are answered whatever the tunnel does.
pub fn own_names(control: &str) -> [String; 4] {
    [control, api::HOST, beside::STATUS_PAGE, beside::PROBER].map(str::to_owned)
}

/// Runs an edge until something it needs cannot be had. Must be called inside a `LocalSet`.
///
/// # Errors
/// An address, the control socket, the log or the certificates cannot be used.
pub async fn run(settings: Settings) -> Result<()> {
    let mut names = settings.hosts.clone();
    names.extend(own_names(&settings.control_host));
    pki::prepare(&settings.pki_dir, &names)?;
    let events = match &settings.event_log {
        Some(path) => Events::to_file(path)?,
        None => Events::default(),
    };
    let ports = settings.tunnel_addresses.len();
    let hub = Hub::new(settings.tunnel_id, settings.tunnel_secret, settings.remote_config, events, ports);
    let hub = Arc::new(hub);
    let mut tasks = JoinSet::new();
    for address in settings.tunnel_addresses {
        let port = Port { hub: Arc::clone(&hub), address, silence_limit: settings.silence_limit };
        let endpoint = port.endpoint(tunnel::tls(&settings.pki_dir, Transport::Quic)?)?;
        let tls = TlsAcceptor::from(tunnel::tls(&settings.pki_dir, Transport::Http2)?);
        // Sessions speak a protocol whose parts cannot change threads.
        tasks.spawn_local(port.clone().serve_tcp(tls));
        tasks.spawn_local(port.serve_quic(endpoint));
    }
    let public = Public { hub: Arc::clone(&hub), hosts: settings.hosts, control: settings.control_host };
    let pki_dir = settings.pki_dir.clone();
    tasks.spawn(async move { Arc::new(public).serve(settings.public_address, &pki_dir).await });
    hub.events.note("started", json!({}));
    tasks.spawn(async move { control::serve(hub, &settings.control_socket).await });
    // None of them ends unless it fails.
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
