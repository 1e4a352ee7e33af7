//! What of a URL reaches cloudflared.

use super::host::{lookup_form, without_port};

/// A request as it arrives: the host as asked for, and the path without its escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As in the URL, with a port if there is one.
    host: String,
    path: Vec<u8>,
}

/// A URL that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(String);

impl Request {
    /// Reads a URL and changes nothing in it.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn of(url: &str) -> Result<Self, BadUrl> {
        let bad = |says: String| Err(BadUrl(says));
        let Some((scheme, rest)) = url.split_once("://") else {
            return bad(format!("{url} has no scheme; write https://{}", url.trim_start_matches('/')));
        };
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "ws" | "wss") {
            return bad(format!("{url} is not reached through a tunnel's name; write https://{rest}"));
        }
        if url.chars().any(|c| c.is_control() || c == ' ') {
            return bad(format!("{url:?} has a space or a control character; write it as %20 and the like"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        if host.is_empty() || host.starts_with(':') {
            return bad(format!("{url} names no host; write such as https://app.example.com/api"));
        }
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        match unescaped(path) {
            Some(path) => Ok(Self { host: host.to_owned(), path }),
            None => {
                bad(format!("{url} has a % without two hexadecimal digits; write %25 for the sign itself"))
            }
        }
    }

    /// A request for a path without escapes.
    pub fn plain(host: &str, path: &str) -> Self {
        Self { host: host.to_owned(), path: path.as_bytes().to_vec() }
    }

    /// As browsers send it: small letters, punycode.
    #[must_use]
    pub fn as_sent(&self) -> Self {
        let (name, port) = match without_port(&self.host) {
            Some(name) if !name.contains(':') => {
                (name, self.host.rsplit(':').next().map(|port| format!(":{port}")))
            }
            Some(_) | None => (self.host.as_str(), None),
        };
        let name = lookup_form(name).unwrap_or_else(|| name.to_ascii_lowercase());
        Self { host: format!("{name}{}", port.unwrap_or_default()), path: self.path.clone() }
    }

    /// Without a port, as rules see it.
    pub fn host(&self) -> &str {
        without_port(&self.host).unwrap_or(&self.host)
    }

    /// Without its escapes, as rules see it; not always UTF-8.
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

fn unescaped(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut found = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            found.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        found.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(found)
}
