//! A look at a public name as a visitor's browser would: one fresh connection, one GET, the first answer as it is.

use std::error::Error as StdError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url, Version};
use tokio::time::{Instant, timeout_at};

pub use super::answer::{Answer, BlindReason};
use super::answer::{classify, colo};
use super::dns::{Dns, DnsFailure};
use super::tls::{Judgement, Tls};

/// Most of a body that is read, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// Longest detail, in characters.
const DETAIL_LIMIT: usize = 200;

/// A public client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTPS client")]
pub struct PublicError(#[source] reqwest::Error);

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicTarget {
    /// Such as `https://app.example.com/health`.
    pub url: Url,
    /// Connect to one of these instead of resolving the name; the port of the URL holds.
    pub resolve: Vec<IpAddr>,
}

impl PublicTarget {
    /// The given path of a name over HTTPS.
    ///
    /// # Errors
    /// Host and path make no address.
    pub fn https(hostname: &str, path: &str) -> Result<Self, TargetError> {
        let text = format!("https://{hostname}/{}", path.trim_start_matches('/'));
        let url = Url::parse(&text).map_err(|source| TargetError { text: text.clone(), source })?;
        Ok(Self { url, resolve: Vec::new() })
    }
}

/// A target that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no address to ask")]
pub struct TargetError {
    text: String,
    #[source]
    source: <Url as std::str::FromStr>::Err,
}

/// One look at a public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicSight {
    pub answer: Answer,
    pub status: Option<u16>,
    /// The edge's error code.
    pub code: Option<u16>,
    /// For people: short, one line, printable. Empty where the answer says it all.
    pub detail: String,
    /// The edge's location (IATA code).
    pub colo: Option<String>,
    /// From the start of the look to its end, name resolution included.
    pub latency: Duration,
    /// `HTTP/2.0`, say; `None` without an answer.
    pub http_version: Option<&'static str>,
    /// When the certificate that was shown ends, in Unix seconds.
    pub certificate_expiry: Option<i64>,
}

/// One look at a name that does not use the tunnel: is this host's own way out working?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlSight {
    Answered,
    /// It answered with a server error, or the connection failed on the way.
    Failing(String),
    /// It could not be asked, so it says nothing about the way out.
    Blind(BlindReason, String),
}

/// Asks public names. Uses no proxy, follows no redirect, keeps no connection.
#[derive(Clone, Debug)]
pub struct PublicClient {
    shared: Client,
    tls: Tls,
    user_agent: String,
}

impl PublicClient {
    /// `user_agent` names us honestly: `tunnelwarden/1.2.3`.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn new(tls: &Tls, dns: Arc<Dns>, user_agent: &str) -> Result<Self, PublicError> {
        let resolver = Resolver { dns };
        let shared = builder(tls, user_agent).dns_resolver(resolver).build().map_err(PublicError)?;
        Ok(Self { shared, tls: tls.clone(), user_agent: user_agent.to_owned() })
    }

    /// Looks once; never longer than `deadline`.
    pub async fn look(&self, target: &PublicTarget, deadline: Duration) -> PublicSight {
        let start = Instant::now();
        let until = start + deadline;
        let mut sight = match self.client_for(target) {
            Ok(client) => match self.get(&client, with_nonce(&target.url), until).await {
                Ok(heard) => heard.sight(),
                Err(missed) => PublicSight::blind(missed.reason, missed.detail),
            },
            Err(error) => PublicSight::blind(BlindReason::BadTarget, chain(&error)),
        };
        sight.latency = start.elapsed();
        sight
    }

    /// Asks a name that does not use the tunnel; never longer than `deadline`.
    pub async fn control(&self, url: &Url, deadline: Duration) -> ControlSight {
        let until = Instant::now() + deadline;
        match self.get(&self.shared, with_nonce(url), until).await {
            Ok(heard) if heard.status < 500 => ControlSight::Answered,
            Ok(heard) => ControlSight::Failing(format!("status {}", heard.status)),
            Err(missed) => match missed.reason {
                BlindReason::Dns | BlindReason::BadTarget => {
                    ControlSight::Blind(missed.reason, missed.detail)
                }
                BlindReason::Connect
                | BlindReason::Tls
                | BlindReason::CertificateDates
                | BlindReason::Timeout
                | BlindReason::NotEdge
                | BlindReason::Garbled => ControlSight::Failing(missed.detail),
            },
        }
    }

    fn client_for(&self, target: &PublicTarget) -> Result<Client, reqwest::Error> {
        let host = target.url.host_str().unwrap_or_default();
        if target.resolve.is_empty() {
            return Ok(self.shared.clone());
        }
        // Port 0 stands for the URL's own.
        let addresses: Vec<SocketAddr> = target.resolve.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        builder(&self.tls, &self.user_agent).resolve_to_addrs(host, &addresses).build()
    }

    async fn get(&self, client: &Client, url: Url, until: Instant) -> Result<Heard, Missed> {
        let request = client.get(url).header(ACCEPT, "*/*").header(CACHE_CONTROL, "no-cache").send();
        let response = match timeout_at(until, request).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Missed::of(&error)),
            Err(_) => return Err(Missed::late("no answer in time")),
        };
        Heard::read(response, until).await
    }
}

