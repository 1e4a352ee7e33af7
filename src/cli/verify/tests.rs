use std::time::Duration;

use super::look::Seen;
use super::*;
use crate::cli::records::{self, Records};
use crate::client::answer::{Answer, BlindReason, Marks};
use crate::client::cloudflare_api::Record;
use crate::client::cloudflare_api::tests::server::{answer, good, refused, server};
use crate::client::dns::{Addresses, DnsFailure};
use crate::client::http::{Phases, PublicSight};
use crate::warden::time::Now;

/// 2026-11-28T12:00:00Z
const NOW: Now = Now { boot: Duration::from_secs(5000), wall: Duration::from_secs(1_795_867_200) };
const TUNNEL: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";

fn seen(url_text: &str, address: &str, answer: Answer, status: u16) -> Seen {
    let place = Place::new(url(url_text).unwrap(), Some(TUNNEL.into()));
    let served = answer == Answer::Served;
    let marks = Marks {
        server: Some("cloudflare".into()),
        ray: Some("99bab003ad3211f1-AMS".into()),
        cache: served.then(|| "DYNAMIC".into()),
    };
    let sight = PublicSight {
        answer,
        status: Some(status),
        code: (answer == Answer::TunnelError).then_some(1033),
        detail: String::new(),
        colo: Some("AMS".into()),
        latency: Duration::from_millis(42),
        http_version: Some("HTTP/2"),
        certificate_expiry: Some(1_795_867_200 + 61 * 86_400),
        phases: Phases::default(),
        marks,
    };
    let addresses = Addresses { addresses: vec![address.parse().unwrap()], ..Addresses::default() };
    Seen { place, dns: Ok(addresses), sight }
}

fn report_of(seen: &[Seen], records: Option<&Records>) -> Report {
    let mut report = Report::new("verify", "cloudtolocalllm-aks");
    told::write(&mut report, seen, records, NOW);
    report
}

fn record(name: &str, target: &str) -> Record {
    Record {
        id: "r".into(),
        name: name.into(),
        kind: "CNAME".into(),
        content: Some(target.into()),
        proxied: Some(true),
    }
}

#[test]
fn a_stack_that_is_well() {
    let seen = [
        seen("cloudtolocalllm.online", "104.16.0.1", Answer::Served, 200),
        seen("https://app.cloudtolocalllm.online/health", "172.67.1.1", Answer::Served, 200),
        seen("argocd.cloudtolocalllm.online", "104.21.0.9", Answer::Access, 302),
    ];
    let report = report_of(&seen, None);
    assert_eq!(report.exit(), Exit::Fine, "a login is no outage");
    report.golden("verify-well");
}

#[test]
fn a_stack_that_is_not() {
    let mut over = seen("grafana.example.com", "104.16.0.1", Answer::Served, 200);
    over.sight.certificate_expiry = Some(1_795_867_200 + 86_400 * 3);
    let mut slow = seen("slow.example.com", "104.16.0.1", Answer::Blind(BlindReason::Timeout), 0);
    slow.sight = PublicSight {
        status: None,
        colo: None,
        http_version: None,
        certificate_expiry: None,
        marks: Marks::default(),
        detail: "no answer in time".into(),
        ..slow.sight
    };
    let gone = Seen {
        dns: Err(DnsFailure::NxDomain),
        sight: PublicSight { answer: Answer::Blind(BlindReason::Dns), ..slow.sight.clone() },
        place: Place::new(url("gone.example.com").unwrap(), None),
    };
    let seen = [
        seen("app.example.com", "104.16.0.1", Answer::TunnelError, 530),
        seen("api.example.com/v1", "192.0.2.1", Answer::OriginError, 502),
        over,
        slow,
        gone,
    ];
    let mut records = Records::default();
    records.of.insert(
        "app.example.com".into(),
        vec![record("app.example.com", "0e9a4f7c-0000-4000-8000-000000000000.cfargotunnel.com")],
    );
    records.unread.insert("api.example.com".into(), "its zone is not in reach of these credentials".into());
    let report = report_of(&seen, Some(&records));
    assert_eq!(report.exit(), Exit::Wrong);
    report.golden("verify-broken");
}

#[test]
fn a_status_that_is_not_the_expected_one_is_wrong() {
    let mut one = seen("app.example.com/health", "104.16.0.1", Answer::Unexpected, 404);
    one.sight.detail = "status 404, not 200 or 204".into();
    let report = report_of(&[one], None);
    assert_eq!(report.exit(), Exit::Wrong);
    assert!(format!("{:?}", report.sections).contains("status 404, not 200 or 204"));
}

