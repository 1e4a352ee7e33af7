//! The tunnel port: TCP with TLS and UDP with QUIC, each leading to a session.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use quinn::{
    Endpoint, EndpointConfig, TokioRuntime, crypto::rustls::HandshakeData, crypto::rustls::QuicServerConfig,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::spawn_local,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    carrier::Link,
    gate::GatedSocket,
    hub::{Door, Hub, Transport},
    session::Session,
};
use crate::{
    pki,
    wire::{ALPN_QUIC, SNI_PROBE},
};

const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
/// A probe that does not close by itself is closed after this.
const PROBE_WAIT: Duration = Duration::from_secs(10);

/// One listening address of the tunnel port and what its sessions need.
#[derive(Clone)]
pub struct Port {
    pub hub: Arc<Hub>,
    pub address: SocketAddr,
    pub silence_limit: Duration,
}

impl Port {
    /// Accepts TCP connections for ever. While the edge refuses, nothing listens, so the kernel says no.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve_tcp(self, tls: TlsAcceptor) -> Result<()> {
        let mut door = self.hub.door();
        loop {
            door.wait_for(|door| *door != Door::Refusing).await?;
            let listener = TcpListener::bind(self.address).await;
            let listener = listener.with_context(|| format!("cannot listen on {}", self.address))?;
            self.hub.set_listening(true);
            self.accept(&listener, &tls, &mut door).await;
            drop(listener);
            self.hub.set_listening(false);
        }
    }

    /// Accepts until the edge refuses.
    async fn accept(&self, listener: &TcpListener, tls: &TlsAcceptor, door: &mut watch::Receiver<Door>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = door.wait_for(|door| *door == Door::Refusing) => return,
            };
            match accepted {
                Ok((stream, peer)) => drop(spawn_local(self.clone().tcp(stream, peer, tls.clone()))),
                // Out of descriptors, most likely; the next one may fare better.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn tcp(self, stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor) {
        // Frames are small and awaited.
        let _ = stream.set_nodelay(true);
        let mut door = self.hub.door();
        if *door.borrow() == Door::Mute && door.wait_for(|door| *door != Door::Mute).await.is_err() {
            return;
        }
        let Ok(Ok(stream)) = timeout(HANDSHAKE_WAIT, tls.accept(stream)).await else { return };
        if stream.get_ref().1.server_name() == Some(SNI_PROBE) {
            let (mut reader, _writer) = tokio::io::split(stream);
            let _ = timeout(PROBE_WAIT, tokio::io::copy(&mut reader, &mut tokio::io::sink())).await;
            return;
        }
        let link = timeout(HANDSHAKE_WAIT, Link::http2(stream, self.silence_limit)).await;
        if let Ok(Ok(link)) = link {
            self.session(peer, Transport::Http2).serve(link).await;
        }
    }

    /// Accepts QUIC connections until the endpoint ends, which it does not.
    pub async fn serve_quic(self, endpoint: Endpoint) -> Result<()> {
        while let Some(incoming) = endpoint.accept().await {
            let port = self.clone();
            spawn_local(async move {
                let Ok(Ok(connection)) = timeout(HANDSHAKE_WAIT, incoming).await else { return };
                port.quic(connection).await;
            });
        }
        Ok(())
    }

    async fn quic(self, connection: quinn::Connection) {
        if server_name(&connection).as_deref() == Some(SNI_PROBE) {
            let _ = timeout(PROBE_WAIT, connection.closed()).await;
            return;
        }
        let peer = connection.remote_address();
        if let Ok(Ok(link)) = timeout(HANDSHAKE_WAIT, Link::quic(connection)).await {
            self.session(peer, Transport::Quic).serve(link).await;
        }
    }

    fn session(&self, peer: SocketAddr, transport: Transport) -> Session {
        Session { hub: Arc::clone(&self.hub), peer, transport }
    }

    /// The QUIC side of this address, behind the hub's gate.
    ///
    /// # Errors
    /// The address cannot be bound or the certificate not used.
    pub fn endpoint(&self, tls: Arc<rustls::ServerConfig>) -> Result<Endpoint> {
        let socket = std::net::UdpSocket::bind(self.address);
        let socket = socket.with_context(|| format!("cannot bind UDP {}", self.address))?;
        let socket = GatedSocket::new(socket, Arc::clone(&self.hub.gate))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(Some(self.silence_limit.try_into()?));
        config.transport_config(Arc::new(transport));
        let runtime = Arc::new(TokioRuntime);
        Ok(Endpoint::new_with_abstract_socket(EndpointConfig::default(), Some(config), socket, runtime)?)
    }
}

fn server_name(connection: &quinn::Connection) -> Option<String> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.server_name
}

/// TLS as the tunnel port wants it, for TCP (no ALPN) or QUIC.
///
/// # Errors
/// The certificate does not fit its key.
pub fn tls(dir: &std::path::Path, transport: Transport) -> Result<Arc<rustls::ServerConfig>> {
    let (chain, key) = pki::load(dir)?;
    let builder = rustls::ServerConfig::builder_with_provider(pki::provider());
    let mut config = match transport {
        Transport::Http2 => builder.with_safe_default_protocol_versions()?,
        Transport::Quic => builder.with_protocol_versions(&[&rustls::version::TLS13])?,
    }
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .map_err(io::Error::other)?;
    if transport == Transport::Quic {
        config.alpn_protocols = vec![ALPN_QUIC.to_vec()];
    }
    Ok(Arc::new(config))
}
