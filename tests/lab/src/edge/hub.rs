//! What the edge knows: its connections, how it treats new ones, and what it shows to visitors.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    api::{Api, Known},
    beside::Beside,
    carrier::Carrier,
    events::{Answer, Events, lock},
    gate::Gate,
    pages::{Form, Page},
};
use crate::wire::{Refusal, registration::Registration};

/// How connectors are met on the tunnel port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// TCP connections are refused, datagrams ignored.
    Refusing,
    /// TCP connections are accepted, but nothing is ever answered; datagrams are ignored.
    Mute,
    /// Handshakes work, registrations are never answered.
    RegistrationMute,
}

/// The transport of a tunnel connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Http2,
    Quic,
}

/// What the hub asks of a connection's task.
pub enum Order {
    /// Close it, politely.
    Close,
    /// Keep the transport, read and answer nothing any more.
    Freeze,
    /// Push a remotely managed configuration.
    Configure(i32, Value),
}

/// A way for visitors' requests through one connection.
#[derive(Clone)]
pub struct Route {
    pub carrier: Carrier,
    /// Nothing will come back any more.
    pub gone: CancellationToken,
    /// Held by every request under way.
    pub busy: Arc<()>,
}

/// One registered connection.
struct Connection {
    id: Uuid,
    connector_id: String,
    conn_index: u8,
    transport: Transport,
    /// Visitors' requests may take it.
    routed: bool,
    orders: mpsc::UnboundedSender<Order>,
    route: Route,
}

struct State {
    connections: Vec<Connection>,
    tunnel_id: String,
    secret: String,
    reject: Option<Refusal>,
    /// Forced pages by name; the empty name is for all.
    pages: HashMap<String, Page>,
    /// The form of the 1033 page; `None` follows the visitor's `Accept`.
    form: Option<Form>,
    remote_config: Option<(i32, Value)>,
    /// How long a registration waits for its answer.
    lateness: Duration,
    next: usize,
}

/// Shared by all tasks of the edge; every method is a short step under one lock.
pub struct Hub {
    state: Mutex<State>,
    door: watch::Sender<Door>,
    /// TCP listeners that are open, of `ports`.
    listening: watch::Sender<usize>,
    ports: usize,
    pub gate: Arc<Gate>,
    pub events: Events,
    pub api: Api,
    pub beside: Beside,
}

impl Hub {
    /// `ports` is how many addresses the tunnel port has.
    pub fn new(
        tunnel_id: String,
        secret: String,
        remote_config: Option<Value>,
        events: Events,
        ports: usize,
    ) -> Self {
        let state = State {
            connections: Vec::new(),
            tunnel_id,
            secret,
            reject: None,
            pages: HashMap::new(),
            form: None,
            remote_config: remote_config.map(|config| (1, config)),
            lateness: Duration::ZERO,
            next: 0,
        };
        Self {
            state: Mutex::new(state),
            door: watch::Sender::new(Door::Open),
            listening: watch::Sender::new(0),
            ports,
            gate: Arc::default(),
            events,
            api: Api::default(),
            beside: Beside::default(),
        }
    }

    pub fn door(&self) -> watch::Receiver<Door> {
        self.door.subscribe()
    }

    pub fn set_door(&self, door: Door) {
        self.gate.set_closed(matches!(door, Door::Refusing | Door::Mute));
        self.door.send_replace(door);
        self.events.note("door", json!({ "door": format!("{door:?}").to_lowercase() }));
    }

    /// A listener of the tunnel port opened or closed.
    pub fn set_listening(&self, open: bool) {
        self.listening.send_modify(|count| if open { *count += 1 } else { *count = count.saturating_sub(1) });
    }

    /// Waits until the door is as it was set, at every address.
    pub async fn door_settled(&self) {
        let refusing = *self.door.borrow() == Door::Refusing;
        let wanted = if refusing { 0 } else { self.ports };
        // The sender lives in self, so waiting cannot fail.
        let _ = self.listening.subscribe().wait_for(|count| *count == wanted).await;
    }

