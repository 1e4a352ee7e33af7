//! What the edge shows to a visitor when it answers by itself.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use super::events::Answer;

/// The forms of the 1033 page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    Html,
    /// From the days when it was called Argo Tunnel.
    HtmlOld,
    Json,
    ProblemJson,
    Markdown,
}

/// A page shown although the tunnel may be fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// 530 with code 1033, in this form.
    TunnelError(Form),
    /// 530 with code 1016.
    OriginDns,
    /// 200 from the cache.
    Cached,
    /// 403 with a managed challenge.
    Challenge,
    /// The redirect to an Access login, for whoever has no service token.
    Access,
    /// A bare status with its number as error code.
    Status(u16),
}

impl FromStr for Form {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "plain" => Self::Plain,
            "html" => Self::Html,
            "html-old" => Self::HtmlOld,
            "json" => Self::Json,
            "problem-json" => Self::ProblemJson,
            "markdown" => Self::Markdown,
            other => return Err(format!("no such form: {other}")),
        })
    }
}

impl FromStr for Page {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "1016" => return Ok(Self::OriginDns),
            "cached" => return Ok(Self::Cached),
            "challenge" => return Ok(Self::Challenge),
            "access" => return Ok(Self::Access),
            _ => {}
        }
        if let Ok(form) = name.parse() {
            return Ok(Self::TunnelError(form));
        }
        match name.parse() {
            Ok(status) if StatusCode::from_u16(status).is_ok_and(|_| status >= 200) => {
                Ok(Self::Status(status))
            }
            _ => Err(format!("no such page: {name}")),
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TunnelError(form) => write!(f, "1033 {form:?}"),
            Self::OriginDns => f.write_str("1016"),
            Self::Cached => f.write_str("cached"),
            Self::Challenge => f.write_str("challenge"),
            Self::Access => f.write_str("access"),
            Self::Status(status) => write!(f, "{status}"),
        }
    }
}

/// The only service token that Access lets in.
pub const SERVICE_TOKEN: [&str; 2] = ["lab0123456789.access", "secret-of-the-labs-service-token-0123456789"];

/// A visitor who shows it is led to the origin.
pub fn is_let_in(headers: &HeaderMap) -> bool {
    ["cf-access-client-id", "cf-access-client-secret"]
        .into_iter()
        .zip(SERVICE_TOKEN)
        .all(|(name, wanted)| headers.get(name).is_some_and(|value| value.as_bytes() == wanted.as_bytes()))
}

/// The form a visitor asks for. Programs that take anything get plain text, as they do in the field.
pub fn negotiated(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let mut best = (Form::Plain, 0.0);
    for part in accept.split(',') {
        let (kind, parameters) = part.split_once(';').unwrap_or((part, ""));
        let weight = parameters.trim().strip_prefix("q=").and_then(|q| q.parse().ok()).unwrap_or(1.0_f32);
        let form = match kind.trim() {
            "text/html" => Form::Html,
            "application/json" => Form::Json,
            "application/problem+json" => Form::ProblemJson,
            "text/markdown" | "text/*" => Form::Markdown,
            _ => Form::Plain,
        };
        // Of equals, the first listed wins.
        if weight > best.1 {
            best = (form, weight);
        }
    }
    best.0
}

/// Makes the page for a visitor of `host`, and says what to note of it.
pub fn make(page: Page, host: &str, ray: &str) -> (Response<Full<Bytes>>, Answer) {
    match page {
        Page::TunnelError(form) => tunnel_error(form, host, ray),
        Page::OriginDns => coded(530, 1016),
        Page::Status(status) => coded(status, status),
        Page::Cached => {
            let mut response = text(200, "text/html; charset=utf-8", "<p>hello from the cache</p>\n".into());
            set(&mut response, "cf-cache-status", "HIT");
            set(&mut response, "age", "371");
            (response, Answer { status: 200, code: None })
        }
        Page::Challenge => {
            let body = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>";
            let mut response = text(403, "text/html; charset=UTF-8", body.into());
            set(&mut response, "cf-mitigated", "challenge");
            (response, Answer { status: 403, code: None })
        }
        Page::Access => {
            let mut response = text(302, "text/html", String::new());
            let target = format!(
                "https://lab.cloudflareaccess.com/cdn-cgi/access/login/{host}?kid=0&redirect_url=%2F"
            );
            set(&mut response, "location", &target);
            (response, Answer { status: 302, code: None })
        }
    }
}

