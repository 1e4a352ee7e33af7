//! The life of the process: start, signals, end, and what it writes.

use std::{os::unix::net::UnixDatagram, time::Duration};

use tokio::time::Instant;

use crate::support::{self, Far, HOST, Near, eventually, file, free_port, origin, run};

async fn serves_and_stops(protocol: &str) {
    let far = Far::start(&[]).await;
    let notify = UnixDatagram::bind(far.path("notify")).unwrap();
    notify.set_nonblocking(true).unwrap();
    let socket = far.path("notify").display().to_string();
    let mut near = Near::start_connected(&far, protocol, origin(), &[("NOTIFY_SOCKET", &socket)]).await;
    let mut message = [0; 64];
    let length = notify.recv(&mut message).unwrap();
    assert_eq!(message[..length].trim_ascii(), b"READY=1");

    assert_eq!(far.visit("/x?y=1", "*/*").await, (200, "hello".into()));
    let response = far.response("/", "*/*").await;
    assert_eq!(response.headers()["server"], "cloudflare");
    assert!(response.headers()["cf-ray"].to_str().unwrap().ends_with("-LAB"));
    assert!(!response.headers().contains_key("cf-cloudflared-response-meta"));
    let metrics = near.local("/metrics");
    assert!(metrics.contains("\ncloudflared_tunnel_total_requests 2\n"), "{metrics}");
    assert!(metrics.contains("register_success{rpcName=\"registerConnection\"} 4\n"), "{metrics}");
    assert!(!metrics.contains("register_fail"), "{metrics}");
    let config: serde_json::Value = serde_json::from_str(&near.local("/config")).unwrap();
    assert_eq!(
        (&config["version"], &config["config"]["ingress"][0]["hostname"]),
        (&(-1).into(), &HOST.into())
    );

    near.signal(libc::SIGTERM);
    let begin = Instant::now();
    assert_eq!(near.end().await, (Some(0), None));
    assert!(begin.elapsed() < Duration::from_secs(6));
    let log = near.log();
    assert_eq!(log.matches(" INF Registered tunnel connection connIndex=").count(), 4, "{log}");
    assert_eq!(log.matches(" INF Unregistered tunnel connection connIndex=").count(), 4, "{log}");
    assert!(log.contains(" ERR no more connections active and exiting\n"), "{log}");
    assert!(far.shows(530).await);
}

#[tokio::test]
async fn http2_serves_and_stops() {
    serves_and_stops("http2").await;
}

#[tokio::test]
async fn quic_serves_and_stops() {
    serves_and_stops("auto").await;
}

#[tokio::test]
async fn the_second_signal_kills_at_once() {
    let far = Far::start(&[]).await;
    let mut near = Near::start_connected(&far, "http2", origin(), &[]).await;
    far.order("blackhole").await;
    near.signal(libc::SIGTERM);
    eventually("the first was seen", || async { near.log().contains("Initiating graceful shutdown") }).await;
    near.signal(libc::SIGTERM);
    assert_eq!(near.end().await, (None, Some(libc::SIGTERM)));
}

#[tokio::test]
async fn a_hangup_is_not_handled() {
    let far = Far::start(&[]).await;
    let mut near = Near::start_connected(&far, "http2", origin(), &[]).await;
    near.signal(libc::SIGHUP);
    assert_eq!(near.end().await, (None, Some(libc::SIGHUP)));
}

#[tokio::test]
async fn a_token_gets_its_configuration_from_the_edge() {
    use base64::Engine;
    let service = format!("http://{}", origin());
    let config = serde_json::json!({ "ingress": [{ "hostname": HOST, "service": service }, { "service": "http_status:404" }] });
    let far = Far::start(&["--remote-config", &config.to_string()]).await;
    let token = serde_json::json!({ "a": "a", "t": support::TUNNEL, "s": support::SECRET }).to_string();
    let token = file(far.dir.path(), "token", &base64::engine::general_purpose::STANDARD.encode(token));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_cloudflared"))
        .args(["--no-autoupdate", "--metrics", &free_port().to_string(), "--edge", &far.tunnel.to_string()])
        .args(["tunnel", "run", "--token-file", &token])
        .env("TUNNEL_CACERT", far.path("pki/ca.pem"))
        .stderr(std::fs::File::create(far.path("log")).unwrap())
        .spawn()
        .unwrap();
    eventually("the pushed rules serve", || far.shows(200)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(far.path("log")).unwrap();
    assert!(log.contains(" WRN No ingress rules were defined") && log.contains(" version=1\n"), "{log}");
}

#[tokio::test]
async fn json_lines() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[("TUNNEL_LOG_OUTPUT", "json")]).await;
    for line in near.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["time"].is_string());
    }
}

#[test]
fn bad_starts_leave_with_the_real_words_and_codes() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = file(dir.path(), "credentials.json", r#"{"TunnelSecret":"c2VjcmV0","TunnelID":"t"}"#);
    let config = |name: &str, ingress: &str| {
        file(
            dir.path(),
            name,
            &format!("tunnel: t\ncredentials-file: {credentials}\nedge: 127.0.0.1:1\n{ingress}"),
        )
    };
    let start = |config: &str| run(&["--no-autoupdate", "--config", config, "tunnel", "run"]);

    let (code, _, error) = run(&["tunnel", "run", "--token", "garbage"]);
    assert_eq!(
        (code, error.as_str()),
        (Some(255), "Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'.\n")
    );

    let (code, _, error) =
        start(&config("open.yml", "ingress:\n  - hostname: a.example.com\n    service: http://x\n"));
    let last =
        "The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)\n";
    assert_eq!(code, Some(1));
    assert!(
        error.contains(" ERR Couldn't start tunnel error=\"The last ingress") && error.ends_with(last),
        "{error}"
    );

    let (code, _, error) = start(&config("service.yml", "ingress:\n  - service: localhost8080\n"));
    assert_eq!(code, Some(1));
    assert!(error.ends_with(
        "\nlocalhost8080 is an invalid address, please make sure it has a scheme and a hostname\n"
    ));

    let (code, _, error) = start(&file(dir.path(), "bad.yml", "tunnel: [\n"));
    assert_eq!(code, Some(1));
    assert!(error.starts_with("error parsing YAML in config file at "), "{error}");

    let (code, _, error) =
        start(&file(dir.path(), "none.yml", "tunnel: t\ncredentials-file: /nowhere/gone.json\n"));
    assert_eq!(
        (code, error.as_str()),
        (Some(1), "Tunnel credentials file '/nowhere/gone.json' doesn't exist or is not a file\n")
    );

    let (code, _, error) = start(&file(dir.path(), "empty.yml", ""));
    assert_eq!(code, Some(255), "{error}");

    let (code, out, _) = run(&["tunnel", "run", "--nonsense"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "Incorrect Usage. flag provided but not defined: -nonsense\n")
    );

    let good = config("good.yml", "ingress:\n  - service: http_status:404\n");
    let (code, out, _) = run(&["tunnel", "--config", &good, "ingress", "validate"]);
    assert_eq!((code, out.lines().last()), (Some(0), Some("OK")));
}
