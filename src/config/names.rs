//! Texts that hold what they promise: a unit, a hostname, an address that is asked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::redact;

/// Why a text is not what it should be, and what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongForm(String);

fn wrong<T>(says: impl Into<String>) -> Result<T, WrongForm> {
    Err(WrongForm(says.into()))
}

/// A name of the systemd unit that runs a tunnel, ending in `.service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName(String);

/// A tunnel's UUID in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelId(String);

/// A DNS name in lower case, without the final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hostname(String);

/// An account's id: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountId(String);

/// Where a secret lies; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The name of a systemd credential.
    Named(String),
    /// A file that only we should be able to read.
    File(PathBuf),
}

/// An `https` URL with a hostname and no user.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    url: reqwest::Url,
    host: Hostname,
}

/// An `http` or `https` URL of a prober that takes a `target`, without a user.
#[derive(Clone, PartialEq, Eq)]
pub struct ObserverUrl(reqwest::Url);

/// Who answers the names that are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    System,
    /// Not at all: the edge is asked at its own addresses.
    EdgeDirect,
    At(SocketAddr),
}

/// A header that an answer must carry.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    pub name: String,
    pub value: String,
}

impl UnitName {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let stem = text.strip_suffix(".service");
        match stem {
            Some(stem) if stem.is_empty() || !text.chars().all(in_unit) || 255 < text.len() => wrong(
                "is not the name of a unit; write it as `systemctl` shows it, such as \"cloudflared.service\"",
            ),
            Some(stem) if stem.ends_with('@') => {
                wrong("is a template; write the instance, such as \"cloudflared@office.service\"")
            }
            Some("cloudflared-update") => wrong(
                "updates cloudflared and runs no tunnel; write the unit that runs it, such as \"cloudflared.service\"",
            ),
            Some(_) => Ok(Self(text.to_owned())),
            None => wrong("must end in .service, such as \"cloudflared.service\""),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the packaged polkit rule lets us restart it.
    pub fn covered_by_rule(&self) -> bool {
        covered_by_rule(&self.0)
    }
}

/// Whether the packaged polkit rule lets us act on a unit of this name; what `systemd/tunnelwarden.rules` says in its words.
pub fn covered_by_rule(unit: &str) -> bool {
    let rest = unit.strip_suffix(".service").and_then(|stem| stem.strip_prefix("cloudflared"));
    let Some(rest) = rest else { return false };
    let updater = rest == "-update" || rest.starts_with("-update@");
    let name =
        rest.strip_prefix(['-', '@']).is_some_and(|name| !name.is_empty() && name.chars().all(in_unit));
    rest.is_empty() || name && !updater
}

/// What the name of a unit is made of.
fn in_unit(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)
}

impl TunnelId {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let hex = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if lengths == [8, 4, 4, 4, 12] && hex {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        wrong(
            "is not a tunnel's id, a UUID such as \"62da6c19-947b-4bf6-acad-100a73de4e0d\" (`cloudflared tunnel list` shows it)",
        )
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Hostname {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let shown = redact::value("", text);
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':', '?', '#']).next().unwrap_or(rest);
            return match Self::parse(host) {
                Ok(host) if !redact::secret_looking(text) => {
                    wrong(format!("has {shown}, a URL; write the name alone: \"{}\"", host.0))
                }
                Ok(_) | Err(_) => {
                    wrong(format!("has {shown}, a URL; write the name alone, such as \"app.example.com\""))
                }
            };
        }
        if text.starts_with("*.") {
            return wrong(format!(
                "has {shown}, a wildcard; write a name under it that is served, such as \"app{}\"",
                &shown.trim_matches('"')[1..]
            ));
        }
        if text.parse::<IpAddr>().is_ok() {
            return wrong(format!(
                "has {shown}, an address; write the public name, such as \"app.example.com\""
            ));
        }
        if text.len() <= 253 && text.contains('.') && text.split('.').all(is_label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        wrong(format!("has {shown}, which is no hostname; write a full name such as \"app.example.com\""))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Underscores occur in real names, though they should not.
fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl AccountId {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        wrong(
            "is not an account id, 32 hexadecimal digits as in the dashboard's address https://dash.cloudflare.com/<account id>",
        )
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Credential {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        if redact::secret_looking(text) {
            return wrong(
                "is a secret itself and does not belong into a configuration; write the name of a systemd credential, \
                 or \"file:/path\" of a file that holds it. Replace this secret: it lay open",
            );
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::File(path))
            } else {
                wrong("must name a file by its whole path, such as \"file:/etc/tunnelwarden/token\"")
            };
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('.') {
            return Ok(Self::Named(text.to_owned()));
        }
        wrong(
            "is not the name of a systemd credential (letters, digits, - and _), such as \"cloudflare-api-token\", \
             nor \"file:/path\"",
        )
    }

    /// As it is written in a file.
    pub fn written(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::File(path) => format!("file:{}", path.display()),
        }
    }
}

