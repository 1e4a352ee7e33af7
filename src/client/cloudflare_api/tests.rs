mod paging;
mod refusals;
pub(crate) mod server;
mod wire;

use super::*;
use server::{KEY, TOKEN, answer, client, good, refused, server, token, words};

const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
const TUNNEL: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";

fn time(text: &str) -> Option<jiff::Timestamp> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn a_tunnel() {
    let server = server(|_| {
        good(
            r#"{"id":"62da6c19-947b-4bf6-acad-100a73de4e0d","account_tag":"x","name":"web","status":"degraded",
            "config_src":"local","remote_config":true,"tun_type":"cfd_tunnel","deleted_at":null,
            "created_at":"2026-01-01T00:00:00Z","conns_active_at":"2026-10-02T03:04:05.678Z","metadata":{}}"#,
        )
    })
    .await;
    let tunnel = server.api().tunnel(ACCOUNT, TUNNEL).await.unwrap();
    let wanted = Tunnel {
        id: TUNNEL.into(),
        name: Some("web".into()),
        status: Some(TunnelStatus::Degraded),
        config_source: Some(ConfigSource::Local),
        deleted_at: None,
        active_since: time("2026-10-02T03:04:05.678Z"),
        inactive_since: None,
    };
    assert_eq!(tunnel, wanted);
    let request = server.heard().remove(0);
    let path = format!("GET /client/v4/accounts/{ACCOUNT}/cfd_tunnel/{TUNNEL} HTTP/1.1\r\n");
    assert!(request.starts_with(&path), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{request}");
    assert!(request.contains("accept: application/json\r\n"), "{request}");
    assert!(request.contains("user-agent: tunnelwarden/0.0.0\r\n"), "{request}");
}

