//! The stand-ins against each other, over real sockets.

mod support;

use std::{io::Write, net::TcpStream, os::unix::net::UnixDatagram, time::Duration};

use support::{Far, HOST, Near, eventually, file, free_port, origin, run};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};
use tunnelwarden_lab::connector::dial::Link;

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
    assert!(begin.elapsed() < Duration::from_secs(2));
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
async fn dropped_connections_come_back_after_the_supervisors_wait() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[("STANDIN_SUPERVISOR_WAIT", "0.5")]).await;
    far.order("drop").await;
    assert_eq!(far.visit("/", "*/*").await, (530, "error code: 1033".into()));
    eventually("it serves again", || far.shows(200)).await;
    let log = near.log();
    assert!(log.contains(" INF Lost connection with the edge connIndex="), "{log}");
    assert!(
        log.contains(" ERR Connection terminated error=\"connection with edge closed\" connIndex="),
        "{log}"
    );
    let names: Vec<_> =
        far.events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    for name in ["registered", "lost", "route_down", "route_up", "public"] {
        assert!(names.iter().any(|seen| seen == name), "no {name} in {names:?}");
    }
}

#[tokio::test]
async fn a_lost_quic_connection_tries_again_soon() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "quic", origin(), &[("STANDIN_SUPERVISOR_WAIT", "600")]).await;
    far.order("drop").await;
    eventually("connection 0 is back", || async { near.ready() == Some((200, 1)) }).await;
    assert!(near.log().contains("failed to accept QUIC stream: Application error 0x0 (remote)"));
}

#[tokio::test]
async fn a_black_hole_is_not_noticed_on_http2_and_stopping_takes_the_grace() {
    let far = Far::start(&[]).await;
    let mut near = Near::start_connected(&far, "http2", origin(), &[]).await;
    far.order("blackhole").await;
    assert!(far.shows(530).await);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(near.ready(), Some((200, 4)));
    near.signal(libc::SIGTERM);
    sleep(Duration::from_secs(2)).await;
    assert!(near.is_running());
    assert_eq!(near.ready(), Some((503, 0)));
    assert_eq!(near.end().await, (Some(0), None));
    // New connections are fine.
    let _again = Near::start_connected(&far, "http2", origin(), &[]).await;
    assert!(far.shows(200).await);
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
async fn a_black_hole_is_noticed_on_quic() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "quic", origin(), &[]).await;
    far.order("blackhole").await;
    eventually("it has noticed", || async { near.log().contains("timeout: no recent network activity") })
        .await;
    eventually("it serves again", || far.shows(200)).await;
}

#[tokio::test]
async fn asleep_after_a_refusal_until_killed() {
    let far = Far::start(&[]).await;
    let mut near =
        Near::start_connected(&far, "http2", origin(), &[("STANDIN_SUPERVISOR_WAIT", "600")]).await;
    far.order("refuse").await;
    assert!(TcpStream::connect(far.tunnel).is_err());
    let terminated = || async { near.log().matches("ERR Connection terminated").count() == 4 };
    eventually("all four wait", terminated).await;
    assert!(near.local("/metrics").contains("\ncloudflared_tunnel_ha_connections 0\n"));
    far.order("accept").await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!((far.routed().await, near.ready()), (0, Some((503, 0))));
    near.signal(libc::SIGTERM);
    sleep(Duration::from_secs(1)).await;
    assert!(near.is_running());
    near.signal(libc::SIGTERM);
    assert_eq!(near.end().await, (None, Some(libc::SIGTERM)));
}

#[tokio::test]
async fn a_refused_edge_at_the_start_is_dialled_again() {
    let far = Far::start(&[]).await;
    far.order("refuse").await;
    let near = Near::start(&far, "http2", origin(), &[]);
    let refused =
        format!("error=\"DialContext error: dial tcp {}: connect: connection refused\"", far.tunnel);
    eventually("it was refused", || async { near.log().contains(&refused) }).await;
    assert!(near.log().contains("INF Retrying connection in up to 2s connIndex=0"));
    far.order("accept").await;
    eventually("it is served", || far.shows(200)).await;
}

