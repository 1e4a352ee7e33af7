//! The table of signatures: how each meaning is worded, in all versions of cloudflared we know.

use super::failure::{DialFailure, EndOfConnection, FinalError, dial_failure, end_of_connection, last_word};
use super::meaning::{DnsStep, Meaning, Precheck, Settings, Transport};
use super::{Form, Level, Parsed, bounded};

/// How a message is compared.
#[derive(Debug, Clone, Copy)]
enum Text {
    /// The whole message.
    Is(&'static str),
    /// The message begins so.
    Starts(&'static str),
}

/// One row: a message, optionally the beginning of its `error`, and what they mean.
struct Signature {
    text: Text,
    error: &'static str,
    means: fn(&Parsed<'_>) -> Meaning,
}

const fn is(text: &'static str, means: fn(&Parsed<'_>) -> Meaning) -> Signature {
    Signature { text: Text::Is(text), error: "", means }
}

const fn starts(text: &'static str, means: fn(&Parsed<'_>) -> Meaning) -> Signature {
    Signature { text: Text::Starts(text), error: "", means }
}

/// `text` with an `error` that begins with `error`.
const fn with(text: &'static str, error: &'static str, means: fn(&Parsed<'_>) -> Meaning) -> Signature {
    Signature { text: Text::Is(text), error, means }
}

/// What a line means.
pub fn meaning(line: &Parsed<'_>) -> Meaning {
    match (line.form, line.level) {
        (Form::Torn, _) => Meaning::Unknown,
        (Form::GoLog, _) => first(GO_LOG, line),
        (Form::Bare, _) => bare(line),
        (Form::Text | Form::Json, Some(Level::Trace | Level::Debug)) => debug(line),
        (Form::Text | Form::Json, _) => first(SIGNATURES, line),
    }
}

fn first(table: &[Signature], line: &Parsed<'_>) -> Meaning {
    let hit = table.iter().find(|signature| signature.matches(line));
    hit.map_or(Meaning::Unknown, |signature| (signature.means)(line))
}

/// Debug lines carry words of visitors: all are noise but one, and that one is compared whole.
fn debug(line: &Parsed<'_>) -> Meaning {
    match line.message.as_ref() {
        "Registering tunnel connection" => Meaning::Registering { conn_index: line.conn_index() },
        _ => Meaning::Noise,
    }
}

fn bare(line: &Parsed<'_>) -> Meaning {
    match last_word(&line.message) {
        Some(meaning) => meaning,
        // Begins with words from the configuration; "Couldn't start tunnel" before it says the same in a shape to trust.
        None if line.message.ends_with(INVALID_ADDRESS) || line.message.contains(INVALID_PATH) => {
            Meaning::Companion
        }
        None => first(BARE, line),
    }
}

impl Signature {
    fn matches(&self, line: &Parsed<'_>) -> bool {
        let text = match self.text {
            Text::Is(text) => line.message == text,
            Text::Starts(text) => line.message.starts_with(text),
        };
        text && (self.error.is_empty() || line.error().starts_with(self.error))
    }
}

const INVALID_ADDRESS: &str = " is an invalid address, please make sure it has a scheme and a hostname";
const INVALID_PATH: &str = " is an invalid address, ingress rules don't support proxying to a different path";
const UNREACHABLE_ORIGIN: &str = "Unable to reach the origin service.";

/// cloudflared's own lines at info level and above. The first row that matches counts.
const SIGNATURES: &[Signature] = &[
    // Start
    is("Starting tunnel", |l| Meaning::Starting { tunnel_id: l.field("tunnelID").map(bounded) }),
    starts("Version ", |l| Meaning::Version(word_after(l, "Version "))),
    starts("GOOS: ", |_| Meaning::Noise),
    starts("Settings: map[", |l| Meaning::Settings(settings(l, "Settings: map["))),
    starts("Environmental variables map[", |l| {
        Meaning::Settings(settings(l, "Environmental variables map["))
    }),
    starts("Generated Connector ID: ", |l| Meaning::ConnectorId(word_after(l, "Generated Connector ID: "))),
    starts("Initial protocol ", |l| match Transport::from_name(&word_after(l, "Initial protocol ")) {
        Some(transport) => Meaning::InitialProtocol(transport),
        None => Meaning::Unknown,
    }),
    starts("Starting metrics server on ", metrics_server),
    starts("Tunnel connection curve preferences: ", |l| Meaning::Attempt {
        conn_index: l.conn_index(),
        ip: ip(l),
    }),
    is("Registered tunnel connection", registered),
    is("precheck", precheck),
    is("precheck complete", |l| Meaning::PrecheckDone {
        hard_fail: l.field("hard_fail") == Some("true"),
        suggested: l.field("suggested_protocol").and_then(Transport::from_name),
    }),
    starts("No ingress rules were defined in provided config", |_| Meaning::NoIngress),
    is("Updated to new configuration", |l| Meaning::ConfigUpdated { version: version(l) }),
    is("Failed to deserialize new configuration", config_refused),
    is("Failed to update ingress", config_refused),
    // Connections
    is("Lost connection with the edge", |l| lost(l, EndOfConnection::Closed)),
    is("failed to accept incoming stream requests", |l| lost(l, end_of_connection(l.error()))),
    with("failed to serve tunnel connection", "control stream encountered a failure", control_stream_failed),
    is("failed to serve tunnel connection", |_| Meaning::Companion),
    with("Failed to serve tunnel connection", "Unauthorized", |_| Meaning::Companion),
    is("Failed to serve tunnel connection", |l| lost(l, end_of_connection(l.error()))),
    with("Failed to serve quic connection", "Unauthorized", |_| Meaning::Companion),
    is("Failed to serve quic connection", |l| lost(l, end_of_connection(l.error()))),
    with("Serve tunnel error", "Error shutting down control stream", |l| lost(l, EndOfConnection::Closed)),
    is("Serve tunnel error", |_| Meaning::Companion),
    is("failed to run the datagram handler", |_| Meaning::Companion),
    is("failed to serve the control stream", |_| Meaning::Companion),
    is("Failed to dial a quic connection", |l| dial_failed(l, Transport::Quic)),
    is("Failed to create new quic connection", |l| dial_failed(l, Transport::Quic)),
    is("Unable to establish connection with Cloudflare edge", |l| dial_failed(l, Transport::Http2)),
    with("Unable to establish connection.", "already connected to this server", edge_duplicate),
    is("Unable to establish connection.", |l| dial_failed(l, Transport::Http2)),
    starts("Retrying connection in up to ", |l| Meaning::Retrying { conn_index: l.conn_index() }),
    is("Connection terminated", |l| Meaning::Terminated {
        conn_index: l.conn_index(),
        graceful: l.error().is_empty(),
    }),
    starts("Connection ", old_registered),
    is("Register tunnel error from server side", refused),
    is("Unregistered tunnel connection", |l| Meaning::Unregistered { conn_index: l.conn_index() }),
    starts("Switching to fallback protocol http2", |_| Meaning::FallbackToHttp2),
    starts("Switching to fallback protocol quic", |_| Meaning::FallbackToQuic),
    starts("Changing protocol to quic", |_| Meaning::FallbackToQuic),
    starts("Changing protocol to http2", |_| Meaning::FallbackToHttp2),
    starts("If this log occurs persistently, and cloudflared is unable to connect", |_| Meaning::Companion),
    is("observer channel buffer is full", |_| Meaning::EventDropped),
    starts("there are no free edge addresses left", |_| Meaning::AddressesExhausted),
    starts("You requested ", |_| Meaning::Noise),
    starts("Registering tunnel connection", |l| Meaning::Registering { conn_index: l.conn_index() }),
    // Requests
    with("failed to serve incoming request", "Failed to proxy HTTP: Unable to reach the origin", |_| {
        Meaning::Companion
    }),
    with("failed to serve incoming request", "Failed to proxy HTTP: ", |_| Meaning::RequestEnded),
    is("failed to serve incoming request", |_| Meaning::Companion),
    with("Request failed", UNREACHABLE_ORIGIN, |_| Meaning::OriginError),
    is("Request failed", |_| Meaning::RequestEnded),
    with("", UNREACHABLE_ORIGIN, |_| Meaning::OriginError),
    with("", "dial ", |_| Meaning::OriginError),
    with("", "Incoming request ended abruptly", |_| Meaning::RequestEnded),
    with("", "stream ", |_| Meaning::RequestEnded),
    with("", "Error writing response header", |_| Meaning::RequestEnded),
    with("", "request filtered by middleware handler", |_| Meaning::RequestEnded),
    starts("request filtered by middleware handler", |_| Meaning::RequestEnded),
    starts("failed to connect to origin", |_| Meaning::OriginError),
    starts(UNREACHABLE_ORIGIN, |_| Meaning::OriginError),
    starts("Too many concurrent flows", |_| Meaning::RequestEnded),
    starts("Websocket ", |_| Meaning::RequestEnded),
    starts("Error writing response header", |_| Meaning::RequestEnded),
    // DNS
    starts("edge discovery: error looking up Cloudflare edge IPs", |l| dns(l, DnsStep::EdgeDiscovery)),
    starts("Error looking up Cloudflare edge IPs", |l| dns(l, DnsStep::EdgeDiscovery)),
    starts("Failed to fetch features", |l| dns(l, DnsStep::Features)),
    starts("Failed to refresh feature selector", |l| dns(l, DnsStep::Features)),
    starts("Unable to lookup protocol percentage", |l| dns(l, DnsStep::ProtocolPercentage)),
    starts("Failed to initialize DNS local resolver", |l| dns(l, DnsStep::LocalResolver)),
    starts("Failed to refresh DNS local resolver", |l| dns(l, DnsStep::LocalResolver)),
    starts("Please try the following things to diagnose this issue", |_| Meaning::Companion),
    starts("  1. ensure that argotunnel.com", |_| Meaning::Companion),
    starts("  2. ensure that your DNS resolver", |_| Meaning::Companion),
    starts("     ", |_| Meaning::Companion),
    // The end
    starts("Initiating graceful shutdown", |_| Meaning::GracefulShutdown),
    is("Initiating shutdown", |l| {
        last_word(l.error())
            .unwrap_or_else(|| Meaning::FatalShutdown { reason: FinalError::Other, text: bounded(l.error()) })
    }),
    is("Tunnel server stopped", |_| Meaning::ServerStopped),
    is("Metrics server stopped", |_| Meaning::Companion),
    is("no more connections active and exiting", |_| Meaning::Companion),
    is("initial tunnel connection failed", |_| Meaning::Companion),
    is("Error opening metrics server listener", |l| Meaning::MetricsPortTaken(bounded(l.error()))),
    is("Couldn't start tunnel", |l| {
        last_word(l.error()).unwrap_or_else(|| Meaning::ConfigError(bounded(l.error())))
    }),
    starts("The credentials file at ", credentials_error),
    starts("Invalid JSON when parsing ", credentials_error),
    starts("Cannot determine default origin certificate path", credentials_error),
    // Harmless
    starts("Configuration file ", |_| Meaning::Noise),
    starts("Cannot determine default configuration path", |_| Meaning::Noise),
    starts("ICMP proxy ", |_| Meaning::Noise),
    starts("The user running cloudflared process has a GID", |_| Meaning::Noise),
    starts("Autoupdate frequency is set", |_| Meaning::Noise),
    starts("cloudflared will not automatically update", |_| Meaning::Noise),
    starts("cloudflared was installed by a package manager", |_| Meaning::Noise),
    starts("update check failed", |_| Meaning::Noise),
    starts("unable to send local configuration", |_| Meaning::Noise),
    starts("failed to obtain current configuration", |_| Meaning::Noise),
    starts("Failed to serve config", |_| Meaning::Noise),
    starts("Your version ", |_| Meaning::Noise),
    starts("+--", |_| Meaning::Noise),
    starts("|  ", |_| Meaning::Noise),
];

/// Go's standard log inside cloudflared: companions of what cloudflared says itself.
const GO_LOG: &[Signature] = &[
    starts("http2: ", |_| Meaning::Companion),
    starts("http: ", |_| Meaning::Noise),
    starts("failed to sufficiently increase ", |_| Meaning::Noise),
    starts("Failed to increase ", |_| Meaning::Noise),
];

/// Lines without time and level that are no last word.
const BARE: &[Signature] = &[
    starts("See 'cloudflared ", |_| Meaning::Companion),
    starts("If you are using private routing to this Tunnel", |_| Meaning::Companion),
    starts("panic: ", |_| Meaning::Crashed),
    starts("fatal error: ", |_| Meaning::Crashed),
    is("", |_| Meaning::Noise),
];

/// The first word behind `prefix`.
fn word_after(line: &Parsed<'_>, prefix: &str) -> String {
    let rest = line.message.strip_prefix(prefix).unwrap_or_default();
    bounded(rest.split(' ').next().unwrap_or_default())
}

fn ip(line: &Parsed<'_>) -> Option<std::net::IpAddr> {
    line.field("ip")?.parse().ok()
}

fn version(line: &Parsed<'_>) -> Option<i64> {
    line.field("version")?.parse().ok()
}

fn settings(line: &Parsed<'_>, prefix: &str) -> Settings {
    let mut found = Settings::default();
    let map = line.message.strip_prefix(prefix).unwrap_or_default();
    for (key, value) in map.trim_end_matches(']').split(' ').filter_map(|pair| pair.split_once(':')) {
        match key {
            "retries" | "TUNNEL_RETRIES" => found.retries = value.parse().ok(),
            "protocol" | "TUNNEL_TRANSPORT_PROTOCOL" => found.protocol = Some(bounded(value)),
            "metrics" | "TUNNEL_METRICS" => found.metrics = Some(bounded(value)),
            "grace-period" | "TUNNEL_GRACE_PERIOD" => found.grace_period = Some(bounded(value)),
            "loglevel" | "TUNNEL_LOGLEVEL" => found.loglevel = Some(bounded(value)),
            "edge-ip-version" | "TUNNEL_EDGE_IP_VERSION" => found.edge_ip_version = Some(bounded(value)),
            "edge-bind-address" | "TUNNEL_EDGE_BIND_ADDRESS" => {
                found.edge_bind_address = Some(bounded(value))
            }
            "ha-connections" => found.ha_connections = value.parse().ok(),
            _ => {}
        }
    }
    found
}

fn metrics_server(line: &Parsed<'_>) -> Meaning {
    let word = word_after(line, "Starting metrics server on ");
    Meaning::MetricsServer(word.strip_suffix("/metrics").unwrap_or(&word).to_owned())
}

fn registered(line: &Parsed<'_>) -> Meaning {
    Meaning::Registered {
        conn_index: line.conn_index(),
        transport: line.field("protocol").and_then(Transport::from_name),
        location: line.field("location").map(bounded),
    }
}

/// Up to 2023.4.0: `Connection <uuid> registered`.
fn old_registered(line: &Parsed<'_>) -> Meaning {
    let words: Vec<&str> = line.message.splitn(4, ' ').collect();
    match words.as_slice() {
        ["Connection", id, "registered"] if id.len() == 36 => registered(line),
        _ => Meaning::Unknown,
    }
}

fn precheck(line: &Parsed<'_>) -> Meaning {
    let text = |name| line.field(name).map(bounded).unwrap_or_default();
    Meaning::Precheck(Precheck {
        component: text("component"),
        target: text("target"),
        status: text("status"),
    })
}

fn config_refused(line: &Parsed<'_>) -> Meaning {
    Meaning::ConfigRefused { version: version(line), text: bounded(line.error()) }
}

fn lost(line: &Parsed<'_>, end: EndOfConnection) -> Meaning {
    Meaning::LostConnection { conn_index: line.conn_index(), end }
}

fn control_stream_failed(line: &Parsed<'_>) -> Meaning {
    Meaning::ControlStreamFailed { conn_index: line.conn_index() }
}

fn edge_duplicate(line: &Parsed<'_>) -> Meaning {
    Meaning::EdgeDuplicate { conn_index: line.conn_index() }
}

fn dial_failed(line: &Parsed<'_>, transport: Transport) -> Meaning {
    let failure = match line.error() {
        "" => DialFailure::Other,
        error => dial_failure(error),
    };
    Meaning::DialFailed { conn_index: line.conn_index(), ip: ip(line), transport, failure }
}

fn refused(line: &Parsed<'_>) -> Meaning {
    Meaning::Refused {
        conn_index: line.conn_index(),
        unauthorized: line.error().starts_with("Unauthorized"),
        text: bounded(line.error()),
    }
}

fn dns(line: &Parsed<'_>, step: DnsStep) -> Meaning {
    Meaning::DnsFailed { step, text: bounded(line.error()) }
}

fn credentials_error(line: &Parsed<'_>) -> Meaning {
    Meaning::CredentialsError(bounded(&line.message))
}