#[tokio::test]
async fn a_tunnel_of_another_time() {
    let server = server(|target| match target.rsplit('/').next().unwrap() {
        "new" => {
            good(r#"{"id":"a","status":"hib\u001bernating","config_src":"git","name":7,"connections":3}"#)
        }
        "old" => good(r#"{"id":"a","remote_config":true,"deleted_at":"0001-01-01T00:00:00Z"}"#),
        "gone" => good(r#"{"id":"a","status":"down","deleted_at":"2026-10-02T03:04:05.6Z"}"#),
        _ => good(r#"{"id":"a","deleted_at":"some day"}"#),
    })
    .await;
    let api = server.api();
    let tunnel = api.tunnel(ACCOUNT, "new").await.unwrap();
    assert_eq!(tunnel.status, Some(TunnelStatus::Other("hib ernating".into())));
    assert_eq!(tunnel.config_source, Some(ConfigSource::Other("git".into())));
    assert_eq!(tunnel.name, None);
    let tunnel = api.tunnel(ACCOUNT, "old").await.unwrap();
    assert_eq!((tunnel.config_source, tunnel.deleted_at), (Some(ConfigSource::Cloudflare), None));
    let tunnel = api.tunnel(ACCOUNT, "gone").await.unwrap();
    assert_eq!(tunnel.deleted_at, time("2026-10-02T03:04:05.6Z"));
    // Deleted or not is not guessed.
    let error = api.tunnel(ACCOUNT, "odd").await.unwrap_err();
    assert!(matches!(error, ApiError::Unexpected { endpoint: "tunnel", .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_pending_does_not_live() {
    let server = server(|_| {
        good(
            r#"[{"id":"c1","arch":"linux_amd64","version":"2026.8.2","run_at":"2026-10-02T03:04:05Z",
            "features":["ha-origin"],"config_version":3,"conns":[
            {"id":"x","colo_name":"ams01","origin_ip":"198.51.100.7","opened_at":"2026-10-02T03:04:06Z",
             "is_pending_reconnect":false},
            {"colo_name":"lax02","origin_ip":"2001:db8::7","is_pending_reconnect":true},
            {"origin_ip":"?","opened_at":"yesterday"}]},
            {"id":"c2","conns":null}]"#,
        )
    })
    .await;
    let connectors = server.api().connections(ACCOUNT, TUNNEL).await.unwrap();
    assert_eq!(connectors.iter().map(Connector::live).collect::<Vec<_>>(), [2, 0]);
    let first = &connectors[0];
    assert_eq!((first.id.as_str(), first.version.as_deref()), ("c1", Some("2026.8.2")));
    assert_eq!((first.arch.as_deref(), first.run_at), (Some("linux_amd64"), time("2026-10-02T03:04:05Z")));
    let [ams, lax, odd] = &first.connections[..] else { panic!("{first:?}") };
    assert_eq!((ams.colo.as_deref(), ams.opened_at), (Some("ams01"), time("2026-10-02T03:04:06Z")));
    assert_eq!(ams.origin_ip, Some("198.51.100.7".parse().unwrap()));
    assert!(lax.is_pending_reconnect && lax.opened_at.is_none());
    assert_eq!((odd.origin_ip, odd.opened_at), (None, None));
}

/// An empty list would say that the edge knows no connector: it must have been said.
#[tokio::test]
async fn no_connector_is_told_from_no_answer() {
    let server = server(|target| {
        let case = target.split('/').nth(4).unwrap();
        match case {
            "null" => good("null"),
            "missing" => answer(200, "", r#"{"success":true,"errors":[]}"#),
            "nameless" => good(r#"[{"conns":[]}]"#),
            "keyless" => good(r#"[{"id":"c1"}]"#),
            "other" => good(r#"{"connectors":[]}"#),
            _ => good("[]"),
        }
    })
    .await;
    let api = server.api();
    assert_eq!(api.connections(ACCOUNT, "empty").await.unwrap(), []);
    assert_eq!(api.connections(ACCOUNT, "null").await.unwrap(), []);
    for case in ["missing", "nameless", "keyless", "other"] {
        let error = api.connections(ACCOUNT, case).await.unwrap_err();
        assert!(matches!(error, ApiError::Unexpected { endpoint: "connections", .. }), "{case}: {error:?}");
    }
}

#[tokio::test]
async fn a_remote_configuration() {
    let server = server(|target| match target.contains("empty") {
        true => good(r#"{"tunnel_id":"x","version":0,"source":"local","config":null}"#),
        false => good(
            r#"{"version":"12","source":"cloudflare","config":{"ingress":[
            {"hostname":"app.example.com","path":"/api","service":"http://api:8080","originRequest":{}},
            {"service":"http_status:404"}],"warp-routing":{"enabled":true}}}"#,
        ),
    })
    .await;
    let api = server.api();
    let found = api.configuration(ACCOUNT, TUNNEL).await.unwrap();
    assert_eq!((found.version, found.source), (Some(12), Some(ConfigSource::Cloudflare)));
    assert!(found.private_network);
    assert_eq!(found.ingress.len(), 2);
    assert_eq!(found.ingress[0].hostname.as_deref(), Some("app.example.com"));
    assert_eq!(found.ingress[0].path.as_deref(), Some("/api"));
    assert_eq!((&found.ingress[1].hostname, found.ingress[1].service.as_str()), (&None, "http_status:404"));
    let empty = api.configuration(ACCOUNT, "empty").await.unwrap();
    assert_eq!((empty.source, empty.ingress), (Some(ConfigSource::Local), vec![]));
}

#[tokio::test]
async fn zones_and_records() {
    let server = server(|target| match target.starts_with("/zones?") {
        true => good(r#"[{"id":"z1","name":"example.com","status":"active","account":{"id":"a1","name":"n"}}]"#),
        false => good(
            r#"[{"id":"r1","name":"app.example.com","type":"CNAME","content":"x.cfargotunnel.com","proxied":true},
            {"id":"r2","name":"app.example.com","type":"LOC","data":{}}]"#,
        ),
    })
    .await;
    let api = server.api();
    let zones = api.zones("example.com").await.unwrap();
    assert_eq!((zones[0].id.as_str(), zones[0].account.as_ref().unwrap().id.as_str()), ("z1", "a1"));
    let records = api.records("z1", "app.example.com").await.unwrap();
    assert_eq!((records[0].kind.as_str(), records[0].proxied), ("CNAME", Some(true)));
    assert_eq!(records[0].content.as_deref(), Some("x.cfargotunnel.com"));
    assert_eq!((&records[1].content, records[1].proxied), (&None, None));
    let heard = server.heard();
    assert!(heard[0].starts_with("GET /client/v4/zones?name=example.com&page=1&per_page=50 "), "{heard:?}");
    let records = "GET /client/v4/zones/z1/dns_records?name=app.example.com&page=1&per_page=100 ";
    assert!(heard[1].starts_with(records), "{heard:?}");
}

#[tokio::test]
async fn address_ranges_need_no_credentials() {
    let server = server(|target| match target {
        "/ips" => good(r#"{"ipv4_cidrs":["173.245.48.0/20"],"ipv6_cidrs":["2400:cb00::/32"],"etag":"x"}"#),
        _ => good("[]"),
    })
    .await;
    for credentials in [None, Some(token())] {
        let ranges = client(credentials, &server.settings()).ips().await.unwrap();
        let inside = |address: &str| ranges.contains(address.parse().unwrap());
        assert!(inside("173.245.48.0") && inside("173.245.63.255") && inside("2400:cb00:ffff::1"));
        assert!(!inside("173.245.64.0") && !inside("2400:cb01::1") && !inside("::ffff:173.245.48.1"));
    }
    assert!(server.heard().iter().all(|request| !request.contains("authorization")));
    let range = |text: &str| AddressRange::try_from(text.to_owned());
    assert!(range("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
    assert!(range("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
    for bad in ["1.2.3.4", "1.2.3.4/33", "::1/129", "x/8", "1.2.3.4/-1"] {
        assert!(range(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_token_is_verified_where_its_kind_is_known() {
    let invalid = || refused(401, 1000, "Invalid API Token");
    let server = server(move |target| match target {
        "/accounts/mine/tokens/verify" => good(r#"{"id":"t","status":"disabled"}"#),
        "/accounts/theirs/tokens/verify" => invalid(),
        _ => invalid(),
    })
    .await;
    let api = server.api();
    let found = api.verify(Some("mine")).await.unwrap().unwrap();
    assert_eq!((found.owner, found.status), (TokenOwner::Account, Some(TokenStatus::Disabled)));
    assert_eq!((found.not_before, found.expires_on), (None, None));
    for account in [None, Some("theirs")] {
        let error = api.verify(account).await.unwrap_err();
        assert!(matches!(error, ApiError::BadToken(Fault::Invalid)), "{error:?}");
    }
    assert_eq!(server.heard().len(), 2 + 1 + 2);
    let of_account = Credentials::Token(" cfat_some-token-of-an-account\n".into());
    client(Some(of_account), &server.settings()).verify(Some("mine")).await.unwrap();
    assert_eq!(server.heard().len(), 6, "the likelier endpoint is asked first");
}

#[tokio::test]
async fn a_users_token_has_an_end() {
    let server = server(|_| {
        answer(
            200,
            "",
            r#"{"result":{"status":"active","not_before":"2026-01-01T00:00:00Z","expires_on":"2027-01-01T00:00:00Z"},
            "success":true,"errors":[],"messages":[{"code":10000,"message":"This API Token is valid and active"}]}"#,
        )
    })
    .await;
    let found = server.api().verify(Some("mine")).await.unwrap().unwrap();
    assert_eq!((found.owner, found.status), (TokenOwner::User, Some(TokenStatus::Active)));
    assert_eq!(found.not_before, time("2026-01-01T00:00:00Z"));
    assert_eq!(found.expires_on, time("2027-01-01T00:00:00Z"));
}

#[tokio::test]
async fn a_global_key() {
    let server = server(|_| good("[]")).await;
    let key = Credentials::GlobalKey { email: "me@example.com".into(), key: format!("{KEY}\n").into() };
    let shown = format!("{key:?}");
    assert!(!shown.contains(KEY) && !shown.contains("example.com"), "{shown}");
    let api = client(Some(key), &server.settings());
    assert_eq!(api.verify(None).await.unwrap(), None);
    assert_eq!(api.zones("example.com").await.unwrap(), []);
    let request = server.heard().remove(0);
    assert!(request.contains("x-auth-email: me@example.com\r\n"), "{request}");
    assert!(request.contains(&format!("x-auth-key: {KEY}\r\n")), "{request}");
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn credentials_that_cannot_be_sent() {
    let server = server(|_| good("[]")).await;
    let ask = async |credentials| client(credentials, &server.settings()).zones("a").await.unwrap_err();
    for none in [None, Some(Credentials::Token(" \n".into()))] {
        assert!(matches!(ask(none).await, ApiError::NoCredentials));
    }
    for bad in ["not-a-real token", "not-a-real\u{7}", "not-a-real-é"] {
        let error = ask(Some(Credentials::Token(bad.into()))).await;
        assert!(matches!(error, ApiError::BadToken(Fault::Malformed)), "{error:?}");
        words(&error);
    }
    assert!(server.heard().is_empty());
    let shown = format!("{:?} {:?}", token(), server.api());
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[tokio::test]
async fn an_id_leads_to_no_other_path() {
    let server = server(|_| good("null")).await;
    let api = server.api();
    for bad in ["", "..", "a/b", "a?b", "a b", "é", &"a".repeat(65)] {
        let error = api.tunnel(ACCOUNT, bad).await.unwrap_err();
        assert!(matches!(error, ApiError::BadId), "{bad}: {error:?}");
    }
    assert!(server.heard().is_empty());
}

#[test]
fn credentials_do_not_travel_in_clear() {
    for good in [BASE, "https://api.example.com/v4/", "http://127.0.0.1:8080", "http://[::1]:8080"] {
        assert!(base(good).is_some(), "{good}");
    }
    for bad in ["http://api.cloudflare.com/client/v4", "http://localhost", "ftp://127.0.0.1", "x", ""] {
        assert!(base(bad).is_none(), "{bad}");
    }
}
