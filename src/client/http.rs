//! A look at a public name as a visitor's browser would: one fresh connection, one GET, the first answer as it is.

mod connection;
mod expected;
mod heard;
mod missed;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use reqwest::Url;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderValue, InvalidHeaderValue, USER_AGENT};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::answer::Marks;
pub use super::answer::{Answer, BlindReason};
use super::dns::Dns;
use super::tls::Tls;
use connection::Connection;
pub use expected::{Expected, ServiceToken, ServiceTokenError};
use heard::Heard;
use missed::Missed;

/// Addresses are asked for anew at least this often, whatever their record allows. More than the minute between the looks
/// at one of many names, so that every other look needs no question.
const ADDRESSES_KEPT: Duration = Duration::from_secs(90);
const ANYTHING: &str = "*/*";
/// The form in which the edge names its error codes (RFC 9457), whatever the owner's page looks like.
const PROBLEM: &str = "application/problem+json";

/// A public client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the user agent is no header value")]
pub struct PublicError(#[source] InvalidHeaderValue);

/// What to ask.
#[derive(Clone, Debug)]
pub struct PublicTarget {
    /// Such as `https://app.example.com/health`.
    pub url: Url,
    /// Connect to the first of these that answers instead of resolving the name; the port of the URL holds.
    pub resolve: Vec<IpAddr>,
    /// What the origin's own answer is known by.
    pub expected: Expected,
    /// Sent to this target alone.
    pub access: Option<ServiceToken>,
}

impl PublicTarget {
    /// The given path of a name over HTTPS.
    ///
    /// # Errors
    /// Host and path make no address.
    pub fn https(hostname: &str, path: &str) -> Result<Self, TargetError> {
        let text = format!("https://{hostname}/{}", path.trim_start_matches('/'));
        let url = Url::parse(&text).map_err(|source| TargetError { text: text.clone(), source })?;
        Ok(Self::of(url))
    }

    /// A URL, nothing expected of it.
    pub fn of(url: Url) -> Self {
        Self { url, resolve: Vec::new(), expected: Expected::default(), access: None }
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
    pub phases: Phases,
    /// Of the answer; empty without one.
    pub marks: Marks,
}

/// How long each phase of a look took; `None` for one that was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Nothing where the addresses were still known.
    pub dns: Option<Duration>,
    pub tcp: Option<Duration>,
    pub tls: Option<Duration>,
    /// From the request to the head of the answer.
    pub first_byte: Option<Duration>,
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

/// What the last look at a target left for the next one: the addresses, for as long as their DNS record may be kept.
/// Only a served look leaves them, so that whoever is in trouble is resolved anew each time.
#[derive(Debug, Default)]
pub struct Known(Option<(Vec<IpAddr>, Instant)>);

/// Asks public names. Uses no proxy, follows no redirect, keeps no connection.
#[derive(Clone, Debug)]
pub struct PublicClient {
    tls: Arc<ClientConfig>,
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
        Ok(Self { tls: Arc::new(tls.web()), dns, user_agent })
    }

    /// The same, with names from another resolver.
    #[must_use]
    pub fn resolving_by(&self, dns: Arc<Dns>) -> Self {
        Self { dns, ..self.clone() }
    }

    /// Looks once; never longer than `deadline`.
    pub async fn look(&self, target: &PublicTarget, known: &mut Known, deadline: Duration) -> PublicSight {
        let start = Instant::now();
        let until = start + deadline;
        let mut phases = Phases::default();
        let ready = match known.0.take().filter(|(_, valid_until)| start < *valid_until) {
            Some(ready) => {
                phases.dns = Some(Duration::ZERO);
                Ok(ready)
            }
            None => self.addresses(&target.url, &target.resolve, until, &mut phases).await,
        };
        let mut sight = match &ready {
            Ok((addresses, _)) => self.sight(target, addresses, until, &mut phases).await,
            Err(missed) => PublicSight::blind(missed.clone()),
        };
        known.0 = ready.ok().filter(|_| sight.answer == Answer::Served);
        sight.phases = phases;
        sight.latency = start.elapsed();
        sight
    }

    async fn sight(
        &self,
        target: &PublicTarget,
        addresses: &[IpAddr],
        until: Instant,
        phases: &mut Phases,
    ) -> PublicSight {
        let sight = match self.get(target, addresses, ANYTHING, until, phases).await {
            Ok(heard) => heard.sight(target),
            Err(missed) => return PublicSight::blind(missed),
        };
        // The owner of a zone may have put a page of his own over the edge's: the edge is asked once more, in the form
        // that such a page replaces only if it was made to.
        if sight.status != Some(530) || sight.answer != Answer::EdgeError || sight.code.is_some() {
            return sight;
        }
        match self.get(target, addresses, PROBLEM, until, &mut Phases::default()).await {
            Ok(heard) => {
                let named = heard.sight(target);
                if named.code.is_some() { named } else { sight }
            }
            Err(_) => sight,
        }
    }

    /// Asks a name that does not use the tunnel; never longer than `deadline`.
    pub async fn control(&self, url: &Url, deadline: Duration) -> ControlSight {
        let until = Instant::now() + deadline;
        let mut phases = Phases::default();
        let heard = match self.addresses(url, &[], until, &mut phases).await {
            Ok((addresses, _)) => {
                self.get(&PublicTarget::of(url.clone()), &addresses, ANYTHING, until, &mut phases).await
            }
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

    /// Where to connect, resolved apart so that a slow resolver is told from a slow edge; and until when that holds.
    async fn addresses(
        &self,
        url: &Url,
        fixed: &[IpAddr],
        until: Instant,
        phases: &mut Phases,
    ) -> Result<(Vec<IpAddr>, Instant), Missed> {
        let now = Instant::now();
        let (addresses, valid_for) = if fixed.is_empty() {
            let left = until.saturating_duration_since(now);
            let found = self.dns.addresses(url.host_str().unwrap_or_default(), left).await;
            phases.dns = Some(now.elapsed());
            let found = found.map_err(|failure| Missed::unresolved(&failure))?;
            (found.addresses, found.valid_for)
        } else {
            (fixed.to_vec(), ADDRESSES_KEPT)
        };
        Ok((addresses, now + valid_for.min(ADDRESSES_KEPT)))
    }

    /// One GET over a connection of its own.
    async fn get(
        &self,
        target: &PublicTarget,
        addresses: &[IpAddr],
        accept: &'static str,
        until: Instant,
        phases: &mut Phases,
    ) -> Result<Heard, Missed> {
        let url = with_nonce(&target.url);
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let mut connection = Connection::open(&self.tls, host, &addresses, until, phases).await?;
        let request = self.request(&url, target, accept, connection.is_two())?;
        let certificate_expiry = connection.certificate_expiry;
        let response = connection.send(request, until, phases).await?;
        Heard::read(response, certificate_expiry, target.expected.body.is_some(), until).await
    }

    fn request(
        &self,
        url: &Url,
        target: &PublicTarget,
        accept: &'static str,
        two: bool,
    ) -> Result<Request<Empty<Bytes>>, Missed> {
        let query = url.query().unwrap_or_default();
        let mut request = Request::get(if two {
            url.as_str().split('#').next().unwrap_or_default().to_owned()
        } else {
            format!("{}?{query}", url.path())
        });
        if !two {
            let host = url.host_str().unwrap_or_default();
            let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            request = request.header(HOST, host);
        }
        request = request
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT, accept)
            .header(CACHE_CONTROL, "no-cache");
        if let Some(token) = &target.access {
            // It was tried when it was read.
            for (name, value) in token.headers().into_iter().flatten() {
                request = request.header(name, value);
            }
        }
        request.body(Empty::new()).map_err(|_| Missed::bad_target("the address makes no request"))
    }
}

/// The URL with a query that no cache has seen.
pub fn with_nonce(url: &Url) -> Url {
    let mut url = url.clone();
    // Seeded by the system's randomness, and another for each call.
    let nonce = RandomState::new().build_hasher().finish();
    url.query_pairs_mut().append_pair("tw", &format!("{nonce:016x}"));
    url
}

impl PublicSight {
    fn blind(missed: Missed) -> Self {
        Self {
            answer: Answer::Blind(missed.reason),
            status: None,
            code: None,
            detail: missed.detail,
            colo: None,
            latency: Duration::ZERO,
            http_version: None,
            certificate_expiry: None,
            phases: Phases::default(),
            marks: Marks::default(),
        }
    }
}

#[cfg(test)]
mod tests;
