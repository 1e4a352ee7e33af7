//! The protocol between cloudflared and Cloudflare's edge, and the only module that knows it.
//!
//! Over TCP the connector dials with TLS and is then the *server* of an HTTP/2 connection: the edge opens one stream for
//! control and one for each visitor's request. Over QUIC the connector opens the first stream for control, and the edge one for
//! each request. Control is Cap'n Proto RPC on either; `schema/tunnel.capnp` states its messages.

pub mod configuration;
pub mod headers;
pub mod registration;
pub mod request;

pub(crate) mod tunnel_capnp {
    include!(concat!(env!("OUT_DIR"), "/tunnel_capnp.rs"));
}

use std::io;

use bytes::Bytes;
use capnp::{capability::Client, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use futures_util::TryStreamExt;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::{
    compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt},
    io::{ReaderStream, StreamReader},
};

/// TLS name asked for on the HTTP/2 transport.
pub const SNI_H2: &str = "h2.cftunnel.com";
/// TLS name asked for on the QUIC transport.
pub const SNI_QUIC: &str = "quic.cftunnel.com";
/// TLS name of a mere reachability check: a handshake that is closed at once.
pub const SNI_PROBE: &str = "probe.cftunnel.com";
/// ALPN of the QUIC transport.
pub const ALPN_QUIC: &[u8] = b"argotunnel";
/// Where the edge listens for connectors, TCP and UDP.
pub const EDGE_PORT: u16 = 7844;

/// Marks a stream that is more than a visitor's request and its answer.
pub const UPGRADE: &str = "cf-cloudflared-proxy-connection-upgrade";
/// Value of [`UPGRADE`] on the control stream.
pub const CONTROL_STREAM: &str = "control-stream";
/// Value of [`UPGRADE`] on a push of the remotely managed configuration.
pub const UPDATE_CONFIGURATION: &str = "update-configuration";
/// Value of [`UPGRADE`] on a visitor's WebSocket, whose bytes follow the heads both ways.
pub const WEBSOCKET: &str = "websocket";

/// Longest Cap'n Proto message either side accepts, in words of eight bytes; anything longer is garbage.
const MAX_WORDS: usize = 1 << 17;

/// Bytes taken at a time from a stream.
pub const CHUNK: usize = 64 * 1024;

/// A body on its way, chunk by chunk.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
/// One direction of a stream.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The other direction.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A registration that was turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub text: String,
    pub retryable: bool,
}

/// A body that is there already.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of whatever the stream brings.
pub fn flowing(stream: impl AsyncRead + Send + 'static) -> Body {
    StreamBody::new(ReaderStream::with_capacity(stream, CHUNK).map_ok(Frame::data).map_err(Into::into))
        .boxed_unsync()
}

/// What a body brings, as a stream.
pub fn read_body(body: Body) -> impl AsyncRead + Send + Unpin {
    StreamReader::new(BodyDataStream::new(body).map_err(io::Error::other))
}

/// Whether these headers carry a visitor's WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value == WEBSOCKET)
}

fn limits() -> ReaderOptions {
    let mut limits = ReaderOptions::new();
    limits.traversal_limit_in_words(Some(MAX_WORDS));
    limits
}

fn rpc(reader: Reader, writer: Writer, side: Side, serves: Option<Client>) -> RpcSystem<Side> {
    let network = VatNetwork::new(reader.compat(), writer.compat_write(), side, limits());
    RpcSystem::new(Box::new(network), serves)
}

/// A task that ends with its owner.
pub struct AbortOnDrop<T>(pub tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
