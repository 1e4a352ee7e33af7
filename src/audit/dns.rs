//! Whether a public name leads into its tunnel: by what the world's resolvers say, and by the record itself.
//!
//! Cloudflare answers a proxied name with addresses of its own, so that the CNAME behind it is never seen from outside:
//! `dig CNAME` answers nothing for a name that is right.

use core::net::IpAddr;
use core::slice;
use std::sync::LazyLock;

use super::{Audit, Finding, Severity};
use crate::client::cloudflare_api::{AddressRanges, Record};
use crate::warden::route::{Fault, Kept, Route, TUNNELS};

/// Whether this is an address of Cloudflare's proxies, as they were published when this program was made.
pub fn is_cloudflare(address: IpAddr) -> bool {
    static RANGES: LazyLock<AddressRanges> = LazyLock::new(AddressRanges::published);
    RANGES.contains(address)
}

/// What the world is told of a name that resolves. The judge counts one good address as enough; here one that leads
/// elsewhere is told, for some visitors get that one.
pub fn public(addresses: &[IpAddr], aliases: &[String]) -> Route {
    let one = |address: &IpAddr| Route::of(aliases, slice::from_ref(address), is_cloudflare);
    let astray = addresses.iter().map(one).find(|route| *route != Route::Edge);
    astray.unwrap_or_else(|| Route::of(aliases, addresses, is_cloudflare))
}

/// One word for tables and JSON.
pub fn word(route: &Route) -> &'static str {
    match route {
        Route::Edge => "proxied",
        Route::Grey(_) => "bare",
        Route::Elsewhere(_) => "elsewhere",
        Route::Missing => "missing",
    }
}

/// What is wrong with where a name leads, if anything is. `edge_answers`: whoever answers there is Cloudflare's edge all the
/// same.
pub fn route(hostname: &str, route: &Route, edge_answers: bool) -> Option<Finding> {
    match route {
        Route::Edge => None,
        Route::Missing => Some(fault(hostname, Fault::Missing { outside: false }, None)),
        Route::Grey(target) => Some(fault(hostname, Fault::Grey(target), None)),
        Route::Elsewhere(address) if edge_answers => Some(finding(
            Severity::Note,
            "name-leads-elsewhere",
            format!("{hostname} resolves to {address}, which is not one of Cloudflare's published addresses."),
            "Cloudflare's edge answers there: addresses of your own, or this host's resolver says another thing than the \
             world's (/etc/hosts, split DNS)."
                .into(),
            String::new(),
        )),
        Route::Elsewhere(address) => Some(fault(hostname, Fault::Address(*address), None)),
    }
}

/// What is wrong with a name's own records. `found` are those of exactly this name or, where it has none, of the wildcard that
/// covers it; `tunnel` is the id of the tunnel that it should lead to, if that is known.
pub fn record(hostname: &str, found: &[Record], tunnel: Option<&str>) -> Option<Finding> {
    let leads = |record: &&Record| matches!(record.kind.as_str(), "A" | "AAAA" | "CNAME");
    let Some(record) = found.iter().find(leads) else {
        return Some(finding(
            Severity::Note,
            "record-missing",
            format!("{hostname} has no record of its own in its zone, and no wildcard covers it."),
            "Fine if a load balancer or a Worker answers for it; else nothing leads it into the tunnel."
                .into(),
            format!("cloudflared tunnel route dns TUNNEL {hostname} makes the record."),
        ));
    };
    let content = record.content.as_deref().unwrap_or("?");
    let target = content.trim_end_matches('.').to_ascii_lowercase();
    // Where nobody said which tunnel it should be, the one that it names is right.
    let own = tunnel.or_else(|| target.strip_suffix(TUNNELS));
    match (Kept::of(&record.kind, content, record.proxied, own?), tunnel) {
        (Some(kept), _) => Some(fault(hostname, kept.fault()?, tunnel)),
        (None, Some(_)) => Some(finding(
            Severity::Note,
            "record-of-another-name",
            format!("The record of {hostname} is {} {target}, which is no tunnel.", record.kind),
            "Fine if that name has a record of its own into the tunnel; else visitors are led past it."
                .into(),
            format!(
                "cloudflared tunnel route dns --overwrite-dns TUNNEL {hostname} leads it straight into the tunnel."
            ),
        )),
        (None, None) => None,
    }
}

