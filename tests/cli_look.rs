//! The built program where it cannot look: what it says, and with which exit status. Nothing here leaves this machine.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const TUNNEL: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";
const SECRET: &str = "cfut_this-is-not-a-real-token-0123456789";

/// Runs it without a system bus, without a terminal, and with nothing but `environment`.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(arguments)
        .env_clear()
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn without_systemd_a_diagnosis_says_so() {
    for arguments in
        [&["diagnose"][..], &["diagnose", "--json"], &["diagnose", "cloudflared.service", "--markdown"]]
    {
        let (exit, out, err) = run(arguments, &[]);
        assert_eq!(exit, 2, "{err}");
        assert!(out.is_empty() && err.contains("cannot reach systemd over the system bus"), "{out}{err}");
    }
}

#[test]
fn a_tunnel_is_asked_for_by_its_id_where_this_host_runs_none() {
    let (exit, out, err) = run(&["tunnel"], &[("CLOUDFLARE_API_TOKEN", SECRET)]);
    assert_eq!(exit, 64, "{err}");
    assert!(out.is_empty() && err.contains("set TUNNEL_ID") && !err.contains(SECRET), "{out}{err}");
    let (exit, _, err) = run(&["tunnel", "nosuch"], &[]);
    assert_eq!(exit, 64);
    assert!(err.contains("neither a tunnel's id (a UUID) nor a tunnel of this host"), "{err}");
    let (exit, _, err) = run(&["tunnel", TUNNEL, "--account", "mine"], &[]);
    assert_eq!(exit, 64);
    assert!(err.contains("32 hexadecimal digits"), "{err}");
}

#[test]
fn without_credentials_and_without_a_terminal_nobody_is_asked() {
    for (arguments, environment) in [
        (&["tunnel", TUNNEL][..], &[][..]),
        (&["tunnel"], &[("TUNNEL_ID", TUNNEL)]),
        // An e-mail address alone proves nothing.
        (&["tunnel", TUNNEL], &[("CF_EMAIL", "me@example.com")]),
    ] {
        let (exit, out, err) = run(arguments, environment);
        assert_eq!(exit, 2, "{err}");
        assert!(out.is_empty() && err.contains("Set CLOUDFLARE_API_TOKEN"), "{out}{err}");
        assert!(!err.contains("me@example.com"), "{err}");
    }
}

#[test]
fn no_command_takes_a_secret_as_an_argument() {
    for verb in ["tunnel", "verify", "diagnose"] {
        let (exit, help, _) = run(&[verb, "--help"], &[]);
        assert_eq!(exit, 0);
        for option in ["--token ", "--key", "--api-key", "--email"] {
            assert!(!help.contains(option), "{verb}: {option}");
        }
    }
}

#[test]
fn addresses_that_are_none_are_refused_with_what_to_write() {
    for bad in ["http://app.example.com", "localhost", "https://user:geheim@app.example.com/"] {
        let (exit, _, err) = run(&["verify", bad], &[]);
        assert_eq!(exit, 64, "{err}");
        assert!(err.contains("write https://app.example.com/health") && !err.contains("geheim"), "{err}");
    }
    let (exit, out, err) = run(&["verify"], &[]);
    assert_eq!(exit, 64, "{err}");
    assert!(out.is_empty() && err.contains("cannot reach systemd"), "{out}{err}");
}

#[test]
fn to_force_needs_a_reason_and_json_needs_somebody_who_follows() {
    let (exit, _, err) = run(&["restart", "--force"], &[]);
    assert_eq!(exit, 64);
    assert!(err.contains("--reason"), "{err}");
    let (exit, _, err) = run(&["restart", "--reason", "x", "--json"], &[]);
    assert_eq!(exit, 64);
    assert!(err.contains("--follow"), "{err}");
    let (exit, _, err) =
        run(&["restart", "cloudflared.service", "--reason", "x", "--force", "--follow"], &[]);
    assert_eq!(exit, 2);
    assert!(err.contains("cannot reach the system bus"), "{err}");
}

#[test]
fn a_daemon_that_watches_no_tunnel_is_not_fine() {
    let status = r#"{"version":"0","mode":"remedy","since":"2026-11-23T10:00:00Z","tunnels":[]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let verbs = [&["status"][..], &["status", "--json"], &["explain"], &["explain", "--json"]];
    std::thread::spawn(move || {
        for stream in listener.incoming().take(verbs.len()) {
            let mut stream = stream.unwrap();
            let mut asked = String::new();
            while !asked.contains("\r\n\r\n") {
                let mut some = [0; 512];
                let read = stream.read(&mut some).unwrap();
                asked.push_str(std::str::from_utf8(&some[..read]).unwrap());
            }
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{status}").unwrap();
        }
    });
    for verb in verbs {
        let (exit, out, err) = run(&[verb, &["--address", &address]].concat(), &[]);
        assert_eq!(exit, 2, "{verb:?}: {out}{err}");
        assert_eq!(err, "There is nothing to see: tunnelwarden watches no tunnel here.\n", "{verb:?}");
        assert_eq!(
            verb.contains(&"--json"),
            serde_json::from_str::<serde_json::Value>(&out).is_ok(),
            "{out}"
        );
    }
}

#[test]
fn a_log_that_cannot_be_read_is_no_calm_past() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("incidents.jsonl");
    let read = || run(&["incidents", "--log", log.to_str().unwrap()], &[]);
    let (exit, out, _) = read();
    assert_eq!((exit, &*out), (0, "No incident is on record.\n"), "there never was one");
    std::fs::write(&log, "\u{1}garbage\n{}\n").unwrap();
    let (exit, out, err) = read();
    assert_eq!((exit, &*out), (2, ""), "{err}");
    assert!(err.contains("passed over") && err.contains("no line of it is an incident"), "{err}");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let (exit, _, err) = read();
    assert_eq!(exit, 2);
    assert!(err.contains("incidents.jsonl: cannot be read: not a regular file"), "{err}");
    assert!(!err.contains("sudo"), "{err}");
}