/// The plain form every code has.
pub fn coded(status: u16, code: u16) -> (Response<Full<Bytes>>, Answer) {
    let mut response = text(status, "text/plain; charset=UTF-8", format!("error code: {code}"));
    not_cached(&mut response);
    (response, Answer { status, code: Some(code) })
}

fn tunnel_error(form: Form, host: &str, ray: &str) -> (Response<Full<Bytes>>, Answer) {
    let (kind, body) = match form {
        Form::Plain => return coded(530, 1033),
        Form::Html => ("text/html; charset=UTF-8", html("Cloudflare Tunnel", host, ray)),
        Form::HtmlOld => ("text/html; charset=UTF-8", html("Argo Tunnel", host, ray)),
        Form::Json => ("application/json; charset=utf-8", problem(host, ray)),
        Form::ProblemJson => ("application/problem+json; charset=utf-8", problem(host, ray)),
        Form::Markdown => ("text/markdown; charset=utf-8", markdown(host, ray)),
    };
    let mut response = text(530, kind, body);
    not_cached(&mut response);
    set(&mut response, "retry-after", "120");
    (response, Answer { status: 530, code: Some(1033) })
}

fn html(product: &str, host: &str, ray: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head>\n<title>{product} error | {host} | Cloudflare</title>\n\
         <meta charset=\"UTF-8\" />\n</head>\n<body>\n<div id=\"cf-wrapper\">\n\
         <div id=\"cf-error-details\" class=\"cf-error-details-wrapper\">\n\
         <h1><span class=\"cf-error-type\">Error</span> <span class=\"cf-error-code\">1033</span></h1>\n\
         <h2 class=\"cf-subheadline\">{product} error</h2>\n\
         <p>The host ({host}) is configured as {article} {product}, and Cloudflare is currently unable to resolve \
         it.</p>\n<p>Cloudflare Ray ID: <strong>{ray}</strong></p>\n</div>\n</div>\n</body>\n</html>\n",
        article = if product.starts_with('A') { "an" } else { "a" },
    )
}

fn problem(host: &str, ray: &str) -> String {
    json!({
        "type": "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1033/",
        "title": "Error 1033: Cloudflare Tunnel error",
        "status": 530,
        "detail": "The host is configured as a Cloudflare Tunnel, but Cloudflare is currently unable to reach it.",
        "instance": ray,
        "error_code": 1033,
        "error_name": "tunnel_error",
        "error_category": "config",
        "ray_id": ray,
        "timestamp": jiff::Timestamp::now().to_string(),
        "zone": host,
        "cloudflare_error": true,
        "retryable": true,
        "retry_after": 120,
        "owner_action_required": true,
        "what_you_should_do": "Wait and retry. If it persists, the owner has to check the tunnel.",
        "footer": "This error was generated by Cloudflare on behalf of the website owner.",
    })
    .to_string()
}

fn markdown(host: &str, ray: &str) -> String {
    format!(
        "---\nerror_code: 1033\nerror_name: tunnel_error\nerror_category: config\nstatus: 530\nray_id: {ray}\n\
         timestamp: {}\nzone: {host}\ncloudflare_error: true\nretryable: true\nretry_after: 120\n\
         owner_action_required: true\n---\n\n# Error 1033: Cloudflare Tunnel error\n\n## What Happened\n\n\
         The host is configured as a Cloudflare Tunnel, but Cloudflare is currently unable to reach it.\n\n\
         ## What You Should Do\n\nWait and retry.\n",
        jiff::Timestamp::now(),
    )
}

fn text(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn not_cached(response: &mut Response<Full<Bytes>>) {
    set(
        response,
        "cache-control",
        "private, max-age=0, no-store, no-cache, must-revalidate, post-check=0, pre-check=0",
    );
    set(response, "expires", "Thu, 01 Jan 1970 00:00:01 GMT");
    set(response, "x-frame-options", "SAMEORIGIN");
}

/// Sets a header; a value that HTTP does not allow (from a visitor's Host) is left out.
pub fn set<B>(response: &mut Response<B>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