    /// Judges a registration.
    ///
    /// # Errors
    /// The refusal to send back.
    pub fn judge(&self, registration: &Registration) -> Result<(), Refusal> {
        let state = lock(&self.state);
        let refusal = |text: &str| Refusal { text: text.into(), retryable: false };
        let verdict = if let Some(reject) = &state.reject {
            Err(reject.clone())
        } else if registration.tunnel_id.to_string() != state.tunnel_id {
            Err(refusal("Unauthorized: Tunnel not found"))
        } else if STANDARD.encode(&registration.secret) != state.secret {
            Err(refusal("Unauthorized: Invalid tunnel secret"))
        } else {
            Ok(())
        };
        drop(state);
        if let Err(refusal) = &verdict {
            let details = json!({ "conn_index": registration.conn_index, "text": refusal.text });
            self.events.note("refused", details);
        }
        verdict
    }

    /// Puts a connection into the route, under a new id.
    pub fn add(
        &self,
        registration: &Registration,
        transport: Transport,
        orders: mpsc::UnboundedSender<Order>,
        route: Route,
    ) -> Uuid {
        let id = Uuid::new_v4();
        let connector_id = registration.connector_id.to_string();
        let mut state = lock(&self.state);
        let first = !state.connections.iter().any(|connection| connection.routed);
        state.connections.push(Connection {
            id,
            connector_id: connector_id.clone(),
            conn_index: registration.conn_index,
            transport,
            routed: true,
            orders,
            route,
        });
        drop(state);
        let details = json!({
            "conn_index": registration.conn_index, "connector_id": connector_id,
            "transport": transport, "connection": id.to_string(), "version": registration.version,
        });
        self.events.note("registered", details);
        if first {
            self.events.note("route_up", json!({}));
        }
        id
    }

    /// The remotely managed configuration and its version, where there is one.
    pub fn remote_config(&self) -> Option<(i32, Value)> {
        lock(&self.state).remote_config.clone()
    }

    /// A connector told its own rules.
    pub fn told(&self, id: Uuid, config: &[u8]) {
        let config: Value = serde_json::from_slice(config).unwrap_or_default();
        self.events.note("local_config", json!({ "connection": id.to_string(), "config": config }));
    }

    pub fn lateness(&self) -> Duration {
        lock(&self.state).lateness
    }

    pub fn set_lateness(&self, lateness: Duration) {
        lock(&self.state).lateness = lateness;
    }

    /// Takes a connection out for good.
    pub fn remove(&self, id: Uuid, why: &str) {
        let mut state = lock(&self.state);
        let Some(at) = state.connections.iter().position(|connection| connection.id == id) else { return };
        let gone = state.connections.remove(at);
        let last = gone.routed && !state.connections.iter().any(|connection| connection.routed);
        drop(state);
        gone.route.gone.cancel();
        let details = json!({ "conn_index": gone.conn_index, "connection": id.to_string(), "why": why });
        self.events.note("lost", details);
        if last {
            self.events.note("route_down", json!({}));
        }
    }

    /// Takes one connection out of the route, or puts it back.
    pub fn set_routed(&self, id: Uuid, routed: bool) {
        self.route_where(routed, |connection| connection.id == id);
    }

    /// No visitor's request takes an existing connection any more.
    pub fn forget(&self) {
        self.route_where(false, |_| true);
    }

    fn route_where(&self, routed: bool, which: impl Fn(&Connection) -> bool) {
        let mut state = lock(&self.state);
        let before = state.connections.iter().any(|connection| connection.routed);
        for connection in state.connections.iter_mut().filter(|connection| which(connection)) {
            connection.routed = routed;
        }
        let after = state.connections.iter().any(|connection| connection.routed);
        drop(state);
        if before != after {
            self.events.note(if after { "route_up" } else { "route_down" }, json!({}));
        }
    }

