//! Cloudflare's API as far as a watchdog asks it: accounts, a tunnel, its connections, its configuration, a zone and its
//! records, the token that asks.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::events::lock;
use super::pages;

/// Where the API answers.
pub const HOST: &str = "api.cloudflare.com";
/// The account that holds the tunnel.
pub const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
/// The only token that is accepted.
pub const TOKEN: &str = "cfut_this-is-the-token-of-the-lab-0123456789abcdef";
const BASE: &str = "/client/v4";
/// The only zone that the token reaches.
const ZONE: (&str, &str) = ("00000000000000000000000000000001", "example.com");

/// What the API does instead of telling the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mood {
    Truthful,
    /// Refuses everything with this status and code.
    Failing(u16, i64),
    /// A page instead of JSON.
    Html,
    /// Too many requests.
    Limited,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    deleted: bool,
    /// Listed with four live connections, and nobody else.
    live: Option<String>,
    /// Proxied CNAMEs by name, where they are not to the tunnel.
    records: BTreeMap<String, String>,
    /// When the token ends.
    ends: String,
}

impl Default for State {
    fn default() -> Self {
        let ends = "2036-01-01T00:00:00Z".to_owned();
        Self { mood: Mood::Truthful, deleted: false, live: None, records: BTreeMap::new(), ends }
    }
}

/// One connection as the edge has it.
pub struct Known {
    pub id: String,
    pub connector: String,
    /// The edge sends requests through it.
    pub routed: bool,
}

/// The API's own state; what it tells of connections is the hub's.
#[derive(Default)]
pub struct Api {
    state: Mutex<State>,
}

impl Api {
    /// `good`, `deleted`, `html`, `429`, `fail STATUS CODE`, `live CONNECTOR`, `record NAME TARGET`, `ends TIME`.
    ///
    /// # Errors
    /// No such command.
    pub fn obey(&self, command: &str) -> Result<(), String> {
        let mut state = lock(&self.state);
        let number = |text: &str| text.parse::<u16>().map_err(|_| format!("no number: {text}"));
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["good"] => *state = State::default(),
            ["deleted"] => state.deleted = true,
            ["html"] => state.mood = Mood::Html,
            ["429"] => state.mood = Mood::Limited,
            ["fail", status, code] => state.mood = Mood::Failing(number(status)?, number(code)?.into()),
            ["record", name, target] => drop(state.records.insert(name.to_owned(), target.to_owned())),
            ["ends", time] => state.ends = time.to_owned(),
            ["live", connector] => state.live = Some(connector.to_owned()),
            _ => return Err(format!("no such command: api {command}")),
        }
        Ok(())
    }

    /// Answers one request. `query` is what follows the path.
    pub fn answer(
        &self,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        tunnel: &str,
        connections: &[Known],
        config: Option<(i32, Value)>,
    ) -> Response<Full<Bytes>> {
        let state = lock(&self.state);
        match &state.mood {
            Mood::Truthful => (),
            Mood::Failing(status, code) => return refuse(*status, *code, "Invalid access token"),
            Mood::Html => return with(502, "text/html", "<html><h1>Bad gateway</h1></html>".into()),
            Mood::Limited => {
                let mut response = refuse(429, 10_429, "More than 1200 requests per 300 seconds reached");
                pages::set(&mut response, "retry-after", "5");
                return response;
            }
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(TOKEN) => (),
            Some(_) => return refuse(403, 9109, "Invalid access token"),
            None => return refuse(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
        }
        let path = path.strip_prefix(BASE).unwrap_or("");
        match path.split('/').skip(1).collect::<Vec<_>>()[..] {
            ["accounts"] => list(json!([{ "id": ACCOUNT, "name": "lab", "type": "standard" }])),
            ["user", "tokens", "verify"] => good(json!({
                "id": "ed17574386854bf78a67040be0a770b0", "status": "active",
                "not_before": "2026-01-01T00:00:00Z", "expires_on": state.ends,
            })),
            ["zones"] => {
                let (id, name) = ZONE;
                let zones =
                    (asked_for(query) == name).then(|| json!({ "id": id, "name": name, "status": "active" }));
                list(zones.into_iter().collect())
            }
            ["zones", id, "dns_records"] if id == ZONE.0 => list(state.records_of(asked_for(query), tunnel)),
            ["accounts", ACCOUNT, "cfd_tunnel", id] if id == tunnel => {
                good(state.tunnel(tunnel, connections, config.is_some()))
            }
            ["accounts", ACCOUNT, "cfd_tunnel", id, "connections"] if id == tunnel => {
                good(state.connections(connections))
            }
            ["accounts", ACCOUNT, "cfd_tunnel", id, "configurations"] if id == tunnel => good(json!({
                "account_id": ACCOUNT, "tunnel_id": tunnel, "created_at": "2026-01-01T00:00:00Z",
                "version": config.as_ref().map_or(0, |(version, _)| *version),
                "source": if config.is_some() { "cloudflare" } else { "local" },
                "config": config.map(|(_, config)| config),
            })),
            ["accounts", ACCOUNT, "cfd_tunnel", ..] => refuse(404, 1003, "Tunnel not found"),
            ["accounts", _, ..] => refuse(403, 9109, "Unauthorized to access requested resource"),
            _ => {
                refuse(404, 7003, "Could not route to this path, perhaps your object identifier is invalid?")
            }
        }
    }
}

