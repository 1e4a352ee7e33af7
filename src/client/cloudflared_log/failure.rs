//! Why something failed, read from the structure of Go's error chains (`what: what: cause`).

use super::{bounded, meaning::Meaning};

/// Why a dial to the edge failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialFailure {
    Timeout,
    Refused,
    /// No route, link down.
    Unreachable,
    /// A firewall on this host forbids it.
    Forbidden,
    /// The other side broke off (a middlebox, usually).
    Reset,
    /// The certificate is not yet or no longer valid by the local clock.
    Clock,
    /// The certificate is not the edge's: interception or a wrong address.
    Certificate,
    /// Any other failure of the handshake.
    Tls,
    Other,
}

/// How an established connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndOfConnection {
    /// Nothing came for the idle timeout.
    Silence,
    /// Closed from the other side.
    Closed,
    /// The local network failed.
    Network,
    Other,
}

/// Why a process gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinalError {
    Dns,
    NoEdgeAddress,
    /// The edge refused the first registration.
    Refused,
    /// The edge closed before the first registration.
    EdgeClosed,
    /// The first registration was not answered.
    Unanswered,
    /// Updated itself; a new process is to follow.
    Updated,
    Other,
}

const HTTP2_DIAL: &str = "DialContext error: ";
const HTTP2_TLS: &str = "TLS handshake with edge error: ";
const QUIC_DIAL: &str = "failed to dial to edge with quic: ";

/// Reads the `error` of a dial. Only the tail of the chain, written by Go or the kernel, is looked at; names inside a
/// certificate (chosen by whoever made it) stand behind `x509: ` and are only compared at their start.
pub(super) fn dial_failure(error: &str) -> DialFailure {
    let cause = [HTTP2_DIAL, HTTP2_TLS, QUIC_DIAL]
        .iter()
        .find_map(|prefix| error.strip_prefix(prefix))
        .unwrap_or(error);
    if let Some((_, certificate)) = cause.split_once("x509: ") {
        return match certificate.starts_with("certificate has expired or is not yet valid") {
            true => DialFailure::Clock,
            false => DialFailure::Certificate,
        };
    }
    if cause.starts_with("timeout: ") {
        return DialFailure::Timeout;
    }
    const ENDINGS: &[(&str, DialFailure)] = &[
        ("i/o timeout", DialFailure::Timeout),
        ("connection timed out", DialFailure::Timeout),
        ("context deadline exceeded", DialFailure::Timeout),
        ("connection refused", DialFailure::Refused),
        ("network is unreachable", DialFailure::Unreachable),
        ("no route to host", DialFailure::Unreachable),
        ("network is down", DialFailure::Unreachable),
        ("cannot assign requested address", DialFailure::Unreachable),
        ("operation not permitted", DialFailure::Forbidden),
        ("permission denied", DialFailure::Forbidden),
        ("connection reset by peer", DialFailure::Reset),
        ("broken pipe", DialFailure::Reset),
        ("EOF", DialFailure::Reset),
    ];
    let by_ending = ENDINGS.iter().find(|(end, _)| cause.ends_with(end)).map(|(_, failure)| *failure);
    by_ending.unwrap_or(match error.starts_with(HTTP2_TLS) || cause.starts_with("CRYPTO_ERROR") {
        true => DialFailure::Tls,
        false => DialFailure::Other,
    })
}

/// Reads the `error` of a connection that ended.
pub(super) fn end_of_connection(error: &str) -> EndOfConnection {
    let cause = error.strip_prefix("failed to accept QUIC stream: ").unwrap_or(error);
    if cause.starts_with("timeout: ") {
        EndOfConnection::Silence
    } else if cause.starts_with("Application error")
        || cause.starts_with("connection with edge closed")
        || cause.starts_with("Error shutting down control stream: ")
    {
        EndOfConnection::Closed
    } else if matches!(
        dial_failure(cause),
        DialFailure::Unreachable | DialFailure::Forbidden | DialFailure::Reset
    ) {
        EndOfConnection::Network
    } else {
        EndOfConnection::Other
    }
}

/// One known last word of a failed process.
struct LastWord {
    start: &'static str,
    means: fn(String) -> Meaning,
}

macro_rules! dies_of {
    ($reason:ident) => {
        |text| Meaning::FatalShutdown { reason: FinalError::$reason, text }
    };
}

