//! A UDP socket that can be told to swallow datagrams, so that a QUIC peer really meets silence.

use std::{
    collections::HashSet,
    fmt,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::events::lock;

/// Which datagrams do not exist. Shared by all sockets of the edge.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    dead_peers: Mutex<HashSet<SocketAddr>>,
}

impl Gate {
    /// Swallow everything, both ways.
    pub fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Swallow everything from and to this peer, until it begins a new connection.
    pub fn bury(&self, peer: SocketAddr) {
        lock(&self.dead_peers).insert(peer);
    }

    fn lets_in(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        if self.closed.load(Ordering::Relaxed) {
            return false;
        }
        let mut dead = lock(&self.dead_peers);
        if begins_connection(datagram) {
            dead.remove(&from);
        }
        !dead.contains(&from)
    }

    fn lets_out(&self, to: SocketAddr) -> bool {
        !self.closed.load(Ordering::Relaxed) && !lock(&self.dead_peers).contains(&to)
    }
}

/// A QUIC version 1 Initial packet: long header, type 0.
fn begins_connection(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0xf0 == 0xc0)
}

/// The socket behind the gate.
pub struct GatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    gate: Arc<Gate>,
}

impl GatedSocket {
    /// # Errors
    /// The socket cannot be handed to the runtime.
    pub fn new(socket: UdpSocket, gate: Arc<Gate>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { inner: TokioRuntime.wrap_udp_socket(socket)?, gate }))
    }
}

impl fmt::Debug for GatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GatedSocket").field(&self.inner).finish()
    }
}

impl AsyncUdpSocket for GatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        if self.gate.lets_out(transmit.destination) { self.inner.try_send(transmit) } else { Ok(()) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            for (meta, buf) in meta.iter_mut().zip(bufs.iter()).take(count) {
                if !self.gate.lets_in(meta.addr, &buf[..meta.len]) {
                    // Nothing to process; the slot itself must stay.
                    meta.len = 0;
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
