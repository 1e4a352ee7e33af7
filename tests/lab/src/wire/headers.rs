//! How an answer's headers travel on HTTP/2: all in one header, so that HTTP/2's rules do not bind the origin.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Holds the origin's headers.
pub const PACKED: &str = "cf-cloudflared-response-headers";
/// Says who made the answer.
pub const META: &str = "cf-cloudflared-response-meta";
pub const META_CLOUDFLARED: &str = r#"{"src":"cloudflared"}"#;
pub const META_ORIGIN: &str = r#"{"src":"origin"}"#;

/// `name:value;name:value`, each in base64.
pub fn pack(headers: &HeaderMap) -> String {
    let pairs = headers.iter().map(|(name, value)| {
        format!("{}:{}", STANDARD_NO_PAD.encode(name.as_str()), STANDARD_NO_PAD.encode(value.as_bytes()))
    });
    pairs.collect::<Vec<_>>().join(";")
}

/// What `pack` made. `None` where it did not.
pub fn unpack(packed: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in packed.split(|byte| *byte == b';').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        let name = HeaderName::from_bytes(&STANDARD_NO_PAD.decode(name).ok()?).ok()?;
        headers.append(name, HeaderValue::from_bytes(&STANDARD_NO_PAD.decode(value).ok()?).ok()?);
    }
    Some(headers)
}

/// Headers that speak about one connection only.
pub fn hop_by_hop(name: &HeaderName) -> bool {
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
        .contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_trip() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1;b:2"));
        headers.append("set-cookie", HeaderValue::from_static("c"));
        headers.append("x-empty", HeaderValue::from_static(""));
        assert_eq!(unpack(pack(&headers).as_bytes()), Some(headers));
        assert_eq!(pack(&HeaderMap::new()), "");
        // As the real one packs `Content-Type: text/plain`.
        let real = unpack(b"Q29udGVudC1UeXBl:dGV4dC9wbGFpbg").unwrap();
        assert_eq!(real["content-type"], "text/plain");
        for bad in [&b"nonsense"[..], b"a:b:c", b"=:=", b"\xff:\xff"] {
            assert_eq!(unpack(bad), None);
        }
    }
}
