//! Where a rule sends its requests, and cloudflared's words for what it does not take.

use core::net::IpAddr;

use crate::client::cloudflared_config::OriginRequest;

/// A service that cloudflared takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// `http`, `https`, `ws`, `wss`.
    Http(Address),
    /// Any other scheme: a stream inside of a websocket.
    Stream(Address),
    Unix {
        path: String,
        tls: bool,
    },
    Status(u16),
    HelloWorld,
    SocksProxy,
    Bastion,
}

/// A scheme, a host and a port, where one is given or usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub scheme: String,
    /// Without the brackets of IPv6.
    pub host: String,
    pub port: Option<u16>,
}

/// Why a service is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has a path; the same without one.
    Path {
        says: String,
        without: String,
    },
    Other(String),
}

/// Reads a service as cloudflared does.
pub(super) fn service(text: &str, all: &OriginRequest, own: &OriginRequest) -> Result<Service, Refusal> {
    let other = |says: String| Err(Refusal::Other(says));
    for (prefix, tls) in [("unix:", false), ("unix+tls:", true)] {
        if let Some(path) = text.strip_prefix(prefix) {
            return Ok(Service::Unix { path: path.to_owned(), tls });
        }
    }
    if let Some(code) = text.strip_prefix("http_status:") {
        return status(code).map_err(Refusal::Other);
    }
    match text {
        "hello_world" | "hello-world" => return Ok(Service::HelloWorld),
        "socks-proxy" => return socks(own).map_err(Refusal::Other),
        "bastion" => return Ok(Service::Bastion),
        _ => {}
    }
    if own.bastion_mode.or(all.bastion_mode) == Some(true) {
        return Ok(Service::Bastion);
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(says) => {
            let shown = text.split('#').next().unwrap_or(text);
            return other(format!("parse {shown:?}: {says}"));
        }
    };
    if url.scheme.is_empty() || url.host.is_empty() {
        return other(format!(
            "{text} is an invalid address, please make sure it has a scheme and a hostname"
        ));
    }
    if url.path {
        let says = format!(
            "{text} is an invalid address, ingress rules don't support proxying to a different path on the origin service. The path will be the same as the eyeball request's path"
        );
        let end = text.find("://").map_or(0, |at| at + 3);
        let length = text[end..].find('/').map_or(text.len(), |at| end + at);
        return Err(Refusal::Path { says, without: text[..length].to_owned() });
    }
    let usual = match url.scheme.as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "ssh" => Some(22),
        "rdp" => Some(3389),
        "smb" => Some(445),
        "tcp" => Some(7864),
        _ => None,
    };
    let address = Address { port: url.port.or(usual), host: url.host, scheme: url.scheme };
    Ok(match address.scheme.as_str() {
        "http" | "https" | "ws" | "wss" => Service::Http(address),
        _ => Service::Stream(address),
    })
}

fn status(code: &str) -> Result<Service, String> {
    let digits = code.strip_prefix(['+', '-']).unwrap_or(code);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid HTTP status code: strconv.Atoi: parsing {code:?}: invalid syntax"));
    }
    let Ok(number) = code.parse::<i64>() else {
        return Err(format!("invalid HTTP status code: strconv.Atoi: parsing {code:?}: value out of range"));
    };
    match u16::try_from(number) {
        Ok(code) if (100..=999).contains(&code) => Ok(Service::Status(code)),
        Ok(_) | Err(_) => Err(format!("invalid HTTP status code: {number}")),
    }
}

fn socks(own: &OriginRequest) -> Result<Service, String> {
    for rule in own.ip_rules.iter().flatten() {
        let wrong = match rule.prefix.as_deref() {
            None | Some("") => Some("no prefix provided".to_owned()),
            Some(prefix) if !is_cidr(prefix) => Some(format!("unable to parse cidr: {prefix}")),
            Some(_) => {
                let mut ports = rule.ports.clone().unwrap_or_default();
                ports.sort_unstable();
                let bad = ports.into_iter().find(|port| !(1..=65535).contains(port));
                bad.map(|port| format!("invalid port {port}, needs to be between 1 and 65535"))
            }
        };
        if let Some(wrong) = wrong {
            return Err(format!("unable to create ip rule for socks-proxy: {wrong}"));
        }
    }
    Ok(Service::SocksProxy)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => digits && bits <= 32,
        Ok(IpAddr::V6(_)) => digits && bits <= 128,
        Err(_) => false,
    }
}

/// What of a URL matters, read as Go reads it.
struct Url {
    scheme: String,
    host: String,
    port: Option<u16>,
    /// There is a path, be it a slash.
    path: bool,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.split('#').next().unwrap_or(text);
        let mut url = Self { scheme: String::new(), host: String::new(), port: None, path: false };
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        let (scheme, rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let rest = rest.split('?').next().unwrap_or(rest);
        if !rest.starts_with('/') {
            let segment = rest.split('/').next().unwrap_or(rest);
            if url.scheme.is_empty() && segment.contains(':') {
                return Err("first path segment in URL cannot contain colon".into());
            }
            url.path = url.scheme.is_empty() && !rest.is_empty();
            return Ok(url);
        }
        let authority = match rest.strip_prefix("//") {
            Some(after) if !(url.scheme.is_empty() && rest.starts_with("///")) => after,
            Some(_) | None => {
                url.path = true;
                return Ok(url);
            }
        };
        let (authority, path) = match authority.find('/') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        };
        url.path = !path.is_empty();
        let host = authority.rsplit('@').next().unwrap_or(authority);
        (url.host, url.port) = host_and_port(host)?;
        if let Some(bad) = path.match_indices('%').find_map(|(at, _)| bad_escape(&path[at..], false)) {
            return Err(bad);
        }
        Ok(url)
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at != 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let Some(end) = inner.rfind(']') else { return Err("missing ']' in host".into()) };
        (&inner[..end], &inner[end + 1..])
    } else {
        text.find(':').map_or((text, ""), |at| text.split_at(at))
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !port.is_empty() && (!port.starts_with(':') || !digits.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(bad) = host.match_indices('%').find_map(|(at, _)| bad_escape(&host[at..], true)) {
        return Err(bad);
    }
    let allowed =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!$&'()*+,;=:[]<>\"-_.~".contains(c);
    if let Some(bad) = host.chars().find(|c| !allowed(*c) && *c != '%') {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    Ok((host.to_owned(), digits.parse().ok()))
}

/// What is wrong with the escape at the beginning; in a host it must not stand for ASCII.
fn bad_escape(text: &str, host: bool) -> Option<String> {
    let digits = text.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    match byte {
        Some(byte) if !host || 0x80 <= byte => None,
        Some(_) | None => Some(format!("invalid URL escape {:?}", text.chars().take(3).collect::<String>())),
    }
}
