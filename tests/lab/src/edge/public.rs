//! The side visitors see: HTTPS with HTTP/2 and 1.1.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    api, beside,
    carrier::{Carried, outgoing},
    events::Answer,
    hub::Hub,
    pages::{self, Page},
    websocket::{self, Switch},
};
use crate::{
    pki,
    wire::{Body, headers::hop_by_hop, whole},
};

/// A page of the edge's own.
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
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Response<Body> {
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

    async fn choose(
        &self,
        request: http::Request<Incoming>,
        host: &str,
        ray: &str,
    ) -> (Response<Body>, Answer) {
        match self.own(&request, host, ray) {
            Some((reply, answer)) => (reply.map(whole_of), answer),
            None => self.tunnelled(request, host, ray).await,
        }
    }

    /// What the edge answers by itself.
    fn own(&self, request: &http::Request<Incoming>, host: &str, ray: &str) -> Option<(Reply, Answer)> {
        if request.uri().path() == "/cdn-cgi/trace" && (host == self.control || self.serves(host)) {
            return Some(trace(host));
        }
        if host == api::HOST {
            let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
            let reply = self.hub.records(path, query, request.headers());
            let status = reply.status().as_u16();
            return Some((reply, Answer { status, code: None }));
        }
        if host == beside::STATUS_PAGE || host == beside::PROBER {
            let reply = match host {
                beside::STATUS_PAGE => self.hub.beside.status_page(request.uri().path()),
                _ => self.hub.beside.prober(),
            };
            let status = reply.status().as_u16();
            return Some((reply, Answer { status, code: None }));
        }
        if host == self.control {
            return Some((Response::new(Full::from("ok\n")), Answer { status: 200, code: None }));
        }
        if !self.serves(host) {
            return Some(pages::coded(409, 1001));
        }
        let page = self.hub.page(host)?;
        if page == Page::Access && pages::is_let_in(request.headers()) {
            return None;
        }
        Some(pages::make(page, host, ray))
    }

    async fn tunnelled(
        &self,
        mut request: http::Request<Incoming>,
        host: &str,
        ray: &str,
    ) -> (Response<Body>, Answer) {
        let form = self.hub.form().unwrap_or_else(|| pages::negotiated(request.headers()));
        let switch = websocket::is_asked_for(request.headers()).then(|| Switch::prepare(&mut request));
        let (switch, sent) = switch.unzip();
        let request = request.map(|body| sent.unwrap_or_else(|| body.map_err(Into::into).boxed_unsync()));
        let (reply, answer) = match self.through_the_tunnel(request, host, ray).await {
            Tunnelled::Answered(carried) if !carried.by_connector => {
                let reply = relay(carried.response);
                let reply = if let Some(switch) = switch { switch.answer(reply) } else { reply };
                let answer = Answer { status: reply.status().as_u16(), code: None };
                return (reply, answer);
            }
            // The connector could not ask the origin, or took too long.
            Tunnelled::Answered(_) | Tunnelled::Slow => pages::coded(502, 502),
            Tunnelled::NoRoute => pages::make(Page::TunnelError(form), host, ray),
        };
        (reply.map(whole_of), answer)
    }

    /// Tries one connection after the other while they die under the request.
    async fn through_the_tunnel(&self, request: http::Request<Body>, host: &str, ray: &str) -> Tunnelled {
        let (head, body) = request.into_parts();
        let Some(mut head) = outgoing(&head, host) else { return Tunnelled::NoRoute };
        if let Ok(ray) = HeaderValue::try_from(ray) {
            head.headers.insert("cf-ray", ray);
        }
        // Only what is safe to repeat is repeated.
        let repeatable = [Method::GET, Method::HEAD].contains(&head.method) && body.is_end_stream();
        let mut body = Some(body);
        for _ in 0..8 {
            let Some(route) = self.hub.route() else { return Tunnelled::NoRoute };
            let body = body.take().unwrap_or_else(|| whole(Bytes::new()));
            let request = http::Request::from_parts(head.clone(), body);
            let carrying = timeout(ANSWER_WAIT, route.carrier.carry(request));
            let carried = tokio::select! {
                carried = carrying => carried,
                () = route.gone.cancelled() => Ok(Err(std::io::ErrorKind::NotConnected.into())),
            };
            match carried {
                Ok(Ok(mut carried)) => {
                    let busy = route.busy;
                    carried.response = carried.response.map(|body| {
                        let held = move |frame| {
                            let _held = &busy;
                            frame
                        };
                        body.map_frame(held).boxed_unsync()
                    });
                    return Tunnelled::Answered(carried);
                }
                Ok(Err(_)) if repeatable => {}
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
    Answered(Carried),
    Slow,
    NoRoute,
}

fn whole_of(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
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

fn relay(mut response: Response<Body>) -> Response<Body> {
    let hops: Vec<_> = response.headers().keys().filter(|name| hop_by_hop(name)).cloned().collect();
    for name in hops {
        response.headers_mut().remove(name);
    }
    pages::set(&mut response, "cf-cache-status", "DYNAMIC");
    response
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
