//! A request on QUIC: a stream that begins with a signature, a version and a message, both ways; the bodies follow.

use std::io;

use capnp::{message, serialize};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::{
    UPGRADE, WEBSOCKET, is_websocket, limits,
    tunnel_capnp::{ConnectionType, connect_request, connect_response, metadata},
};

const DATA: [u8; 6] = [0x0a, 0x36, 0xcd, 0x12, 0xa1, 0x3e];
const RPC: [u8; 6] = [0x52, 0xbb, 0x82, 0x5c, 0xdb, 0x65];
const VERSION: &[u8; 2] = b"01";

const METHOD: &str = "HttpMethod";
const HOST: &str = "HttpHost";
const STATUS: &str = "HttpStatus";
const HEADER: &str = "HttpHeader:";

/// What a stream opened by the edge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Request,
    Rpc,
}

/// How an answer begins.
#[derive(Debug)]
pub enum Answer {
    /// The origin, or a rule, answered; the body follows.
    Origin(StatusCode, HeaderMap),
    /// The connector could not ask the origin.
    Failed(String),
}

/// Reads the signature of a stream opened by the edge.
///
/// # Errors
/// The stream ended, or the signature is none.
pub async fn read_purpose(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Purpose> {
    let mut signature = [0; 6];
    stream.read_exact(&mut signature).await?;
    match signature {
        DATA => Ok(Purpose::Request),
        RPC => Ok(Purpose::Rpc),
        _ => Err(invalid(format!("no signature: {signature:02x?}"))),
    }
}

/// Says that Cap'n Proto RPC follows.
///
/// # Errors
/// Whatever the stream reports.
pub async fn write_rpc(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&RPC).await
}

/// Writes what stands before a request's body.
///
/// # Errors
/// Whatever the stream reports.
pub async fn write_request(
    stream: &mut (impl AsyncWrite + Unpin),
    head: &http::request::Parts,
) -> io::Result<()> {
    let bytes = {
        let mut message = message::Builder::new_default();
        let mut request = message.init_root::<connect_request::Builder<'_>>();
        request.set_dest(head.uri.to_string());
        request.set_type(if is_websocket(&head.headers) {
            ConnectionType::Websocket
        } else {
            ConnectionType::Http
        });
        let host = head.uri.host().unwrap_or_default();
        let mut pairs = vec![(METHOD.into(), head.method.as_str()), (HOST.into(), host)];
        pairs.extend(header_pairs(&head.headers));
        fill(&pairs, |count| request.init_metadata(count));
        serialize::write_message_to_words(&message)
    };
    write_head(stream, &bytes).await
}

/// Reads what stands before a request's body, after its signature.
///
/// # Errors
/// The stream ended, or says something else.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<http::request::Parts> {
    let message = read_message(stream).await?;
    let request: connect_request::Reader<'_> = message.get_root().map_err(invalid)?;
    let pairs = pairs(request.get_metadata().map_err(invalid)?).map_err(invalid)?;
    let dest = request.get_dest().and_then(|dest| Ok(dest.to_string()?)).map_err(invalid)?;
    let find = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let mut head = http::Request::new(()).into_parts().0;
    head.uri = dest.parse::<Uri>().map_err(invalid)?;
    head.method = Method::from_bytes(find(METHOD).unwrap_or("GET").as_bytes()).map_err(invalid)?;
    head.headers = headers(&pairs)?;
    if request.get_type().map_err(invalid)? == ConnectionType::Websocket {
        head.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
    if let Some(host) = find(HOST) {
        head.headers.insert(http::header::HOST, host.parse().map_err(invalid)?);
    }
    Ok(head)
}

/// Writes what stands before an answer's body.
///
/// # Errors
/// Whatever the stream reports.
pub async fn write_answer(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let bytes = {
        let mut message = message::Builder::new_default();
        let mut response = message.init_root::<connect_response::Builder<'_>>();
        match answer {
            Answer::Failed(error) => response.set_error(error),
            Answer::Origin(status, headers) => {
                let mut pairs = vec![(STATUS.to_owned(), status.as_str())];
                pairs.extend(header_pairs(headers));
                fill(&pairs, |count| response.init_metadata(count));
            }
        }
        serialize::write_message_to_words(&message)
    };
    write_head(stream, &bytes).await
}

