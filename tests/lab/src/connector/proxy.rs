//! A visitor's request on its way to the origin.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    dial::go_dial,
    ingress::{Ingress, Rule, Service},
    settings::Protocol,
    state::State,
};
use crate::wire::{MAX_BODY, Request, Response};

const CONNECT_WAIT: Duration = Duration::from_secs(30);
const ORIGIN_WAIT: Duration = Duration::from_secs(60);
const META_CLOUDFLARED: &str = r#"{"src":"cloudflared"}"#;
const META_ORIGIN: &str = r#"{"src":"origin"}"#;

/// The connection a request came by, for the log.
#[derive(Debug, Clone)]
pub struct Via {
    pub index: usize,
    pub edge: String,
    pub protocol: Protocol,
}

/// Answers a request; what goes wrong becomes a 502 and two lines of log.
pub async fn answer(state: &Arc<State>, via: Via, request: Request) -> Response {
    state.counters.total_requests.fetch_add(1, Ordering::Relaxed);
    state.counters.concurrent_requests.fetch_add(1, Ordering::Relaxed);
    let ingress = Arc::clone(&state.ingress.borrow());
    let response = match through(&ingress, &request).await {
        Ok(response) => response,
        Err((number, rule, reason)) => {
            state.counters.request_errors.fetch_add(1, Ordering::Relaxed);
            complain(state, &via, &request, (number, &rule.written), &reason);
            made(request.id, 502, "text/plain; charset=utf-8", META_CLOUDFLARED, b"".to_vec())
        }
    };
    state.counters.concurrent_requests.fetch_sub(1, Ordering::Relaxed);
    response
}

async fn through<'a>(ingress: &'a Ingress, request: &Request) -> Result<Response, (usize, &'a Rule, String)> {
    let path = request.path_and_query.split('?').next().unwrap_or("/");
    let Some((number, rule)) = ingress.matching(&request.host, path) else {
        return Ok(made(request.id, 404, "text/plain", META_CLOUDFLARED, Vec::new()));
    };
    match &rule.service {
        Service::Status(status) => Ok(made(request.id, *status, "text/plain", META_CLOUDFLARED, Vec::new())),
        Service::HelloWorld => {
            let body = b"<html><body>Congrats! You created a tunnel!</body></html>".to_vec();
            Ok(made(request.id, 200, "text/html", META_ORIGIN, body))
        }
        Service::Other => Err((number, rule, "the stand-in reaches plain HTTP origins only".into())),
        Service::Http(origin) => fetch(origin, request).await.map_err(|reason| (number, rule, reason)),
    }
}

async fn fetch(origin: &str, request: &Request) -> Result<Response, String> {
    let stream = connect(origin).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut outgoing = http::Request::builder().method(request.method.as_str()).uri(&request.path_and_query);
    outgoing = outgoing.header("host", &request.host);
    for (name, value) in &request.headers {
        if name != "host" && name != "content-length" {
            outgoing = outgoing.header(name, value);
        }
    }
    let outgoing =
        outgoing.body(Full::<Bytes>::from(request.body.clone())).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(outgoing).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((parts, body.to_bytes().to_vec()))
    };
    let (parts, body) = timeout(ORIGIN_WAIT, exchange).await.map_err(|_| "i/o timeout".to_owned())??;
    let mut headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    headers.push(("cf-cloudflared-response-meta".into(), META_ORIGIN.into()));
    Ok(Response { id: request.id, status: parts.status.as_u16(), headers, body })
}

/// Tries every address of the origin; the last error counts, as it names an address.
async fn connect(origin: &str) -> Result<TcpStream, String> {
    let name = origin.rsplit_once(':').map_or(origin, |(name, _)| name);
    let addresses: Vec<SocketAddr> = match lookup_host(origin).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => return Err(format!("dial tcp: lookup {name}: no such host")),
    };
    let mut reason = format!("dial tcp: lookup {name}: no such host");
    for address in addresses {
        reason = match timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => go_dial(&address.to_string(), &error),
            Err(_) => format!("dial tcp {address}: i/o timeout"),
        };
    }
    Err(reason)
}

/// The lines of an origin that cannot be reached; they say nothing against the tunnel.
fn complain(state: &State, via: &Via, request: &Request, rule: (usize, &str), reason: &str) {
    let error = format!(
        "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: {reason}"
    );
    let fields = vec![
        ("connIndex", via.index.into()),
        ("event", 1.into()),
        ("ingressRule", rule.0.into()),
        ("originService", rule.1.into()),
    ];
    state.log.error("", &error, fields);
    match via.protocol {
        Protocol::Http2 => {
            state.log.error(
                "failed to serve incoming request",
                &format!("Failed to proxy HTTP: {error}"),
                vec![],
            );
        }
        Protocol::Quic => {
            let path = request.path_and_query.split('?').next().unwrap_or("/");
            let fields = vec![
                ("connIndex", via.index.into()),
                ("dest", format!("https://{}{path}", request.host).into()),
                ("event", 0.into()),
                ("ip", via.edge.as_str().into()),
                ("type", "http".into()),
            ];
            state.log.error("Request failed", &error, fields);
        }
    }
}

fn made(id: u64, status: u16, kind: &str, meta: &str, body: Vec<u8>) -> Response {
    let headers = vec![
        ("content-type".to_owned(), kind.to_owned()),
        ("cf-cloudflared-response-meta".to_owned(), meta.to_owned()),
    ];
    Response { id, status, headers, body }
}
