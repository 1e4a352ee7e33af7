//! What cloudflared refuses at its start, in its own words.

use super::host::without_port;
use super::service::{Refusal, service};
use super::{Hosts, Ingress, Paths, Pattern, Rule};
use crate::audit::{Finding, Severity};
use crate::client::cloudflared_config::{Access, IngressFile, Written, WrittenRule};

const NO_RULES: &str = "The config file doesn't contain any ingress rules";
const LAST: &str =
    "The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)";
const WILDCARD: &str = "Hostname patterns can have at most one wildcard character (\"*\") and it can only be used for subdomains, e.g. \"*.example.com\"";
const REFUSED: &str = "cloudflared does not start with it.";
const EXAMPLE: &str = "ingress:\n  - hostname: app.example.com\n    service: http://localhost:8080\n  - service: http_status:404";
/// Options that are often written otherwise.
const OPTIONS: [&str; 19] = [
    "access",
    "bastionMode",
    "caPool",
    "connectTimeout",
    "disableChunkedEncoding",
    "http2Origin",
    "httpHostHeader",
    "ipRules",
    "keepAliveConnections",
    "keepAliveTimeout",
    "matchSNItoHost",
    "noHappyEyeballs",
    "noTLSVerify",
    "originServerName",
    "proxyAddress",
    "proxyPort",
    "proxyType",
    "tcpKeepAlive",
    "tlsTimeout",
];

pub(super) fn read(written: &IngressFile, file: &str) -> (Ingress, Vec<Finding>) {
    let mut ingress = Ingress { file: file.to_owned(), rules: Vec::new() };
    let mut findings = Vec::new();
    for key in &written.twice {
        findings.push(twice(&ingress, key));
    }
    for key in &written.unknown {
        findings.push(unknown(&ingress, key));
    }
    if written.rules.is_empty() && written.warp_routing {
        findings.push(ingress.finding(
            Severity::Note,
            "no-rules",
            0,
            [
                format!("{NO_RULES}, and `warp-routing` is set."),
                "The tunnel serves private networks alone: a public name that leads to it gets 503.".into(),
                format!("Nothing, if no public name leads to it. Otherwise write them, the last one for everything else:\n{EXAMPLE}"),
            ],
        ));
    } else if written.rules.is_empty() {
        findings.push(ingress.finding(
            Severity::Error,
            "no-rules",
            0,
            [
                format!("{NO_RULES}."),
                "cloudflared answers every request with 503.".into(),
                format!("Write them, the last one for everything else:\n{EXAMPLE}"),
            ],
        ));
    }
    for (index, rule) in written.rules.iter().enumerate() {
        let read = one(&ingress, index, written, rule, &mut findings);
        ingress.rules.push(read);
    }
    (ingress, findings)
}

