//! What an HTTP answer says about the way to a public name. Pure: status, headers, the start of the body.
//!
//! Markers in the body come before the status, because the owner of a zone may change the status of an error page,
//! and a 530 without a marker proves nothing. A number alone is never a marker: ray ids and style sheets hold any.

use reqwest::header::{AGE, CONTENT_TYPE, HeaderMap, LOCATION, SERVER, WWW_AUTHENTICATE};

/// What a look at a public name found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The origin's own answer (or cloudflared's for a rule without origin), through the tunnel.
    Served,
    /// Error 1033: the edge knows no connector for the tunnel.
    TunnelError,
    /// Error 1016: the target of the record does not resolve.
    DnsError,
    /// Another error that the edge made.
    EdgeError,
    /// 502, 503 or 504 of the origin, or of the connector or the edge speaking for it; the status tells them apart.
    OriginError,
    /// Cloudflare Access asks for a login or refuses: the edge works, the tunnel is not proven.
    Access,
    /// The probe itself was challenged, limited or banned.
    Challenge,
    /// Answered at the edge without asking the origin: a cache, a redirect rule, a Worker.
    Cached,
    /// The origin's own answer, as far as the edge says, but not what was expected of it: somebody else may have
    /// answered for it.
    Unexpected,
    /// The probe could not look.
    Blind(BlindReason),
}

/// Why a probe could not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlindReason {
    /// The name was not resolved.
    Dns,
    /// No connection: refused, reset or no route.
    Connect,
    /// The TLS handshake failed or the certificate is not trusted.
    Tls,
    /// The certificate is outside its dates: it is old, or our clock is wrong.
    CertificateDates,
    /// Not finished in time.
    Timeout,
    /// It answered, but not as Cloudflare's edge: a captive portal, a proxy, or the name points elsewhere.
    NotEdge,
    /// It answered something that is no HTTP, or broke off.
    Garbled,
    /// The address to ask is not one.
    BadTarget,
}

/// Reads an answer. The second value is the edge's error code, if it named one.
///
/// An origin can send the very body of an edge error (one that proxies to another Cloudflare name does). The edge puts
/// `server` and `cf-ray` on that answer as on its own, so these two are required and prove little; but it adds
/// `cf-cache-status` only to what went through its cache layer, so with it the origin has answered.
pub fn classify(status: u16, headers: &HeaderMap, body: &[u8]) -> (Answer, Option<u16>) {
    let from_edge = FromEdge::of(headers);
    if !from_edge.ray && !from_edge.server {
        return (Answer::Blind(BlindReason::NotEdge), None);
    }
    if header(headers, "cf-mitigated").is_some_and(|v| v.eq_ignore_ascii_case("challenge")) {
        return (Answer::Challenge, None);
    }
    if is_access(status, headers, body) {
        return (Answer::Access, None);
    }
    let cache = CacheStatus::of(headers);
    match cache {
        CacheStatus::Edge => return (Answer::Cached, None),
        CacheStatus::Origin => return (from_origin(status), None),
        CacheStatus::Absent => {}
    }
    if status < 400 {
        return (Answer::Served, None);
    }
    if is_block_page(status, headers, body) {
        return (Answer::Challenge, None);
    }
    match error_code(headers, body) {
        // An error page of the edge always has both headers.
        Some(code) if from_edge.ray && from_edge.server => (of_code(code, status), Some(code)),
        Some(_) | None => (of_status(status, body), None),
    }
}

/// The edge's location (IATA code) in a `cf-ray` header.
pub fn colo(headers: &HeaderMap) -> Option<String> {
    let (_, place) = header(headers, "cf-ray")?.rsplit_once('-')?;
    (place.len() == 3 && place.bytes().all(|b| b.is_ascii_uppercase())).then(|| place.to_owned())
}

