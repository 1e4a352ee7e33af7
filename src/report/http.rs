//! `/metrics`, `/healthz`, `/status` and the page. Read-only; bound elsewhere than to loopback it serves the first
//! two only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use super::ask::{Ask, Health, ask};

/// At most this many connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// A whole connection, so that one held open harms nobody.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
/// Serves until the loop is gone.
pub async fn serve(listener: TcpListener, asks: mpsc::Sender<Ask>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let local = listener.local_addr().ok();
    let loopback = local.is_some_and(|addr| addr.ip().is_loopback());
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!("cannot accept a connection on the metrics port: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let asks = asks.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let asks = asks.clone();
                async move { Ok::<_, Infallible>(answer(&request, loopback, local, &asks).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off or dawdles is its own problem.
            drop(tokio::time::timeout(CONNECTION_LIMIT, connection).await);
            drop(slot);
        });
    }
}

async fn answer(
    request: &Request<Incoming>,
    loopback: bool,
    local: Option<SocketAddr>,
    asks: &mpsc::Sender<Ask>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET here; control goes over D-Bus\n");
    }
    if loopback && !host_is_ours(request, local) {
        return text(StatusCode::FORBIDDEN, "the Host header must be localhost or a loopback address\n");
    }
    match (request.uri().path(), loopback) {
        ("/metrics", _) => match ask(asks, Ask::Metrics).await {
            Some(body) => typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body),
            None => stuck(),
        },
        ("/healthz", _) => match ask(asks, Ask::Health).await {
            Some(Health::Deciding) => text(StatusCode::OK, "ok\n"),
            Some(Health::AllBlind) => text(StatusCode::SERVICE_UNAVAILABLE, "every sense is blind\n"),
            None => stuck(),
        },
        ("/status", true) => match ask(asks, Ask::Status).await {
            Some(status) => match serde_json::to_string_pretty(&*status) {
                Ok(json) => typed(StatusCode::OK, "application/json", json + "\n"),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            None => stuck(),
        },
        ("/", true) => match ask(asks, Ask::Status).await {
            Some(status) => typed(StatusCode::OK, "text/html; charset=utf-8", super::page::render(&status)),
            None => stuck(),
        },
        (_, _) => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz, /status and /\n"),
    }
}

/// A page elsewhere may point a name of its own at 127.0.0.1 and read us with a visitor's browser; its Host gives
/// it away.
fn host_is_ours(request: &Request<Incoming>, local: Option<SocketAddr>) -> bool {
    let Some(host) = request.headers().get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    host_allowed(host, local)
}

fn host_allowed(host: &str, local: Option<SocketAddr>) -> bool {
    if local.is_some_and(|addr| addr.to_string() == host) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn stuck() -> Response<Full<Bytes>> {
    text(StatusCode::SERVICE_UNAVAILABLE, "the decision loop does not turn\n")
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body.to_owned())
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_answered() {
        let local = "127.0.0.1:9733".parse().ok();
        for good in ["127.0.0.1:9733", "localhost", "LOCALHOST:9733", "[::1]:9733", "127.0.0.1"] {
            assert!(host_allowed(good, local), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:9733", "127.0.0.1.evil.example", "", "10.0.0.1", "localhost.evil"]
        {
            assert!(!host_allowed(bad, local), "{bad}");
        }
    }
}
