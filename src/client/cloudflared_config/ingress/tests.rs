use super::*;

fn parsed(text: &str) -> IngressFile {
    ingress(Path::new("config.yml"), text).unwrap()
}

fn complaint(text: &str) -> String {
    ingress(Path::new("config.yml"), text).unwrap_err().to_string()
}

fn at(line: u64, text: &str) -> Written {
    Written { line, text: text.into() }
}

#[test]
fn rules_know_their_lines() {
    let file = parsed(
        "tunnel: t\ningress:\n  # the first\n  - hostname: a.example.com\n    path: ^/api\n    service: http://a:1\n  \
         - service: http_status:404\n",
    );
    assert_eq!(file.tunnel.as_deref(), Some("t"));
    let [first, last] = file.rules.as_slice() else { panic!("{file:?}") };
    assert_eq!((first.line, last.line), (4, 7));
    assert_eq!(first.hostname, at(4, "a.example.com"));
    assert_eq!((&first.path, &first.service), (&at(5, "^/api"), &at(6, "http://a:1")));
    assert_eq!((&last.hostname, &last.service), (&at(7, ""), &at(7, "http_status:404")));
}

#[test]
fn a_config_map_keeps_the_lines_of_its_file() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  \
                name: cloudflared\ndata:\n  other: 5\n  config.yaml: |\n    tunnel: t\n\n    ingress:\n      \
                - hostname: a.example.com\n        service: http://a:1\n      - service: http_status:404\n";
    let file = parsed(text);
    assert_eq!(file.config_map.as_deref(), Some("cloudflared"));
    assert_eq!(file.rules[0].line, 15);
    assert_eq!(file.rules[0].service, at(16, "http://a:1"));
    assert_eq!(file.rules[1].line, 17);
    let broken = text.replace("hostname: a.example.com", "hostname: [a.example.com]");
    assert!(complaint(&broken).starts_with("config.yml:15:"), "{}", complaint(&broken));
}

#[test]
fn a_config_map_in_quotes_has_one_line_for_all() {
    let file = parsed("kind: ConfigMap\ndata:\n  config.yml: \"ingress:\\n- service: http_status:404\\n\"\n");
    assert_eq!((file.config_map.as_deref(), file.rules[0].line), (Some("config.yml"), 3));
}

#[test]
fn a_key_twice_is_told_and_the_last_one_read() {
    let file = parsed(
        "ingress:\n- hostname: a\n  service: http://a:1\n  service: http://b:1\n- service: http_status:404\n",
    );
    assert_eq!(file.twice, [at(4, "service")]);
    assert_eq!(file.rules[0].service, at(4, "http://b:1"));
}

#[test]
fn strange_keys_are_told() {
    let file = parsed(
        "originRequest:\n  notlsverify: true\ningress:\n- hostname: a\n  servce: http://a:1\n  originRequest:\n    \
         noTLSverify: true\n    http2Origin: true\n- service: http_status:404\nloglevel: info\n",
    );
    let strange = [at(2, "originRequest.notlsverify"), at(5, "servce"), at(7, "originRequest.noTLSverify")];
    assert_eq!(file.unknown, strange);
}

#[test]
fn what_is_empty_is_no_error() {
    for text in ["", "# nothing\n", "ingress:\n", "tunnel: a\n", "ingress: []\n"] {
        assert_eq!(parsed(text).rules, [], "{text:?}");
    }
    assert_eq!(parsed("ingress:\n- hostname:\n  service: ~\n").rules[0].service, at(2, ""));
    assert_eq!(parsed("ingress:\n-\n- service: http_status:404\n").rules.len(), 2);
    assert_eq!(parsed("ingress:\n- hostname: 127\n  service: true\n").rules[0].hostname, at(2, "127"));
}

