//! `audit ingress` and `route` as a person meets them: what is printed, and the exit code. The expected outputs lie
//! beside the configurations; after a change that is meant, write them anew with GOLDEN=write and look.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn run(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
    let output = command.current_dir(folder).args(arguments).stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn tables() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/ingress")
}

/// Compares what is printed in each form with the file beside, exit code first.
fn golden(folder: &Path, name: &str, arguments: &[&str]) {
    for (form, ending) in [(None, "txt"), (Some("--json"), "json"), (Some("--markdown"), "md")] {
        let arguments: Vec<&str> = arguments.iter().copied().chain(form).collect();
        let said = run(folder, &arguments);
        let mut found = said.out;
        if ending == "txt" {
            found.push_str(&format!("\nexit {}\n", said.code));
            let widest = found.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= 80, "{} is {widest} columns wide", folder.display());
        }
        let path = folder.join(format!("{name}.{ending}"));
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "{}:\n{found}", path.display());
    }
}

#[test]
fn every_finding_is_told_in_three_forms() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(tables().join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(20 < folders.len());
    for folder in folders {
        let line = std::fs::read_to_string(folder.join("args")).unwrap_or_else(|_| {
            let expect = if folder.join("expect.toml").exists() { " --expect expect.toml" } else { "" };
            format!("config.yml{expect}")
        });
        let arguments: Vec<&str> =
            ["audit", "ingress", "--offline"].into_iter().chain(line.split_whitespace()).collect();
        golden(&folder, "report", &arguments);
    }
}

#[test]
fn a_route_is_told_with_why_the_rules_before_are_not_met() {
    let folder = tables().join("routes");
    let cases = [
        ("api", "https://app.cloudtolocalllm.online/api/users?page=2"),
        ("nobody", "https://elsewhere.example.com/"),
        ("as-typed", "https://APP.cloudtolocalllm.online/ws"),
    ];
    for (name, url) in cases {
        golden(&folder, name, &["route", url, "--config", "../cases/sop-fine/config.yml"]);
    }
    golden(
        &folder,
        "refused",
        &["route", "https://app.example.com/x", "--config", "../cases/invalid-path/config.yml"],
    );
}

#[test]
fn the_example_of_the_packages_is_the_table_of_ten() {
    let folder = tables().join("cases/sop-fine");
    let said = run(
        &folder,
        &[
            "audit",
            "ingress",
            "config.yml",
            "--offline",
            "--expect",
            "../../../../../packaging/examples/ingress-expect.toml",
            "--json",
        ],
    );
    assert_eq!(said.out.matches("\"state\": \"right\"").count(), 10, "{}", said.out);
    assert_eq!(said.code, 0);
}

#[test]
fn services_are_asked_from_here() {
    let folder = tempfile::tempdir().unwrap();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let (up, down) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
    drop(closed);
    let socket = folder.path().join("up.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let config = format!(
        "ingress:\n- hostname: a.b\n  service: http://{up}\n- hostname: c.b\n  service: http://{down}\n- hostname: d.b\n  \
         service: http://web.shop.svc.cluster.local:80\n- hostname: e.b\n  service: unix:{}\n- hostname: f.b\n  service: \
         unix:/nonexistent.sock\n- service: http_status:404\n",
        socket.display()
    );
    std::fs::write(folder.path().join("c.yml"), config).unwrap();
    let said = run(folder.path(), &["audit", "ingress", "c.yml", "--json"]);
    assert_eq!(said.code, 1);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let of = |key: &str| -> Vec<String> {
        report["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule[key].as_str().unwrap_or("-").to_owned())
            .collect()
    };
    assert_eq!(of("origin"), ["answers", "refused", "unknown", "answers", "failed", "-"]);
    let rules: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["origin-refused", "origin-failed"]);
    let said = run(folder.path(), &["audit", "ingress", "c.yml", "--offline"]);
    assert_eq!(said.code, 0, "{}", said.out);
}