/// Reads what stands before an answer's body.
///
/// # Errors
/// The stream ended, or says something else.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    if read_purpose(stream).await? != Purpose::Request {
        return Err(invalid("the answer is none to a request"));
    }
    let message = read_message(stream).await?;
    let response: connect_response::Reader<'_> = message.get_root().map_err(invalid)?;
    let error = response.get_error().and_then(|error| Ok(error.to_string()?)).map_err(invalid)?;
    if !error.is_empty() {
        return Ok(Answer::Failed(error));
    }
    let pairs = pairs(response.get_metadata().map_err(invalid)?).map_err(invalid)?;
    let status = pairs.iter().find(|(name, _)| name == STATUS).map_or("", |(_, value)| value);
    let status = StatusCode::from_bytes(status.as_bytes()).map_err(invalid)?;
    Ok(Answer::Origin(status, headers(&pairs)?))
}

async fn write_head(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(DATA.len() + VERSION.len() + message.len());
    bytes.extend_from_slice(&DATA);
    bytes.extend_from_slice(VERSION);
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<message::Reader<serialize::OwnedSegments>> {
    let mut version = [0; VERSION.len()];
    stream.read_exact(&mut version).await?;
    capnp_futures::serialize::read_message(stream.compat(), limits()).await.map_err(invalid)
}

fn header_pairs(headers: &HeaderMap) -> impl Iterator<Item = (String, &str)> {
    headers.iter().filter_map(|(name, value)| Some((format!("{HEADER}{name}"), value.to_str().ok()?)))
}

fn fill<'a>(
    pairs: &[(String, &str)],
    init: impl FnOnce(u32) -> capnp::struct_list::Builder<'a, metadata::Owned>,
) {
    let count = u32::try_from(pairs.len()).unwrap_or(0);
    let mut list = init(count);
    for (at, (key, value)) in (0..count).zip(pairs) {
        let mut entry = list.reborrow().get(at);
        entry.set_key(key);
        entry.set_val(*value);
    }
}

fn pairs(
    list: capnp::struct_list::Reader<'_, metadata::Owned>,
) -> Result<Vec<(String, String)>, capnp::Error> {
    list.iter().map(|entry| Ok((entry.get_key()?.to_string()?, entry.get_val()?.to_string()?))).collect()
}

fn headers(pairs: &[(String, String)]) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (key, value) in pairs {
        let Some(name) = key.strip_prefix(HEADER) else { continue };
        let name = HeaderName::try_from(name).map_err(invalid)?;
        headers.append(name, HeaderValue::try_from(value).map_err(invalid)?);
    }
    Ok(headers)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_and_its_answer_survive_the_trip() {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let request = http::Request::builder().method("POST").uri("https://app.example.com/a?b=c");
        let (head, ()) = request.header("accept", "text/*").body(()).unwrap().into_parts();
        write_request(&mut near, &head).await.unwrap();
        near.write_all(b"body").await.unwrap();
        assert_eq!(read_purpose(&mut far).await.unwrap(), Purpose::Request);
        let read = read_request(&mut far).await.unwrap();
        assert_eq!((read.method, read.uri), (head.method, head.uri));
        assert_eq!(
            (&read.headers["accept"], &read.headers["host"]),
            (&"text/*".parse().unwrap(), &"app.example.com".parse().unwrap())
        );
        let mut body = [0; 4];
        far.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"body");
        write_answer(&mut far, &Answer::Origin(StatusCode::CREATED, read.headers)).await.unwrap();
        let Answer::Origin(status, headers) = read_answer(&mut near).await.unwrap() else { panic!("failed") };
        assert_eq!((status, &headers["accept"]), (StatusCode::CREATED, &"text/*".parse().unwrap()));
        write_answer(&mut far, &Answer::Failed("no origin".into())).await.unwrap();
        assert!(
            matches!(read_answer(&mut near).await.unwrap(), Answer::Failed(error) if error == "no origin")
        );
    }

    #[tokio::test]
    async fn garbage_is_an_error_and_never_a_huge_allocation() {
        let head = [&DATA[..], VERSION].concat();
        let garbage = [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            head.clone(),
            [&head[..], b"\0\0\0\0\xff\xff\xff\x7f"].concat(),
            [&head[..], b"\xff\xff\xff\xff"].concat(),
            [&head[..], b"\0\0\0\0\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"].concat(),
        ];
        for bytes in garbage {
            assert!(read_answer(&mut &bytes[..]).await.is_err());
        }
    }
}
