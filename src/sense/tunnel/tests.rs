use std::sync::Mutex;

use super::*;
use crate::client::cloudflare_api::tests::server::{Act, answer, client, good, refused, server, token};
use crate::client::cloudflare_api::{ApiSettings, Budget};

const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
const TUNNEL: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";
const CONNECTOR: &str = "1bedc50d-42b3-473c-b108-ff3d10c0d925";
const PERIOD: Duration = Duration::from_secs(60);

fn there(config: &str) -> Act {
    good(&format!(r#"{{"id":"{TUNNEL}","config_src":"{config}","deleted_at":null}}"#))
}

fn connections(connector: &str) -> Act {
    good(&format!(
        r#"[{{"id":"{connector}","conns":[{{"is_pending_reconnect":false}},{{"is_pending_reconnect":true}}]}},
        {{"id":"other","conns":[{{}},{{}}]}}]"#
    ))
}

fn mine(connections: Option<u8>) -> watch::Receiver<Mine> {
    watch::channel(Mine { connector: Some(CONNECTOR.into()), connections }).1
}

fn records(server: &crate::client::cloudflare_api::tests::server::Server, account: Option<&str>) -> Records {
    Records::new(Arc::new(server.api()), account.map(str::to_owned), Verified::default(), PERIOD, 1)
}

async fn look(records: &mut Records, mine: &watch::Receiver<Mine>) -> Result<TunnelSight, Trouble> {
    records.failed = None;
    records.look(Some(TUNNEL), mine, LIMIT, false).await.unwrap()
}

#[tokio::test]
async fn only_our_own_connections_that_live_are_counted() {
    let server = server(|target| match target.rsplit('/').next() {
        Some("connections") => connections(CONNECTOR),
        _ => there("local"),
    })
    .await;
    let mut records = records(&server, Some(ACCOUNT));
    let sight = look(&mut records, &mine(Some(4))).await.unwrap();
    assert_eq!(sight, TunnelSight { deleted: false, live: Some(1), remote_rules_since: None });
    assert!(records.look(Some(TUNNEL), &mine(Some(4)), LIMIT, true).await.is_none(), "it was read just now");
    assert_eq!(server.heard().len(), 2, "local rules are not asked for");
    records.of.as_mut().unwrap().object = None;
    let sight = look(&mut records, &mine(Some(4))).await.unwrap();
    assert_eq!(sight.live, Some(1), "what replaces a sight is as whole as that was");
}

#[tokio::test]
async fn who_is_not_listed_has_none_and_who_is_unknown_is_not_looked_for() {
    let server = server(|target| match target.rsplit('/').next() {
        Some("connections") => connections("another"),
        _ => there("local"),
    })
    .await;
    let sight = look(&mut records(&server, Some(ACCOUNT)), &mine(Some(4))).await.unwrap();
    assert_eq!(sight.live, Some(0));
    let unknown = watch::channel(Mine { connector: None, connections: Some(4) }).1;
    assert_eq!(look(&mut records(&server, Some(ACCOUNT)), &unknown).await.unwrap().live, None);
    let before = server.heard().len();
    let sight = look(&mut records(&server, Some(ACCOUNT)), &mine(Some(0))).await.unwrap();
    assert_eq!((sight.live, server.heard().len()), (None, before + 1), "it holds none to be listed");
}

#[tokio::test]
async fn a_process_that_began_meanwhile_is_not_judged_by_the_list_of_the_last_one() {
    let (know, mine) = watch::channel(Mine { connector: Some("before".into()), connections: Some(4) });
    let server = server(move |target| match target.rsplit('/').next() {
        Some("connections") => {
            know.send_replace(Mine { connector: Some(CONNECTOR.into()), connections: Some(4) });
            connections("nobody")
        }
        _ => there("local"),
    })
    .await;
    assert_eq!(look(&mut records(&server, Some(ACCOUNT)), &mine).await.unwrap().live, None);
}

#[tokio::test]
async fn remote_rules_are_known_since_they_were_first_seen() {
    let rules = Arc::new(Mutex::new(r#"[{"service":"http_status:404"}]"#));
    let now = rules.clone();
    let server = server(move |target| match target.rsplit('/').next() {
        Some("connections") => connections(CONNECTOR),
        Some("configurations") => {
            let ingress = *now.lock().unwrap();
            good(&format!(r#"{{"version":3,"source":"cloudflare","config":{{"ingress":{ingress}}}}}"#))
        }
        _ => there("cloudflare"),
    })
    .await;
    let mut records = records(&server, Some(ACCOUNT));
    assert_eq!(look(&mut records, &mine(Some(4))).await.unwrap().remote_rules_since, None);
    *rules.lock().unwrap() =
        r#"[{"hostname":"app.example.com","service":"http://a"},{"service":"http_status:404"}]"#;
    let mut again = async || {
        let of = records.of.as_mut().unwrap();
        (of.rules_read, of.connections_read) = (None, None);
        look(&mut records, &mine(Some(4))).await.unwrap().remote_rules_since
    };
    let first = again().await.unwrap();
    assert_eq!(again().await, Some(first));
}

#[tokio::test]
async fn a_deleted_tunnel() {
    let deleted = format!(r#"{{"id":"{TUNNEL}","deleted_at":"2026-10-02T03:04:05Z"}}"#);
    let server = server(move |target| match target.starts_with("/accounts?") {
        true => good(&format!(r#"[{{"id":"{ACCOUNT}"}}]"#)),
        false => good(&deleted),
    })
    .await;
    let sight = look(&mut records(&server, None), &mine(Some(0))).await.unwrap();
    assert_eq!(sight, TunnelSight { deleted: true, ..TunnelSight::default() });
    assert_eq!(server.heard().len(), 2, "what is deleted has no connections to be listed");
}

/// It may be out of our sight, or in another account.
#[tokio::test]
async fn what_is_not_found_is_deleted_only_where_the_account_was_read() {
    let server = server(|target| match target {
        target if target.starts_with("/accounts?") => good(&format!(r#"[{{"id":"{ACCOUNT}"}}]"#)),
        target if target.ends_with(TUNNEL) => refused(404, 1003, "Tunnel not found"),
        _ => good("[]"),
    })
    .await;
    let mut unread = records(&server, Some(ACCOUNT));
    assert_eq!(look(&mut unread, &mine(Some(0))).await.unwrap_err().blind, Blind::NotFound);
    unread.verified.send_if_modified(|known| known.insert(ACCOUNT.into()));
    assert!(look(&mut unread, &mine(Some(0))).await.unwrap().deleted);
    for holds in [None, Some(4)] {
        let trouble = look(&mut unread, &mine(holds)).await.unwrap_err();
        assert_eq!(trouble.blind, Blind::NotFound, "cloudflared may hold connections of it");
    }
    assert!(
        look(&mut records(&server, None), &mine(Some(0))).await.unwrap().deleted,
        "all accounts were read"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_blind_and_says_what_to_do() {
    let server = server(|target| match target.split('/').nth(2).unwrap() {
        "html" => answer(502, "", "<html>"),
        "scope" => refused(403, 10_000, "Authentication error"),
        "revoked" => refused(403, 9109, "Invalid access token"),
        "limit" => answer(429, "retry-after: 1\r\n", "slow down"),
        "odd" => good(r#"{"id":"a","deleted_at":"some day"}"#),
        _ => refused(500, 1, "oops"),
    })
    .await;
    let cases = [
        ("html", Blind::Garbled, "cloudflarestatus"),
        ("scope", Blind::Forbidden, "Cloudflare Tunnel › Read"),
        ("revoked", Blind::Forbidden, "revoked"),
        ("limit", Blind::Unreachable, "wait"),
        ("odd", Blind::Garbled, "newer version"),
        ("oops", Blind::Forbidden, "cloudflarestatus"),
    ];
    for (account, blind, advice) in cases {
        let trouble = look(&mut records(&server, Some(account)), &mine(Some(4))).await.unwrap_err();
        assert_eq!(trouble.blind, blind, "{account}");
        assert!(trouble.advice.contains(advice), "{account}: {}", trouble.advice);
    }
    let trouble = records(&server, None).look(Some("my-tunnel"), &mine(Some(4)), LIMIT, false).await.unwrap();
    assert_eq!(trouble.unwrap_err().blind, Blind::NotFound, "a name is no id");
}

#[tokio::test]
async fn an_api_that_fails_is_not_asked_again_at_once() {
    let server = server(|_| answer(502, "", "<html>")).await;
    let mut failing = records(&server, Some(ACCOUNT));
    look(&mut failing, &mine(Some(4))).await.unwrap_err();
    for fresh in [false, true] {
        assert!(failing.look(Some(TUNNEL), &mine(Some(4)), LIMIT, fresh).await.is_none());
    }
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn our_own_limits_do_not_blot_out_a_sight() {
    let server = server(|target| match target.rsplit('/').next() {
        Some("connections") => connections(CONNECTOR),
        _ => there("local"),
    })
    .await;
    let budget = Budget::AtMost { requests: 2, per: Duration::from_secs(300) };
    let api = Arc::new(client(Some(token()), &ApiSettings { budget, ..server.settings() }));
    let mut spent = Records::new(api.clone(), Some(ACCOUNT.into()), Verified::default(), PERIOD, 1);
    look(&mut spent, &mine(Some(4))).await.unwrap();
    spent.of.as_mut().unwrap().connections_read = None;
    assert!(spent.look(Some(TUNNEL), &mine(Some(4)), LIMIT, false).await.is_none());
    let mut other = Records::new(api, Some(ACCOUNT.into()), Verified::default(), PERIOD, 1);
    assert_eq!(look(&mut other, &mine(Some(4))).await.unwrap_err().blind, Blind::Unreachable);
}

#[tokio::test]
async fn a_last_look_does_not_wait_for_a_slow_api() {
    let server = server(|_| Act::Mute).await;
    let mut slow = records(&server, Some(ACCOUNT));
    slow.seen = Some(Instant::now());
    let began = Instant::now();
    assert!(slow.look(Some(TUNNEL), &mine(Some(4)), Duration::from_millis(200), true).await.is_none());
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(slow.failed.is_none(), "the next look asks again");
    slow.seen = None;
    let trouble = slow.look(Some(TUNNEL), &mine(Some(4)), Duration::from_millis(200), true).await.unwrap();
    assert_eq!(trouble.unwrap_err().blind, Blind::TimedOut);
}