#[tokio::test]
async fn unauthorized_is_told_on_http2_and_hidden_on_quic() {
    let far = Far::start(&[]).await;
    far.order("reject Unauthorized: Tunnel not found").await;
    let mut http2 = Near::start(&far, "http2", origin(), &[]);
    let mut quic = Near::start(&far, "quic", origin(), &[]);
    let told =
        "ERR Register tunnel error from server side error=\"Unauthorized: Tunnel not found\" connIndex=0";
    eventually("the refusal is told", || async { http2.log().contains(told) }).await;
    let hidden =
        "ERR Serve tunnel error error=\"control stream encountered a failure while serving\" connIndex=0";
    eventually("the refusal is hidden", || async { quic.log().contains(hidden) }).await;
    assert!(!quic.log().contains("Unauthorized"));
    assert!(http2.is_running() && quic.is_running());
    for near in [&http2, &quic] {
        let fail = "register_fail{error=\"server_error\",rpcName=\"registerConnection\"}";
        assert!(near.local("/metrics").contains(fail));
        assert_eq!(near.ready(), Some((503, 0)));
    }
    far.order("unreject").await;
    eventually("it is served", || far.shows(200)).await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_other_refusals_end_the_start() {
    let far = Far::start(&[]).await;
    far.order("secret c29tZXRoaW5nIGVsc2U=").await;
    let near = Near::start(&far, "http2", origin(), &[]);
    eventually("refused", || async { near.log().contains("Unauthorized: Invalid tunnel secret") }).await;
    far.order("reject --retryable Failed to get tunnel details: internal error").await;
    let mut other = Near::start(&far, "http2", origin(), &[]);
    assert_eq!(other.end().await, (Some(1), None));
    assert!(other.log().ends_with("\nFailed to get tunnel details: internal error\n"), "{}", other.log());
}

#[tokio::test]
async fn an_unanswered_registration_times_out() {
    let far = Far::start(&[]).await;
    far.order("mute registration").await;
    let mut near = Near::start(&far, "http2", origin(), &[]);
    assert_eq!(near.end().await, (Some(1), None));
    assert!(
        near.log().contains("ERR Initiating shutdown error=\"context deadline exceeded\""),
        "{}",
        near.log()
    );
}

#[tokio::test]
async fn a_frozen_connector_leaves_the_route() {
    let far = Far::start(&["--silence-limit", "2"]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[("STANDIN_SUPERVISOR_WAIT", "0.1")]).await;
    near.signal(libc::SIGSTOP);
    eventually("the route is gone", || async { far.routed().await == 0 }).await;
    assert!(far.shows(530).await);
    near.signal(libc::SIGCONT);
    eventually("it serves again", || far.shows(200)).await;
}

#[tokio::test]
async fn mute_and_forgotten_connections_look_ready() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[]).await;
    far.order("mute").await;
    eventually("no route", || far.shows(530)).await;
    far.order("accept").await;
    eventually("the route is back", || far.shows(200)).await;
    far.order("forget").await;
    assert!(far.shows(530).await);
    assert_eq!(near.ready(), Some((200, 4)));
    assert_eq!(near.log().matches("Registered tunnel").count(), 4);
}

#[tokio::test]
async fn a_dead_origin_is_a_502_and_not_the_tunnels_fault() {
    let far = Far::start(&[]).await;
    for protocol in ["http2", "quic"] {
        let near = Near::start_connected(&far, protocol, free_port(), &[]).await;
        assert_eq!(far.visit("/", "*/*").await, (502, "error code: 502".into()));
        assert_eq!(near.ready(), Some((200, 4)));
        let words = "ERR  error=\"Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial tcp 127.0.0.1:";
        assert!(near.log().contains(words), "{}", near.log());
        drop(near);
        eventually("it has gone", || async { far.routed().await == 0 }).await;
    }
}

#[tokio::test]
async fn bodies_pass_both_ways_on_either_transport() {
    let far = Far::start(&[]).await;
    let origin = support::echo();
    let body: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    for protocol in ["http2", "quic"] {
        let near = Near::start_connected(&far, protocol, origin, &[]).await;
        let (status, echoed) = far.post(body.clone()).await;
        assert!(status == 200 && echoed == body, "{protocol}: {status}, {} bytes", echoed.len());
        drop(near);
        eventually("it has gone", || async { far.routed().await == 0 }).await;
    }
}