/// What the headers of an answer say of its way, as they say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `cloudflare` for whatever came through the edge.
    pub server: Option<String>,
    /// `cf-ray`: the request's number, and the edge's location.
    pub ray: Option<String>,
    /// `cf-cache-status`: `DYNAMIC`, `HIT`.
    pub cache: Option<String>,
}

impl Marks {
    /// Reads them, short and printable.
    pub fn of(headers: &HeaderMap) -> Self {
        let read = |name: &str| header(headers, name).map(|value| value.trim().chars().take(64).collect());
        Self { server: read("server"), ray: read("cf-ray"), cache: read("cf-cache-status") }
    }
}

struct FromEdge {
    ray: bool,
    server: bool,
}

impl FromEdge {
    fn of(headers: &HeaderMap) -> Self {
        let server = headers.get(SERVER).and_then(|v| v.to_str().ok());
        Self {
            ray: header(headers, "cf-ray").is_some_and(|ray| !ray.trim().is_empty()),
            server: server.is_some_and(|v| v.trim().eq_ignore_ascii_case("cloudflare")),
        }
    }
}

enum CacheStatus {
    /// The answer was made or kept at the edge.
    Edge,
    /// The origin was asked.
    Origin,
    /// Not said: an error page of the edge, or an answer that never met the cache layer.
    Absent,
}

impl CacheStatus {
    fn of(headers: &HeaderMap) -> Self {
        match header(headers, "cf-cache-status").map(|v| v.trim().to_ascii_uppercase()).as_deref() {
            Some("HIT" | "STALE" | "UPDATING" | "REVALIDATED" | "NONE" | "UNKNOWN" | "NONE/UNKNOWN") => {
                Self::Edge
            }
            // An `age` beside these is that of a cache at the origin.
            Some("MISS" | "EXPIRED" | "BYPASS" | "DYNAMIC") => Self::Origin,
            Some(_) | None if headers.contains_key(AGE) => Self::Edge,
            Some(_) | None => Self::Absent,
        }
    }
}

/// The origin has answered, so the tunnel carries; only its saying that something behind it is down is no service.
fn from_origin(status: u16) -> Answer {
    if matches!(status, 502..=504) { Answer::OriginError } else { Answer::Served }
}

/// What an error page of the edge says by its code.
pub fn of_code(code: u16, status: u16) -> Answer {
    match code {
        1033 => Answer::TunnelError,
        1016 => Answer::DnsError,
        // Banned by network, address, country, browser signature or rule, or limited: it is the prober that is shut out.
        1005..=1010 | 1012 | 1015 | 1020 | 1025 | 1106 => Answer::Challenge,
        502 | 504 => Answer::OriginError,
        _ if status == 502 && code < 1000 => Answer::OriginError,
        _ => Answer::EdgeError,
    }
}

fn of_status(status: u16, body: &[u8]) -> Answer {
    match status {
        502..=504 if is_plain_edge_page(body) => Answer::EdgeError,
        502 | 504 => Answer::OriginError,
        // The edge's own 503 is a branded page; cloudflared's without ingress rules has no body.
        503 if is_branded(body) => Answer::EdgeError,
        503 => Answer::OriginError,
        500 if is_branded(body) || is_plain_edge_page(body) => Answer::EdgeError,
        520..=530 => Answer::EdgeError,
        _ => Answer::Served,
    }
}

fn is_access(status: u16, headers: &HeaderMap, body: &[u8]) -> bool {
    match status {
        301..=303 | 307 | 308 => {
            let to = headers.get(LOCATION).and_then(|v| v.to_str().ok());
            to.is_some_and(is_access_login)
        }
        401 | 403 => {
            let asks = headers.get(WWW_AUTHENTICATE).and_then(|v| v.to_str().ok());
            headers.contains_key("cf-access-aud")
                || headers.contains_key("cf-access-domain")
                || asks.is_some_and(|v| starts_with(v, "cloudflare-access"))
                || title(&text(body)).is_some_and(|t| t.contains("cloudflare access"))
        }
        _ => false,
    }
}

