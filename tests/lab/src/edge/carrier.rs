//! A connection to a connector, whatever its transport: the control stream, and visitors' requests.

use std::{cell::Cell, future::poll_fn, io, pin::Pin, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::stream::unfold;
use h2::client::SendRequest;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    task::spawn_local,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::websocket;
use crate::wire::{
    Body, CHUNK, CONTROL_STREAM, Reader, UPDATE_CONFIGURATION, UPGRADE, WEBSOCKET, Writer,
    configuration::{self, Push},
    headers::{META, META_CLOUDFLARED, PACKED, hop_by_hop, unpack},
    is_websocket,
    request::{Answer, read_answer, write_request, write_rpc},
};

const PING_EVERY: Duration = Duration::from_secs(1);
const PUSH_WAIT: Duration = Duration::from_secs(5);
/// Longest list of headers a connector may send, in bytes.
const MAX_HEADERS: u32 = 64 * 1024;

/// Carries requests; as many at a time as the transport bears.
#[derive(Clone)]
pub enum Carrier {
    Http2(SendRequest<Bytes>),
    Quic(quinn::Connection),
}

/// A connection that is up, its connector not yet registered.
pub struct Link {
    pub carrier: Carrier,
    pub control: (Reader, Writer),
    /// Keeps the transport going, and ends with it, with the reason. While it is not polled, nothing moves on HTTP/2.
    pub driver: Pin<Box<dyn Future<Output = &'static str>>>,
    /// When the connector gave its last sign of life, on HTTP/2.
    pub heard: Rc<Cell<Instant>>,
}

/// A connector's answer to a request.
pub struct Carried {
    /// With the origin's own headers.
    pub response: Response<Body>,
    /// The connector made it, as the origin could not be asked.
    pub by_connector: bool,
}

impl Link {
    /// Becomes the client on a connection that the connector opened, and opens the control stream.
    ///
    /// # Errors
    /// The connector speaks something else.
    pub async fn http2(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        silence_limit: Duration,
    ) -> io::Result<Self> {
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEADERS);
        let (mut requests, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        let (near, far) = tokio::io::duplex(CHUNK);
        let request = upgraded(CONTROL_STREAM)?;
        let (response, sending) = requests.send_request(request, false).map_err(io::Error::other)?;
        spawn_local(async move {
            // The other end learns it by the end of its stream.
            let _ = pump(response, sending, far).await;
        });
        let heard = Rc::new(Cell::new(Instant::now()));
        let hears = Rc::clone(&heard);
        let driver = async move {
            let Some(mut pings) = connection.ping_pong() else { return "closed" };
            let mut ticks = interval(PING_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut under_way = false;
            loop {
                tokio::select! {
                    _ = &mut connection => return "closed",
                    pong = poll_fn(|cx| pings.poll_pong(cx)), if under_way => {
                        if pong.is_err() {
                            return "closed";
                        }
                        under_way = false;
                        hears.set(Instant::now());
                    }
                    _ = ticks.tick() => {
                        if hears.get().elapsed() > silence_limit {
                            return "silent";
                        }
                        if !under_way {
                            under_way = pings.send_ping(h2::Ping::opaque()).is_ok();
                        }
                    }
                }
            }
        };
        let (reader, writer) = tokio::io::split(near);
        let control: (Reader, Writer) = (Box::new(reader), Box::new(writer));
        Ok(Self { carrier: Carrier::Http2(requests), control, driver: Box::pin(driver), heard })
    }

    /// Takes the connector's first stream for control.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn quic(connection: quinn::Connection) -> io::Result<Self> {
        let (writer, reader) = connection.accept_bi().await?;
        let closing = connection.clone();
        let driver = async move {
            match closing.closed().await {
                quinn::ConnectionError::TimedOut => "silent",
                _ => "closed",
            }
        };
        Ok(Self {
            carrier: Carrier::Quic(connection),
            control: (Box::new(reader), Box::new(writer)),
            driver: Box::pin(driver),
            heard: Rc::new(Cell::new(Instant::now())),
        })
    }
}

impl Carrier {
    /// Asks the connector; the request's URI is absolute.
    ///
    /// # Errors
    /// The connection ended, or the connector speaks something else.
    pub async fn carry(self, request: Request<Body>) -> io::Result<Carried> {
        match self {
            Self::Http2(requests) => carry_http2(requests, request).await,
            Self::Quic(connection) => carry_quic(&connection, request).await,
        }
    }

    /// Pushes the remotely managed configuration.
    ///
    /// # Errors
    /// The connection ended, or the connector speaks something else. That it refuses the configuration is none.
    pub async fn configure(self, push: Push) -> io::Result<()> {
        let pushing = async {
            match self {
                Self::Http2(requests) => {
                    let body = serde_json::to_vec(&push).map_err(io::Error::other)?;
                    let request = upgraded(UPDATE_CONFIGURATION)?;
                    let mut requests = requests.ready().await.map_err(io::Error::other)?;
                    let (response, mut sending) =
                        requests.send_request(request, false).map_err(io::Error::other)?;
                    send(&mut sending, body.into()).await?;
                    sending.send_data(Bytes::new(), true).map_err(io::Error::other)?;
                    response.await.map(drop).map_err(io::Error::other)
                }
                Self::Quic(connection) => {
                    let (mut writer, reader) = connection.open_bi().await?;
                    write_rpc(&mut writer).await?;
                    let applied = configuration::push(Box::new(reader), Box::new(writer), &push).await;
                    applied.map(drop).map_err(io::Error::other)
                }
            }
        };
        timeout(PUSH_WAIT, pushing).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Says farewell, where the transport has a way to.
    pub fn close(&self) {
        match self {
            Self::Http2(_) => {}
            Self::Quic(connection) => connection.close(0_u8.into(), b""),
        }
    }
}

fn upgraded(kind: &'static str) -> io::Result<Request<()>> {
    let request = Request::get("https://localhost:8080/").header(UPGRADE, kind);
    request.body(()).map_err(io::Error::other)
}

/// Moves the bytes of a control stream, both ways.
async fn pump(
    response: h2::client::ResponseFuture,
    mut sending: h2::SendStream<Bytes>,
    far: DuplexStream,
) -> io::Result<()> {
    let (mut from_us, mut to_us) = tokio::io::split(far);
    let up = async {
        let mut buffer = bytes::BytesMut::new();
        while from_us.read_buf(&mut buffer).await? > 0 {
            send(&mut sending, buffer.split().freeze()).await?;
        }
        sending.send_data(Bytes::new(), true).map_err(io::Error::other)
    };
    let down = async move {
        let copied = copy_down(response, &mut to_us).await;
        // However it ended, the reader must learn it.
        let _ = to_us.shutdown().await;
        copied
    };
    let (up, down) = tokio::join!(up, down);
    up.and(down)
}

async fn copy_down(
    response: h2::client::ResponseFuture,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut body = response.await.map_err(io::Error::other)?.into_body();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(io::Error::other)?;
        let _ = body.flow_control().release_capacity(chunk.len());
        to.write_all(&chunk).await?;
    }
    Ok(())
}

/// Sends all of a chunk, as fast as the other side takes it.
async fn send(sending: &mut h2::SendStream<Bytes>, mut chunk: Bytes) -> io::Result<()> {
    while !chunk.is_empty() {
        sending.reserve_capacity(chunk.len());
        let granted = poll_fn(|cx| sending.poll_capacity(cx)).await;
        let granted = granted.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io::Error::other)?;
        let part = chunk.split_to(granted.min(chunk.len()));
        sending.send_data(part, false).map_err(io::Error::other)?;
    }
    Ok(())
}

