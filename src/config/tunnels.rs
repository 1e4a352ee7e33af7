//! The `[[tunnel]]` part of validation.

use std::collections::{BTreeMap, BTreeSet};

use super::redact;
use super::settings::{
    Credential, Expected, Header, Hostname, HttpsUrl, NameProbe, Tunnel, TunnelId, UnitName,
};
use super::validate::Check;
use super::written::{WrittenExpected, WrittenNameProbe, WrittenTunnel};

/// Services that cloudflared knows without an address.
const BARE_SERVICES: [&str; 4] = ["hello_world", "hello-world", "bastion", "socks-proxy"];

pub(super) fn tunnels(mut written: BTreeMap<String, WrittenTunnel>, check: &mut Check<'_>) -> Vec<Tunnel> {
    let mut names = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    let units = check.origins.units.clone();
    let mut tunnels = Vec::new();
    for unit in units {
        let Some(tunnel) = written.remove(&unit) else { continue };
        let path = format!("tunnel/{unit}");
        if let Some(name) = &tunnel.name {
            let says = "is the name of two tunnels; metrics tell them apart by it, so give each its own";
            check.twice(&format!("{path}/name"), &mut names, name.clone(), says);
        }
        let Some(tunnel) = one(&unit, tunnel, &path, check) else { continue };
        for host in tunnel.named() {
            let says = format!("has \"{}\" under two tunnels; a name is routed to one", host.as_str());
            check.twice(&format!("{path}/hostnames"), &mut hosts, host.clone(), &says);
        }
        tunnels.push(tunnel);
    }
    tunnels
}

fn one(unit: &str, written: WrittenTunnel, path: &str, check: &mut Check<'_>) -> Option<Tunnel> {
    let at = |key: &str| format!("{path}/{key}");
    let unit = check.parsed(&at("unit"), UnitName::parse(unit));
    if unit.as_ref().is_some_and(|unit| !unit.covered_by_rule()) {
        check.warn(&at("unit"), "is not covered by the packaged polkit rule (cloudflared.service, cloudflared-*.service, cloudflared@*.service); see `tunnelwarden config polkit`");
    }
    let name = written.name;
    if name
        .as_ref()
        .is_some_and(|name| name.trim().is_empty() || 128 < name.len() || name.contains(char::is_control))
    {
        check.refuse(&at("name"), "must be a short name in one line; leave it out to use the unit's");
    } else if name.as_deref().is_some_and(redact::secret_looking) {
        check.refuse(&at("name"), "looks like a secret; names appear in metrics and logs, so write another");
    }
    let id = written.id.and_then(|id| check.parsed(&at("id"), TunnelId::parse(&id)));
    let config =
        written.config.and_then(|file| check.absolute(&at("config"), &file, "/etc/cloudflared/config.yml"));
    let metrics = written.metrics.and_then(|text| check.address(&at("metrics"), &text, "127.0.0.1:20241"));
    let hostnames = hostnames(&written.hostnames, &at("hostnames"), check);
    let probes = probes(written.probe, path, check);
    let expected = expected(written.expect, path, check);
    Some(Tunnel { unit: unit?, name, id, config, metrics, hostnames, probes, expected })
}

fn hostnames(written: &[String], path: &str, check: &mut Check<'_>) -> Vec<Hostname> {
    let mut seen = BTreeSet::new();
    let mut hostnames = Vec::new();
    for text in written {
        let Some(host) = check.parsed(path, Hostname::parse(text)) else { continue };
        let says = format!("has \"{}\" twice", host.as_str());
        if !check.twice(path, &mut seen, host.clone(), &says) {
            hostnames.push(host);
        }
    }
    hostnames
}

fn probes(written: Vec<WrittenNameProbe>, tunnel: &str, check: &mut Check<'_>) -> Vec<NameProbe> {
    let mut hosts = BTreeSet::new();
    let mut probes = Vec::new();
    for (number, probe) in written.into_iter().enumerate() {
        let path = format!("{tunnel}/probe/{number}");
        let url = required(probe.url, &path, "url", "\"https://app.example.com/health\"", check)
            .and_then(|url| check.parsed(&format!("{path}/url"), HttpsUrl::parse(&url)));
        if let Some(url) = &url {
            let host = url.host().clone();
            let says = format!(
                "is a second [[tunnel.probe]] for {}; a name is asked in one way, so write the one that counts",
                host.as_str()
            );
            check.twice(&format!("{path}/url"), &mut hosts, host, &says);
        }
        let status = statuses(&probe.expect_status, &format!("{path}/expect_status"), check);
        let header = probe
            .expect_header
            .and_then(|text| check.parsed(&format!("{path}/expect_header"), Header::parse(&text)));
        if probe.expect_body.as_deref() == Some("") {
            check.refuse(&format!("{path}/expect_body"), "is empty, which every body contains; leave it out");
        }
        let access =
            probe.access.and_then(|text| check.parsed(&format!("{path}/access"), Credential::parse(&text)));
        if let Some(url) = url {
            probes.push(NameProbe { url, status, header, body: probe.expect_body, access });
        }
    }
    probes
}

fn statuses(written: &[u32], path: &str, check: &mut Check<'_>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for status in written {
        match u16::try_from(*status) {
            Ok(status) if (100..=599).contains(&status) => statuses.push(status),
            Ok(_) | Err(_) => {
                let says =
                    format!("has {status}; a status is from 100 to 599, such as expect_status = [200]");
                check.refuse(path, &says);
            }
        }
    }
    statuses
}

fn expected(written: Vec<WrittenExpected>, tunnel: &str, check: &mut Check<'_>) -> Vec<Expected> {
    let mut rules = Vec::new();
    for (number, rule) in written.into_iter().enumerate() {
        let path = format!("{tunnel}/expect/{number}");
        let hostname = required(rule.hostname, &path, "hostname", "\"app.example.com\"", check);
        let service = required(rule.service, &path, "service", "\"http://api-backend:8080\"", check);
        if let Some(hostname) = &hostname {
            let name = hostname.strip_prefix("*.").unwrap_or(hostname);
            check.parsed(&format!("{path}/hostname"), Hostname::parse(name));
        }
        if service.as_ref().is_some_and(|service| !is_service(service)) {
            let says = "is no service of cloudflared's; write such as \"http://api-backend:8080\" or \"http_status:404\"";
            check.refuse(&format!("{path}/service"), says);
        }
        if let (Some(hostname), Some(service)) = (hostname, service) {
            rules.push(Expected { hostname: hostname.to_ascii_lowercase(), path: rule.path, service });
        }
    }
    rules
}

fn is_service(text: &str) -> bool {
    let after = |prefix: &str| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    let url = text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let status = text.strip_prefix("http_status:").and_then(|code| code.parse::<u16>().ok());
    url || after("unix:")
        || after("unix+tls:")
        || BARE_SERVICES.contains(&text)
        || status.is_some_and(|code| (100..=599).contains(&code))
}

/// A key without which its table means nothing.
fn required(
    value: Option<String>,
    path: &str,
    name: &str,
    example: &str,
    check: &mut Check<'_>,
) -> Option<String> {
    let key = format!("{path}/{name}");
    if value.is_none() && !check.origins.refused(&key) {
        check.refuse(&key, &format!("is missing; write {name} = {example}"));
    }
    value
}