    /// Closes the connections with this index, or all.
    pub fn close(&self, conn_index: Option<u8>) {
        for connection in &lock(&self.state).connections {
            if conn_index.is_none_or(|index| index == connection.conn_index) {
                // A task that has just ended needs no order.
                let _ = connection.orders.send(Order::Close);
            }
        }
    }

    /// Forgets the route and stops answering on every existing connection, without closing it.
    pub fn blackhole(&self) {
        self.forget();
        for connection in &lock(&self.state).connections {
            let _ = connection.orders.send(Order::Freeze);
        }
    }

    pub fn set_reject(&self, reject: Option<Refusal>) {
        lock(&self.state).reject = reject;
    }

    pub fn set_secret(&self, secret: String) {
        lock(&self.state).secret = secret;
    }

    /// Forces what visitors of `host` get; the empty name stands for all, `None` ends it.
    pub fn set_page(&self, host: &str, page: Option<Page>) {
        let mut state = lock(&self.state);
        match page {
            Some(page) => drop(state.pages.insert(host.to_owned(), page)),
            None if host.is_empty() => state.pages.clear(),
            None => drop(state.pages.remove(host)),
        }
    }

    pub fn page(&self, host: &str) -> Option<Page> {
        let state = lock(&self.state);
        state.pages.get(host).or_else(|| state.pages.get("")).copied()
    }

    pub fn set_form(&self, form: Option<Form>) {
        lock(&self.state).form = form;
    }

    pub fn form(&self) -> Option<Form> {
        lock(&self.state).form
    }

    /// Pushes a configuration with the next version to every connection, and to later ones.
    pub fn configure(&self, config: Value) -> i32 {
        let mut state = lock(&self.state);
        let version = state.remote_config.as_ref().map_or(1, |(version, _)| version + 1);
        state.remote_config = Some((version, config.clone()));
        for connection in &state.connections {
            let _ = connection.orders.send(Order::Configure(version, config.clone()));
        }
        version
    }

    /// The next connection of the route. `None` if there is none.
    pub fn route(&self) -> Option<Route> {
        let mut state = lock(&self.state);
        let next = state.next;
        state.next = next.wrapping_add(1);
        let routed: Vec<&Connection> = state.connections.iter().filter(|c| c.routed).collect();
        let chosen = routed.get(next.checked_rem(routed.len())?)?;
        Some(chosen.route.clone())
    }

    /// What the API says to this request.
    pub fn records(&self, path: &str, query: &str, headers: &HeaderMap) -> http::Response<Full<Bytes>> {
        let state = lock(&self.state);
        let connections = state.connections.iter().map(|connection| Known {
            id: connection.id.to_string(),
            connector: connection.connector_id.clone(),
            routed: connection.routed,
        });
        let connections: Vec<_> = connections.collect();
        let (tunnel, config) = (state.tunnel_id.clone(), state.remote_config.clone());
        drop(state);
        self.api.answer(path, query, headers, &tunnel, &connections, config)
    }

    pub fn answered(&self, host: &str, answer: Answer) {
        self.events.answered(host, answer);
    }

    pub fn status(&self) -> Value {
        let state = lock(&self.state);
        let connections: Vec<Value> = state
            .connections
            .iter()
            .map(|connection| {
                json!({
                    "conn_index": connection.conn_index, "connector_id": connection.connector_id,
                    "connection": connection.id.to_string(), "transport": connection.transport, "routed": connection.routed,
                })
            })
            .collect();
        json!({
            "door": format!("{:?}", *self.door.borrow()).to_lowercase(),
            "connections": connections,
            "routed": state.connections.iter().filter(|connection| connection.routed).count(),
            "reject": state.reject.as_ref().map(|reject| &reject.text),
            "status_page_asked": self.beside.asked(),
            "pages": state.pages.iter().map(|(host, page)| (host, page.to_string())).collect::<HashMap<_, _>>(),
        })
    }
}
