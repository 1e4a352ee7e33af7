//! The vocabulary: everything a line can mean to us.

use std::net::IpAddr;

use super::failure::{DialFailure, EndOfConnection, FinalError};

/// What carries a connection to the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Quic,
    Http2,
}

impl Transport {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "quic" => Some(Self::Quic),
            "http2" | "h2mux" => Some(Self::Http2),
            _ => None,
        }
    }
}

/// The flags in effect that matter to us; `None` = not named in this line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub retries: Option<u32>,
    /// As written: `auto`, `quic`, `http2`.
    pub protocol: Option<String>,
    /// Address of the metrics server as written.
    pub metrics: Option<String>,
    /// As written, for example `30s`.
    pub grace_period: Option<String>,
    pub loglevel: Option<String>,
    /// As written: `auto`, `4`, `6`.
    pub edge_ip_version: Option<String>,
    pub edge_bind_address: Option<String>,
    pub ha_connections: Option<i64>,
}

/// Which lookup failed. Only [`DnsStep::EdgeDiscovery`] keeps a connector from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DnsStep {
    Features,
    ProtocolPercentage,
    EdgeDiscovery,
    LocalResolver,
}

/// One row of cloudflared's own check of its surroundings, run once at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precheck {
    /// `DNS Resolution`, `UDP Connectivity`, `TCP Connectivity`, `Cloudflare API`
    pub component: String,
    pub target: String,
    /// `pass`, `fail`, `skip`
    pub status: String,
}

/// What one line of cloudflared means. `conn_index` is the connection (0–3) it speaks of, where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Credentials were readable; a process begins.
    Starting {
        tunnel_id: Option<String>,
    },
    Version(String),
    Settings(Settings),
    /// New for every process; what `/ready` and Cloudflare's API call it too.
    ConnectorId(String),
    InitialProtocol(Transport),
    /// Address (`host:port`) of `/ready` and `/metrics`.
    MetricsServer(String),
    /// A connection attempt got through the TLS or QUIC handshake.
    Attempt {
        conn_index: Option<u8>,
        ip: Option<IpAddr>,
    },
    /// Registration was sent (debug level only).
    Registering {
        conn_index: Option<u8>,
    },
    Registered {
        conn_index: Option<u8>,
        transport: Option<Transport>,
        location: Option<String>,
    },
    /// Orderly goodbye to the edge.
    Unregistered {
        conn_index: Option<u8>,
    },
    LostConnection {
        conn_index: Option<u8>,
        end: EndOfConnection,
    },
    DialFailed {
        conn_index: Option<u8>,
        ip: Option<IpAddr>,
        transport: Transport,
        failure: DialFailure,
    },
    /// Waits up to 64 s and tries again.
    Retrying {
        conn_index: Option<u8>,
    },
    /// Given to the slow queue (silent for up to 320 s); `graceful` = part of an orderly stop.
    Terminated {
        conn_index: Option<u8>,
        graceful: bool,
    },
    FallbackToHttp2,
    FallbackToQuic,
    /// The edge answered the registration with a refusal.
    Refused {
        conn_index: Option<u8>,
        unauthorized: bool,
        text: String,
    },
    /// On QUIC a refused or unanswered registration looks like this and no better.
    ControlStreamFailed {
        conn_index: Option<u8>,
    },
    EdgeDuplicate {
        conn_index: Option<u8>,
    },
    /// `conn_index` has no edge address left to try.
    AddressesExhausted,
    DnsFailed {
        step: DnsStep,
        text: String,
    },
    ConfigError(String),
    CredentialsError(String),
    UsageError(String),
    MetricsPortTaken(String),
    /// Every request is answered 503 until a configuration arrives.
    NoIngress,
    ConfigUpdated {
        version: Option<i64>,
    },
    /// A pushed configuration was not accepted; the old one stays.
    ConfigRefused {
        version: Option<i64>,
        text: String,
    },
    OriginError,
    /// A visitor went away, was filtered, or the like: nothing about the tunnel.
    RequestEnded,
    GracefulShutdown,
    /// The process gives up by itself.
    FatalShutdown {
        reason: FinalError,
        text: String,
    },
    ServerStopped,
    Precheck(Precheck),
    PrecheckDone {
        hard_fail: bool,
        suggested: Option<Transport>,
    },
    /// A connection event was lost inside cloudflared: `/ready` may be wrong until the next one.
    EventDropped,
    /// The Go runtime gave up.
    Crashed,
    /// Says again what another line said.
    Companion,
    /// Known and harmless.
    Noise,
    /// Not in the table. Counted, never judged.
    Unknown,
}

impl Meaning {
    /// A fixed word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Version(_) => "version",
            Self::Settings(_) => "settings",
            Self::ConnectorId(_) => "connector_id",
            Self::InitialProtocol(_) => "initial_protocol",
            Self::MetricsServer(_) => "metrics_server",
            Self::Attempt { .. } => "attempt",
            Self::Registering { .. } => "registering",
            Self::Registered { .. } => "registered",
            Self::Unregistered { .. } => "unregistered",
            Self::LostConnection { .. } => "lost_connection",
            Self::DialFailed { .. } => "dial_failed",
            Self::Retrying { .. } => "retrying",
            Self::Terminated { .. } => "terminated",
            Self::FallbackToHttp2 => "fallback_to_http2",
            Self::FallbackToQuic => "fallback_to_quic",
            Self::Refused { .. } => "refused",
            Self::ControlStreamFailed { .. } => "control_stream_failed",
            Self::EdgeDuplicate { .. } => "edge_duplicate",
            Self::AddressesExhausted => "addresses_exhausted",
            Self::DnsFailed { .. } => "dns_failed",
            Self::ConfigError(_) => "config_error",
            Self::CredentialsError(_) => "credentials_error",
            Self::UsageError(_) => "usage_error",
            Self::MetricsPortTaken(_) => "metrics_port_taken",
            Self::NoIngress => "no_ingress",
            Self::ConfigUpdated { .. } => "config_updated",
            Self::ConfigRefused { .. } => "config_refused",
            Self::OriginError => "origin_error",
            Self::RequestEnded => "request_ended",
            Self::GracefulShutdown => "graceful_shutdown",
            Self::FatalShutdown { .. } => "fatal_shutdown",
            Self::ServerStopped => "server_stopped",
            Self::Precheck(_) => "precheck",
            Self::PrecheckDone { .. } => "precheck_done",
            Self::EventDropped => "event_dropped",
            Self::Crashed => "crashed",
            Self::Companion => "companion",
            Self::Noise => "noise",
            Self::Unknown => "unknown",
        }
    }
}