/// The name in `name=app.example.com&page=1`.
fn asked_for(query: &str) -> &str {
    query.split('&').find_map(|pair| pair.strip_prefix("name=")).unwrap_or_default()
}

impl State {
    /// Every name but a wildcard has a record, to the tunnel unless another was set.
    fn records_of(&self, name: &str, tunnel: &str) -> Value {
        let known = name.ends_with(ZONE.1) && !name.contains('*') && !name.contains("%2A");
        let target = self.records.get(name).cloned().unwrap_or_else(|| format!("{tunnel}.cfargotunnel.com"));
        let record = json!({
            "id": "372e67954025e0ba6aaa6d586b9e0b59", "name": name, "type": "CNAME", "content": target,
            "proxied": true, "proxiable": true, "ttl": 1,
        });
        known.then_some(record).into_iter().collect()
    }

    fn tunnel(&self, id: &str, connections: &[Known], remote: bool) -> Value {
        let up = connections.iter().any(|connection| connection.routed);
        json!({
            "id": id, "account_tag": ACCOUNT, "name": "lab", "tun_type": "cfd_tunnel", "metadata": {},
            "created_at": "2026-01-01T00:00:00Z",
            "deleted_at": self.deleted.then_some("2026-10-02T03:04:05.678Z"),
            "status": if up { "healthy" } else { "down" },
            "config_src": if remote { "cloudflare" } else { "local" }, "remote_config": remote,
            "conns_active_at": up.then_some("2026-10-01T00:00:00Z"),
            "conns_inactive_at": (!up).then_some("2026-10-01T00:00:00Z"),
        })
    }

    /// As Cloudflare lists them: by connector, those that carry nothing any more as pending.
    fn connections(&self, connections: &[Known]) -> Value {
        let conn = |id: &str, connector: &str, pending: bool| {
            json!({
                "id": id, "uuid": id, "client_id": connector, "client_version": "2026.7.0", "colo_name": "ams01",
                "origin_ip": "198.51.100.7", "opened_at": "2026-10-01T00:00:00Z", "is_pending_reconnect": pending,
            })
        };
        let connector = |id: &str, conns: Vec<Value>| {
            json!({
                "id": id, "arch": "linux_amd64", "version": "2026.7.0", "run_at": "2026-10-01T00:00:00Z",
                "config_version": 0, "features": ["ha-origin"], "conns": conns,
            })
        };
        if let Some(live) = &self.live {
            return json!([connector(live, vec![conn("a", live, false); 4])]);
        }
        let mut ids: Vec<&str> = connections.iter().map(|known| known.connector.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let of = |id: &str| {
            let mine = connections.iter().filter(|known| known.connector == id);
            connector(id, mine.map(|known| conn(&known.id, id, !known.routed)).collect())
        };
        ids.into_iter().map(of).collect()
    }
}

fn good(result: Value) -> Response<Full<Bytes>> {
    let body = json!({ "success": true, "errors": [], "messages": [], "result": result });
    with(200, "application/json", body.to_string())
}

fn list(result: Value) -> Response<Full<Bytes>> {
    let count = result.as_array().map_or(0, Vec::len);
    let info = json!({ "page": 1, "per_page": 50, "count": count, "total_count": count, "total_pages": 1 });
    let body =
        json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info });
    with(200, "application/json", body.to_string())
}

fn refuse(status: u16, code: i64, message: &str) -> Response<Full<Bytes>> {
    let errors = json!([{ "code": code, "message": message }]);
    let body = json!({ "success": false, "errors": errors, "messages": [], "result": null });
    with(status, "application/json", body.to_string())
}

fn with(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    pages::set(&mut response, "content-type", kind);
    response
}
