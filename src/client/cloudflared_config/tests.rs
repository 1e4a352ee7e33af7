use super::*;

const ID: &str = "0e9a4f7c-31e5-4d4f-9d5e-3f1c2b7a8d90";

fn token(json: &str) -> String {
    STANDARD.encode(json)
}

fn argv(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn launch(line: &str) -> Launch {
    Launch::of::<_, &str>(&argv(line), &[])
}

#[test]
fn which_lines_run_a_tunnel() {
    let cases = [
        ("/usr/bin/cloudflared --no-autoupdate tunnel run --token-file /etc/cloudflared/token", true),
        ("/usr/bin/cloudflared --no-autoupdate --config /etc/cloudflared/config.yml tunnel run", true),
        ("cloudflared --config /etc/cloudflared/config.yml --no-autoupdate tunnel run", true),
        ("cloudflared tunnel --config x.yml run my-tunnel", true),
        ("cloudflared tunnel --no-autoupdate run --token abc", true),
        ("cloudflared tunnel --metrics=127.0.0.1:1 --protocol quic run", true),
        (
            "cloudflared --config /etc/cloudflared/config.yml --origincert /etc/cloudflared/cert.pem --no-autoupdate",
            true,
        ),
        ("cloudflared update", false),
        ("cloudflared proxy-dns --port 53", false),
        ("cloudflared access tcp --hostname tunnel --url run", false),
        ("cloudflared service install tunnel run", false),
        ("cloudflared tunnel --url http://localhost:80", false),
        ("cloudflared tunnel list", false),
        ("cloudflared --no-autoupdate", false),
        ("cloudflared --metrics tunnel run", false),
        ("/bin/bash -c exec", false),
        ("cloudflared", false),
        ("", false),
    ];
    for (line, expected) in cases {
        assert_eq!(is_tunnel_run(&argv(line)), expected, "{line}");
        assert_eq!(launch(line).is_tunnel_run, expected, "{line}");
    }
}

/// The text of a credentials file by each way that cloudflared takes it; only the tunnel's id is kept.
#[test]
fn credentials_in_clear() {
    let json = format!(r#"{{"AccountTag":"a","TunnelSecret":"c2VjcmV0","TunnelID":"{ID}"}}"#);
    let sight = Some(TokenSight { tunnel: Some(ID.into()), endpoint: None });
    let line = ["cloudflared", "tunnel", "run", "--credentials-contents", &json];
    assert_eq!(Launch::of::<_, &str>(&line, &[]).credentials_contents, sight);
    let variable = format!("TUNNEL_CRED_CONTENTS={json}");
    let found = Launch::of(&["cloudflared", "tunnel", "run"], &[variable.as_str()]);
    assert_eq!((&found.credentials_contents, found.token), (&sight, None));
    let config = parse(Path::new("c"), &format!("credentials-contents: '{json}'\n")).unwrap();
    assert!(config.holds_secret() && config.credentials_contents == sight);
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
}

#[test]
fn command_line() {
    let found = launch(
        "/usr/bin/cloudflared --no-autoupdate --config /etc/cloudflared/config.yml tunnel --metrics=127.0.0.1:20300 \
         --retries 7 --edge-ip-version 4 --edge-bind-address 192.0.2.7 --ha-connections 8 --protocol http2 --output json --region us run my-tunnel",
    );
    assert_eq!(found.config.as_deref(), Some(Path::new("/etc/cloudflared/config.yml")));
    assert_eq!(found.metrics.as_deref(), Some("127.0.0.1:20300"));
    assert_eq!((found.retries, found.edge_ip_version.as_deref()), (Some(7), Some("4")));
    assert_eq!((found.edge_bind_address.as_deref(), found.ha_connections), (Some("192.0.2.7"), Some(8)));
    assert_eq!((found.protocol.as_deref(), found.region.as_deref()), (Some("http2"), Some("us")));
    assert_eq!(found.tunnel.as_deref(), Some("my-tunnel"));
    assert_eq!(launch("cloudflared tunnel -p http2 run").protocol.as_deref(), Some("http2"));
    assert!(found.output_json && found.token.is_none());
}

#[test]
fn flags_beat_the_environment() {
    let environment =
        ["TUNNEL_TRANSPORT_PROTOCOL=quic", "TUNNEL_METRICS=localhost:1", "HOME=/root", "broken"];
    let found = Launch::of(&argv("cloudflared tunnel --protocol http2 run"), &environment);
    assert_eq!(found.protocol.as_deref(), Some("http2"));
    assert_eq!(found.metrics.as_deref(), Some("localhost:1"));
}

#[test]
fn only_the_tunnel_of_a_token_is_kept() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";
    let token = token(&format!(r#"{{"a":"account","s":"{secret}","t":"{ID}"}}"#));
    for (line, environment) in [
        (format!("cloudflared tunnel run --token {token}"), String::new()),
        (format!("cloudflared tunnel run --token={token}"), String::new()),
        ("cloudflared tunnel run".to_owned(), format!("TUNNEL_TOKEN={token}")),
    ] {
        let found = Launch::of(&argv(&line), &[environment]);
        assert_eq!(found.token, Some(TokenSight { tunnel: Some(ID.into()), endpoint: None }));
        let shown = format!("{found:?}");
        assert!(!shown.contains(secret) && !shown.contains(&token) && !shown.contains("account"), "{shown}");
    }
}

/// cloudflared takes it for its `--region`.
#[test]
fn the_endpoint_of_a_token_is_kept() {
    let token = token(&format!(r#"{{"a":"account","s":"c2VjcmV0","t":"{ID}","e":"fed"}}"#));
    let found = Launch::of(&argv(&format!("cloudflared tunnel run --token {token}")), &[] as &[&str]);
    assert_eq!(found.token.unwrap().endpoint.as_deref(), Some("fed"));
}

#[test]
fn bad_tokens() {
    for bad in ["", "not base64!", &token("{}"), &token("[1]"), &token(r#"{"t":"x"}"#), &token("nil")] {
        assert_eq!(TokenSight::of(bad).tunnel, None, "{bad}");
    }
    let nil = token(r#"{"a":"","s":"","t":"00000000-0000-0000-0000-000000000000"}"#);
    assert_eq!(TokenSight::of(&nil).tunnel, None);
    assert_eq!(
        tunnel_of_credentials(&format!(r#"{{"AccountTag":"a","TunnelSecret":"s","TunnelID":"{ID}"}}"#))
            .as_deref(),
        Some(ID)
    );
    assert_eq!(tunnel_of_credentials("{}"), None);
}

#[test]
fn config_file() {
    let text = format!(
        "tunnel: {ID}\ncredentials-file: /etc/cloudflared/{ID}.json\nprotocol: http2\nmetrics: 0.0.0.0:20300\n\
         retries: 3\ngrace-period: 10s\nedge-ip-version: 4\nedge-bind-address: ::1\nha-connections: 2\nregion: us\nwarp-routing:\n  enabled: true\n\
         loglevel: info\noriginRequest:\n  connectTimeout: 30s\ningress:\n  - hostname: app.example.com\n    \
         service: http://localhost:80\n    originRequest:\n      noTLSVerify: true\n  - hostname: '*.example.com'\n    \
         service: http://localhost:81\n  - hostname: app.example.com\n    path: ^/x\n    service: tcp://localhost:22\n  \
         - hostname: \"*\"\n    service: http_status:404\n  - service: http_status:404\n"
    );
    let found = parse(Path::new("config.yml"), &text).unwrap();
    assert_eq!(found.tunnel.as_deref(), Some(ID));
    assert_eq!(found.credentials_file, Some(format!("/etc/cloudflared/{ID}.json").into()));
    assert_eq!((found.protocol.as_deref(), found.metrics.as_deref()), (Some("http2"), Some("0.0.0.0:20300")));
    assert_eq!((found.retries, found.grace_period.as_deref()), (Some(3), Some("10s")));
    assert_eq!((found.edge_ip_version.as_deref(), found.region.as_deref()), (Some("4"), Some("us")));
    assert_eq!((found.edge_bind_address.as_deref(), found.ha_connections), (Some("::1"), Some(2)));
    assert!(found.warp_routing);
    assert_eq!(found.ingress.len(), 5);
    assert_eq!(hostnames(&found.ingress), ["app.example.com"]);
}

#[test]
fn of_several_documents_cloudflared_reads_the_first() {
    let own = "tunnel: a\nprotocol: http2\n";
    for text in [
        format!("{own}---\n"),
        format!("{own}---\nother: 1\n"),
        format!("{own}...\n"),
        format!("# managed by hand\n---\n{own}--- # another\nprotocol: quic\n"),
        format!("%YAML 1.2\n---\n{own}"),
        format!("---\n{own}"),
    ] {
        let found = parse(Path::new("/etc/x.yml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(
            (found.tunnel.as_deref(), found.protocol.as_deref()),
            (Some("a"), Some("http2")),
            "{text}"
        );
    }
}

/// It decodes them into whatever they are, and knows only later what to make of it.
#[test]
fn a_setting_of_another_kind_is_no_reason_to_refuse_the_file() {
    let text = "tunnel: 1234\nretries: \"05\"\nprotocol: [quic]\nmetrics: 20241\nedge-ip-version: 4\ngrace-period: {a: b}\nregion:\n";
    let found = parse(Path::new("/etc/x.yml"), text).unwrap();
    assert_eq!((found.tunnel.as_deref(), found.retries, found.protocol), (Some("1234"), Some(5), None));
    assert_eq!((found.metrics.as_deref(), found.edge_ip_version.as_deref()), (Some("20241"), Some("4")));
    assert_eq!((found.grace_period, found.region), (None, None));
    assert!(parse(Path::new("/etc/x.yml"), "retries: 05\n").is_ok());
    assert!(parse(Path::new("/etc/x.yml"), "ingress: none\n").is_err(), "cloudflared refuses that");
}

#[test]
fn empty_config_files() {
    for text in ["", "\n\n", "# nothing\n", "ingress:\n", "warp-routing:\n"] {
        let found = parse(Path::new("config.yml"), text).unwrap();
        assert_eq!(found, FileConfig::default(), "{text:?}");
    }
}

#[test]
fn errors_name_file_and_line_and_no_secret() {
    let secret = "dG9rZW4tdG9rZW4=";
    let cases = [
        (format!("token: {secret}\ningress: 5\n"), "/etc/x.yml:2:"),
        (format!("token: {secret}\ntunnel: a\n  b: [\n"), "/etc/x.yml:"),
        (format!("tunnel: a\ntunnel: {secret}\n"), "/etc/x.yml:2:"),
        (format!("token: {secret}\ningress: many\n"), "/etc/x.yml:2:"),
        ("- a\n".to_owned(), "/etc/x.yml:1:"),
    ];
    for (text, start) in cases {
        let error = parse(Path::new("/etc/x.yml"), &text).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
        assert!(!error.contains(secret) && !error.contains('\n'), "{error}");
    }
    let missing = read(Path::new("/nonexistent/config.yml")).unwrap_err().to_string();
    assert_eq!(missing, "cannot read /nonexistent/config.yml");
}

#[test]
fn an_edge_of_its_own_is_known() {
    let by_flag = launch("cloudflared tunnel --edge 198.51.100.1:7844 run");
    let by_environment = Launch::of(&argv("cloudflared tunnel run"), &["TUNNEL_EDGE=198.51.100.1:7844"]);
    assert!(by_flag.own_edge && by_environment.own_edge);
    assert!(!launch("cloudflared tunnel --edge-ip-version 4 run").own_edge);
}

#[test]
fn a_bomb_is_refused() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 9].join(",");
        text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    text.push_str("ingress: *a11\n");
    assert!(parse(Path::new("x.yml"), &text).is_err());
}

proptest::proptest! {
    #[test]
    fn any_command_line_is_survived(words in proptest::collection::vec("(-{0,3}[a-z=]{0,8}|tunnel|run|--token)", 0..8)) {
        let found = Launch::of(&words, &words);
        proptest::prop_assert_eq!(found.is_tunnel_run, is_tunnel_run(&words));
    }

    #[test]
    fn any_file_is_survived(text in "((tunnel|ingress|token|- hostname|  service)?[:&*\\[\\]{} a-z0-9\"'-]{0,12}\n){0,8}") {
        parse(Path::new("x.yml"), &text).ok();
    }
}