fn is_access_login(location: &str) -> bool {
    const PATH: &str = "/cdn-cgi/access/login";
    if location.starts_with(PATH) {
        return true;
    }
    let Ok(url) = reqwest::Url::parse(location) else { return false };
    let team = url.host_str().is_some_and(|host| host.ends_with(".cloudflareaccess.com"));
    url.scheme() == "https" && team && url.path().starts_with(PATH)
}

/// The page of a firewall rule or of the browser check.
fn is_block_page(status: u16, headers: &HeaderMap, body: &[u8]) -> bool {
    matches!(status, 403 | 429)
        && content_type(headers).is_none_or(|kind| kind == "text/html")
        && title(&text(body))
            .is_some_and(|t| t.contains("attention required! | cloudflare") || t == "just a moment...")
}

/// The page that the edge's servers give when they are in trouble themselves.
fn is_plain_edge_page(body: &[u8]) -> bool {
    text(body).contains("<hr><center>cloudflare</center>")
}

/// The page that the edge gives for an error beyond it.
fn is_branded(body: &[u8]) -> bool {
    let text = text(body);
    text.contains("cf-error-details") || title(&text).is_some_and(|t| t.ends_with("| cloudflare"))
}

/// The error code that an error page of the edge names, in any of its forms.
fn error_code(headers: &HeaderMap, body: &[u8]) -> Option<u16> {
    let text = text(body);
    let kind = content_type(headers);
    match kind.as_deref() {
        Some("application/json" | "application/problem+json") => json_code(body),
        Some("text/markdown") => markdown_code(&text),
        // Bodies are believed by their form where the type is not said or is general.
        Some("text/html") => plain_code(&text).or_else(|| html_code(&text)),
        Some(_) | None => plain_code(&text).or_else(|| html_code(&text)).or_else(|| markdown_code(&text)),
    }
    .or_else(|| header(headers, "cf-error-type").and_then(number))
}

/// `error code: 1033` and nothing else.
fn plain_code(text: &str) -> Option<u16> {
    number(text.trim().strip_prefix("error code:")?)
}

/// The edge's error page: its title, its marked code, or its sentence inside its frame.
fn html_code(text: &str) -> Option<u16> {
    const MARK: &str = "class=\"cf-error-code\">";
    if let Some(title) = title(text)
        && title.ends_with("| cloudflare")
        && (title.starts_with("argo tunnel error |") || title.starts_with("cloudflare tunnel error |"))
    {
        return Some(1033);
    }
    if let Some(at) = text.find(MARK)
        && let Some((code, _)) = text[at + MARK.len()..].split_once('<')
        && let Some(code) = number(code)
    {
        return Some(code);
    }
    let sentence = text.contains("is configured as an argo tunnel")
        || text.contains("is configured as a cloudflare tunnel");
    (sentence && text.contains("cf-error-details")).then_some(1033)
}

fn json_code(body: &[u8]) -> Option<u16> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    if value.get("cloudflare_error")?.as_bool() != Some(true) {
        return None;
    }
    u16::try_from(value.get("error_code")?.as_u64()?).ok().filter(|code| (500..10_000).contains(code))
}

/// The YAML front matter of the edge's Markdown form.
fn markdown_code(text: &str) -> Option<u16> {
    let mut lines = text.trim_start().lines();
    if lines.next()?.trim() != "---" {
        return None;
    }
    let (mut code, mut ours) = (None, false);
    for line in lines.take_while(|line| line.trim() != "---") {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.trim() {
            "error_code" => code = number(value),
            "cloudflare_error" => ours = value.trim() == "true",
            _ => {}
        }
    }
    code.filter(|_| ours)
}

/// A code of three or four digits.
fn number(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The first title of a lower-cased page.
fn title(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<title>")?;
    Some(rest.split_once("</title>")?.0.trim())
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).to_ascii_lowercase()
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests;
