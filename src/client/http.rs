//! A look at a public name as a visitor's browser would: one fresh connection, one GET, the first answer as it is.

use std::error::Error as StdError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderValue, InvalidHeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url, Version};
use tokio::time::{Instant, timeout_at};

pub use super::answer::{Answer, BlindReason};
use super::answer::{classify, colo};
use super::dns::{Dns, DnsFailure};
use super::tls::{Judgement, Tls};

/// Most of a body that is read, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// How long the body of a success is read.
const PATIENCE: Duration = Duration::from_secs(1);
/// Addresses are asked for anew at least this often, whatever their record allows.
const ADDRESSES_KEPT: Duration = Duration::from_secs(60);
/// Longest detail, in characters.
const DETAIL_LIMIT: usize = 200;

/// A public client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the user agent is no header value")]
pub struct PublicError(#[source] InvalidHeaderValue);

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

/// What the last look at a target left for the next one: a client that knows the addresses, for as long as its DNS
/// record may be kept. Only a served look leaves one, so that whoever is in trouble is resolved anew each time.
#[derive(Debug, Default)]
pub struct Known(Option<(Client, Instant)>);

/// Asks public names. Uses no proxy, follows no redirect, keeps no connection.
#[derive(Clone, Debug)]
pub struct PublicClient {
    tls: Tls,
    dns: Arc<Dns>,
    user_agent: HeaderValue,
}

impl PublicClient {
    /// `user_agent` names us honestly: `tunnelwarden/1.2.3`.
    ///
    /// # Errors
    /// It holds what no header may hold.
    pub fn new(tls: &Tls, dns: Arc<Dns>, user_agent: &str) -> Result<Self, PublicError> {
        let user_agent = HeaderValue::from_str(user_agent).map_err(PublicError)?;
        Ok(Self { tls: tls.clone(), dns, user_agent })
    }

    /// Looks once; never longer than `deadline`.
    pub async fn look(&self, target: &PublicTarget, known: &mut Known, deadline: Duration) -> PublicSight {
        let start = Instant::now();
        let until = start + deadline;
        let ready = match known.0.take().filter(|(_, valid_until)| start < *valid_until) {
            Some(ready) => Ok(ready),
            None => self.client(&target.url, &target.resolve, until).await,
        };
        let heard = match &ready {
            Ok((client, _)) => get(client, &target.url, until).await.map(Heard::sight),
            Err(missed) => Err(missed.clone()),
        };
        let mut sight = heard.unwrap_or_else(|missed| PublicSight::blind(missed.reason, missed.detail));
        known.0 = ready.ok().filter(|_| sight.answer == Answer::Served);
        sight.latency = start.elapsed();
        sight
    }

    /// Asks a name that does not use the tunnel; never longer than `deadline`.
    pub async fn control(&self, url: &Url, deadline: Duration) -> ControlSight {
        let until = Instant::now() + deadline;
        let heard = match self.client(url, &[], until).await {
            Ok((client, _)) => get(&client, url, until).await,
            Err(missed) => Err(missed),
        };
        match heard {
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

    /// A client that knows the addresses, so that a slow resolver is told from a slow edge; and until when they hold.
    async fn client(&self, url: &Url, fixed: &[IpAddr], until: Instant) -> Result<(Client, Instant), Missed> {
        let host = url.host_str().unwrap_or_default();
        let now = Instant::now();
        let (addresses, valid_for) = if fixed.is_empty() {
            let left = until.saturating_duration_since(now);
            let found = self.dns.addresses(host, left).await;
            let found = found.map_err(|failure| Missed::unresolved(&failure))?;
            (found.addresses, found.valid_for)
        } else {
            (fixed.to_vec(), ADDRESSES_KEPT)
        };
        // Port 0 stands for the URL's own.
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        Client::builder()
            .tls_backend_preconfigured(self.tls.web())
            .tls_info(true)
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            // A repeated request would hide what a visitor meets.
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .user_agent(self.user_agent.clone())
            .resolve_to_addrs(host, &addresses)
            .build()
            .map(|client| (client, now + valid_for.min(ADDRESSES_KEPT)))
            .map_err(|error| Missed::of(&error))
    }
}

/// One GET over a connection of its own.
async fn get(client: &Client, url: &Url, until: Instant) -> Result<Heard, Missed> {
    let request = client.get(with_nonce(url)).header(ACCEPT, "*/*").header(CACHE_CONTROL, "no-cache").send();
    let response = match timeout_at(until, request).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Missed::of(&error)),
        Err(_) => return Err(Missed::late("no answer in time")),
    };
    Heard::read(response, until).await
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
        // An error page needs its body. A success needs none: its body is read a while, since breaking it off puts an
        // error line into cloudflared's journal.
        let page = response.status().as_u16() >= 400;
        let until = if page { until } else { until.min(Instant::now() + PATIENCE) };
        let mut body = Vec::new();
        while body.len() < BODY_LIMIT {
            match timeout_at(until, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - body.len())]);
                }
                Ok(Ok(None)) => break,
                Ok(Err(_)) | Err(_) if !page => break,
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
#[derive(Clone)]
struct Missed {
    reason: BlindReason,
    detail: String,
}

impl Missed {
    fn late(detail: &str) -> Self {
        Self { reason: BlindReason::Timeout, detail: detail.into() }
    }

    fn unresolved(failure: &DnsFailure) -> Self {
        Self { reason: BlindReason::Dns, detail: chain(failure) }
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

#[cfg(test)]
mod tests;