#[tokio::test]
async fn a_duplicate_is_told_on_http2_and_tried_again() {
    let far = Far::start(&[]).await;
    far.order("reject EDUPCONN").await;
    let near = Near::start(&far, "http2", origin(), &[]);
    let told = "ERR Unable to establish connection. error=\"already connected to this server, trying another address\" connIndex=0";
    eventually("it is told", || async { near.log().contains(told) }).await;
    assert!(near.local("/metrics").contains("register_fail{error=\"dup_edge_conn\""));
    far.order("unreject").await;
    eventually("it is served", || far.shows(200)).await;
}

#[tokio::test]
async fn a_late_answer_is_waited_for() {
    let far = Far::start(&[]).await;
    far.order("late 2").await;
    let begin = Instant::now();
    for protocol in ["http2", "quic"] {
        let _near = Near::start_connected(&far, protocol, origin(), &[]).await;
    }
    assert!(Duration::from_secs(4) <= begin.elapsed(), "{:?}", begin.elapsed());
    assert_eq!(far.order("late never").await["ok"], false);
}

#[tokio::test]
async fn pages_in_every_form() {
    let far = Far::start(&[]).await;
    let kind = |accept: &'static str| {
        let far = &far;
        async move {
            let response = far.response("/", accept).await;
            assert_eq!(response.status().as_u16(), 530);
            response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned()
        }
    };
    assert_eq!(kind("*/*").await, "text/plain");
    assert_eq!(kind("text/html,*/*;q=0.8").await, "text/html");
    assert_eq!(kind("application/json").await, "application/json");
    assert_eq!(kind("application/problem+json").await, "application/problem+json");
    assert_eq!(kind("text/markdown").await, "text/markdown");
    far.order("form html-old").await;
    assert!(far.visit("/", "*/*").await.1.contains("Argo Tunnel error | app.example.com"));
    for (page, status) in
        [("1016", 530), ("502", 502), ("cached", 200), ("challenge", 403), ("access", 302), ("522", 522)]
    {
        far.order(&format!("page {page} {HOST}")).await;
        assert!(far.shows(status).await, "{page}");
    }
    far.order("unpage").await;
    assert!(far.shows(530).await);
    assert_eq!(far.order("page nonsense").await["ok"], false);
    assert_eq!(far.visit("/cdn-cgi/trace", "*/*").await.0, 200);
}

#[tokio::test]
async fn garbage_on_the_tunnel_port_disturbs_nobody() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[]).await;
    TcpStream::connect(far.tunnel).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ca = far.path("pki/ca.pem").display().to_string();
    let dialer = tunnelwarden_lab::connector::dial::Dialer::new(Some(&ca)).unwrap();
    drop(dialer.dial_tcp(far.tunnel, tunnelwarden_lab::wire::SNI_PROBE).await.unwrap());
    drop(dialer.dial_quic(far.tunnel, tunnelwarden_lab::wire::SNI_PROBE).await.unwrap());
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let garbage = [
        b"\xff\xff\xff\xff garbage".to_vec(),
        // Half a frame, and a list of headers longer than any.
        settings[..5].to_vec(),
        [&settings[..], b"\xff\xff\xff\x01\x04\0\0\0\x01"].concat(),
        [&settings[..], b"\0\x40\0\x01\0\0\0\0\x01", &[b'x'; 1 << 14]].concat(),
    ];
    for bytes in garbage {
        let link = dialer.dial_tcp(far.tunnel, tunnelwarden_lab::wire::SNI_H2).await.unwrap();
        let Link::Http2(mut stream) = link else { panic!("not TCP") };
        stream.write_all(&bytes).await.unwrap();
        // The edge may have hung up already.
        let _ = stream.shutdown().await;
        let link = dialer.dial_quic(far.tunnel, tunnelwarden_lab::wire::SNI_QUIC).await.unwrap();
        let Link::Quic(connection, _endpoint) = link else { panic!("not QUIC") };
        let (mut writer, _reader) = connection.open_bi().await.unwrap();
        writer.write_all(&bytes).await.unwrap();
        let _ = writer.finish();
        let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
        assert!(closed.is_ok(), "the edge keeps a connection that speaks garbage");
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!((near.ready(), far.routed().await), (Some((200, 4)), 4));
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
