use std::path::Path;

use super::*;
use crate::client::cloudflare_api::tests::server::{KEY, TOKEN, client, good, refused, server};
use crate::client::cloudflared_config::{FileConfig, Rule};
use crate::client::unit_file;

const MINE: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";
const OTHER: &str = "0f0f0f0f-947b-4bf6-acad-100a73de4e0d";

fn gathered() -> Gathered {
    let unit = "[Service]\nExecStart=/usr/bin/cloudflared --config /nowhere/config.yml tunnel run\n";
    let service = Service {
        name: "cloudflared.service".into(),
        settings: unit_file::parse(Path::new("/etc/systemd/system/cloudflared.service"), unit).unwrap(),
        state: None,
        cloudflared: None,
        systemd: None,
        protocol: None,
        retries: None,
        grace_period: None,
        no_autoupdate: false,
        newer_program: false,
        update_timer: None,
    };
    let rule = |name: &str| Rule { hostname: Some(name.into()), ..Rule::default() };
    let names = ["app.example.com", "api.example.com", "www.example.com", "x.example.org", "*.example.com"];
    let ingress = names.map(rule).into_iter().chain([Rule::default()]).collect();
    let config = FileConfig { tunnel: Some(MINE.into()), ingress, ..FileConfig::default() };
    Gathered {
        services: vec![(service, Some(Config { path: "/nowhere/config.yml".into(), config }))],
        blind: Vec::new(),
    }
}

/// What the API says of a host's names and of its own token: what is wrong is found, what is not seen is said, and neither token
/// nor key is repeated.
#[tokio::test]
async fn the_records_and_the_end_of_the_token_are_compared() {
    let server = server(|path| match path.split('&').next().unwrap() {
        "/user/tokens/verify" => {
            good(r#"{"id":"t","status":"active","expires_on":"2020-01-01T00:00:00Z"}"#)
        }
        "/zones?name=example.com" => good(r#"[{"id":"z1","name":"example.com"}]"#),
        "/zones?name=example.org" => refused(403, 10_000, "Authentication error"),
        "/zones/z1/dns_records?name=app.example.com" => good(&format!(
            r#"[{{"id":"r","name":"app.example.com","type":"CNAME","content":"{MINE}.cfargotunnel.com","proxied":true}}]"#
        )),
        "/zones/z1/dns_records?name=api.example.com" => good(&format!(
            r#"[{{"id":"r","name":"api.example.com","type":"CNAME","content":"{OTHER}.cfargotunnel.com","proxied":true}}]"#
        )),
        // The wildcard over it decides.
        "/zones/z1/dns_records?name=*.example.com" => good(&format!(
            r#"[{{"id":"r","name":"*.example.com","type":"CNAME","content":"{MINE}.cfargotunnel.com","proxied":false}}]"#
        )),
        _ => good("[]"),
    })
    .await;
    let gathered = gathered();
    let wanted = names_of(gathered.services[0].1.as_ref().unwrap()).into_iter().collect();
    let mut blind = Vec::new();
    let asked = ask_api(&server.api(), false, None, &wanted, &mut blind).await;
    let report = report(gathered, |names, told| {
        assert_eq!(*names, wanted);
        told.extend(blind);
        asked
    });
    let found = |rule: &str| report.findings.iter().filter(|finding| finding.rule == rule).count();
    for rule in ["api-token-dead", "record-of-another-tunnel", "record-not-proxied"] {
        assert_eq!(found(rule), 1, "{rule}: {:#?}", report.findings);
    }
    assert_eq!(found("record-missing"), 0, "{:#?}", report.findings);
    assert_eq!(report.blind.len(), 2, "{:?}", report.blind);
    assert!(report.blind[1].starts_with("/nowhere/config.yml leads to no token"), "{:?}", report.blind);
    assert!(
        report.blind[0].contains("x.example.org") && report.blind[0].contains("Zone › Read"),
        "{:?}",
        report.blind
    );
    assert_eq!(report.exit(), Exit::Wrong);
    let all = format!("{report:?}");
    assert!(all.contains("api.example.com") && !all.contains(TOKEN), "{all}");
    assert!(server.heard().iter().all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn an_api_that_refuses_is_said_and_a_global_key_is_found() {
    let server = server(|path| match path.contains("verify") {
        true => refused(401, 1000, "Invalid API Token"),
        false => refused(403, 9109, "Invalid access token"),
    })
    .await;
    let wanted = ["app.example.com".to_owned()].into();
    let mut blind = Vec::new();
    let asked = ask_api(&server.api(), false, None, &wanted, &mut blind).await;
    assert_eq!((asked.api, asked.records.of.len()), (ApiSight::Token(None), 0));
    assert_eq!(blind.len(), 2, "{blind:?}");
    assert!(blind.iter().all(|said| said.ends_with('.') && !said.contains(TOKEN)), "{blind:?}");

    let key = Credentials::GlobalKey { email: "me@example.com".into(), key: KEY.into() };
    let api = client(Some(key), &server.settings());
    let mut blind = Vec::new();
    let asked = ask_api(&api, true, None, &wanted, &mut blind).await;
    let report = report(gathered(), |_, _| asked);
    assert!(report.findings.iter().any(|finding| finding.rule == "global-key"), "{:#?}", report.findings);
    assert!(!format!("{report:?}{blind:?}").contains(KEY));
}