#[test]
fn no_password_of_an_origin_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let service = "http://admin:hunter2@localhost:80";
    let all = format!("ingress:\n- service: {service}\n");
    // Each with findings that speak of a service.
    let configs = [
        all.clone(),
        all.replace(":80", ":80/x"),
        all.replace(":80", ":8 0"),
        format!("url: {service}\n"),
        format!(
            "ingress:\n- hostname: a.b\n  service: {service}\n- hostname: a.b\n  path: /x\n  service: http://c:1\n- service: {service}\n"
        ),
        format!(
            "ingress:\n- hostname: a.b\n  path: api\n  service: {service}\n- hostname: a.b\n  service: http://c:1\n- service: {service}\n"
        ),
        format!("ingress:\n- hostname: a.b\n  service: http://c:1\n- service: {service}\n"),
    ];
    let list = format!("[[expect]]\nhostname = \"a.b\"\npath = \"/api\"\nservice = \"{service}\"\n");
    std::fs::write(folder.path().join("list.toml"), list).unwrap();
    for config in configs {
        std::fs::write(folder.path().join("c.yml"), &config).unwrap();
        for arguments in [
            &["audit", "ingress", "c.yml", "--offline"][..],
            &["audit", "ingress", "c.yml", "--offline", "--expect", "list.toml"],
            &["route", "https://a.b/api", "--config", "c.yml"],
            &["route", "https://other/", "--config", "c.yml"],
        ] {
            for form in [None, Some("--json"), Some("--markdown")] {
                let arguments: Vec<&str> = arguments.iter().copied().chain(form).collect();
                let said = run(folder.path(), &arguments);
                let all = said.out + &said.err;
                assert!(!all.contains("hunter2"), "{config}{arguments:?}: {all}");
            }
        }
    }
}

#[test]
fn bad_input_is_named_with_its_place_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")));
    }
    write("bomb.yml", format!("{bomb}ingress: *a11\n").as_bytes());
    write("large.yml", &vec![b'#'; 10 * 1024 * 1024]);
    write("binary.yml", b"ingress:\n\xff\xfe\x00");
    write("zeros.yml", &[0; 64]);
    write("kind.yml", b"ingress:\n- hostname: app.example.com\n  service: [a, b]\n");
    write("syntax.yml", b"ingress:\n  - hostname: a\n service: b\n");
    write("words.yml", b"no configuration at all\n");
    let rules: String = (0..10_000).map(|n| format!("- hostname: a{n}.b\n  service: http://a\n")).collect();
    write("many.yml", format!("ingress:\n{rules}- service: http_status:404\n").as_bytes());
    write("deep.yml", format!("ingress: {}\n", "[".repeat(5000)).as_bytes());
    write("expect-bomb.toml", format!("a = {}1\n", "[".repeat(5000)).as_bytes());
    write(
        "expect-twice.toml",
        b"[[expect]]\nhostname = \"a.b\"\nhostname = \"c.d\"\nservice = \"http://a\"\n",
    );
    write("expect-binary.toml", b"[[expect]]\n\xff\xfe\x00");
    write("good.yml", b"ingress:\n- service: http_status:404\n");
    write("bad.toml", b"[[expect]]\nhostname = \"a.b\"\npath = 5\n");
    write("typo.toml", b"[[expect]]\nhost = \"a.b\"\nservice = \"http://a\"\n");
    write("none.toml", b"# nothing\n");
    write("service.toml", b"[[expect]]\nhostname = \"a.b\"\nservice = \"nothing\"\n");
    write("slash.toml", b"[[expect]]\nhostname = \"a.b\"\npath = \"api\"\nservice = \"http://a\"\n");
    let cases: &[(&[&str], &str, &str)] = &[
        (&["missing.yml"], "cannot read missing.yml: no such file", "/etc/cloudflared/config.yml"),
        (&["."], "cannot read .: it is a directory", "config.yml"),
        (&["bomb.yml"], "bomb.yml:", "without aliases"),
        (&["large.yml"], "large.yml is larger than", "another file"),
        (&["binary.yml"], "line 2 is not UTF-8 text", "which is text"),
        (&["zeros.yml"], "zeros.yml:", "mend that line"),
        (&["kind.yml"], "kind.yml:3:", "service: http://localhost:8080"),
        (&["syntax.yml"], "syntax.yml:", "mend that line"),
        (&["words.yml"], "words.yml:1:", "mend that line"),
        (&["deep.yml"], "deep.yml:1:", "mend that line"),
        (&["many.yml"], "many.yml:", "fewer rules"),
        (&["good.yml", "--expect", "expect-bomb.toml"], "expect-bomb.toml:1:", "[[expect]]"),
        (&["good.yml", "--expect", "expect-twice.toml"], "expect-twice.toml:3:", "[[expect]]"),
        (&["good.yml", "--expect", "expect-binary.toml"], "expect-binary.toml:2: is not UTF-8 text", "TOML"),
        (&["good.yml", "--expect", "missing.toml"], "cannot read missing.toml: no such file", "[[expect]]"),
        (&["good.yml", "--expect", "bad.toml"], "bad.toml:3:", "[[expect]]"),
        (&["good.yml", "--expect", "typo.toml"], "typo.toml:2:", "[[expect]]"),
        (&["good.yml", "--expect", "none.toml"], "none.toml: holds no route", "[[expect]]"),
        (&["good.yml", "--expect", "service.toml"], "service.toml:3:", "http://api-backend:8080"),
        (&["good.yml", "--expect", "slash.toml"], "slash.toml:3:", "\"/api\""),
        (&["good.yml", "--expect", "large.yml"], "large.yml is longer than 1 MiB", ""),
    ];
    for (arguments, says, remedy) in cases {
        let arguments: Vec<&str> =
            ["audit", "ingress", "--offline"].iter().chain(*arguments).copied().collect();
        let said = run(folder.path(), &arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(says) && said.err.contains(remedy), "{arguments:?}: {}", said.err);
        assert_eq!(said.out, "");
    }
}