impl HttpsUrl {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let shown = redact::value("", text);
        let example = "such as \"https://app.example.com/health\"";
        let Ok(url) = reqwest::Url::parse(text) else {
            return wrong(format!("has {shown}, which is no URL; write one, {example}"));
        };
        if url.scheme() != "https" {
            return match text.split_once("://") {
                Some(("http", rest)) if shown != redact::HIDDEN => {
                    wrong(format!("must be https; write \"https://{rest}\""))
                }
                _ => wrong(format!("must be https, {example}")),
            };
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong(format!("must not carry a user or password; write the URL without, {example}"));
        }
        let Ok(host) = Hostname::parse(url.host_str().unwrap_or_default()) else {
            return wrong(format!("has {shown}, which does not name a full hostname; write one, {example}"));
        };
        Ok(Self { url, host })
    }

    pub fn url(&self) -> &reqwest::Url {
        &self.url
    }

    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub fn host(&self) -> &Hostname {
        &self.host
    }
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::value("", self.as_str()))
    }
}

impl ObserverUrl {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let shown = redact::value("", text);
        let example = "such as \"http://blackbox.example.com:9115/probe?module=http_2xx\"";
        let url = reqwest::Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())
        });
        let Some(url) = url else {
            return wrong(format!("has {shown}, which is no URL of a prober; write one, {example}"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong(format!("must not carry a user or password; write the URL without, {example}"));
        }
        if url.query_pairs().any(|(key, _)| key == "target") {
            return wrong(format!(
                "has a target already, which is put there for each name; leave it out, {example}"
            ));
        }
        Ok(Self(url))
    }

    pub fn url(&self) -> &reqwest::Url {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for ObserverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::value("", self.as_str()))
    }
}

/// A resolver's address, at port 53 unless it says another.
pub(super) fn resolver(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse()).ok()?;
    (address.port() != 0 && !address.ip().is_unspecified()).then_some(address)
}

impl Resolve {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        match text {
            "system" => return Ok(Self::System),
            "edge-direct" => return Ok(Self::EdgeDirect),
            _ => {}
        }
        match resolver(text) {
            Some(address) => Ok(Self::At(address)),
            None => {
                wrong("must be \"system\", \"edge-direct\" or the address of a resolver, such as \"1.1.1.1\"")
            }
        }
    }

    /// As it is written in a file.
    pub fn written(self) -> String {
        match self {
            Self::System => "system".to_owned(),
            Self::EdgeDirect => "edge-direct".to_owned(),
            Self::At(address) => address.to_string(),
        }
    }
}

impl Header {
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        match text.split_once(':') {
            Some((name, value))
                if !name.is_empty() && name.chars().all(token) && !value.contains(char::is_control) =>
            {
                Ok(Self { name: name.to_ascii_lowercase(), value: value.trim().to_owned() })
            }
            _ => wrong("must be a header's name, a colon and its value, such as \"x-app: mine\""),
        }
    }

    /// As it is written in a file, with the value hidden if the name says that it is secret.
    pub fn shown(&self) -> String {
        let secret = redact::secret_name(&self.name) || redact::secret_looking(&self.value);
        format!("{}: {}", self.name, if secret { redact::HIDDEN } else { &self.value })
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}
