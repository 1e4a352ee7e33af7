use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{RData, RecordType};

use super::*;
use crate::client::cloudflare_api::tests::server::{Act, good, refused, server as api_server};
use crate::client::dns::tests::{Reply, name, server};

const TUNNEL: &str = "0e9a4f7c-55bb-4c0d-9a6e-1f2d3c4b5a69";

fn a(address: [u8; 4]) -> RData {
    RData::A(A(Ipv4Addr::from(address)))
}

fn zone(asked: &str, kind: RecordType) -> Reply {
    let grey = || RData::CNAME(CNAME(name(&format!("{TUNNEL}.cfargotunnel.com"))));
    let inside = RData::AAAA(AAAA("fd10:aec2:5dae::".parse::<Ipv6Addr>().unwrap()));
    Some(match (asked, kind) {
        ("good.test" | "mixed.test", RecordType::A) => Ok(vec![a([104, 16, 1, 1])]),
        ("away.test", RecordType::A) => Ok(vec![a([192, 0, 2, 7])]),
        ("home.test", RecordType::A) => Ok(vec![a([10, 0, 0, 7])]),
        ("mixed.test", RecordType::AAAA) => {
            Ok(vec![RData::AAAA(AAAA("2001:db8::1".parse::<Ipv6Addr>().unwrap()))])
        }
        ("grey.test", RecordType::CNAME | RecordType::A) => Ok(vec![grey()]),
        ("grey6.test", RecordType::AAAA) => Ok(vec![grey(), inside]),
        ("grey6.test", RecordType::CNAME) => Ok(vec![grey()]),
        ("stale.test", RecordType::CNAME) => Ok(vec![RData::CNAME(CNAME(name("gone.test")))]),
        ("gone.test" | "stale.test", _) => Err(ResponseCode::NXDomain),
        ("broken.test", _) => Err(ResponseCode::ServFail),
        ("silent.test", _) => return None,
        _ => Ok(vec![]),
    })
}

fn ranges() -> watch::Receiver<AddressRanges> {
    watch::channel(AddressRanges::published()).1
}

#[tokio::test]
async fn each_kind_of_record_leads_where_it_leads() {
    let routes = Routes { inside: Arc::new(server(zone).await), outside: None, ranges: ranges() };
    let inside = async |name| routes.look(name).await.map(|sight| sight.inside.unwrap());
    let grey = Ok(Route::Grey(format!("{TUNNEL}.cfargotunnel.com")));
    assert_eq!(inside("good.test").await, Ok(Route::Edge));
    assert_eq!(inside("mixed.test").await, Ok(Route::Edge));
    assert_eq!(inside("away.test").await, Ok(Route::Elsewhere([192, 0, 2, 7].into())));
    assert_eq!(inside("grey.test").await, grey);
    assert_eq!(inside("grey6.test").await, grey, "its one address is private to Cloudflare");
    for missing in ["gone.test", "stale.test", "empty.test"] {
        assert_eq!(inside(missing).await, Ok(Route::Missing), "{missing}");
    }
    assert_eq!(inside("broken.test").await, Err(Blind::Unreachable));
    tokio::time::pause();
    assert_eq!(inside("silent.test").await, Err(Blind::TimedOut), "silence is no NXDOMAIN");
}

#[tokio::test]
async fn the_resolver_outside_is_asked_too_and_its_silence_is_no_evidence() {
    let outside = |answer: fn(&str, RecordType) -> Reply| async move { Some(server(answer).await) };
    let good: fn(&str, RecordType) -> Reply =
        |_, kind| Some(Ok(if kind == RecordType::A { vec![a([104, 16, 1, 1])] } else { vec![] }));
    let refuses: fn(&str, RecordType) -> Reply = |_, _| Some(Err(ResponseCode::Refused));
    let inside = Arc::new(server(zone).await);
    let look = async |outside, name| {
        Routes { inside: Arc::clone(&inside), outside, ranges: ranges() }.look(name).await
    };
    let split = look(outside(good).await, "home.test").await.unwrap();
    assert_eq!(
        (split.inside.as_ref(), split.outside.as_ref()),
        (Some(&Route::Elsewhere([10, 0, 0, 7].into())), Some(&Route::Edge))
    );
    assert_eq!(split.fault(), None);
    assert_eq!(look(outside(refuses).await, "away.test").await, Err(Blind::Forbidden));
    let sight = look(outside(good).await, "broken.test").await.unwrap();
    assert_eq!((sight.inside, sight.outside), (None, Some(Route::Edge)));
}

fn records(list: &str) -> Act {
    good(list)
}