#[test]
fn wrong_kinds_name_the_line_and_the_right_form() {
    let cases = [
        ("a: 1\ningress: 5\n", "config.yml:2:", "a list of rules"),
        ("ingress:\n- hostname: [a]\n  service: x\n", "config.yml:2:", "hostname: app.example.com"),
        ("ingress:\n- service:\n    a: b\n", "config.yml:3:", ""),
        ("ingress:\n- path: {a: b}\n", "config.yml:2:", "path: ^/api(/|$)"),
        ("ingress:\n- originRequest: 5\n", "config.yml:2:", "a mapping of options"),
        ("originRequest:\n  connectTimeout: 10\n", "config.yml:2:", "write 10s"),
        ("originRequest:\n  connectTimeout: 10 s\n", "config.yml:2:", "30s"),
        ("ingress:\n- service: a\n  originRequest:\n    noTLSVerify: maybe\n", "config.yml:4:", ""),
        ("ingress:\n- service: a\n  originRequest:\n    proxyPort: -1\n", "config.yml:4:", ""),
        (
            "ingress:\n- hostname: *.example.com\n  service: a\n",
            "config.yml:2:",
            "hostname: \"*.example.com\"",
        ),
        ("ingress: [\n", "config.yml:", ""),
        ("just words\n", "config.yml:1:", ""),
        ("- a\n- b\n", "config.yml:1:", ""),
    ];
    for (text, start, form) in cases {
        let complaint = complaint(text);
        assert!(complaint.starts_with(start) && complaint.contains(form), "{complaint}");
    }
}

#[test]
fn options_of_the_right_kind_are_taken() {
    let file = parsed(
        "originRequest:\n  connectTimeout: 1m30s\n  tlsTimeout: 1.5h\n  tcpKeepAlive: \"0\"\n  noTLSVerify: true\n  \
         keepAliveConnections: 100\n  proxyPort: 8080\n  httpHostHeader: a\n  ipRules:\n  - prefix: 10.0.0.0/8\n    \
         ports: [80]\n    allow: true\n  access: {required: true, teamName: t, audTag: [x]}\n",
    );
    assert!(file.origin.access.is_some() && file.origin.ip_rules.is_some());
}

#[test]
fn a_bomb_is_refused() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 9].join(",");
        text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    text.push_str("ingress: *a11\n");
    assert!(ingress(Path::new("x.yml"), &text).is_err());
}

proptest::proptest! {
    #[test]
    fn any_file_is_survived(text in "((kind: ConfigMap|data:|  config.yaml: [|>]|ingress|- hostname|  service|---)?[:&*\\[\\]{} a-z0-9\"'-]{0,12}\n){0,8}") {
        ingress(Path::new("x.yml"), &text).ok();
    }
}

/// As cloudflared does where there are no rules: one key counts, and makes a rule for everything.
#[test]
fn a_single_origin_is_one_rule() {
    for (keys, service) in [
        ("url: http://localhost:8000", Some((2, "http://localhost:8000"))),
        ("url: localhost:8000/app", Some((2, "http://localhost:8000"))),
        ("url: ssh://host", Some((2, "ssh://host"))),
        ("unix-socket: /run/app.sock", Some((2, "unix:/run/app.sock"))),
        ("hello-world: true", Some((2, "hello_world"))),
        ("bastion: true\nurl: http://a:1", Some((2, "bastion"))),
        ("hello-world: false\nbastion:\nurl: http://a:1", Some((4, "http://a:1"))),
        ("ingress: []\nurl: http://a:1", Some((3, "http://a:1"))),
        ("url:", None),
        ("warp-routing: {}", None),
        ("url: http://a:1\ningress:\n- service: http_status:404", Some((4, "http_status:404"))),
    ] {
        let file = parsed(&format!("tunnel: t\n{keys}\n"));
        let rules: Vec<_> = file.rules.iter().map(|rule| &rule.service).collect();
        assert_eq!(rules, service.map(|(line, text)| at(line, text)).iter().collect::<Vec<_>>(), "{keys}");
        assert_eq!(file.warp_routing, keys.starts_with("warp"));
    }
    assert!(complaint("url: [a]\n").ends_with("write text: url: http://localhost:8080"));
}