/// More rules than anybody writes by hand: they are compared, or it is said that they were not.
#[test]
fn many_rules_are_compared_or_it_is_said_that_they_were_not() {
    let folder = tempfile::tempdir().unwrap();
    let rules = |many: usize| -> String {
        (0..many).map(|n| format!("- hostname: a{n}.example.com\n  service: http://a{n}:80\n")).collect()
    };
    let audit = |rules: String| -> (i32, serde_json::Value) {
        std::fs::write(folder.path().join("c.yml"), format!("ingress:\n{rules}")).unwrap();
        let said = run(folder.path(), &["audit", "ingress", "c.yml", "--offline", "--json"]);
        (said.code, serde_json::from_str(&said.out).unwrap())
    };
    let found = |report: &serde_json::Value| -> Vec<(String, u64)> {
        let of = |finding: &serde_json::Value| {
            (finding["rule"].as_str().unwrap().to_owned(), finding["line"].as_u64().unwrap_or(0))
        };
        report["findings"].as_array().unwrap().iter().map(of).collect()
    };
    let end = "- service: http_status:404\n";
    let hidden = "- hostname: a7.example.com\n  path: /x\n  service: http://b:80\n";
    let (code, report) = audit(format!("{}{hidden}{end}", rules(900)));
    assert_eq!((code, found(&report)), (1, vec![("rule-order".to_owned(), 1802)]));
    let (code, report) = audit(format!("{}{hidden}{end}", rules(1500)));
    assert_eq!((code, found(&report)), (2, vec![]), "{}", report["blind"]);
    let blind = report["blind"][0].as_str().unwrap();
    assert!(blind.contains("More than 1000 rules") && blind.contains("tunnelwarden route"), "{blind}");
    assert_eq!(report["rules"].as_array().unwrap().len(), 1502);
    // What needs no comparison is found all the same.
    let (code, report) = audit(rules(1500));
    assert!(code == 1 && found(&report).iter().any(|(rule, _)| rule == "missing-catch-all"), "{report}");
    let said = run(folder.path(), &["route", "https://a1499.example.com/", "--config", "c.yml"]);
    assert!(said.out.contains("a1499") || said.err.contains("catch-all"), "{}{}", said.err, said.out);
}

