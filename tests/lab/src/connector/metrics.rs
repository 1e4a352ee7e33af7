//! The local HTTP server: `/ready`, `/healthcheck`, `/metrics`, `/config`, `/diag/tunnel`.

use std::{convert::Infallible, fmt::Write as _, sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::{VERSION, state::State};

const FIRST_PORT: u16 = 20241;
const LAST_PORT: u16 = 20245;

/// Opens the listener: the given address, or the first free known port, or any.
///
/// # Errors
/// The text cloudflared leaves with.
pub async fn listen(address: Option<&str>) -> Result<TcpListener, String> {
    if let Some(address) = address {
        let bound = TcpListener::bind(address).await;
        return bound.map_err(|_| {
            format!(
                "failed to bind to address ({address}): listen tcp {address}: bind: address already in use"
            )
        });
    }
    for port in FIRST_PORT..=LAST_PORT {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener);
        }
    }
    TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| error.to_string())
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let Some(stream) = nonsense(stream).await else { return };
            let service = service_fn(|request| {
                let answer = answer(&request, &state);
                async { Ok::<_, Infallible>(answer) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// `STANDIN_READY_FROM` names a file; while it exists, its bytes are the whole answer to `/ready`. Hands back what it does
/// not answer.
async fn nonsense(mut stream: TcpStream) -> Option<TcpStream> {
    let Ok(path) = std::env::var("STANDIN_READY_FROM") else { return Some(stream) };
    let Ok(bytes) = tokio::fs::read(path).await else { return Some(stream) };
    let mut head = [0; 10];
    if stream.peek(&mut head).await.is_ok_and(|read| head[..read].starts_with(b"GET /ready")) {
        // The asker may hang up before the end.
        let _ = stream.write_all(&bytes).await;
        return None;
    }
    Some(stream)
}

fn answer(request: &http::Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/ready" => {
            let ready = state.ready();
            let status = if ready > 0 { 200 } else { 503 };
            // In this order, as the real one.
            let body = format!(
                "{{\"status\":{status},\"readyConnections\":{ready},\"connectorId\":\"{}\"}}",
                state.connector_id
            );
            reply(status, "text/plain; charset=utf-8", body)
        }
        "/healthcheck" => reply(200, "text/plain; charset=utf-8", "OK\n".into()),
        "/metrics" => reply(200, "text/plain; version=0.0.4; charset=utf-8", exposition(state)),
        "/config" => reply(200, "application/json", state.ingress.borrow().to_json().to_string()),
        "/quicktunnel" => reply(200, "application/json", json!({ "hostname": "" }).to_string()),
        "/diag/tunnel" => {
            state.log.info("Collection started", vec![("collector", "tunnelState".into())]);
            let body = state.diagnosis().to_string();
            state.log.info("Collection finished", vec![("collector", "tunnelState".into())]);
            reply(200, "application/json", body)
        }
        _ => reply(404, "text/plain; charset=utf-8", "404 page not found\n".into()),
    }
}

fn reply(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Series the real one creates late are left out until they have happened, too.
fn exposition(state: &State) -> String {
    let counters = &state.counters;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, labels: &str, value: i64| {
        let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} {kind}\n{name}{labels} {value}");
    };
    let unsigned = |counter: &std::sync::atomic::AtomicU64| {
        i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    };
    let build = format!(r#"{{goversion="go1.27.3",revision="lab",type="",version="{VERSION}"}}"#);
    family("build_info", "gauge", &build, 1);
    let (pushes, failed) = (unsigned(&counters.config_pushes), unsigned(&counters.config_push_errors));
    family("cloudflared_config_local_config_pushes", "counter", "", pushes);
    family("cloudflared_config_local_config_pushes_errors", "counter", "", failed);
    family("cloudflared_orchestration_config_version", "gauge", "", state.ingress.borrow().version.max(0));
    let concurrent = counters.concurrent_requests.load(Ordering::Relaxed);
    family("cloudflared_tunnel_concurrent_requests_per_tunnel", "gauge", "", concurrent);
    let attempts = counters.ha_connections.load(Ordering::Relaxed);
    family("cloudflared_tunnel_ha_connections", "gauge", "", attempts);
    family("cloudflared_tunnel_request_errors", "counter", "", unsigned(&counters.request_errors));
    family("cloudflared_tunnel_total_requests", "counter", "", unsigned(&counters.total_requests));
    let (success, fail) = (unsigned(&counters.register_success), unsigned(&counters.register_fail));
    let duplicate = unsigned(&counters.register_duplicate);
    for (kind, count) in [("server_error", fail), ("dup_edge_conn", duplicate)] {
        if count > 0 {
            let labels = format!(r#"{{error="{kind}",rpcName="registerConnection"}}"#);
            family("cloudflared_tunnel_tunnel_register_fail", "counter", &labels, count);
        }
    }
    if fail + duplicate > 0 {
        let labels = r#"{handler="registration",method="register_connection"}"#;
        family("cloudflared_rpc_client_failures", "counter", labels, fail + duplicate);
    }
    for (index, bytes) in state.quic_received() {
        let labels = format!(r#"{{conn_index="{index}"}}"#);
        family("quic_client_receive_bytes", "counter", &labels, i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    if success > 0 {
        let labels = r#"{rpcName="registerConnection"}"#;
        family("cloudflared_tunnel_tunnel_register_success", "counter", labels, success);
    }
    text
}
