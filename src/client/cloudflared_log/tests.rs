use proptest::prelude::*;

use super::*;

fn of(line: &str) -> Meaning {
    meaning(&parse(line))
}

/// One line of every shape the recordings hold, with the label it must get.
const LINES: &str = include_str!("../../../tests/fixtures/cloudflared_log/lines.tsv");

#[test]
fn every_recorded_shape_has_its_meaning() {
    for row in LINES.lines() {
        let (label, line) = row.split_once('\t').unwrap();
        assert_eq!(of(line).label(), label, "{line}");
    }
}

/// One line of PID 1 of every shape: label, message id, job type, job result, message.
const SYSTEMD_LINES: &str = include_str!("../../../tests/fixtures/cloudflared_log/systemd_lines.tsv");

#[test]
fn every_recorded_line_of_systemd_has_its_meaning() {
    for row in SYSTEMD_LINES.lines() {
        let cells: Vec<&str> = row.split('\t').collect();
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let &[label, message_id, job_type, job_result, message] = cells.as_slice() else { panic!("{row}") };
        let line = SystemdLine {
            message,
            message_id: some(message_id),
            job_type: some(job_type),
            job_result: some(job_result),
            ..SystemdLine::default()
        };
        assert_eq!(systemd_meaning(&line).label(), label, "{row}");
    }
}

#[test]
fn fields_are_read() {
    let line = "2026-11-23T10:26:54Z INF Registered tunnel connection connIndex=2 connection=2b3fa6ea event=0 \
                ip=198.41.192.7 location=fra08 protocol=http2";
    assert_eq!(
        of(line),
        Meaning::Registered {
            conn_index: Some(2),
            transport: Some(Transport::Http2),
            location: Some("fra08".into())
        }
    );
    let json = r#"{"level":"info","connIndex":2,"location":"fra08","protocol":"http2","time":"2026-11-23T10:26:54Z","message":"Registered tunnel connection"}"#;
    assert_eq!(of(json), of(line));
}

#[test]
fn old_wordings_mean_the_same() {
    let old = "2022-01-01T00:00:00Z INF Connection 2b3fa6ea-961b-42c8-846e-d13bc75dde46 registered connIndex=0 ip=1.2.3.4 location=LIS";
    assert_eq!(of(old).label(), "registered");
    assert_eq!(
        of("2022-01-01T00:00:00Z INF Retrying connection in up to 2s seconds connIndex=1").label(),
        "retrying"
    );
    assert_eq!(of("2022-01-01T00:00:00Z ERR Failed to create new quic connection error=\"failed to dial to edge with quic: timeout: no recent network activity\" connIndex=1").label(), "dial_failed");
    assert_eq!(
        of(
            "2022-01-01T00:00:00Z ERR Failed to serve quic connection error=\"timeout: no recent network activity\" connIndex=1"
        ),
        Meaning::LostConnection { conn_index: Some(1), end: EndOfConnection::Silence }
    );
    assert_eq!(of("2022-01-01T00:00:00Z ERR Error looking up Cloudflare edge IPs: the DNS query failed error=\"lookup x\"").label(), "dns_failed");
}

#[test]
fn words_of_visitors_mean_nothing() {
    for line in [
        "2026-11-23T10:26:54Z DBG GET http://localhost/%0aERR%20Register%20tunnel%20error HTTP/1.1 headers={\"User-Agent\":[\"Register tunnel error from server side error=Unauthorized: x\"]}",
        "2026-11-23T10:26:54Z DBG Initiating shutdown error=\"Unauthorized: x\"",
        r#"{"level":"debug","message":"Lost connection with the edge","time":"2026-11-23T10:26:54Z"}"#,
    ] {
        assert_eq!(of(line), Meaning::Noise, "{line}");
    }
    let quic = "2026-11-23T10:26:54Z ERR Request failed error=\"Unable to reach the origin service. Serve tunnel error\" dest=https://app.example.com/?a=Unauthorized:";
    assert_eq!(of(quic), Meaning::OriginError);
    let inside = "2026-11-23T10:26:54Z ERR  error=\"Failed: Unauthorized: Lost connection with the edge\"";
    assert_eq!(of(inside), Meaning::Unknown);
    assert_eq!(of("the visitor says Lost connection with the edge"), Meaning::Unknown);
    assert_eq!(of("Register tunnel error from server side error=\"Unauthorized: x\""), Meaning::Unknown);
}

#[test]
fn names_in_a_certificate_cannot_pretend_a_wrong_clock() {
    let dial = |cause: &str| {
        of(&format!(
            "2026-11-23T10:26:54Z ERR Unable to establish connection with Cloudflare edge \
             error=\"TLS handshake with edge error: tls: failed to verify certificate: x509: {cause}\" connIndex=0 ip=198.41.192.7"
        ))
    };
    let failure = |meaning| {
        let Meaning::DialFailed { failure, .. } = meaning else { panic!("{meaning:?}") };
        failure
    };
    let expired =
        "certificate has expired or is not yet valid: current time 2031-01-01T00:00:00Z is after 2030";
    assert_eq!(failure(dial(expired)), DialFailure::Clock);
    assert_eq!(
        failure(dial(&format!("certificate is valid for {expired}, not quic.cftunnel.com"))),
        DialFailure::Certificate
    );
}

