//! What stands beside the tunnel: Cloudflare's status page, and a prober elsewhere.

use std::sync::Mutex;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

use super::events::lock;
use super::pages;

/// Where the status page answers.
pub const STATUS_PAGE: &str = "www.cloudflarestatus.com";
/// Where a prober answers as blackbox_exporter does.
pub const PROBER: &str = "blackbox.example.net";

#[derive(Debug, Default)]
struct State {
    /// Titles of incidents; each is about tunnels.
    announced: Vec<String>,
    /// A page for people in place of the list.
    html: bool,
    /// Whether the prober is served.
    served: bool,
    asked: u64,
}

/// Both of them.
#[derive(Debug, Default)]
pub struct Beside {
    state: Mutex<State>,
}

impl Beside {
    /// `announce TITLE`, `announce` alone for none, `announce html`; `prober served`, `prober failing`.
    ///
    /// # Errors
    /// No such command.
    pub fn obey(&self, verb: &str, rest: &str) -> Result<(), String> {
        let mut state = lock(&self.state);
        match (verb, rest) {
            ("announce", "") => (state.announced, state.html) = (Vec::new(), false),
            ("announce", "html") => state.html = true,
            ("announce", title) => state.announced.push(title.to_owned()),
            ("prober", "served") => state.served = true,
            ("prober", "failing") => state.served = false,
            _ => return Err(format!("no such command: {verb} {rest}")),
        }
        Ok(())
    }

    /// How often the status page was asked.
    pub fn asked(&self) -> u64 {
        lock(&self.state).asked
    }

    /// The list of what is open, in the form of Statuspage.
    pub fn status_page(&self, path: &str) -> Response<Full<Bytes>> {
        let mut state = lock(&self.state);
        state.asked += 1;
        if path != "/api/v2/incidents/unresolved.json" {
            return reply(404, "text/html", "<h1>Not found</h1>".into());
        }
        if state.html {
            return reply(200, "text/html; charset=utf-8", "<html><h1>Cloudflare Status</h1></html>".into());
        }
        let incidents: Vec<Value> = state
            .announced
            .iter()
            .map(|title| {
                json!({
                    "id": "p31zjtct2jer", "name": title, "status": "investigating", "impact": "major",
                    "started_at": "2026-11-20T10:00:00.000Z", "page_id": "yh6f0r4529hb", "incident_updates": [],
                    "components": [
                        { "id": "a", "name": "Tunnel", "status": "partial_outage" },
                        { "id": "b", "name": "Dashboard", "status": "operational" },
                    ],
                })
            })
            .collect();
        let page =
            json!({ "id": "yh6f0r4529hb", "name": "Cloudflare", "url": "https://www.cloudflarestatus.com" });
        reply(
            200,
            "application/json; charset=utf-8",
            json!({ "page": page, "incidents": incidents }).to_string(),
        )
    }

    /// The metrics of one probe.
    pub fn prober(&self) -> Response<Full<Bytes>> {
        let (success, status) = if lock(&self.state).served { (1, 200) } else { (0, 530) };
        let text = format!(
            "# TYPE probe_success gauge\nprobe_success {success}\n\
             # TYPE probe_http_status_code gauge\nprobe_http_status_code {status}\n"
        );
        reply(200, "text/plain; version=0.0.4", text)
    }
}

fn reply(status: u16, kind: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    pages::set(&mut response, "content-type", kind);
    response
}
