use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::client::cloudflare_api::tests::server::{Act, TOKEN, good, refused, server};
use crate::warden::time::Now;

const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const TUNNEL: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";
const MINE: &str = "1a2b3c4d-0000-4000-8000-000000000001";

/// 2026-11-28T12:00:00Z
const NOW: Now = Now { boot: Duration::from_secs(5000), wall: Duration::from_secs(1_795_867_200) };

fn here(connector: Option<&str>, connections: Option<u8>) -> Here {
    Here {
        unit: "cloudflared.service".into(),
        name: "cloudtolocalllm-aks".into(),
        id: Some(TUNNEL.into()),
        names: Vec::new(),
        probes: Vec::new(),
        connector: connector.map(str::to_owned),
        connections,
        unread: Vec::new(),
    }
}

fn conn(colo: &str, origin: &str, pending: bool) -> String {
    format!(
        r#"{{"colo_name":"{colo}","origin_ip":"{origin}","opened_at":"2026-11-28T09:00:00Z","is_pending_reconnect":{pending}}}"#
    )
}

fn connector(id: &str, run_at: &str, conns: &[String]) -> String {
    let conns = conns.join(",");
    format!(
        r#"{{"id":"{id}","arch":"linux_amd64","version":"2026.8.2","run_at":"{run_at}","conns":[{conns}]}}"#
    )
}

/// Two accounts, of which the second holds the tunnel.
fn cloudflare(status: &'static str, connectors: Vec<String>) -> impl Fn(&str) -> Act {
    let of = format!("/accounts/{ACCOUNT}/cfd_tunnel/{TUNNEL}");
    let since = if status == "down" { "conns_inactive_at" } else { "conns_active_at" };
    move |path| match path.split('?').next().unwrap() {
        "/accounts" => good(&format!(
            r#"[{{"id":"{OTHER}","name":"Shared"}},{{"id":"{ACCOUNT}","name":"Example | Ltd"}}]"#
        )),
        "/user/tokens/verify" => good(r#"{"status":"active","expires_on":"2027-06-01T00:00:00Z"}"#),
        path if path == of => good(&format!(
            r#"{{"id":"{TUNNEL}","name":"cloudtolocalllm-aks","status":"{status}","config_src":"local",
            "{since}":"2026-11-01T08:30:00Z"}}"#
        )),
        path if path.strip_prefix(&of) == Some("/connections") => {
            good(&format!("[{}]", connectors.join(",")))
        }
        _ => refused(404, 1003, "Tunnel not found"),
    }
}

async fn told(here: Option<Here>, act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Report {
    let server = server(act).await;
    let api = server.api();
    let wanted = Wanted { id: TUNNEL.into(), here };
    let looked = sight::look(&api, None, TUNNEL).await;
    let token = api.verify(looked.as_ref().ok().map(|sight| sight.account.id.as_str())).await;
    let mut report = Report::new("tunnel", wanted.title());
    told::write(&mut report, &[(&wanted, looked)], token, NOW);
    assert!(server.heard().iter().all(|request| request.starts_with("GET ")), "only ever read");
    report
}

#[tokio::test]
async fn a_healthy_tunnel_marks_the_connector_of_this_host() {
    let connectors = vec![
        connector(
            MINE,
            "2026-11-27T10:00:00Z",
            &[
                conn("ams01", "198.51.100.7", false),
                conn("fra06", "198.51.100.7", false),
                conn("ams01", "198.51.100.7", false),
                conn("fra08", "198.51.100.7", false),
            ],
        ),
        connector(
            "9f8e7d6c-0000-4000-8000-000000000002",
            "2026-10-01T00:00:00Z",
            &[conn("lhr02", "2001:db8::7", false), conn("lhr02", "2001:db8::7", true)],
        ),
    ];
    let report = told(Some(here(Some(MINE), Some(4))), cloudflare("healthy", connectors)).await;
    assert_eq!(report.exit(), Exit::Fine);
    report.golden("tunnel-healthy");
}

#[tokio::test]
async fn a_phantom_is_told_from_a_live_connector() {
    let pending = vec![connector(MINE, "2026-11-28T10:00:00Z", &[conn("ams01", "198.51.100.7", true)])];
    let report = told(Some(here(Some(MINE), Some(4))), cloudflare("down", pending)).await;
    assert_eq!(report.exit(), Exit::Wrong);
    assert!(
        report.verdict.contains("believes in connections that Cloudflare does not list"),
        "{}",
        report.verdict
    );
    report.golden("tunnel-down");
}

#[tokio::test]
async fn two_processes_behind_one_address_are_noted() {
    let twins =
        ["a", "b"].map(|id| connector(id, "2026-11-28T10:00:00Z", &[conn("ams01", "198.51.100.7", false)]));
    let report = told(None, cloudflare("healthy", twins.to_vec())).await;
    assert_eq!(report.exit(), Exit::Fine, "a note alone is fine");
    assert_eq!(
        report.findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(),
        ["connectors-of-one-address"]
    );
}

#[tokio::test]
async fn an_api_that_refuses_says_nothing_of_the_tunnel() {
    let refusals: [(Act, &str); 3] = [
        (refused(403, 10_000, "Authentication error"), "Account Settings › Read"),
        (refused(403, 9109, "Invalid access token"), "revoked, expired or mistyped"),
        (
            refused(400, 1001, "List accounts endpoint does not support account owned tokens."),
            "set the account's id",
        ),
    ];
    for (refusal, advice) in refusals {
        let Act::Say(bytes) = refusal else { unreachable!() };
        let report = told(Some(here(Some(MINE), Some(4))), move |_| Act::Say(bytes.clone())).await;
        assert_eq!(report.exit(), Exit::Blind);
        assert!(report.blind[0].contains(advice), "{:?}", report.blind);
        assert!(!format!("{report:?}").contains(TOKEN));
    }
}

#[tokio::test]
async fn a_tunnel_that_nobody_knows_is_wrong_and_not_unseen() {
    let accounts = AtomicUsize::new(0);
    let report = told(None, move |path| match path.starts_with("/accounts?") {
        true => good(&format!(r#"[{{"id":"{ACCOUNT}"}},{{"id":"{OTHER}"}}]"#)),
        false => {
            accounts.fetch_add(1, Ordering::SeqCst);
            refused(404, 1003, "Tunnel not found")
        }
    })
    .await;
    assert_eq!(report.exit(), Exit::Wrong);
    assert!(report.verdict.contains("knows no such tunnel"), "{}", report.verdict);
}

#[test]
fn which_tunnel_is_meant() {
    let one = |asked: Option<&str>, here: &[Here]| {
        wanted(asked, here).map(|wanted| wanted.into_iter().map(|one| one.id).collect::<Vec<_>>())
    };
    let mine = [here(None, None)];
    assert_eq!(one(None, &mine).unwrap(), [TUNNEL]);
    assert_eq!(one(Some(&TUNNEL.to_uppercase()), &[]).unwrap(), [TUNNEL]);
    assert_eq!(one(Some("cloudflared.service"), &mine).unwrap(), [TUNNEL]);
    assert!(one(Some("nosuch"), &mine).unwrap_err().contains("this host runs cloudtolocalllm-aks"));
    assert!(one(Some(""), &[]).unwrap_err().contains("TUNNEL_ID"));
    let nameless = [Here { id: Some("cloudtolocalllm-aks".into()), ..here(None, None) }];
    assert!(
        one(None, &nameless).unwrap_err().contains("set it in [[tunnel]]"),
        "the API knows tunnels by their id"
    );
}
