//! What the parts of one connector share: its identity, its counters, and which connections are up.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    ingress::Ingress,
    log::{Fields, Level, Log},
    settings::{Credentials, Protocol},
};

/// Connections of one connector.
pub const CONNECTIONS: usize = 4;

pub struct State {
    pub log: Log,
    pub connector_id: String,
    pub credentials: Credentials,
    pub ingress: watch::Sender<Arc<Ingress>>,
    /// True from the first signal on.
    pub stopping: watch::Sender<bool>,
    /// True once any connection was registered.
    pub connected_once: watch::Sender<bool>,
    pub quic_worked: AtomicBool,
    pub counters: Counters,
    slots: [watch::Sender<Option<Up>>; CONNECTIONS],
    quic: [Mutex<Received>; CONNECTIONS],
}

/// What came by QUIC on one index.
#[derive(Default)]
struct Received {
    /// On connections of before.
    before: u64,
    now: Option<quinn::Connection>,
}

/// A registered connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    pub protocol: Protocol,
    pub edge: String,
}

#[derive(Debug, Default)]
pub struct Counters {
    /// Attempts in progress with their own waits, connected or not, whatever its name says.
    pub ha_connections: AtomicI64,
    pub register_success: AtomicU64,
    pub register_fail: AtomicU64,
    pub register_duplicate: AtomicU64,
    pub total_requests: AtomicU64,
    pub request_errors: AtomicU64,
    pub config_pushes: AtomicU64,
    pub config_push_errors: AtomicU64,
    pub concurrent_requests: AtomicI64,
}

impl State {
    pub fn new(log: Log, connector_id: String, credentials: Credentials, ingress: Ingress) -> Self {
        Self {
            log,
            connector_id,
            credentials,
            ingress: watch::Sender::new(Arc::new(ingress)),
            stopping: watch::Sender::new(false),
            connected_once: watch::Sender::new(false),
            quic_worked: AtomicBool::new(false),
            counters: Counters::default(),
            slots: std::array::from_fn(|_| watch::Sender::new(None)),
            quic: Default::default(),
        }
    }

    pub fn set_up(&self, index: usize, up: Option<Up>) {
        if let Some(slot) = self.slots.get(index) {
            slot.send_replace(up);
        }
    }

    /// A QUIC connection of this index begins, or ends with `None`.
    pub fn set_quic(&self, index: usize, connection: Option<quinn::Connection>) {
        let Some(received) = self.quic.get(index) else { return };
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = std::mem::replace(&mut received.now, connection);
        received.before += ended.map_or(0, |ended| ended.stats().udp_rx.bytes);
    }

    /// Index and bytes that came by QUIC, of each that ever had a connection.
    pub fn quic_received(&self) -> Vec<(usize, u64)> {
        let bytes = |received: &Mutex<Received>| {
            let received = received.lock().unwrap_or_else(PoisonError::into_inner);
            received.before + received.now.as_ref().map_or(0, |now| now.stats().udp_rx.bytes)
        };
        self.quic.iter().map(bytes).enumerate().filter(|(_, bytes)| 0 < *bytes).collect()
    }

    /// Connections that are registered now.
    pub fn ready(&self) -> usize {
        self.slots.iter().filter(|slot| slot.borrow().is_some()).count()
    }

    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Resolves at the first signal.
    pub async fn stopped(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// An error that is only a warning while another connection is up.
    pub fn connection_error(&self, message: &str, error: Option<&str>, mut fields: Fields) {
        if let Some(error) = error {
            fields.push(("error", error.into()));
        }
        let level = if self.ready() == 0 { Level::Error } else { Level::Warn };
        self.log.write(level, message, fields);
    }

    /// The body of `/diag/tunnel`.
    pub fn diagnosis(&self) -> Value {
        let mut connections = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(up) = slot.borrow().clone() else { continue };
            let mut connection = json!({ "isConnected": true, "edgeAddress": up.edge });
            if up.protocol == Protocol::Quic {
                connection["protocol"] = 1.into();
            }
            if index > 0 {
                connection["index"] = index.into();
            }
            connections.push(connection);
        }
        let mut body = json!({ "tunnelID": self.credentials.tunnel_id, "connectorID": self.connector_id });
        if !connections.is_empty() {
            body["connections"] = connections.into();
        }
        body
    }
}

/// One attempt in progress, counted while it lives.
pub struct Attempt<'a>(&'a State);

impl<'a> Attempt<'a> {
    pub fn begin(state: &'a State) -> Self {
        state.counters.ha_connections.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.counters.ha_connections.fetch_sub(1, Ordering::Relaxed);
    }
}
