//! A visitor's WebSocket: once the origin agrees, bytes pass both ways until either side ends it.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, copy_bidirectional, duplex, join};

use crate::wire::{Body, CHUNK, WEBSOCKET, flowing, read_body, whole};

/// Whether a visitor asks for one.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let wanted = headers.get(header::UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    wanted.eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// The visitor's side, which waits for the origin's word.
pub struct Switch {
    visitor: OnUpgrade,
    up: DuplexStream,
}

impl Switch {
    /// Takes the visitor's connection over; the body is what the connector is to be sent.
    pub fn prepare(request: &mut Request<Incoming>) -> (Self, Body) {
        let (up, sent) = duplex(CHUNK);
        (Self { visitor: hyper::upgrade::on(request), up }, flowing(sent))
    }

    /// Passes bytes from now on if the answer agrees, and says what the visitor is told.
    pub fn answer(self, answer: Response<Body>) -> Response<Body> {
        let (mut head, body) = answer.into_parts();
        // HTTP/2 has no 101; there the origin's acceptance alone tells.
        let agreed = head.status == StatusCode::SWITCHING_PROTOCOLS
            || head.status == StatusCode::OK && head.headers.contains_key(header::SEC_WEBSOCKET_ACCEPT);
        if !agreed {
            return Response::from_parts(head, body);
        }
        let Self { visitor, up } = self;
        tokio::spawn(async move {
            let Ok(visitor) = visitor.await else { return };
            // However it ends, dropping both sides tells them.
            let _ = copy_bidirectional(&mut TokioIo::new(visitor), &mut join(read_body(body), up)).await;
        });
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        Response::from_parts(head, whole(Vec::new()))
    }
}
