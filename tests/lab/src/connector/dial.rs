//! Reaching the edge over TCP with TLS or over QUIC, with Go's words for what goes wrong.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{CertificateError, ClientConfig, RootCertStore, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::settings::Protocol;
use crate::{
    pki,
    wire::{ALPN_QUIC, SNI_H2, SNI_QUIC},
};

const TCP_WAIT: Duration = Duration::from_secs(15);
const QUIC_IDLE: Duration = Duration::from_secs(5);
/// Requests under way at a time; the real one sets no limit.
const QUIC_STREAMS: u32 = 1000;
const QUIC_KEEPALIVE: Duration = Duration::from_secs(1);
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// TLS for both transports.
#[derive(Clone)]
pub struct Dialer {
    tcp: TlsConnector,
    quic: quinn::ClientConfig,
}

/// A connection that is up, not yet registered.
pub enum Link {
    Http2(Box<TlsStream<TcpStream>>),
    Quic(quinn::Connection, Endpoint),
}

impl Dialer {
    /// Trusts `cacert`, or else what the system trusts.
    ///
    /// # Errors
    /// `cacert` was given and cannot be read.
    pub fn new(cacert: Option<&str>) -> anyhow::Result<Self> {
        let roots = match cacert {
            Some(path) => pki::certificates(Path::new(path))?,
            // Without any, every handshake fails and says so.
            None => pki::certificates(Path::new(SYSTEM_ROOTS)).unwrap_or_default(),
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        let client = |versions| -> anyhow::Result<ClientConfig> {
            let builder =
                ClientConfig::builder_with_provider(pki::provider()).with_protocol_versions(versions)?;
            Ok(builder.with_root_certificates(store.clone()).with_no_client_auth())
        };
        let tcp = TlsConnector::from(Arc::new(client(rustls::ALL_VERSIONS)?));
        let mut quic = client(&[&rustls::version::TLS13])?;
        quic.alpn_protocols = vec![ALPN_QUIC.to_vec()];
        let mut quic = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(quic)?));
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(Some(QUIC_IDLE.try_into()?)).keep_alive_interval(Some(QUIC_KEEPALIVE));
        transport.max_concurrent_bidi_streams(QUIC_STREAMS.into());
        quic.transport_config(Arc::new(transport));
        Ok(Self { tcp, quic })
    }

    /// # Errors
    /// The whole text cloudflared logs as `error=`.
    pub async fn dial(&self, edge: SocketAddr, protocol: Protocol) -> Result<Link, String> {
        match protocol {
            Protocol::Http2 => self.dial_tcp(edge, SNI_H2).await,
            Protocol::Quic => self.dial_quic(edge, SNI_QUIC).await,
        }
    }

    pub async fn dial_tcp(&self, edge: SocketAddr, name: &'static str) -> Result<Link, String> {
        let failed = |reason: String| format!("DialContext error: dial tcp {edge}: {reason}");
        let stream = match timeout(TCP_WAIT, TcpStream::connect(edge)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(go_connect(&error))),
            Err(_) => return Err(failed("i/o timeout".into())),
        };
        // Go's defaults; without them a dead path would be noticed later than by the real one.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(15))
            .with_retries(9);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let _ = stream.set_nodelay(true);
        let path = match stream.local_addr() {
            Ok(local) => format!("read tcp {local}->{edge}"),
            Err(_) => format!("read tcp {edge}"),
        };
        let server = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let reason = match timeout(TCP_WAIT, self.tcp.connect(server, stream)).await {
            Ok(Ok(stream)) => return Ok(Link::Http2(Box::new(stream))),
            Ok(Err(error)) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => go_tls(error, name),
                None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".into(),
                None => format!("{path}: read: connection reset by peer"),
            },
            Err(_) => format!("{path}: i/o timeout"),
        };
        Err(format!("TLS handshake with edge error: {reason}"))
    }

    pub async fn dial_quic(&self, edge: SocketAddr, name: &'static str) -> Result<Link, String> {
        let failed = |reason: String| format!("failed to dial to edge with quic: {reason}");
        let any: IpAddr =
            if edge.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        no_route(SocketAddr::new(any, 0), edge).map_err(failed)?;
        let endpoint =
            Endpoint::client(SocketAddr::new(any, 0)).map_err(|error| failed(error.to_string()))?;
        let connecting = endpoint.connect_with(self.quic.clone(), edge, name);
        let connecting = connecting.map_err(|error| failed(error.to_string()))?;
        let connection = connecting.await.map_err(|error| failed(go_quic(&error, name)))?;
        Ok(Link::Quic(connection, endpoint))
    }
}

/// QUIC itself would only time out where the kernel already says that there is no way.
fn no_route(any: SocketAddr, edge: SocketAddr) -> Result<(), String> {
    let Ok(socket) = UdpSocket::bind(any) else { return Ok(()) };
    let port = socket.local_addr().map_or(0, |local| local.port());
    let Err(error) = socket.connect(edge) else { return Ok(()) };
    Err(format!("write udp [::]:{port}->{edge}: sendmsg: {}", go_errno(&error)))
}

fn go_connect(error: &io::Error) -> String {
    format!("connect: {}", go_errno(error))
}

/// The system's own words, which Go uses in lower case.
fn go_errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused".into(),
        Some(libc::ENETUNREACH) => "network is unreachable".into(),
        Some(libc::EHOSTUNREACH) => "no route to host".into(),
        Some(libc::EPERM) => "operation not permitted".into(),
        Some(libc::ETIMEDOUT) => "connection timed out".into(),
        Some(libc::ECONNRESET) => "connection reset by peer".into(),
        _ => error.to_string().to_lowercase(),
    }
}

/// Dial errors to an origin, in the same words.
pub fn go_dial(address: &str, error: &io::Error) -> String {
    format!("dial tcp {address}: {}", go_connect(error))
}

fn go_tls(error: &rustls::Error, name: &str) -> String {
    let reason = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "x509: certificate signed by unknown authority".into()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
            format!(
                "x509: certificate has expired or is not yet valid: current time {now} is out of its range"
            )
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("x509: certificate is valid for other names, not {name}"),
        other => return other.to_string(),
    };
    format!("tls: failed to verify certificate: {reason}")
}

/// quic-go's words for the end of a connection.
pub fn go_quic(error: &ConnectionError, name: &str) -> String {
    match error {
        ConnectionError::TimedOut | ConnectionError::Reset => "timeout: no recent network activity".into(),
        ConnectionError::ApplicationClosed(close) => {
            format!("Application error 0x{:x} (remote)", close.error_code.into_inner())
        }
        ConnectionError::TransportError(error) => {
            let tls = error.reason.strip_prefix("invalid peer certificate: ").map(|reason| match reason {
                "UnknownIssuer" => "x509: certificate signed by unknown authority".to_owned(),
                reason if reason.starts_with("NotValidForName") => {
                    format!("x509: certificate is valid for other names, not {name}")
                }
                reason => format!("x509: {reason}"),
            });
            match tls {
                Some(tls) => format!("CRYPTO_ERROR 0x12a (local): tls: failed to verify certificate: {tls}"),
                None => error.to_string(),
            }
        }
        other => other.to_string(),
    }
}
