//! A UDP socket for one QUIC dial that tells what the kernel says.
//!
//! quinn's own socket swallows errors of sending, as an established connection should outlive them. For a probe they
//! are the finding: a refusal (ICMP), no route, or this host's firewall. A connected socket is told all of them.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

pub(super) struct ConnectedUdp {
    socket: UdpSocket,
    peer: SocketAddr,
    first_error: Mutex<Option<io::Error>>,
    noticed: Notify,
}

impl ConnectedUdp {
    pub(super) fn new(peer: SocketAddr) -> io::Result<Self> {
        let any = match peer {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(peer)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            peer,
            first_error: Mutex::default(),
            noticed: Notify::new(),
        })
    }

    /// The first thing that went wrong; waits for it.
    pub(super) async fn trouble(&self) -> io::Error {
        loop {
            let noticed = self.noticed.notified();
            if let Some(error) = self.first_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return error;
            }
            noticed.await;
        }
    }

    fn notice(&self, error: io::Error) {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.noticed.notify_one();
    }
}

impl fmt::Debug for ConnectedUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedUdp").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for ConnectedUdp {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.socket.try_send(transmit.contents) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // Larger than the path allows: quinn sizes its first packets to pass everywhere and may try more later.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => Ok(()),
            Err(error) => {
                self.notice(error);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        loop {
            let mut read = ReadBuf::new(buf);
            match ready!(self.socket.poll_recv(cx, &mut read)) {
                Ok(()) => {
                    let len = read.filled().len();
                    *meta = RecvMeta { addr: self.peer, len, stride: len, ecn: None, dst_ip: None };
                    return Poll::Ready(Ok(1));
                }
                // The kernel reports each error once; the dial ends by `trouble`.
                Err(error) => self.notice(error),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

#[derive(Debug)]
struct Writable(Arc<ConnectedUdp>);

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_send_ready(cx)
    }
}