fn builder(tls: &Tls, user_agent: &str) -> reqwest::ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls.web())
        .tls_info(true)
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        // A repeated request would hide what a visitor meets.
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .user_agent(user_agent)
}

/// The URL with a query that no cache has seen.
fn with_nonce(url: &Url) -> Url {
    let mut url = url.clone();
    // Seeded by the system's randomness, and another for each call.
    let nonce = RandomState::new().build_hasher().finish();
    url.query_pairs_mut().append_pair("tw", &format!("{nonce:016x}"));
    url
}

/// An answer as it came.
struct Heard {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
    version: &'static str,
    certificate_expiry: Option<i64>,
}

impl Heard {
    async fn read(mut response: Response, until: Instant) -> Result<Self, Missed> {
        let mut body = Vec::new();
        while body.len() < BODY_LIMIT {
            match timeout_at(until, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - body.len())]);
                }
                Ok(Ok(None)) => break,
                // Status and headers of a success say enough; an error page needs its body.
                Ok(Err(_)) | Err(_) if response.status().as_u16() < 400 => break,
                Ok(Err(error)) => return Err(Missed::of(&error)),
                Err(_) => return Err(Missed::late("the answer did not end in time")),
            }
        }
        let info = response.extensions().get::<reqwest::tls::TlsInfo>();
        Ok(Self {
            status: response.status().as_u16(),
            version: version(response.version()),
            certificate_expiry: info.and_then(|info| info.peer_certificate()).and_then(expiry),
            headers: response.headers().clone(),
            body,
        })
    }

    fn sight(self) -> PublicSight {
        let (answer, code) = classify(self.status, &self.headers, &self.body);
        let detail = match (answer, code) {
            (Answer::Blind(BlindReason::NotEdge), _) => {
                format!("status {}, not from Cloudflare's edge", self.status)
            }
            (Answer::Served, _) => String::new(),
            (_, Some(code)) => format!("status {}, error {code}", self.status),
            (_, None) => format!("status {}", self.status),
        };
        PublicSight {
            answer,
            status: Some(self.status),
            code,
            detail,
            colo: colo(&self.headers),
            latency: Duration::ZERO,
            http_version: Some(self.version),
            certificate_expiry: self.certificate_expiry,
        }
    }
}

impl PublicSight {
    fn blind(reason: BlindReason, detail: String) -> Self {
        Self {
            answer: Answer::Blind(reason),
            status: None,
            code: None,
            detail,
            colo: None,
            latency: Duration::ZERO,
            http_version: None,
            certificate_expiry: None,
        }
    }
}

/// No answer, and why.
struct Missed {
    reason: BlindReason,
    detail: String,
}

impl Missed {
    fn late(detail: &str) -> Self {
        Self { reason: BlindReason::Timeout, detail: detail.into() }
    }

    fn of(error: &reqwest::Error) -> Self {
        Self { reason: reason(error), detail: chain(innermost(error)) }
    }
}

fn reason(error: &reqwest::Error) -> BlindReason {
    if error.is_builder() {
        return BlindReason::BadTarget;
    }
    let mut next = deeper(error);
    while let Some(cause) = next {
        if cause.is::<DnsFailure>() {
            return BlindReason::Dns;
        }
        if let Some(tls) = cause.downcast_ref() {
            return of_tls(tls);
        }
        next = deeper(cause);
    }
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => BlindReason::Timeout,
        (false, true) => BlindReason::Connect,
        (false, false) => BlindReason::Garbled,
    }
}

fn of_tls(error: &rustls::Error) -> BlindReason {
    match Judgement::of(error) {
        Judgement::Dates => BlindReason::CertificateDates,
        Judgement::Trusted | Judgement::UnknownIssuer | Judgement::OtherName | Judgement::Refused => {
            BlindReason::Tls
        }
    }
}

/// The outer layers only repeat "error sending request" and the address.
fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut last = error;
    while let Some(cause) = deeper(last) {
        last = cause;
    }
    last
}

/// The next cause. An I/O error holds its cause inside and names only that one's source.
fn deeper<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inside) => Some(inside),
        None => error.source(),
    }
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_LIMIT).collect()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP",
    }
}

fn expiry(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Lets the HTTP client resolve as we do, with our typed failures.
struct Resolver {
    dns: Arc<Dns>,
}

/// Only a floor under the look's own deadline, which cuts it short.
const RESOLVE_LIMIT: Duration = Duration::from_secs(30);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let dns = self.dns.clone();
        Box::pin(async move {
            let found = dns.addresses(name.as_str(), RESOLVE_LIMIT).await?;
            let addresses: Addrs = Box::new(found.addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
