//! The one connection of a look, opened by hand so that each phase of it can be timed.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Phases;
use super::missed::Missed;

/// The second family of addresses is tried beside the first after so long (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(300);
/// A connection that is done with says goodbye within this time.
const GOODBYE: Duration = Duration::from_secs(2);

/// An open connection that has carried nothing yet.
pub(super) struct Connection {
    sender: Sender,
    /// When the certificate that was shown ends, in Unix seconds.
    pub(super) certificate_expiry: Option<i64>,
}

enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    /// Connects to the first of `addresses` that answers, and shows it `host`.
    pub(super) async fn open(
        tls: &Arc<ClientConfig>,
        host: &str,
        addresses: &[SocketAddr],
        until: Instant,
        phases: &mut Phases,
    ) -> Result<Self, Missed> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Missed::bad_target("the host is no name to ask for"))?;
        let began = Instant::now();
        let stream = tcp(addresses, until).await?;
        phases.tcp = Some(began.elapsed());
        // A look is one small question.
        let _ = stream.set_nodelay(true);
        let began = Instant::now();
        let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        let stream = match timeout_at(until, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Missed::of_handshake(&error)),
            Err(_) => return Err(Missed::late("no TLS handshake in time")),
        };
        phases.tls = Some(began.elapsed());
        Self::speak(stream, until).await
    }

    async fn speak(stream: TlsStream<TcpStream>, until: Instant) -> Result<Self, Missed> {
        let session = stream.get_ref().1;
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let certificate_expiry = leaf.and_then(|leaf| expiry(leaf));
        let two = session.alpn_protocol() == Some(b"h2".as_slice());
        let stream = TokioIo::new(stream);
        // It ends by itself when its sender and its answer are dropped, as every way out of a look does.
        let linger = until.saturating_duration_since(Instant::now()) + GOODBYE;
        let sender = if two {
            let (sender, driver) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(|error| Missed::of(&error))?;
            tokio::spawn(timeout(linger, driver));
            Sender::Two(sender)
        } else {
            let (sender, driver) = http1::handshake(stream).await.map_err(|error| Missed::of(&error))?;
            tokio::spawn(timeout(linger, driver));
            Sender::One(sender)
        };
        Ok(Self { sender, certificate_expiry })
    }

    /// HTTP/2 was agreed on, which wants the whole URL and no `host` header.
    pub(super) fn is_two(&self) -> bool {
        matches!(self.sender, Sender::Two(_))
    }

    /// Sends the one request.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
        until: Instant,
        phases: &mut Phases,
    ) -> Result<Response<Incoming>, Missed> {
        let began = Instant::now();
        let answered = match &mut self.sender {
            Sender::One(sender) => timeout_at(until, sender.send_request(request)).await,
            Sender::Two(sender) => timeout_at(until, sender.send_request(request)).await,
        };
        match answered {
            Ok(Ok(response)) => {
                phases.first_byte = Some(began.elapsed());
                Ok(response)
            }
            Ok(Err(error)) => Err(Missed::of(&error)),
            Err(_) => Err(Missed::late("no answer in time")),
        }
    }
}

/// IPv4 and IPv6 compete, the family of the first address with a head start.
async fn tcp(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Missed> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == first);
    let mut one = pin!(in_turn(&preferred, until));
    if let Ok(opened) = timeout(HEAD_START, &mut one).await {
        return match opened {
            Err(_) if !other.is_empty() => in_turn(&other, until).await,
            opened => opened,
        };
    }
    if other.is_empty() {
        return one.await;
    }
    let mut two = pin!(in_turn(&other, until));
    tokio::select! {
        opened = &mut one => match opened {
            Ok(stream) => Ok(stream),
            Err(_) => two.await,
        },
        opened = &mut two => match opened {
            Ok(stream) => Ok(stream),
            Err(_) => one.await,
        },
    }
}

/// Tries one after the other, each for its share of the time; the last one's failure counts.
async fn in_turn(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Missed> {
    let mut missed = Missed::no_connection("there is no address to connect to");
    for (place, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
        missed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Missed::no_connection(&error.to_string()),
            Err(_) => Missed::late("no connection in time"),
        };
    }
    Err(missed)
}

fn expiry(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