#[tokio::test(start_paused = true)]
async fn the_record_itself_is_read_seldom_and_says_whose_it_is() {
    tokio::time::resume();
    let server = api_server(|target| {
        let record = |name: &str, kind: &str, content: &str, proxied: bool| {
            records(&format!(
                r#"[{{"id":"r","name":"{name}","type":"{kind}","content":"{content}","proxied":{proxied}}}]"#
            ))
        };
        let ours = format!("{TUNNEL}.cfargotunnel.com");
        let other = "11111111-55bb-4c0d-9a6e-1f2d3c4b5a69.cfargotunnel.com";
        match target {
            t if t.starts_with("/zones?name=example.com") => {
                good(r#"[{"id":"z0","name":"example.com","status":"moved"},{"id":"z1","name":"example.com","status":"active"}]"#)
            }
            t if t.starts_with("/zones?") => good("[]"),
            t if t.contains("/zones/z1/dns_records") => match t {
                t if t.contains("name=ours.") => record("ours.example.com", "CNAME", &ours, true),
                t if t.contains("name=grey.") => record("grey.example.com", "CNAME", &ours, false),
                t if t.contains("name=other.") => record("other.example.com", "CNAME", other, true),
                t if t.contains("name=direct.") => record("direct.example.com", "A", "192.0.2.1", true),
                t if t.contains("name=alias.") => record("alias.example.com", "CNAME", "ours.example.com", true),
                t if t.contains("name=%2A.wild.example.com") || t.contains("name=*.wild.example.com") => {
                    record("*.wild.example.com", "CNAME", &ours, true)
                }
                _ => good("[]"),
            },
            other => panic!("nobody should ask for {other}"),
        }
    })
    .await;
    let kept = async |name: &'static str| {
        let mut zones = Zones::new(Arc::new(server.api()));
        zones.read([name].into_iter(), TUNNEL).await;
        zones.known(name)
    };
    let ours = format!("{TUNNEL}.cfargotunnel.com");
    assert_eq!(kept("ours.example.com").await, Some(Kept::Ours));
    assert_eq!(kept("grey.example.com").await, Some(Kept::Grey(ours)));
    assert_eq!(
        kept("other.example.com").await,
        Some(Kept::OtherTunnel("11111111-55bb-4c0d-9a6e-1f2d3c4b5a69".into()))
    );
    assert_eq!(kept("direct.example.com").await, Some(Kept::Elsewhere("A 192.0.2.1".into())));
    assert_eq!(kept("app.wild.example.com").await, Some(Kept::Ours), "a wildcard covers it");
    assert_eq!(kept("alias.example.com").await, None, "its target has a record of its own");
    assert_eq!(kept("balanced.example.com").await, None, "a load balancer has none");
    assert_eq!(kept("app.elsewhere.test").await, None, "the zone is not in our sight");

    let mut zones = Zones::new(Arc::new(server.api()));
    let before = server.heard().len();
    for _ in 0..5 {
        zones.read(["ours.example.com", "grey.example.com"].into_iter(), TUNNEL).await;
    }
    assert_eq!(server.heard().len() - before, 3, "one zone and the record of each, then a rest");
}

#[tokio::test]
async fn an_api_that_refuses_says_nothing_and_is_left_alone() {
    let server = api_server(|_| refused(403, 10000, "Authentication error")).await;
    let mut zones = Zones::new(Arc::new(server.api()));
    for _ in 0..3 {
        zones.read(["app.example.com"].into_iter(), TUNNEL).await;
    }
    assert_eq!((zones.known("app.example.com"), server.heard().len()), (None, 1));
}

#[tokio::test]
async fn what_was_read_stands_when_the_next_reading_is_missed() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = api_server(move |target| {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let other = "11111111-55bb-4c0d-9a6e-1f2d3c4b5a69.cfargotunnel.com";
        match target {
            _ if 2 <= number => refused(500, 10001, "Internal error"),
            t if t.starts_with("/zones?") => good(r#"[{"id":"z1","name":"example.com","status":"active"}]"#),
            _ => good(&format!(
                r#"[{{"id":"r","type":"CNAME","name":"app.example.com","content":"{other}","proxied":true}}]"#
            )),
        }
    })
    .await;
    let mut zones = Zones::new(Arc::new(server.api()));
    for round in 1..=2 {
        assert_eq!(zones.read(["app.example.com"].into_iter(), TUNNEL).await.len(), 1, "{round}");
        assert!(matches!(zones.known("app.example.com"), Some(Kept::OtherTunnel(_))), "{round}");
        zones.rest_until = None;
    }
    assert!(3 <= server.heard().len(), "it was asked again");
}
