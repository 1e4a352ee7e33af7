//! The side visitors see: HTTPS with HTTP/2 and 1.1.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    api,
    events::Answer,
    hub::Hub,
    pages::{self, Page},
};
use crate::{pki, wire};

type Reply = Response<Full<Bytes>>;

const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
/// How long a connector may take to answer a request.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// The public side and the names it serves.
pub struct Public {
    pub hub: Arc<Hub>,
    /// Names that lead to the tunnel; a leading `*.` covers any depth below.
    pub hosts: Vec<String>,
    /// A name that is always answered, tunnel or not.
    pub control: String,
}

impl Public {
    /// Serves visitors for ever.
    ///
    /// # Errors
    /// The address cannot be listened on, or the certificate not used.
    pub async fn serve(self: Arc<Self>, address: SocketAddr, pki_dir: &Path) -> Result<()> {
        let tls = TlsAcceptor::from(tls(pki_dir)?);
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (public, tls) = (Arc::clone(&self), tls.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let Ok(Ok(stream)) = timeout(HANDSHAKE_WAIT, tls.accept(stream)).await else { return };
                let service = service_fn(move |request| {
                    let public = Arc::clone(&public);
                    async move { Ok::<_, Infallible>(public.answer(request).await) }
                });
                // A visitor who goes away is no event.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Reply {
        let host = host(&request);
        let ray = format!("{:016x}-LAB", rand::random::<u64>());
        let (mut reply, answer) = self.choose(request, &host, &ray).await;
        pages::set(&mut reply, "server", "cloudflare");
        pages::set(&mut reply, "cf-ray", &ray);
        if self.serves(&host) {
            self.hub.answered(&host, answer);
        }
        reply
    }

    async fn choose(&self, request: http::Request<Incoming>, host: &str, ray: &str) -> (Reply, Answer) {
        if request.uri().path() == "/cdn-cgi/trace" && (host == self.control || self.serves(host)) {
            return trace(host);
        }
        if host == api::HOST {
            let reply = self.hub.records(request.uri().path(), request.headers());
            let status = reply.status().as_u16();
            return (reply, Answer { status, code: None });
        }
        if host == self.control {
            return (Response::new(Full::from("ok\n")), Answer { status: 200, code: None });
        }
        if !self.serves(host) {
            return pages::coded(409, 1001);
        }
        if let Some(page) = self.hub.page(host) {
            return pages::make(page, host, ray);
        }
        let form = self.hub.form().unwrap_or_else(|| pages::negotiated(request.headers()));
        let Some(request) = to_wire(request, host, ray).await else { return pages::coded(413, 413) };
        match self.through_the_tunnel(request).await {
            Tunnelled::Answered(response) => relay(response),
            Tunnelled::Slow => pages::coded(502, 502),
            Tunnelled::NoRoute => pages::make(Page::TunnelError(form), host, ray),
        }
    }

    /// Tries one connection after the other while they die under the request.
    async fn through_the_tunnel(&self, request: wire::Request) -> Tunnelled {
        for _ in 0..8 {
            let Some(answer) = self.hub.carry(request.clone()) else { return Tunnelled::NoRoute };
            match timeout(ANSWER_WAIT, answer).await {
                Ok(Ok(response)) => return Tunnelled::Answered(response),
                // Only what is safe to repeat is repeated.
                Ok(Err(_)) if request.method == "GET" || request.method == "HEAD" => {}
                Ok(Err(_)) => return Tunnelled::NoRoute,
                Err(_) => return Tunnelled::Slow,
            }
        }
        Tunnelled::NoRoute
    }

    fn serves(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| match name.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix),
            None => name == host,
        })
    }
}

enum Tunnelled {
    Answered(wire::Response),
    Slow,
    NoRoute,
}

/// The visitor's host, lower case, without a port.
fn host(request: &http::Request<Incoming>) -> String {
    let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = request.uri().host().or(named).unwrap_or_default();
    host.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

fn trace(host: &str) -> (Reply, Answer) {
    let mut reply =
        Response::new(Full::from(format!("fl=1f1\nh={host}\nip=192.0.2.1\ncolo=LAB\nhttp=http/2\n")));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    (reply, Answer { status: 200, code: None })
}

/// The request as a connector gets it; `None` if its body is too long.
async fn to_wire(request: http::Request<Incoming>, host: &str, ray: &str) -> Option<wire::Request> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, wire::MAX_BODY).collect().await.ok()?.to_bytes();
    let kept = parts.headers.iter().filter(|(name, _)| !hop_by_hop(name) && *name != header::HOST);
    let mut headers: Vec<(String, String)> =
        kept.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect();
    headers.push(("cf-ray".into(), ray.into()));
    Some(wire::Request {
        id: 0,
        method: parts.method.to_string(),
        host: host.to_owned(),
        path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers,
        body: body.into(),
    })
}

fn relay(response: wire::Response) -> (Reply, Answer) {
    let by_connector = response.headers.iter().any(|(name, value)| {
        name == "cf-cloudflared-response-meta" && value.contains(r#""src":"cloudflared""#)
    });
    if response.status == 502 && by_connector {
        return pages::coded(502, 502);
    }
    let mut reply = Response::new(Full::from(response.body));
    *reply.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in &response.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            continue;
        };
        if !hop_by_hop(&name) && name != "cf-cloudflared-response-meta" && name != header::CONTENT_LENGTH {
            reply.headers_mut().append(name, value);
        }
    }
    pages::set(&mut reply, "cf-cache-status", "DYNAMIC");
    let answer = Answer { status: reply.status().as_u16(), code: None };
    (reply, answer)
}

/// Headers that speak about one connection only.
fn hop_by_hop(name: &HeaderName) -> bool {
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
        .contains(&name.as_str())
}

fn tls(dir: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let (chain, key) = pki::load(dir)?;
    let mut config = rustls::ServerConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