/// What a fault means for visitors, and how it is mended. `tunnel` is the id of the tunnel that the name should lead to, if
/// that is known.
pub fn fault(hostname: &str, fault: Fault<'_>, tunnel: Option<&str>) -> Finding {
    let to = tunnel.unwrap_or("TUNNEL");
    let overwrite = format!("cloudflared tunnel route dns --overwrite-dns {to} {hostname}");
    match fault {
        Fault::Missing { .. } => finding(
            Severity::Error,
            "name-missing",
            format!("{hostname} does not exist in DNS."),
            "No visitor finds it.".into(),
            format!(
                "Route it to the tunnel, here or in the dashboard:\ncloudflared tunnel route dns {to} {hostname}"
            ),
        ),
        Fault::Grey(target) => finding(
            Severity::Error,
            "record-not-proxied",
            format!("{hostname} is a CNAME to {target} that is not proxied (grey cloud)."),
            "Visitors are sent to a name that serves nobody: only a proxied record leads into a tunnel.".into(),
            "Switch the record to proxied (orange cloud) in the dashboard under DNS › Records.".into(),
        ),
        Fault::OtherTunnel(other) => finding(
            Severity::Error,
            "record-of-another-tunnel",
            format!(
                "The record of {hostname} leads to tunnel {other}, and this host serves it for tunnel {}.",
                tunnel.unwrap_or("another one")
            ),
            "Visitors get Error 1033 while that other tunnel has no connector, and another service while it has.".into(),
            format!("Mend the record:\n{overwrite}"),
        ),
        Fault::Record(record) => finding(
            Severity::Warning,
            "record-not-of-a-tunnel",
            format!("The record of {hostname} is {record}, which is no tunnel."),
            "Visitors are led past the tunnel. `cloudflared tunnel route dns` changes no record that is there already."
                .into(),
            format!("Replace it:\n{overwrite}"),
        ),
        Fault::Address(address) => finding(
            Severity::Warning,
            "name-leads-elsewhere",
            format!("{hostname} resolves to {address}, which is not one of Cloudflare's addresses."),
            "Visitors do not reach the tunnel, unless addresses of your own are announced by Cloudflare, or only this \
             host's resolver says so (/etc/hosts, split DNS)."
                .into(),
            format!("Compare with a public resolver, then mend the record:\ndig +short {hostname} @1.1.1.1"),
        ),
    }
}

fn finding(severity: Severity, rule: &'static str, what: String, why: String, fix: String) -> Finding {
    Finding { audit: Audit::Dns, severity, rule, place: None, what, why, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNNEL: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_the_published_ranges_are_cloudflares() {
        for inside in [
            "104.16.0.1",
            "172.71.255.255",
            "162.159.0.9",
            "131.0.75.255",
            "2606:4700::6810:84e5",
            "2a06:98c7::1",
        ] {
            assert!(is_cloudflare(ip(inside)), "{inside}");
        }
        for outside in [
            "104.28.0.0",
            "172.72.0.0",
            "131.0.76.0",
            "192.0.2.1",
            "127.0.0.1",
            "2606:4701::1",
            "2a06:98c8::1",
            "fd10:aec2:5dae::",
        ] {
            assert!(!is_cloudflare(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn a_name_is_proxied_only_if_every_address_is_cloudflares() {
        let one = |addresses: &[&str], aliases: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|text| ip(text)).collect();
            let aliases: Vec<_> = aliases.iter().map(|text| (*text).to_owned()).collect();
            public(&addresses, &aliases)
        };
        assert_eq!(one(&["104.16.0.1", "2606:4700::1"], &[]), Route::Edge);
        assert_eq!(
            one(&["104.16.0.1"], &["shop.example.net"]),
            Route::Edge,
            "another proxied name behind it"
        );
        assert_eq!(one(&["104.16.0.1", "192.0.2.1"], &[]), Route::Elsewhere(ip("192.0.2.1")));
        assert_eq!(one(&["192.0.2.2", "192.0.2.1"], &[]), Route::Elsewhere(ip("192.0.2.2")));
        let bare = format!("{TUNNEL}.CFargotunnel.com");
        assert_eq!(one(&["fd10:aec2:5dae::"], &[&bare]), Route::Grey(bare.clone()));
        assert_eq!(route("a.test", &Route::Grey(bare), true).unwrap().rule, "record-not-proxied");
        assert_eq!(route("a.test", &Route::Edge, false), None);
        let elsewhere = Route::Elsewhere(ip("192.0.2.1"));
        let severity = |edge_answers| route("a.test", &elsewhere, edge_answers).unwrap().severity;
        assert_eq!((severity(false), severity(true)), (Severity::Warning, Severity::Note));
    }

    fn of(kind: &str, content: &str, proxied: bool) -> Record {
        Record {
            id: "r".into(),
            name: "app.test".into(),
            kind: kind.into(),
            content: Some(content.into()),
            proxied: Some(proxied),
        }
    }

    #[test]
    fn a_record_must_be_a_proxied_alias_of_this_tunnel() {
        let rule =
            |records: &[Record], tunnel| record("app.test", records, tunnel).map(|finding| finding.rule);
        let mine = format!("{TUNNEL}.cfargotunnel.com");
        let good = of("CNAME", &mine.to_uppercase(), true);
        let text = of("TXT", "v=spf1 -all", false);
        assert_eq!(rule(&[text.clone(), good.clone()], Some(TUNNEL)), None);
        assert_eq!(rule(std::slice::from_ref(&good), None), None);
        let other = "0e9a4f7c-0000-4000-8000-000000000000";
        assert_eq!(rule(&[good], Some(other)), Some("record-of-another-tunnel"));
        assert_eq!(rule(&[of("CNAME", &mine, false)], Some(TUNNEL)), Some("record-not-proxied"));
        assert_eq!(rule(&[of("A", "192.0.2.1", true)], Some(TUNNEL)), Some("record-not-of-a-tunnel"));
        assert_eq!(
            rule(&[of("A", "192.0.2.1", true)], None),
            None,
            "nobody said that it should be a tunnel's"
        );
        assert_eq!(rule(&[text], Some(TUNNEL)), Some("record-missing"));
        // It may have a record of its own into the tunnel.
        let alias = of("CNAME", "web.test", true);
        assert_eq!(rule(std::slice::from_ref(&alias), Some(TUNNEL)), Some("record-of-another-name"));
        assert_eq!(rule(&[alias], None), None);
    }
}