#[test]
fn what_could_not_be_seen_is_not_called_wrong() {
    let mut one = seen("app.example.com", "104.16.0.1", Answer::Blind(BlindReason::Connect), 0);
    one.sight.detail = "connection refused".into();
    let report = report_of(&[one], None);
    assert_eq!(report.exit(), Exit::Blind);
    assert!(report.blind[0].contains("own way out"), "{:?}", report.blind);
}

/// The closest zone, and the closest wildcard where the name has no record of its own.
#[tokio::test]
async fn records_are_found_in_their_zone() {
    let server = server(|path| match path.split('&').next().unwrap() {
        "/zones?name=example.co.uk" => good(r#"[{"id":"z1","name":"example.co.uk"}]"#),
        "/zones/z1/dns_records?name=app.example.co.uk" => {
            good(r#"[{"id":"r","name":"app.example.co.uk","type":"CNAME","content":"x.cfargotunnel.com","proxied":true}]"#)
        }
        "/zones/z1/dns_records?name=*.dev.example.co.uk" => {
            good(r#"[{"id":"r","name":"*.dev.example.co.uk","type":"CNAME","content":"y.cfargotunnel.com","proxied":true}]"#)
        }
        path if path.contains("forbidden") => refused(403, 10_000, "Authentication error"),
        _ => good("[]"),
    })
    .await;
    let names = ["app.example.co.uk", "a.dev.example.co.uk", "x.forbidden.net", "far.example.org"];
    let records = records::read(&server.api(), names.into_iter()).await;
    assert_eq!(records.of["app.example.co.uk"][0].content.as_deref(), Some("x.cfargotunnel.com"));
    assert_eq!(records.of["a.dev.example.co.uk"][0].name, "*.dev.example.co.uk");
    assert!(records.unread["x.forbidden.net"].contains("Zone › Read"), "{records:?}");
    assert!(records.unread["far.example.org"].contains("not in reach"), "{records:?}");
    let zones = server.heard().iter().filter(|request| request.contains("/zones?name=example.co.uk")).count();
    assert_eq!(zones, 1, "what is known is not asked again");
}

/// Of two zones of one name one answers; and what would be said of every name is asked once.
#[tokio::test]
async fn a_zone_that_moved_says_nothing_and_an_api_that_is_silent_ends_it() {
    let server = server(|path| match path.split('&').next().unwrap() {
        "/zones?name=example.com" => good(
            r#"[{"id":"old","name":"example.com","status":"moved"},{"id":"new","name":"example.com","status":"active"}]"#,
        ),
        "/zones?name=app.example.com" => good("[]"),
        path if path.starts_with("/zones/new/dns_records?name=app.example.com") => {
            good(r#"[{"id":"r","name":"app.example.com","type":"A","content":"192.0.2.1","proxied":true}]"#)
        }
        _ => answer(429, "Retry-After: 60\r\n", "{}"),
    })
    .await;
    let names = ["app.example.com", "b.example.net", "c.example.net", "d.example.org", "app.example.com"];
    let records = records::read(&server.api(), names.into_iter()).await;
    assert_eq!(records.of["app.example.com"][0].content.as_deref(), Some("192.0.2.1"));
    assert_eq!((records.of.len(), records.unread.len()), (1, 3), "{records:?}");
    let (reasons, heard) = (records.reasons(), server.heard().len());
    assert_eq!((reasons.len(), heard), (1, 4), "{reasons:?}");
}

#[test]
fn addresses_as_people_write_them() {
    assert_eq!(url("app.example.com").unwrap().as_str(), "https://app.example.com/");
    assert_eq!(url(" https://app.example.com/health?x=1 ").unwrap().path(), "/health");
    assert_eq!(url("bücher.example").unwrap().host_str(), Some("xn--bcher-kva.example"));
    for bad in [
        "",
        "http://app.example.com",
        "ftp://a.b",
        "localhost",
        "https://192.0.2.1/",
        "https://user:secret@a.example/",
        "a b.example",
    ] {
        let error = url(bad).unwrap_err();
        assert!(
            error.contains("https://app.example.com/health") && !error.contains("secret"),
            "{bad}: {error}"
        );
    }
}
