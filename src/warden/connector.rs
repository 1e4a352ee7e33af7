//! A connector: what its own port says of it, its fixed set-up, and the files that the next one would read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::edge::{Families, Transport};

/// cloudflared's `/ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// It holds this many connections to the edge.
    Connections(u8),
    /// Nothing listens on the port that we know: look for it again.
    Refused,
    /// The port accepts and nothing comes back.
    Silent,
}

/// One look at cloudflared's own port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadySight {
    pub ready: Ready,
    /// Of the running process, if it said so.
    pub connector: Option<String>,
    /// The port was named by this invocation's own journal, or matched to its process.
    pub port_of_this_life: bool,
    pub counters: Option<Counters>,
}

/// Counters of cloudflared's `/metrics`; they start at 0 with each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub total_requests: u64,
    pub request_errors: u64,
    pub register_success: u64,
    pub register_fail: u64,
    /// Bytes that came by QUIC; `None` before the first such connection.
    #[serde(default)]
    pub quic_received: Option<u64>,
}

/// The files that the next process would read; only what `stat` and a world-readable config say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesSight {
    /// Why the next start would fail, in words that name the file.
    pub unusable: Option<String>,
    /// The newest change of a credentials, token or config file, Unix time.
    pub changed: Option<Duration>,
}

/// Fixed things about the connector's set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Transport forced by flag, environment or config; `None` is `auto`.
    pub transport: Option<Transport>,
    /// Private-network routing is on, so that connections may carry what no public probe sees.
    pub private_network: Option<bool>,
    /// It connects to addresses set by hand (`--edge`), not to those that the edge's names give.
    #[serde(default)]
    pub own_edge: bool,
    /// It connects to another region than the one we dial, so that our dials say nothing of its way.
    #[serde(default)]
    pub other_region: bool,
    /// By which it reaches the edge.
    #[serde(default)]
    pub families: Families,
    /// Connections that it is set to hold; `None`: cloudflared's own number.
    #[serde(default)]
    pub connections: Option<u8>,
}
