//! What is true after validation. There is no `Default`: to hold a `Settings` is to have loaded one.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use super::names::{
    AccountId, Credential, Header, Hostname, HttpsUrl, ObserverUrl, Resolve, TunnelId, UnitName,
};
use crate::client::calendar::Windows;
use crate::client::cloudflare_api::AddressRange;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub mode: Mode,
    pub probe: Probe,
    pub dns: Dns,
    pub ready: Ready,
    pub edge: Edge,
    pub judge: Judge,
    pub remedy: Remedy,
    /// When remedies are allowed.
    pub window: Windows,
    pub api: Api,
    pub http: Http,
    /// Empty: one for each unit that is found to run a tunnel.
    pub tunnels: Vec<Tunnel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Remedy,
    /// Judge and report, touch nothing.
    Observe,
}

/// How the public names are asked. `timeout` is never longer than a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub period: Duration,
    /// While its tunnel is not healthy.
    pub period_down: Duration,
    pub timeout: Duration,
    /// Never empty.
    pub control: Vec<HttpsUrl>,
    pub resolve: Resolve,
    /// Where `edge-direct` connects to. Never empty.
    pub edge_addresses: Vec<IpAddr>,
    /// Probers elsewhere that are asked for a second opinion.
    pub observers: Vec<ObserverUrl>,
}

/// How it is looked up where the public names lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    pub period: Duration,
    /// While its tunnel is not healthy.
    pub period_down: Duration,
    /// A resolver outside, whose word counts for more than this host's own.
    pub resolver: Option<SocketAddr>,
    /// Where names that lead into a tunnel resolve to; empty: the ranges that Cloudflare publishes.
    pub ranges: Vec<AddressRange>,
}

/// How cloudflared's own `/ready` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub period: Duration,
}

/// Our own dial to port 7844.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub period: Duration,
    /// While a connector has no connection, or names err.
    pub period_down: Duration,
    pub region: Region,
    /// A status page that is asked about incidents at Cloudflare; none unless somebody wants that.
    pub status_page: Option<HttpsUrl>,
}

/// cloudflared's `--region`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    Global,
    Us,
    Fed,
}

impl Region {
    /// The word in our configuration and after cloudflared's `--region`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Global => "",
            Self::Us => "us",
            Self::Fed => "fed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    pub sustained: Duration,
    /// At least 1.
    pub rounds: u32,
    pub patience: Duration,
    pub start_grace: Duration,
    pub boot_grace: Duration,
    pub healthy_after: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Never empty, each longer than the one before.
    pub cooldown: Vec<Duration>,
    /// At least 1, as are all three.
    pub per_hour: u32,
    /// At least `per_hour`.
    pub per_day: u32,
    pub per_hour_host: u32,
    pub half_open: Duration,
    pub swift: bool,
    pub start_stopped: bool,
    pub transport_fallback: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    pub account_id: Option<AccountId>,
    pub token: Credential,
    pub global_key: bool,
    pub period: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
}

/// What is known of one tunnel beforehand; what is not is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub unit: UnitName,
    pub name: Option<String>,
    pub id: Option<TunnelId>,
    pub config: Option<PathBuf>,
    pub metrics: Option<SocketAddr>,
    /// All of them; empty: those that are found out. Those of `probes` come besides.
    pub hostnames: Vec<Hostname>,
    pub probes: Vec<NameProbe>,
    pub expected: Vec<Expected>,
}

impl Tunnel {
    /// The names that are written down for it, those of `probes` too, each once.
    pub fn named(&self) -> Vec<&Hostname> {
        let mut named = Vec::new();
        for host in self.hostnames.iter().chain(self.probes.iter().map(|probe| probe.url.host())) {
            if !named.contains(&host) {
                named.push(host);
            }
        }
        named
    }
}

/// How one name is asked, and what it must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameProbe {
    pub url: HttpsUrl,
    /// Empty: any that is the origin's own.
    pub status: Vec<u16>,
    pub header: Option<Header>,
    pub body: Option<String>,
    pub access: Option<Credential>,
}

/// A rule that the ingress should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// As ingress rules write it, perhaps with a `*.` before it.
    pub hostname: String,
    pub path: Option<String>,
    pub service: String,
}
