//! A visitor's request on its way to the origin.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{copy_bidirectional, duplex, join},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    dial::go_dial,
    ingress::{Ingress, Rule, Service},
    settings::Protocol,
    state::State,
};
use crate::wire::{
    Body, CHUNK, UPGRADE, WEBSOCKET, flowing, headers::hop_by_hop, is_websocket, read_body, whole,
};

const CONNECT_WAIT: Duration = Duration::from_secs(30);
const ORIGIN_WAIT: Duration = Duration::from_secs(60);

/// The connection a request came by, for the log.
#[derive(Debug, Clone)]
pub struct Via {
    pub index: usize,
    pub edge: String,
    pub protocol: Protocol,
}

/// What is sent back.
pub enum Reply {
    /// The origin, or a rule, answered.
    Origin(Response<Body>),
    /// The origin could not be asked, in cloudflared's words; a visitor sees the edge's 502.
    Failed(String),
}

/// What a request asks for, kept for the log.
struct Asked {
    host: String,
    path: String,
}

/// Answers a request, whose host is in its headers; what goes wrong is two lines of log.
pub async fn answer(state: &Arc<State>, via: Via, request: Request<Body>) -> Reply {
    state.counters.total_requests.fetch_add(1, Ordering::Relaxed);
    state.counters.concurrent_requests.fetch_add(1, Ordering::Relaxed);
    let ingress = Arc::clone(&state.ingress.borrow());
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let asked = Asked { host: host.to_owned(), path: request.uri().path().to_owned() };
    let reply = match through(&ingress, &asked, request).await {
        Ok(response) => Reply::Origin(response),
        Err((number, rule, reason)) => {
            state.counters.request_errors.fetch_add(1, Ordering::Relaxed);
            Reply::Failed(complain(state, &via, &asked, (number, &rule.written), &reason))
        }
    };
    state.counters.concurrent_requests.fetch_sub(1, Ordering::Relaxed);
    reply
}

async fn through<'a>(
    ingress: &'a Ingress,
    asked: &Asked,
    request: Request<Body>,
) -> Result<Response<Body>, (usize, &'a Rule, String)> {
    let Some((number, rule)) = ingress.matching(&asked.host, &asked.path) else {
        return Ok(made(404, "text/plain", ""));
    };
    match &rule.service {
        Service::Status(status) => Ok(made(*status, "text/plain", "")),
        Service::HelloWorld => {
            Ok(made(200, "text/html", "<html><body>Congrats! You created a tunnel!</body></html>"))
        }
        Service::Other => Err((number, rule, "the stand-in reaches plain HTTP origins only".into())),
        Service::Http(origin) => fetch(origin, request).await.map_err(|reason| (number, rule, reason)),
    }
}

async fn fetch(origin: &str, request: Request<Body>) -> Result<Response<Body>, String> {
    let stream = connect(origin).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let (mut head, mut body) = request.into_parts();
    // What a WebSocket's visitor says is for later.
    let visitor = is_websocket(&head.headers).then(|| std::mem::replace(&mut body, whole(Vec::new())));
    head.headers.remove(UPGRADE);
    if visitor.is_some() {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        head.headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(|_| "bad path".to_owned())?;
    head.version = http::Version::HTTP_11;
    let exchange = sender.send_request(Request::from_parts(head, body));
    let response = timeout(ORIGIN_WAIT, exchange).await.map_err(|_| "i/o timeout".to_owned())?;
    let mut response = response.map_err(|error| error.to_string())?;
    let hops: Vec<_> = response.headers().keys().filter(|name| hop_by_hop(name)).cloned().collect();
    for name in hops {
        response.headers_mut().remove(name);
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(visitor)) = (response.status(), visitor) {
        let switching = hyper::upgrade::on(&mut response);
        let (ours, sent) = duplex(CHUNK);
        tokio::spawn(async move {
            let Ok(origin) = switching.await else { return };
            // However it ends, dropping both sides tells them.
            let _ = copy_bidirectional(&mut TokioIo::new(origin), &mut join(read_body(visitor), ours)).await;
        });
        return Ok(response.map(|_| flowing(sent)));
    }
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
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

/// The lines of an origin that cannot be reached; they say nothing against the tunnel. Hands back the error.
fn complain(state: &State, via: &Via, asked: &Asked, rule: (usize, &str), reason: &str) -> String {
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
            let fields = vec![
                ("connIndex", via.index.into()),
                ("dest", format!("https://{}{}", asked.host, asked.path).into()),
                ("event", 0.into()),
                ("ip", via.edge.as_str().into()),
                ("type", "http".into()),
            ];
            state.log.error("Request failed", &error, fields);
        }
    }
    error
}

fn made(status: u16, kind: &'static str, body: &'static str) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