const LAST_WORDS: &[LastWord] = &[
    LastWord { start: "Could not lookup srv records on ", means: dies_of!(Dns) },
    LastWord { start: "Couldn't resolve SRV record ", means: dies_of!(Dns) },
    LastWord { start: "SRV record ", means: dies_of!(Dns) },
    LastWord { start: "expected at least ", means: dies_of!(Dns) },
    LastWord { start: "failed to resolve any edge address", means: dies_of!(NoEdgeAddress) },
    LastWord { start: "there are no free edge addresses left to resolve to", means: dies_of!(NoEdgeAddress) },
    LastWord { start: "Unauthorized", means: dies_of!(Refused) },
    LastWord { start: "Failed to get tunnel", means: dies_of!(Refused) },
    LastWord { start: "Tunnel has been deleted", means: dies_of!(Refused) },
    LastWord { start: "internal server error", means: dies_of!(Refused) },
    LastWord { start: "connection with edge closed", means: dies_of!(EdgeClosed) },
    LastWord { start: "context deadline exceeded", means: dies_of!(Unanswered) },
    LastWord { start: "cloudflared has been updated to version ", means: dies_of!(Updated) },
    LastWord { start: "Provided Tunnel token is not valid", means: Meaning::CredentialsError },
    LastWord { start: "Failed to read token file: ", means: Meaning::CredentialsError },
    LastWord { start: "Tunnel credentials file '", means: Meaning::CredentialsError },
    // The configuration names no credentials file and none lies in the usual places: it is the configuration's to mend.
    LastWord { start: "tunnel credentials file not found", means: Meaning::ConfigError },
    LastWord { start: "couldn't read tunnel credentials from ", means: Meaning::CredentialsError },
    LastWord { start: "The credentials file at ", means: Meaning::CredentialsError },
    LastWord { start: "Invalid JSON when parsing credentials file", means: Meaning::CredentialsError },
    LastWord { start: "Invalid JSON when parsing tunnel credentials file", means: Meaning::CredentialsError },
    LastWord { start: "The tunnel credentials file should be .json", means: Meaning::CredentialsError },
    LastWord { start: "Cannot determine default origin certificate path", means: Meaning::CredentialsError },
    LastWord { start: "error parsing tunnel ID: ", means: Meaning::CredentialsError },
    LastWord { start: "\"cloudflared tunnel run\" requires the ID or name", means: Meaning::UsageError },
    LastWord { start: "Incorrect Usage", means: Meaning::UsageError },
    LastWord { start: "use `cloudflared tunnel run` to start tunnel", means: Meaning::UsageError },
    LastWord { start: "You did not specify any valid additional argument", means: Meaning::UsageError },
    LastWord { start: "error parsing YAML in config file at ", means: Meaning::ConfigError },
    LastWord { start: "open /", means: Meaning::ConfigError },
    LastWord { start: "The config file doesn't contain any ingress rules", means: Meaning::ConfigError },
    LastWord { start: "The last ingress rule must match all URLs", means: Meaning::ConfigError },
    LastWord { start: "Rule #", means: Meaning::ConfigError },
    LastWord { start: "Hostname patterns can have at most one wildcard", means: Meaning::ConfigError },
    LastWord { start: "Hostname cannot contain a port", means: Meaning::ConfigError },
    LastWord { start: "invalid HTTP status code: ", means: Meaning::ConfigError },
    LastWord { start: "unable to create ip ", means: Meaning::ConfigError },
    LastWord { start: "access.TeamName cannot be blank", means: Meaning::ConfigError },
    LastWord { start: "parse \"", means: Meaning::ConfigError },
    LastWord { start: "You can't set the --url flag", means: Meaning::ConfigError },
    LastWord { start: "No configuration file was found", means: Meaning::ConfigError },
    LastWord { start: "unknown protocol ", means: Meaning::ConfigError },
    LastWord { start: "invalid value for edge-ip-version", means: Meaning::ConfigError },
    LastWord { start: "grace-period must be equal or less than", means: Meaning::ConfigError },
    LastWord { start: "invalid edge-bind-address", means: Meaning::ConfigError },
    LastWord { start: "region provided with a token that has an endpoint", means: Meaning::ConfigError },
];

/// The meaning of a known last word, wherever it is written: bare at the end, or in the `error` of the line before.
pub(super) fn last_word(text: &str) -> Option<Meaning> {
    LAST_WORDS.iter().find(|word| text.starts_with(word.start)).map(|word| (word.means)(bounded(text)))
}
