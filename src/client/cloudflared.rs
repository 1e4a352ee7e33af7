//! cloudflared's own port: `/ready`, `/metrics` and `/config`. These three write nothing to its journal.

mod socket;

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::cloudflared_config::{IngressFile, Rule, Written, WrittenRule, is_uuid};

pub use socket::{SocketError, SocketOwner, socket_owner};

/// The ports it tries in turn where none is set; all taken, it takes any.
pub const PORTS: RangeInclusive<u16> = 20241..=20245;

/// For one question, connection included.
const LIMIT: Duration = Duration::from_secs(2);
const SMALL: usize = 16 * 1024;
const LARGE: usize = 1024 * 1024;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens there.
    #[error("{0} refuses the connection")]
    Refused(SocketAddr),
    /// Connected or not, no whole answer came in time.
    #[error("{0} does not answer in time")]
    TimedOut(SocketAddr),
    /// The connection ended before the answer did.
    #[error("{0} closed the connection")]
    Reset(SocketAddr),
    /// What answers there is something else.
    #[error("{address} is not cloudflared: {detail}")]
    NotCloudflared { address: SocketAddr, detail: String },
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// `/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// 200 with a connection, 503 without.
    pub status: u16,
    /// Registered connections to the edge.
    pub connections: u8,
    /// Of this process; versions before mid-2022 do not say.
    pub connector_id: Option<String>,
}

/// Counters of `/metrics`; they start at 0 with the process, and some do not exist before their first event. `ha_connections` is
/// not among them: it counts attempts in progress, *not* connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Requests that came from the edge.
    pub total_requests: u64,
    /// Requests that the origin did not answer.
    pub request_errors: u64,
    pub register_success: u64,
    /// Refused or unanswered registrations of every kind.
    pub register_fail: u64,
    /// Bytes that came from the edge by QUIC, of all connections together; `None` before the first. A connection that
    /// lives brings some each second, as it is kept alive.
    pub quic_received: Option<u64>,
}

/// `/config`: the rules in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveConfig {
    /// −1: the local rules; otherwise the version that the edge gave.
    pub version: i64,
    pub ingress: Vec<Rule>,
    /// Private-network routing is configured.
    pub private_network: bool,
}

impl EffectiveConfig {
    /// As a file would have them; of lines it knows none.
    pub fn as_file(&self) -> IngressFile {
        let of = |text: &str| Written { line: 0, text: text.to_owned() };
        let rules = self.ingress.iter().map(|rule| WrittenRule {
            line: 0,
            hostname: of(rule.hostname.as_deref().unwrap_or_default()),
            path: of(rule.path.as_deref().unwrap_or_default()),
            service: of(&rule.service),
            ..WrittenRule::default()
        });
        let mut rules: Vec<WrittenRule> = rules.collect();
        // What it does where it has none.
        if let [only] = rules.as_slice()
            && self.version < 0
            && only.service.text == "http_status:503"
            && only.hostname.text.is_empty()
            && only.path.text.is_empty()
        {
            rules.clear();
        }
        IngressFile { rules, ..IngressFile::default() }
    }
}

/// How many connections it holds, and which connector it is.
///
/// # Errors
/// See [`AskError`].
pub async fn ready(address: SocketAddr) -> Result<Ready, AskError> {
    let (status, body) = get(address, "/ready", SMALL).await?;
    let other = |detail: &str| not_cloudflared(address, detail);
    if !matches!(status, 200 | 503) {
        return Err(other(&format!("/ready answers {status}")));
    }
    parse_ready(status, &body).ok_or_else(|| other("/ready answers no JSON of its form"))
}

/// The counters of its metrics.
///
/// # Errors
/// See [`AskError`].
pub async fn counters(address: SocketAddr) -> Result<Counters, AskError> {
    let (status, body) = get(address, "/metrics", LARGE).await?;
    let parsed = if status == 200 { parse_counters(&String::from_utf8_lossy(&body)) } else { None };
    parsed.ok_or_else(|| not_cloudflared(address, "/metrics lacks cloudflared_tunnel_total_requests"))
}

/// The ingress rules in effect.
///
/// # Errors
/// See [`AskError`].
pub async fn config(address: SocketAddr) -> Result<EffectiveConfig, AskError> {
    let (status, body) = get(address, "/config", LARGE).await?;
    let parsed = if status == 200 { parse_config(&body) } else { None };
    parsed.ok_or_else(|| not_cloudflared(address, "/config answers no JSON of its form"))
}

