//! `originRequest`: every option has its kind, and cloudflared does not start with a wrong one.

use serde::Deserialize;
use serde::de::{Error, Visitor};

/// The parts that decide whether a rule is valid, or what it reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Options")]
pub struct OriginRequest {
    pub bastion_mode: Option<bool>,
    pub ip_rules: Option<Vec<IpRule>>,
    pub access: Option<Access>,
}

/// Whom a SOCKS proxy may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct IpRule {
    pub prefix: Option<String>,
    pub ports: Option<Vec<i64>>,
}

/// The check of Access' token by cloudflared itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    pub required: Option<bool>,
    pub team_name: Option<String>,
    pub aud_tag: Option<Vec<String>>,
}

/// All options, with the kinds that cloudflared wants.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "most are read for their kind alone")]
struct Options {
    connect_timeout: Option<Duration>,
    tls_timeout: Option<Duration>,
    tcp_keep_alive: Option<Duration>,
    keep_alive_timeout: Option<Duration>,
    no_happy_eyeballs: Option<bool>,
    keep_alive_connections: Option<i64>,
    http_host_header: Option<String>,
    origin_server_name: Option<String>,
    #[serde(rename = "matchSNItoHost")]
    match_sni_to_host: Option<bool>,
    ca_pool: Option<String>,
    #[serde(rename = "noTLSVerify")]
    no_tls_verify: Option<bool>,
    disable_chunked_encoding: Option<bool>,
    bastion_mode: Option<bool>,
    proxy_address: Option<String>,
    proxy_port: Option<u64>,
    proxy_type: Option<String>,
    ip_rules: Option<Vec<IpRule>>,
    #[serde(rename = "http2Origin")]
    http2_origin: Option<bool>,
    access: Option<Access>,
}

impl From<Options> for OriginRequest {
    fn from(options: Options) -> Self {
        Self { bastion_mode: options.bastion_mode, ip_rules: options.ip_rules, access: options.access }
    }
}

/// A span with its unit, such as `30s`.
struct Duration;

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Duration;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a span such as 30s")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                if is_duration(text) {
                    return Ok(Duration);
                }
                Err(E::custom(format!(
                    "cannot unmarshal !!str `{text}` into time.Duration; write a span such as 30s or 1m30s"
                )))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
                Err(E::custom(format!(
                    "cannot unmarshal !!int `{number}` into time.Duration; write {number}s"
                )))
            }
        }
        deserializer.deserialize_any(Of)
    }
}

/// As Go reads spans: numbers, each with its unit.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (digits, after) = rest.split_at(number);
        let Some(unit) =
            ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].iter().find(|unit| after.starts_with(**unit))
        else {
            return false;
        };
        if !digits.bytes().any(|b| b.is_ascii_digit()) || 1 < digits.matches('.').count() {
            return false;
        }
        rest = &after[unit.len()..];
    }
    true
}