#[test]
fn dial_failures_are_told_apart() {
    for (cause, failure) in [
        ("DialContext error: dial tcp 198.41.192.7:7844: i/o timeout", DialFailure::Timeout),
        ("DialContext error: dial tcp 198.41.192.7:7844: connect: connection refused", DialFailure::Refused),
        (
            "DialContext error: dial tcp 198.41.192.7:7844: connect: no route to host",
            DialFailure::Unreachable,
        ),
        (
            "TLS handshake with edge error: read tcp 10.0.0.1:5->198.41.192.7:7844: connection reset by peer",
            DialFailure::Reset,
        ),
        ("TLS handshake with edge error: EOF", DialFailure::Reset),
        (
            "failed to dial to edge with quic: timeout: handshake did not complete in time",
            DialFailure::Timeout,
        ),
        (
            "failed to dial to edge with quic: INTERNAL_ERROR: write udp [::]:1->[::]:2: sendmsg: operation not permitted",
            DialFailure::Forbidden,
        ),
        (
            "failed to dial to edge with quic: CRYPTO_ERROR 0x178 (local): tls: no application protocol",
            DialFailure::Tls,
        ),
    ] {
        assert_eq!(failure::dial_failure(cause), failure, "{cause}");
    }
}

#[test]
fn settings_are_read_from_flags_and_environment() {
    let flags = of(
        "2026-11-23T10:49:07Z INF Settings: map[config:/etc/c.yml edge-bind-address:2001:db8::7 edge-ip-version:4 grace-period:1m ha-connections:2 \
         metrics:127.0.0.1:9999 no-autoupdate:true retries:7]",
    );
    let expected = Settings {
        retries: Some(7),
        metrics: Some("127.0.0.1:9999".into()),
        grace_period: Some("1m".into()),
        edge_ip_version: Some("4".into()),
        edge_bind_address: Some("2001:db8::7".into()),
        ha_connections: Some(2),
        ..Settings::default()
    };
    assert_eq!(flags, Meaning::Settings(expected));
    let environment = of(
        "2026-11-23T10:49:07Z INF Environmental variables map[TUNNEL_CACERT:/x TUNNEL_EDGE_IP_VERSION:6 TUNNEL_TRANSPORT_PROTOCOL:http2]",
    );
    assert_eq!(
        environment,
        Meaning::Settings(Settings {
            protocol: Some("http2".into()),
            edge_ip_version: Some("6".into()),
            ..Settings::default()
        })
    );
}

#[test]
fn torn_json_is_counted_not_judged() {
    for line in [
        r#"{"connIndex":1,"event":0{"connIndex":3,"#,
        r#","ip":"1.2.3.4","level":"info","message":"Lost connection with the edge"}"#,
    ] {
        assert_eq!(parse(line).form, Form::Torn);
        assert_eq!(of(line), Meaning::Unknown);
    }
}

#[test]
fn a_long_line_of_half_fields_is_read_in_bounded_time() {
    let line = format!("2026-11-23T10:49:07Z INF {}", "a=\"b ".repeat(3_000));
    assert_eq!(of(&line), Meaning::Unknown);
}

proptest! {
    #[test]
    fn any_line_is_read(line in "\\PC{0,200}") {
        let _ = of(&line);
    }

    #[test]
    fn any_tail_is_read(tail in "[ -~\\\\\"=\\[{é\u{1F600}]{0,120}", start in 0usize..4) {
        let prefix = ["2026-11-23T10:49:07Z ERR ", "{\"level\":\"info\",", "2026/11/23 10:29:01 ", "2026-11-23T10:49:07Z INF Settings: map["][start];
        let _ = of(&format!("{prefix}{tail}"));
    }

    #[test]
    fn fields_survive_quoting(value in "[ -~]{1,40}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!("2026-11-23T10:49:07Z ERR Serve tunnel error error=\"{quoted}\" connIndex=3");
        let parsed = parse(&line);
        prop_assert_eq!(parsed.message.as_ref(), "Serve tunnel error");
        prop_assert_eq!(parsed.error(), value.as_str());
        prop_assert_eq!(parsed.conn_index(), Some(3));
    }
}

#[test]
fn every_word_for_a_meaning_is_in_the_list() {
    let words = LINES.lines().chain(SYSTEMD_LINES.lines()).filter_map(|line| line.split('\t').next());
    let words: Vec<_> = words.filter(|word| !word.is_empty() && !word.starts_with('#')).collect();
    assert!(50 < words.len());
    for word in words {
        assert!(LABELS.contains(&word), "{word}");
    }
}

#[test]
fn a_password_in_the_address_of_an_origin_is_hidden() {
    let said = |line: &str| {
        let meaning = meaning(&parse(line));
        let Meaning::ConfigError(text) = meaning else { panic!("{meaning:?}") };
        text
    };
    let line = |error: &str| format!("2026-11-23T10:52:54Z ERR Couldn't start tunnel error={error:?}");
    let path = "is an invalid address, ingress rules don't support proxying to a different path on the origin service.";
    let told = said(&line(&format!("http://admin:hunter2@10.0.0.5:8080/ {path}")));
    assert_eq!(told, format!("http://(hidden)@10.0.0.5:8080/ {path}"));
    let told = said(&line("parse \"http://admin:hun ter/2@10.0.0.5\": invalid character \" \" in host name"));
    assert_eq!(told, "parse \"http://(hidden)@10.0.0.5\": invalid character \" \" in host name");
    // However long it is.
    let told = said(&line(&format!("http://admin:{}@10.0.0.5/ {path}", "hunter2".repeat(60))));
    assert!(
        told.starts_with("http://(hidden)@10.0.0.5/ is an invalid") && !told.contains("hunter2"),
        "{told}"
    );
    assert!(said(&line(&format!("http://10.0.0.5/ {path}"))).starts_with("http://10.0.0.5/ is an"));
}