fn not_cloudflared(address: SocketAddr, detail: &str) -> AskError {
    AskError::NotCloudflared { address, detail: detail.into() }
}

async fn get(address: SocketAddr, path: &str, limit: usize) -> Result<(u16, Vec<u8>), AskError> {
    match timeout(LIMIT, exchange(address, path, limit)).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::TimedOut(address)),
    }
}

async fn exchange(address: SocketAddr, path: &str, limit: usize) -> Result<(u16, Vec<u8>), AskError> {
    let stream = TcpStream::connect(address).await.map_err(|e| of_connect(address, e))?;
    let broken = |error: &hyper::Error| of_hyper(address, error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| not_cloudflared(address, &e.to_string()))?;
    let talk = async move {
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status().as_u16();
        match read(response.into_body(), limit).await.map_err(|e| broken(&e))? {
            Some(body) => Ok((status, body)),
            None => Err(not_cloudflared(address, "its answer is too large")),
        }
    };
    // The connection moves the bytes of the talk and ends with it; its own error is the talk's too.
    let (answer, _) = tokio::join!(talk, connection);
    answer
}

async fn read(mut body: Incoming, limit: usize) -> Result<Option<Vec<u8>>, hyper::Error> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if all.len() + data.len() > limit {
                return Ok(None);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(Some(all))
}

fn of_connect(address: SocketAddr, source: io::Error) -> AskError {
    if source.kind() == io::ErrorKind::ConnectionRefused {
        AskError::Refused(address)
    } else if source.kind() == io::ErrorKind::ConnectionReset {
        AskError::Reset(address)
    } else {
        AskError::Connect { address, source }
    }
}

fn of_hyper(address: SocketAddr, error: &hyper::Error) -> AskError {
    if error.is_parse() || error.is_parse_too_large() {
        not_cloudflared(address, "it speaks no HTTP")
    } else {
        AskError::Reset(address)
    }
}

fn parse_ready(status: u16, body: &[u8]) -> Option<Ready> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        status: u16,
        ready_connections: u64,
        connector_id: Option<String>,
    }
    let form: Form = serde_json::from_slice(body).ok()?;
    if form.status != status || form.connector_id.as_deref().is_some_and(|id| !is_uuid(id)) {
        return None;
    }
    let connections = u8::try_from(form.ready_connections).unwrap_or(u8::MAX);
    Some(Ready { status, connections, connector_id: form.connector_id.map(|id| id.to_ascii_lowercase()) })
}

fn parse_config(body: &[u8]) -> Option<EffectiveConfig> {
    #[derive(Deserialize)]
    struct Form {
        version: i64,
        config: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(default)]
        ingress: Option<Vec<Rule>>,
        #[serde(default, rename = "warp-routing")]
        warp_routing: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let form: Form = serde_json::from_slice(body).ok()?;
    Some(EffectiveConfig {
        version: form.version,
        ingress: form.config.ingress.unwrap_or_default(),
        private_network: form.config.warp_routing.is_some_and(|routing| !routing.is_empty()),
    })
}

/// Reads what is known and passes over the rest; `None` if the counter that every cloudflared has is missing.
fn parse_counters(text: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    let mut ours = false;
    for (name, value) in text.lines().filter_map(sample) {
        let count = whole(value);
        match name {
            "cloudflared_tunnel_total_requests" => {
                ours = true;
                counters.total_requests = count;
            }
            "cloudflared_tunnel_request_errors" => counters.request_errors = count,
            "cloudflared_tunnel_tunnel_register_success" => {
                counters.register_success = counters.register_success.saturating_add(count);
            }
            "cloudflared_tunnel_tunnel_register_fail" => {
                counters.register_fail = counters.register_fail.saturating_add(count);
            }
            "quic_client_receive_bytes" => {
                let known = counters.quic_received.unwrap_or(0);
                counters.quic_received = Some(known.saturating_add(count));
            }
            _ => {}
        }
    }
    ours.then_some(counters)
}

/// Name and value of a line of Prometheus text.
fn sample(line: &str) -> Option<(&str, f64)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (_labels, value) = rest.rsplit_once('}')?;
            (name, value)
        }
        None => line.split_once(char::is_whitespace)?,
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some((name.trim(), value))
}

/// A counter is a whole number, written as `1.234567e+06` when large.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, as wanted")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// For the fuzzer: reads `body` as each of its answers.
#[cfg(fuzzing)]
pub fn fuzz(status: u16, body: &[u8]) {
    let _ = parse_ready(status, body);
    let _ = parse_config(body);
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = parse_counters(text);
    }
}

#[cfg(test)]
mod tests;