async fn carry_http2(requests: SendRequest<Bytes>, request: Request<Body>) -> io::Result<Carried> {
    let mut requests = requests.ready().await.map_err(io::Error::other)?;
    let (head, mut body) = request.into_parts();
    let bodiless = http_body::Body::is_end_stream(&body);
    let request = Request::from_parts(head, ());
    let (response, mut sending) = requests.send_request(request, bodiless).map_err(io::Error::other)?;
    if !bodiless {
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return sending.send_reset(h2::Reason::CANCEL) };
                if let Ok(chunk) = frame.into_data()
                    && send(&mut sending, chunk).await.is_err()
                {
                    return;
                }
            }
            let _ = sending.send_data(Bytes::new(), true);
        });
    }
    let (mut head, body) = response.await.map_err(io::Error::other)?.into_parts();
    let by_connector = head.headers.get(META).is_some_and(|meta| meta == META_CLOUDFLARED);
    let packed = head.headers.get(PACKED).map(HeaderValue::as_bytes).unwrap_or_default();
    head.headers = unpack(packed).ok_or_else(|| io::Error::other("the packed headers are none"))?;
    let chunks = unfold(body, |mut body| async {
        let chunk = body.data().await?;
        if let Ok(chunk) = &chunk {
            let _ = body.flow_control().release_capacity(chunk.len());
        }
        Some((chunk.map(Frame::data).map_err(Into::into), body))
    });
    let response = Response::from_parts(head, StreamBody::new(chunks).boxed_unsync());
    Ok(Carried { response, by_connector })
}

async fn carry_quic(connection: &quinn::Connection, request: Request<Body>) -> io::Result<Carried> {
    let (mut sending, mut receiving) = connection.open_bi().await?;
    let (mut head, mut body) = request.into_parts();
    let told = is_websocket(&head.headers) || head.headers.contains_key(header::CONTENT_LENGTH);
    if !http_body::Body::is_end_stream(&body) && !told {
        // Without any word cloudflared takes it for a request without a body.
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    write_request(&mut sending, &head).await?;
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return drop(sending.reset(0_u8.into())) };
            if let Ok(chunk) = frame.into_data()
                && sending.write_chunk(chunk).await.is_err()
            {
                return;
            }
        }
        let _ = sending.finish();
    });
    let (status, headers, by_connector) = match read_answer(&mut receiving).await? {
        Answer::Origin(status, headers) => (status, headers, false),
        Answer::Failed(_) => (StatusCode::BAD_GATEWAY, http::HeaderMap::new(), true),
    };
    let chunks = unfold(receiving, |mut receiving| async {
        let chunk = receiving.read_chunk(CHUNK, true).await.transpose()?;
        Some((chunk.map(|chunk| Frame::data(chunk.bytes)).map_err(Into::into), receiving))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(Carried { response, by_connector })
}

/// The head of a visitor's request as a connector gets it. `None` where its target is none.
pub fn outgoing(head: &http::request::Parts, host: &str) -> Option<http::request::Parts> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder().method(head.method.clone()).uri(format!("https://{host}{path}"));
    let mut out = request.body(()).ok()?.into_parts().0;
    let kept = head
        .headers
        .iter()
        .filter(|(name, _)| !hop_by_hop(name) && *name != header::HOST && *name != UPGRADE);
    out.headers.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
    if websocket::is_asked_for(&head.headers) {
        out.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
    Some(out)
}
