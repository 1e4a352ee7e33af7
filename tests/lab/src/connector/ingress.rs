//! Ingress rules: what cloudflared accepts, how it refuses the rest, and which rule a request meets.

use regex_lite::Regex;
use serde_json::{Value, json};

/// Where a rule sends a request.
#[derive(Debug, Clone)]
pub enum Service {
    /// A plain HTTP origin, as `host:port`.
    Http(String),
    Status(u16),
    HelloWorld,
    /// Anything the stand-in accepts but cannot reach.
    Other,
}

#[derive(Debug, Clone)]
pub struct Rule {
    /// Empty matches all.
    pub hostname: String,
    pub path: Option<Regex>,
    pub service: Service,
    /// The service as written.
    pub written: String,
}

#[derive(Debug, Clone)]
pub struct Ingress {
    pub rules: Vec<Rule>,
    /// -1 for rules from the file.
    pub version: i64,
}

impl Ingress {
    /// The rules of a config file or of a pushed configuration; without any, everything gets 503.
    ///
    /// # Errors
    /// cloudflared's own words for the first bad rule.
    pub fn parse(config: &Value, version: i64) -> Result<Self, String> {
        let written = config.get("ingress").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if written.is_empty() {
            return Ok(Self { rules: vec![unavailable()], version });
        }
        let mut rules = Vec::new();
        for (index, rule) in written.iter().enumerate() {
            let rule = parse_rule(rule, index)?;
            let last = index + 1 == written.len();
            let catches_all = (rule.hostname.is_empty() || rule.hostname == "*") && rule.path.is_none();
            if last && !catches_all {
                return Err("The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)".into());
            }
            if !last && catches_all {
                return Err(format!(
                    "Rule #{} is matching the hostname '{}', but this will match every hostname, meaning the rules which follow it will never be triggered.",
                    index + 1,
                    rule.hostname
                ));
            }
            rules.push(rule);
        }
        Ok(Self { rules, version })
    }

    /// The first rule that fits, and its number.
    pub fn matching(&self, host: &str, path: &str) -> Option<(usize, &Rule)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.fits(host, path))
    }

    /// What `/config` shows.
    pub fn to_json(&self) -> Value {
        let origin = json!({
            "connectTimeout": 30, "tlsTimeout": 10, "tcpKeepAlive": 30, "noHappyEyeballs": false,
            "keepAliveTimeout": 90, "keepAliveConnections": 100, "httpHostHeader": "", "originServerName": "",
            "matchSNItoHost": false, "caPool": "", "noTLSVerify": false, "disableChunkedEncoding": false,
            "bastionMode": false, "proxyAddress": "127.0.0.1", "proxyPort": 0, "proxyType": "",
            "ipRules": null, "http2Origin": false, "access": { "teamName": "", "audTag": null },
        });
        let rules: Vec<Value> = self
            .rules
            .iter()
            .map(|rule| {
                json!({
                    "hostname": rule.hostname, "path": rule.path.as_ref().map(Regex::as_str),
                    "service": rule.written, "Handlers": null, "originRequest": origin,
                })
            })
            .collect();
        let config = json!({ "ingress": rules, "warp-routing": {}, "originRequest": origin });
        json!({ "version": self.version, "config": config })
    }
}

impl Rule {
    fn fits(&self, host: &str, path: &str) -> bool {
        let host_fits = match self.hostname.as_str() {
            "" | "*" => true,
            name => match name.strip_prefix("*.") {
                Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')),
                None => name == host,
            },
        };
        host_fits && self.path.as_ref().is_none_or(|path_rule| path_rule.is_match(path))
    }
}

fn unavailable() -> Rule {
    Rule {
        hostname: String::new(),
        path: None,
        service: Service::Status(503),
        written: "http_status:503".into(),
    }
}

fn parse_rule(rule: &Value, index: usize) -> Result<Rule, String> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (hostname, path, written) = (text("hostname"), text("path"), text("service"));
    let service = parse_service(&written)?;
    if hostname.matches('*').count() > 1 || hostname.find('*').is_some_and(|at| at > 0) {
        return Err(r#"Hostname patterns can have at most one wildcard character ("*") and it can only be used for subdomains, e.g. "*.example.com""#.into());
    }
    if hostname.contains(':') {
        return Err("Hostname cannot contain a port".into());
    }
    let path = if path.is_empty() { None } else { Some(path) };
    let path = path.map(|path| Regex::new(&path)).transpose();
    let path = path.map_err(|error| {
        format!("Rule #{} has an invalid regex: error parsing regexp: {error}", index + 1)
    })?;
    Ok(Rule { hostname, path, service, written })
}

fn parse_service(written: &str) -> Result<Service, String> {
    if let Some(code) = written.strip_prefix("http_status:") {
        let status: u16 = code.parse().map_err(|_| {
            format!("invalid HTTP status code: strconv.Atoi: parsing \"{code}\": invalid syntax")
        })?;
        return match status {
            100..=999 => Ok(Service::Status(status)),
            _ => Err(format!("invalid HTTP status code: {status}")),
        };
    }
    match written {
        "hello_world" | "hello-world" => return Ok(Service::HelloWorld),
        "bastion" | "socks-proxy" => return Ok(Service::Other),
        _ => {}
    }
    if written.starts_with("unix:/") || written.starts_with("unix+tls:/") {
        return Ok(Service::Other);
    }
    let Some((scheme, host)) =
        written.split_once("://").filter(|(scheme, host)| !scheme.is_empty() && !host.is_empty())
    else {
        return Err(format!(
            "{written} is an invalid address, please make sure it has a scheme and a hostname"
        ));
    };
    if host.contains(' ') {
        return Err(format!("parse \"{written}\": invalid character \" \" in host name"));
    }
    if host.contains('/') {
        return Err(format!(
            "{written} is an invalid address, ingress rules don't support proxying to a different path on the origin service. The path will be the same as the eyeball request's path"
        ));
    }
    let port_given = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(match scheme {
        "http" if port_given => Service::Http(host.to_owned()),
        "http" => Service::Http(format!("{host}:80")),
        _ => Service::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: Value) -> Result<Ingress, String> {
        Ingress::parse(&json!({ "ingress": rules }), -1)
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let ingress = parse(json!([
            { "hostname": "app.example.com", "path": "^/api", "service": "http://localhost:1" },
            { "hostname": "*.example.com", "service": "http://localhost:2" },
            { "service": "http_status:404" },
        ]))
        .unwrap();
        let number = |host, path| ingress.matching(host, path).unwrap().0;
        assert_eq!(number("app.example.com", "/api/1"), 0);
        assert_eq!(number("app.example.com", "/"), 1);
        assert_eq!(number("a.b.example.com", "/"), 1);
        assert_eq!(number("example.com", "/"), 2);
    }

    #[test]
    fn bad_rules_get_the_real_words() {
        let error = |rules| parse(rules).unwrap_err();
        assert!(
            error(json!([{ "hostname": "a.example.com", "service": "http://x" }]))
                .starts_with("The last ingress")
        );
        assert!(
            error(json!([{ "service": "localhost8080" }])).starts_with("localhost8080 is an invalid address")
        );
        assert!(error(json!([{ "service": "http://x:1/" }])).contains("different path"));
        assert!(error(json!([{ "service": "http_status:abc" }])).contains("strconv.Atoi"));
        assert!(
            error(json!([{ "service": "http_status:404" }, { "service": "http://x" }]))
                .starts_with("Rule #1")
        );
        assert!(
            error(json!([{ "hostname": "a:80", "service": "http://x" }, { "service": "http://x" }]))
                .contains("port")
        );
    }
}
