//! What the edge opens on a connection: the control stream, pushes, and visitors' requests.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::Service};
use tokio::{sync::mpsc, task::spawn_local, time::timeout};

use super::{
    proxy::{self, Reply, Via},
    settings::Protocol,
    state::State,
    tunnel::configure,
};
use crate::wire::{
    Body, CHUNK, CONTROL_STREAM, Reader, UPDATE_CONFIGURATION, UPGRADE, Writer,
    configuration::{self, Push},
    flowing,
    headers::{META, META_CLOUDFLARED, META_ORIGIN, PACKED, pack},
    is_websocket, read_body,
    request::{Answer, Purpose, read_purpose, read_request, write_answer},
    whole,
};

/// Longest pushed configuration, in bytes.
const MAX_PUSH: usize = 1 << 20;
const RPC_WAIT: Duration = Duration::from_secs(5);

/// The two directions of the control stream.
pub type Control = (Reader, Writer);

/// One connection's streams.
#[derive(Clone)]
pub struct Streams {
    pub state: Arc<State>,
    pub index: usize,
    pub edge: String,
}

impl Streams {
    /// Answers what comes on HTTP/2, and hands over the control stream.
    pub fn http2(
        self,
        control: mpsc::UnboundedSender<Control>,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> {
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let (streams, control) = (self.clone(), control.clone());
            async move { Ok(streams.answer_http2(request, &control).await) }
        })
    }

    async fn answer_http2(
        &self,
        request: Request<Incoming>,
        control: &mpsc::UnboundedSender<Control>,
    ) -> Response<Body> {
        let upgrade = request.headers().get(UPGRADE).map(HeaderValue::as_bytes);
        if upgrade == Some(CONTROL_STREAM.as_bytes()) {
            let (ours, sent) = tokio::io::duplex(CHUNK);
            let reader = read_body(request.into_body().map_err(Into::into).boxed_unsync());
            let _ = control.send((Box::new(reader), Box::new(ours)));
            return Response::new(flowing(sent));
        }
        if upgrade == Some(UPDATE_CONFIGURATION.as_bytes()) {
            return match Limited::new(request.into_body(), MAX_PUSH).collect().await {
                Ok(body) => self.configured(&body.to_bytes()),
                Err(_) => failed(),
            };
        }
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        if let Some(host) = request.uri().host().and_then(|host| HeaderValue::try_from(host).ok()) {
            request.headers_mut().insert(header::HOST, host);
        }
        match proxy::answer(&self.state, self.via(Protocol::Http2), request).await {
            Reply::Failed(_) => failed(),
            Reply::Origin(response) => {
                let (head, body) = response.into_parts();
                let mut out = Response::new(body);
                // HTTP/2 has no such status.
                let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
                *out.status_mut() = if switches { StatusCode::OK } else { head.status };
                if let Ok(packed) = HeaderValue::try_from(pack(&head.headers)) {
                    out.headers_mut().insert(PACKED, packed);
                }
                if let Some(length) = head.headers.get(header::CONTENT_LENGTH) {
                    out.headers_mut().insert(header::CONTENT_LENGTH, length.clone());
                }
                out.headers_mut().insert(META, HeaderValue::from_static(META_ORIGIN));
                out
            }
        }
    }

    fn configured(&self, body: &[u8]) -> Response<Body> {
        let Ok(push) = serde_json::from_slice::<Push>(body) else { return failed() };
        let applied = configure(&self.state, push);
        Response::new(whole(serde_json::to_vec(&applied).unwrap_or_default()))
    }

    /// Answers the streams that the edge opens on QUIC, until the connection ends.
    pub async fn quic(self, connection: quinn::Connection) {
        while let Ok((writer, reader)) = connection.accept_bi().await {
            let streams = self.clone();
            spawn_local(async move {
                // A stream that is cut off tells the edge enough.
                let _ = streams.answer_quic(writer, reader).await;
            });
        }
    }

    async fn answer_quic(
        self,
        mut writer: quinn::SendStream,
        mut reader: quinn::RecvStream,
    ) -> io::Result<()> {
        if read_purpose(&mut reader).await? == Purpose::Rpc {
            let state = self.state;
            let serving =
                configuration::serve(Box::new(reader), Box::new(writer), move |push| configure(&state, push));
            let _ = timeout(RPC_WAIT, serving).await;
            return Ok(());
        }
        let head = read_request(&mut reader).await?;
        let chunked = head.headers.get(header::TRANSFER_ENCODING).is_some();
        let bodiless = !chunked
            && !is_websocket(&head.headers)
            && head.headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        let body = if bodiless { whole(Vec::new()) } else { flowing(reader) };
        match proxy::answer(&self.state, self.via(Protocol::Quic), Request::from_parts(head, body)).await {
            Reply::Failed(error) => write_answer(&mut writer, &Answer::Failed(error)).await?,
            Reply::Origin(response) => {
                let (head, mut body) = response.into_parts();
                write_answer(&mut writer, &Answer::Origin(head.status, head.headers)).await?;
                while let Some(frame) = body.frame().await {
                    if let Ok(chunk) = frame.map_err(io::Error::other)?.into_data() {
                        writer.write_chunk(chunk).await?;
                    }
                }
            }
        }
        writer.finish().map_err(io::Error::other)
    }

    fn via(&self, protocol: Protocol) -> Via {
        Via { index: self.index, edge: self.edge.clone(), protocol }
    }
}

/// What a connector says that could not ask its origin.
fn failed() -> Response<Body> {
    let mut response = Response::new(whole(Vec::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(META, HeaderValue::from_static(META_CLOUDFLARED));
    response
}
