//! Tunnels, their connectors and their remote configuration.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::cloudflared_config::Rule;
use super::field;

/// What Cloudflare says of a tunnel as a whole. It is about cloudflared and the edge only, and may lag by minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelStatus {
    /// Created, never run.
    Inactive,
    /// Connected, normally four times for each connector.
    Healthy,
    /// It serves, with a connection too few.
    Degraded,
    /// It ran before and has no connection now.
    Down,
    /// A word that we do not know; short, printable.
    Other(String),
}

impl From<String> for TunnelStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "inactive" => Self::Inactive,
            "healthy" => Self::Healthy,
            "degraded" => Self::Degraded,
            "down" => Self::Down,
            _ => Self::Other(word),
        }
    }
}

/// Where a tunnel's ingress comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// cloudflared's own `config.yml`.
    Local,
    /// Cloudflare; the rules of `config.yml` are ignored.
    Cloudflare,
    /// A word that we do not know; short, printable.
    Other(String),
}

impl From<String> for ConfigSource {
    fn from(word: String) -> Self {
        match word.as_str() {
            "local" => Self::Local,
            "cloudflare" => Self::Cloudflare,
            _ => Self::Other(word),
        }
    }
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "TunnelForm")]
pub struct Tunnel {
    pub id: String,
    pub name: Option<String>,
    pub status: Option<TunnelStatus>,
    pub config_source: Option<ConfigSource>,
    pub deleted_at: Option<Timestamp>,
    /// Connected since; `None` while it is not.
    pub active_since: Option<Timestamp>,
    /// Without a connection since; `None` while it has one.
    pub inactive_since: Option<Timestamp>,
}

#[derive(Deserialize)]
struct TunnelForm {
    id: String,
    #[serde(default, deserialize_with = "field::label")]
    name: Option<String>,
    #[serde(default, deserialize_with = "field::label")]
    status: Option<String>,
    #[serde(default, deserialize_with = "field::label")]
    config_src: Option<String>,
    /// The deprecated twin of `config_src`.
    #[serde(default, deserialize_with = "field::loose")]
    remote_config: Option<bool>,
    #[serde(default, deserialize_with = "field::strict_time")]
    deleted_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "field::time")]
    conns_active_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "field::time")]
    conns_inactive_at: Option<Timestamp>,
}

impl From<TunnelForm> for Tunnel {
    fn from(form: TunnelForm) -> Self {
        let twin = form.remote_config.map(|remote| match remote {
            true => ConfigSource::Cloudflare,
            false => ConfigSource::Local,
        });
        Self {
            id: form.id,
            name: form.name,
            status: form.status.map(TunnelStatus::from),
            config_source: form.config_src.map(ConfigSource::from).or(twin),
            deleted_at: form.deleted_at,
            active_since: form.conns_active_at,
            inactive_since: form.conns_inactive_at,
        }
    }
}

/// A cloudflared process that serves a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Connector {
    /// The same that the process gives as `connectorId` on its own `/ready`.
    pub id: String,
    #[serde(default, deserialize_with = "field::label")]
    pub version: Option<String>,
    /// Such as `linux_amd64`.
    #[serde(default, deserialize_with = "field::label")]
    pub arch: Option<String>,
    #[serde(default, deserialize_with = "field::time")]
    pub run_at: Option<Timestamp>,
    /// An answer without this key is an error: "none" would be evidence.
    #[serde(deserialize_with = "field::list", rename = "conns")]
    pub connections: Vec<EdgeConnection>,
}

impl Connector {
    /// How many of its connections carry requests.
    pub fn live(&self) -> usize {
        self.connections.iter().filter(|connection| !connection.is_pending_reconnect).count()
    }
}

/// A connection that the edge tracks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EdgeConnection {
    /// The edge's location, such as `ams01`.
    #[serde(default, deserialize_with = "field::label", rename = "colo_name")]
    pub colo: Option<String>,
    /// This host's address as the edge sees it.
    #[serde(default, deserialize_with = "field::loose")]
    pub origin_ip: Option<IpAddr>,
    #[serde(default, deserialize_with = "field::time")]
    pub opened_at: Option<Timestamp>,
    /// Dropped already; the edge tracks it for some minutes more.
    #[serde(default)]
    pub is_pending_reconnect: bool,
}

/// What Cloudflare holds of a tunnel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ConfigurationForm")]
pub struct Configuration {
    /// Counts up with each change.
    pub version: Option<i64>,
    pub source: Option<ConfigSource>,
    pub ingress: Vec<Rule>,
    /// Private-network routing is on.
    pub private_network: bool,
}

#[derive(Deserialize)]
struct ConfigurationForm {
    #[serde(default, deserialize_with = "field::number")]
    version: Option<i64>,
    #[serde(default, deserialize_with = "field::label")]
    source: Option<String>,
    #[serde(default)]
    config: Option<Content>,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default, deserialize_with = "field::list")]
    ingress: Vec<Rule>,
    #[serde(default, deserialize_with = "field::loose", rename = "warp-routing")]
    warp_routing: Option<WarpRouting>,
}

#[derive(Deserialize)]
struct WarpRouting {
    #[serde(default)]
    enabled: bool,
}

impl From<ConfigurationForm> for Configuration {
    fn from(form: ConfigurationForm) -> Self {
        let content = form.config.unwrap_or_default();
        Self {
            version: form.version,
            source: form.source.map(ConfigSource::from),
            ingress: content.ingress,
            private_network: content.warp_routing.is_some_and(|routing| routing.enabled),
        }
    }
}