fn one(
    ingress: &Ingress,
    index: usize,
    file: &IngressFile,
    rule: &WrittenRule,
    findings: &mut Vec<Finding>,
) -> Rule {
    let number = index + 1;
    let mut refuse = |id: &'static str, line: u64, words: &str, fix: String| {
        let what = format!("cloudflared refuses rule #{number}: {}.", words.trim());
        findings.push(ingress.finding(Severity::Error, id, line, [what, REFUSED.into(), fix]));
    };
    let read = service(&rule.service.text, &file.origin, &rule.origin);
    match &read {
        Ok(_) => {}
        Err(Refusal::Path { says, without }) => {
            let fix = format!("Leave the path out, the origin gets the request's own:\nservice: {without}");
            refuse("service-with-path", rule.service.line, says, fix);
        }
        Err(Refusal::Other(says)) if rule.service.text.is_empty() => {
            let fix = "Say where its requests go:\nservice: http://localhost:8080".into();
            let words = format!("it has no service (\"{says}\")");
            refuse("missing-service", rule.line, &words, fix);
        }
        Err(Refusal::Other(says)) => {
            refuse("invalid-service", rule.service.line, says, service_fix(&rule.service.text))
        }
    }
    if let Some(Access { required: Some(true), team_name, aud_tag }) = &rule.origin.access
        && team_name.as_deref().unwrap_or_default().is_empty()
        && aud_tag.as_ref().is_some_and(|tags| !tags.is_empty())
    {
        let fix = "Name the team:\naccess:\n  required: true\n  teamName: my-team".into();
        let words = "access.TeamName cannot be blank when access.audTags are present";
        refuse("access-without-team", rule.line, words, fix);
    }
    let name = &rule.hostname;
    let all = (name.text.is_empty() || name.text == "*") && rule.path.text.is_empty();
    let last = number == file.rules.len();
    if let Some(bare) = without_port(&name.text) {
        // `https://name` reads as a host with a port.
        let bare =
            name.text.split_once("://").map_or(bare, |(_, rest)| rest.split('/').next().unwrap_or(rest));
        let fix = format!("Write the name alone; ports of requests do not matter:\nhostname: {bare}");
        refuse("hostname-with-port", name.line, "Hostname cannot contain a port", fix);
    } else if name.text.rfind('*').is_some_and(|at| 0 < at) {
        let fix =
            "Write a rule for each name, or one for all below a domain:\nhostname: \"*.example.com\"".into();
        refuse("bad-wildcard", name.line, WILDCARD, fix);
    } else if last && !all {
        let fix = "Add a last rule for everything else:\n  - service: http_status:404".into();
        refuse("missing-catch-all", rule.line, LAST, fix);
    } else if !last && all {
        let words = format!(
            "Rule #{number} is matching the hostname '{}', but this will match every hostname, meaning the rules which \
             follow it will never be triggered",
            name.text
        );
        refuse("early-catch-all", rule.line, &words, "Move it to the end, or give it a hostname.".into());
    }
    let path = match rule.path.text.as_str() {
        "" => Paths::All,
        text => match Pattern::compile(text) {
            Ok(pattern) => Paths::Of(Box::new(pattern)),
            Err(says) => {
                let words = format!("Rule #{number} has an invalid regex: {says}");
                refuse("invalid-path", rule.path.line, &words, path_fix(text));
                Paths::Broken(text.to_owned())
            }
        },
    };
    Rule {
        number,
        line: rule.line,
        hosts: Hosts::of(&name.text),
        path,
        written: rule.service.text.clone(),
        service: read.ok(),
    }
}

fn service_fix(text: &str) -> String {
    let bare = text.trim_start_matches('/');
    let host = bare.split(['/', ' ']).next().unwrap_or(bare);
    let usable = !text.contains("://") && host.contains([':', '.']) && !text.starts_with("http_status");
    if usable {
        return format!("Write the scheme, too:\nservice: http://{host}");
    }
    if text.starts_with("http_status") {
        return "Write a status from 100 to 999:\nservice: http_status:404".into();
    }
    "Write a URL without a path, or one of http_status:404, unix:/path, hello_world, bastion, socks-proxy:\nservice: \
     http://localhost:8080"
        .into()
}

fn path_fix(text: &str) -> String {
    let says = "Write a regular expression as Go reads it";
    let file = text.strip_prefix("*.").filter(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()));
    if let Some(ending) = file {
        return format!("{says}:\npath: \\.{ending}$");
    }
    match text.strip_prefix('*') {
        Some(rest) => format!("{says}, where any text is .* and not *:\npath: .*{rest}"),
        None if text.contains("(?=") || text.contains("(?!") || text.contains("(?<") => {
            format!(
                "{says}, without looking ahead or behind; what it should not match goes into a rule before it."
            )
        }
        None => format!("{says}, with a backslash before signs that mean themselves:\npath: ^/api(/|$)"),
    }
}

fn twice(ingress: &Ingress, key: &Written) -> Finding {
    let what = format!("mapping key \"{}\" already defined: it stands twice in one mapping.", key.text);
    let fix = "Remove one of them; the last one was read for what is said here.".into();
    ingress.finding(Severity::Error, "duplicate-key", key.line, [what, REFUSED.into(), fix])
}

fn unknown(ingress: &Ingress, key: &Written) -> Finding {
    let (name, known): (&str, &[&str]) = match key.text.strip_prefix("originRequest.") {
        Some(name) => (name, &OPTIONS),
        None => (&key.text, &["hostname", "path", "service", "originRequest"]),
    };
    let near = known.iter().find(|known| known.eq_ignore_ascii_case(name));
    let fix = match near {
        Some(near) => format!("Capitals count; write {near}."),
        None => format!("There is {}.", known.join(", ")),
    };
    let what = format!("cloudflared does not know the key {}.", key.text);
    let why = "It is passed over without a word, as if it were not there.".into();
    ingress.finding(Severity::Warning, "unknown-key", key.line, [what, why, fix])
}
