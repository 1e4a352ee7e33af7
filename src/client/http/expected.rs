//! What tells the origin's answer from everybody else's, and what lets a probe pass Cloudflare Access.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

/// What the origin's own answer is known by. Empty: any answer that the edge did not make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// One of these; empty: any.
    pub status: Vec<u16>,
    /// This header with this value; an empty value: whatever it is.
    pub header: Option<(HeaderName, String)>,
    /// This text among the first 64 KiB of the body.
    pub body: Option<String>,
}

impl Expected {
    /// What is not as expected, in words that repeat neither the marker nor the answer's own text.
    pub(super) fn unmet(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        if !self.status.is_empty() && !self.status.contains(&status) {
            let expected: Vec<_> = self.status.iter().map(u16::to_string).collect();
            return Some(format!("status {status}, not {}", expected.join(" or ")));
        }
        if let Some((name, value)) = &self.header {
            let same = |found: &HeaderValue| value.is_empty() || found.as_bytes() == value.as_bytes();
            if !headers.get_all(name).iter().any(same) {
                let other = if headers.contains_key(name) { "with another" } else { "without the expected" };
                return Some(format!("status {status}, {other} {name} header"));
            }
        }
        match &self.body {
            Some(text) if !holds(body, text.as_bytes()) => {
                Some(format!("status {status}, without the expected text in the body"))
            }
            Some(_) | None => None,
        }
    }
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// A token with which Cloudflare Access lets a machine pass. Its `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    id: SecretString,
    secret: SecretString,
}

/// A text that is no service token. Says nothing of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceTokenError {
    #[error("it does not hold two lines, the client id and the client secret of an Access service token")]
    NotTwoLines,
    #[error("it holds what no header may hold")]
    NoHeader,
}

impl ServiceToken {
    /// Reads a client id and a client secret on two lines, each perhaps with the name of its header before it, as
    /// Cloudflare's dashboard shows them.
    ///
    /// # Errors
    /// See [`ServiceTokenError`].
    pub fn parse(text: &SecretString) -> Result<Self, ServiceTokenError> {
        let lines = text.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
        let values: Vec<_> =
            lines.map(|line| line.split_once(':').map_or(line, |(_, value)| value.trim())).collect();
        let [id, secret] = values.as_slice() else { return Err(ServiceTokenError::NotTwoLines) };
        if id.is_empty() || secret.is_empty() {
            return Err(ServiceTokenError::NotTwoLines);
        }
        let token = Self { id: (*id).into(), secret: (*secret).into() };
        token.headers().map(|_| token)
    }

    pub(super) fn headers(&self) -> Result<[(HeaderName, HeaderValue); 2], ServiceTokenError> {
        let value = |text: &SecretString| {
            let mut value =
                HeaderValue::from_str(text.expose_secret()).map_err(|_| ServiceTokenError::NoHeader)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok([
            (HeaderName::from_static("cf-access-client-id"), value(&self.id)?),
            (HeaderName::from_static("cf-access-client-secret"), value(&self.secret)?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_token_is_two_lines_and_never_shown() {
        let parse = |text: &str| ServiceToken::parse(&text.to_owned().into());
        let plain = parse("abc.access\nsecret-part\n").unwrap();
        let pasted =
            parse("CF-Access-Client-Id: abc.access\r\n\r\nCF-Access-Client-Secret: secret-part\r\n").unwrap();
        for token in [plain, pasted] {
            let [(_, id), (_, secret)] = token.headers().unwrap();
            assert_eq!((id.to_str().unwrap(), secret.to_str().unwrap()), ("abc.access", "secret-part"));
            assert!(!format!("{token:?} {secret:?}").contains("secret-part"));
        }
        for wrong in ["", "alone", "a\nb\nc", "CF-Access-Client-Id:\nx"] {
            assert_eq!(parse(wrong).unwrap_err(), ServiceTokenError::NotTwoLines, "{wrong:?}");
        }
        assert_eq!(parse("a\nb\u{1}c").unwrap_err(), ServiceTokenError::NoHeader);
    }

    #[test]
    fn what_is_missing_is_said_without_the_marker() {
        let mut headers = HeaderMap::new();
        headers.insert("x-app", HeaderValue::from_static("theirs"));
        let name = HeaderName::from_static("x-app");
        let marker =
            |value: &str| Expected { header: Some((name.clone(), value.into())), ..Expected::default() };
        let body = |text: &str| Expected { body: Some(text.into()), ..Expected::default() };
        let status = Expected { status: vec![200, 204], ..Expected::default() };
        assert_eq!(status.unmet(204, &headers, b""), None);
        assert_eq!(status.unmet(500, &headers, b"").as_deref(), Some("status 500, not 200 or 204"));
        assert_eq!(marker("theirs").unmet(200, &headers, b""), None);
        assert_eq!(marker("").unmet(200, &headers, b""), None);
        let other = marker("ours").unmet(200, &headers, b"").unwrap();
        assert_eq!(other, "status 200, with another x-app header");
        let without = marker("ours").unmet(200, &HeaderMap::new(), b"").unwrap();
        assert_eq!(without, "status 200, without the expected x-app header");
        assert_eq!(body("ok").unmet(200, &headers, b"it is ok"), None);
        assert!(
            body("absent-marker").unmet(200, &headers, b"it is ok").is_some_and(|w| !w.contains("absent"))
        );
    }
}