#[test]
fn a_key_that_stands_twice_is_found_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "ingress:\n- service: http_status:404\ningress:\n- service: http_status:503\n";
    std::fs::write(folder.path().join("twice.yml"), text).unwrap();
    let said = run(folder.path(), &["audit", "ingress", "twice.yml", "--offline"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("error twice.yml:3 [duplicate-key]"), "{}", said.out);
    assert!(said.out.contains("fix  Remove one of them"), "{}", said.out);
}

/// Answers as cloudflared's own port does, until the test ends.
fn cloudflared(version: i64, ingress: &str) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body =
        format!("{{\"version\":{version},\"config\":{{\"ingress\":{ingress},\"warp-routing\":{{}}}}}}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() != 0);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    address
}

#[test]
fn the_rules_that_count_are_those_that_cloudflared_runs_with() {
    const WEB: &str = r#"{"hostname":"app.example.com","path":null,"service":"http://web:8080"}"#;
    const LAST: &str = r#"{"hostname":"","path":null,"service":"http_status:404"}"#;
    let file =
        "ingress:\n- hostname: app.example.com\n  service: http://web:8080\n- service: http_status:404\n";
    let both = format!("[{WEB},{LAST}]");
    let default = r#"[{"hostname":"","path":null,"service":"http_status:503"}]"#;
    let cases = [
        (-1, both.as_str(), Some(file), 0, "file", &[][..]),
        (-1, &format!("[{LAST}]"), Some(file), 1, "file", &["not-loaded"]),
        (7, &both, Some(file), 0, "cloudflared", &["file-ignored"]),
        (7, &both, Some("tunnel: x\n"), 0, "cloudflared", &[]),
        (7, &both, Some("tunnel: [\n"), 0, "cloudflared", &[]),
        (-1, default, Some("tunnel: x\n"), 1, "file", &["no-rules"]),
    ];
    for (version, running, file, code, source, findings) in cases {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("config.yml");
        if let Some(file) = file {
            std::fs::write(&config, file).unwrap();
        }
        std::fs::create_dir_all(root.path().join("etc/tunnelwarden")).unwrap();
        let own = format!(
            "[[tunnel]]\nname = \"mine\"\nconfig = \"{}\"\nmetrics = \"{}\"\n[[tunnel.expect]]\nhostname = \
             \"app.example.com\"\nservice = \"http://web:8080\"\n",
            config.display(),
            cloudflared(version, running)
        );
        std::fs::write(root.path().join("etc/tunnelwarden/tunnelwarden.toml"), own).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
        command
            .args(["audit", "ingress", "--tunnel", "mine", "--offline", "--json", "--root"])
            .arg(root.path());
        // No systemd answers here, so the configured places are looked at.
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{version} {running}: {err}"));
        assert_eq!(output.status.code(), Some(code), "{report:#}");
        assert_eq!(report["source"], source, "{report:#}");
        let found: Vec<&str> =
            report["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
        assert_eq!(found, findings, "{report:#}");
    }
}

#[test]
fn a_wrong_command_line_is_64() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["audit", "ingress", "--nonsense"][..],
        &["audit", "ingress", "--json", "--markdown"],
        &["route"],
        &["route", "app.example.com"],
        &["route", "https://a/%zz"],
        &["audit", "ingress", "c.yml", "--tunnel", "nobody"],
    ] {
        let said = run(folder.path(), arguments);
        assert_eq!((said.code, said.out.as_str()), (64, ""), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn standard_input_is_read() {
    let folder = tables().join("cases/sop-config-map");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
    let file = std::fs::File::open(folder.join("configmap.yaml")).unwrap();
    command.args(["route", "https://app.cloudtolocalllm.online/ws", "--config", "-"]).stdin(file);
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("#1, line 12"), "{output:?}");
}
