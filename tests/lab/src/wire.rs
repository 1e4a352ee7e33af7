//! The protocol between the two stand-ins, and the only module that knows it.
//!
//! One byte stream per tunnel connection (a TLS stream, or the first bidirectional stream of a QUIC
//! connection) carries frames both ways: four bytes of length, most significant first, then JSON.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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

/// Longest frame either side accepts, in bytes; anything longer is garbage.
pub const MAX_FRAME: usize = 1 << 20;
/// Longest request or response body that fits a frame after base64.
pub const MAX_BODY: usize = 512 * 1024;

/// What a connector says to the edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToEdge {
    /// Ask to serve a tunnel on this connection; always the first frame.
    Register(Registration),
    /// Ask to be taken out of the route before closing.
    Unregister,
    /// Answer to [`ToConnector::Ping`].
    Pong { seq: u64 },
    /// Answer to [`ToConnector::Request`].
    Response(Response),
}

/// Who wants to serve which tunnel.
#[derive(Clone, Serialize, Deserialize)]
pub struct Registration {
    pub tunnel_id: String,
    /// The tunnel secret in base64.
    pub secret: String,
    pub connector_id: String,
    /// 0 to 3.
    pub conn_index: u8,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("tunnel_id", &self.tunnel_id)
            .field("connector_id", &self.connector_id)
            .field("conn_index", &self.conn_index)
            .finish_non_exhaustive()
    }
}

/// What the edge says to a connector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToConnector {
    /// The connection is in the route now.
    Accepted { connection: String, location: String },
    /// The registration was refused; `text` is free.
    Refused { text: String, retryable: bool },
    /// The connection is out of the route.
    Unregistered,
    /// Are you there?
    Ping { seq: u64 },
    /// A visitor's request.
    Request(Request),
    /// The remotely managed configuration.
    Configuration { version: i64, config: serde_json::Value },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the edge, unique on the connection.
    pub id: u64,
    pub method: String,
    pub host: String,
    pub path_and_query: String,
    pub headers: Vec<(String, String)>,
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// Reads one frame. `Ok(None)` means the peer closed between two frames.
///
/// # Errors
/// Whatever the stream reports, and `InvalidData` for a frame that is too long or not ours.
pub async fn read_frame<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(invalid(format!("frame of {length} bytes, at most {MAX_FRAME} allowed")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map(Some).map_err(|error| invalid(format!("frame is not ours: {error}")))
}

/// Writes one frame and flushes it.
///
/// # Errors
/// Whatever the stream reports, and `InvalidData` for a message too long to be read at the other end.
pub async fn write_frame<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let length = length.ok_or_else(|| invalid(format!("message of {} bytes is too long", body.len())))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await?;
    stream.flush().await
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

mod base64_bytes {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_survives_the_trip() {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let sent =
            Response { id: 7, status: 204, headers: vec![("a".into(), "b".into())], body: vec![0, 255] };
        write_frame(&mut near, &ToEdge::Response(sent)).await.unwrap();
        drop(near);
        let Some(ToEdge::Response(got)) = read_frame(&mut far).await.unwrap() else {
            panic!("another frame")
        };
        assert_eq!((got.id, got.status, got.body), (7, 204, vec![0, 255]));
        assert!(read_frame::<ToEdge>(&mut far).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn garbage_is_an_error_and_never_a_huge_allocation() {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x02{}", b"\xff\xff\xff\xff"] {
            let error = read_frame::<ToEdge>(&mut &bytes[..]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_registration_never_prints_its_secret() {
        let registration = Registration {
            tunnel_id: "t".into(),
            secret: "c2VjcmV0".into(),
            connector_id: "c".into(),
            conn_index: 0,
        };
        assert!(!format!("{:?}", ToEdge::Register(registration)).contains("c2VjcmV0"));
    }
}
