//! One dial to one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::udp::ConnectedUdp;
use super::{Reach, Transport};
use crate::client::tls::{Judgement, Recorder, Tls};

/// The name that cloudflared's pre-checks use: the edge does not expect a registration after it.
const NAME: &str = "probe.cftunnel.com";

pub(super) async fn dial(tls: &Tls, transport: Transport, address: SocketAddr, limit: Duration) -> Reach {
    let start = Instant::now();
    let dialled = match transport {
        Transport::Http2 => tcp(tls, address, start + limit).await,
        Transport::Quic => quic(tls, address, start + limit).await,
    };
    match dialled {
        Ok(recorder) => judged(&recorder, start.elapsed()),
        Err(reach) => reach,
    }
}

fn judged(recorder: &Recorder, took: Duration) -> Reach {
    match recorder.judgement() {
        Some(Judgement::Trusted) => Reach::Reachable { verified: true, took },
        Some(Judgement::Dates) => Reach::ClockWrong { took },
        Some(Judgement::UnknownIssuer | Judgement::OtherName | Judgement::Refused) | None => {
            Reach::Reachable { verified: false, took }
        }
    }
}

async fn tcp(tls: &Tls, address: SocketAddr, until: Instant) -> Result<Recorder, Reach> {
    let (config, recorder) = tls.edge_tcp().map_err(|e| Reach::Failed(short(&e)))?;
    let name = ServerName::try_from(NAME).map_err(|e| Reach::Failed(short(&e)))?;
    let stream = match timeout_at(until, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(of_io(&error)),
        Err(_) => return Err(Reach::TimedOut),
    };
    match timeout_at(until, TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(Ok(_closed_here)) => Ok(recorder),
        Ok(Err(error)) => Err(of_handshake(&error)),
        Err(_) => Err(Reach::Silent),
    }
}

/// The socket lives only as long as the dial, so that an idle warden holds none.
async fn quic(tls: &Tls, address: SocketAddr, until: Instant) -> Result<Recorder, Reach> {
    let (config, recorder) = tls.edge_quic().map_err(|e| Reach::Failed(short(&e)))?;
    let config = QuicClientConfig::try_from(config).map_err(|e| Reach::Failed(short(&e)))?;
    let socket = Arc::new(ConnectedUdp::new(address).map_err(|e| of_io(&e))?);
    let endpoint = Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        None,
        socket.clone(),
        Arc::new(TokioRuntime),
    )
    .map_err(|e| of_io(&e))?;
    let connecting = endpoint
        .connect_with(ClientConfig::new(Arc::new(config)), address, NAME)
        .map_err(|e| Reach::Failed(short(&e)))?;
    let outcome = tokio::select! {
        outcome = timeout_at(until, connecting) => outcome,
        error = socket.trouble() => return Err(of_io(&error)),
    };
    match outcome {
        Ok(Ok(connection)) => {
            connection.close(0u32.into(), b"");
            // Lets the farewell leave; the edge would otherwise wait for us.
            timeout_at(until.min(Instant::now() + FAREWELL), endpoint.wait_idle()).await.ok();
            Ok(recorder)
        }
        Ok(Err(error)) => Err(of_connection(&error)),
        Err(_) => Err(Reach::TimedOut),
    }
}

const FAREWELL: Duration = Duration::from_millis(50);

fn of_io(error: &io::Error) -> Reach {
    // A packet that this host's own firewall drops is "not permitted".
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => Reach::Refused,
        Some(
            Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::PERM
            | Errno::ACCESS
            | Errno::ADDRNOTAVAIL
            | Errno::AFNOSUPPORT,
        ) => Reach::Unreachable,
        Some(Errno::TIMEDOUT) => Reach::TimedOut,
        Some(_) | None => Reach::Failed(short(error)),
    }
}

fn of_handshake(error: &io::Error) -> Reach {
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
        Reach::TlsFailed("reset during the handshake".into())
    } else if kind == io::ErrorKind::UnexpectedEof {
        Reach::TlsFailed("closed during the handshake".into())
    } else {
        Reach::TlsFailed(short(error))
    }
}

fn of_connection(error: &ConnectionError) -> Reach {
    match error {
        ConnectionError::TimedOut => Reach::TimedOut,
        ConnectionError::Reset => Reach::Refused,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_) => Reach::TlsFailed(short(error)),
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => Reach::Failed(short(error)),
    }
}

fn short(error: &dyn std::error::Error) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(160).collect()
}
