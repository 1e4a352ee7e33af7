//! `audit credentials` as a person meets it.

use super::*;

/// A token for a tunnel, whose secret is nobody's.
fn token(tunnel: &str) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let secret = base64.encode([7; 32]);
    base64.encode(format!(r#"{{"a":"0123456789abcdef0123456789abcdef","t":"{tunnel}","s":"{secret}"}}"#))
}

const OTHER: &str = "0f0f0f0f-947b-4bf6-acad-100a73de4e0d";

/// A host's files, for the user that runs the test.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let files = Self { folder: tempfile::tempdir_in("/tmp").unwrap() };
        fs::set_permissions(files.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        files
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().canonicalize().unwrap().join(name).display().to_string()
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn unit(&self, lines: &str) {
        use std::os::unix::fs::MetadataExt as _;
        let uid = fs::metadata(self.folder.path()).unwrap().uid();
        let lines = lines.replace("DIR", self.folder.path().canonicalize().unwrap().to_str().unwrap());
        self.write("cloudflared.service", 0o644, &format!("[Service]\nType=notify\nUser={uid}\n{lines}"));
    }

    fn audit(&self, form: &[&str]) -> Output {
        let versions = ["--cloudflared-version", "2026.8.2", "--systemd-version", "252"];
        audit(self.folder.path(), &[&["credentials", "cloudflared.service"], form, &versions[..]].concat())
    }

    fn rules(&self) -> Vec<String> {
        let output = self.audit(&["--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = report["findings"].as_array().unwrap().iter();
        // What lies elsewhere on the machine that runs the test is none of ours.
        let mut rules: Vec<String> = all
            .filter(|finding| {
                finding["file"].as_str().unwrap().starts_with(&self.path(""))
                    || finding["file"] == "cloudflared.service"
            })
            .map(|finding| finding["rule"].as_str().unwrap().to_owned())
            .collect();
        rules.sort();
        rules
    }
}

#[test]
fn credentials_are_judged_by_what_lies_on_the_disk() {
    let run = "ExecStart=/usr/bin/cloudflared --no-autoupdate --config DIR/config.yml tunnel run\n";
    let good = format!(
        r#"{{"AccountTag":"0123456789abcdef0123456789abcdef","TunnelSecret":"c2VjcmV0","TunnelID":"{MINE}"}}"#
    );
    let config = |files: &Files| format!("tunnel: {MINE}\ncredentials-file: {}\n", files.path("c.json"));
    for (mode, credentials, expected) in [
        (0o400, good.clone(), vec![]),
        (0o644, good.clone(), vec!["file-readable"]),
        (0o622, good.clone(), vec!["file-writable"]),
        (0o400, good.replace(MINE, OTHER), vec!["tunnel-mismatch"]),
        (0o400, good.replace("TunnelSecret", "Secret"), vec!["credentials-keys"]),
        (0o400, good.replace("c2VjcmV0", "no base64!"), vec!["credentials-keys"]),
        (0o400, good.replace("\"c2VjcmV0\"", "[1]"), vec!["credentials-keys"]),
        (0o400, good.replace("TunnelID", "Tunnel"), vec!["credentials-keys"]),
        (0o400, "eyJ".into(), vec!["credentials-not-json"]),
        (0o400, "\u{1}\u{0}".into(), vec!["credentials-not-json"]),
        (0o400, "[".repeat(20_000), vec!["credentials-not-json"]),
    ] {
        let files = Files::new();
        files.unit(run);
        files.write("c.json", mode, &credentials);
        files.write("config.yml", 0o644, &config(&files));
        assert_eq!(files.rules(), expected, "{mode:o} {}", &credentials[..credentials.len().min(90)]);
    }
    let files = Files::new();
    files.unit(run);
    files.write("config.yml", 0o644, &config(&files));
    files.write("cert.pem", 0o600, "-----BEGIN ARGO TUNNEL TOKEN-----\n");
    fs::create_dir(files.path(".git")).unwrap();
    assert_eq!(files.rules(), ["cert-pem", "file-in-git", "file-missing"]);
}

#[test]
fn a_token_is_found_wherever_it_lies_and_never_repeated() {
    let secret = token(MINE);
    let by_file = "ExecStart=/usr/bin/cloudflared --no-autoupdate tunnel run --token-file DIR/token\n";
    let cases = [
        (format!("ExecStart=/usr/bin/cloudflared tunnel run --token {secret}\n"), "", vec!["token-exposed"]),
        (
            format!("ExecStart=/usr/bin/cloudflared tunnel run\nEnvironment=TUNNEL_TOKEN={secret}\n"),
            "",
            vec!["token-exposed"],
        ),
        ("ExecStart=/usr/bin/cloudflared tunnel run\nEnvironmentFile=-DIR/env\n".to_owned(), "env", vec![]),
        ("ExecStart=/usr/bin/cloudflared tunnel run\nEnvironmentFile=-DIR/none\n".to_owned(), "", vec![]),
        (
            "ExecStart=/usr/bin/cloudflared tunnel run\nEnvironmentFile=DIR/none\n".to_owned(),
            "",
            vec!["file-missing"],
        ),
        // The unit sees another /tmp, where DIR is.
        (
            "PrivateTmp=yes\nExecStart=/usr/bin/cloudflared tunnel run\nEnvironmentFile=DIR/none\n"
                .to_owned(),
            "",
            vec![],
        ),
        (by_file.to_owned(), "token", vec!["token-in-clear"]),
        (format!("{by_file}LoadCredential=tunnel-token:DIR/token\n"), "token", vec![]),
    ];
    for (lines, file, expected) in cases {
        let files = Files::new();
        files.unit(&lines);
        if !file.is_empty() {
            let text = if file == "env" { format!("TUNNEL_TOKEN=\"{secret}\"\n") } else { secret.clone() };
            files.write(file, 0o600, &text);
        }
        assert_eq!(files.rules(), expected, "{file}");
        for form in [&["--json"][..], &["--markdown"], &[]] {
            let output = files.audit(form);
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!said.contains(&secret[..16]) && !said.contains("BwcHBwcH"), "{said}");
        }
        if file == "env" {
            files.write("env", 0o644, &format!("TUNNEL_TOKEN={secret}\n"));
            assert_eq!(files.rules(), ["file-readable"]);
            files.write("env", 0o644, "TUNNEL_METRICS=127.0.0.1:2000\n");
            assert_eq!(files.rules(), Vec::<String>::new());
        }
    }
    let files = Files::new();
    files.unit(by_file);
    files.write("token", 0o600, "not a token");
    assert_eq!(files.rules(), ["no-token"]);
    // What else a unit is handed is no tunnel's.
    let files = Files::new();
    files.unit("ExecStart=/usr/bin/cloudflared tunnel run\nLoadCredential=origin-ca:DIR/ca.pem\n");
    files.write("ca.pem", 0o644, "-----BEGIN CERTIFICATE-----\n");
    assert_eq!(files.rules(), Vec::<String>::new());
}

/// Not only a token is a secret, and not only a file that is named holds one.
#[test]
fn credentials_are_found_wherever_cloudflared_takes_them_from() {
    let secret = "c2VjcmV0LW9mLXRoZS10dW5uZWw=";
    let json = format!(
        r#"{{"AccountTag":"0123456789abcdef0123456789abcdef","TunnelSecret":"{secret}","TunnelID":"{MINE}"}}"#
    );
    let run = "ExecStart=/usr/bin/cloudflared --no-autoupdate tunnel run\n";
    let by_config = "ExecStart=/usr/bin/cloudflared --no-autoupdate --config DIR/config.yml tunnel run\n";
    let by_id = format!("{MINE}.json");
    let none: Vec<&str> = vec![];
    // The unit, a file with its mode, cloudflared's configuration; what is found, and the exit code.
    for (unit, file, config, expected, code) in [
        (format!("{run}Environment='TUNNEL_CRED_CONTENTS={json}'\n"), None, "", vec!["token-exposed"], 1),
        (
            format!("ExecStart=/usr/bin/cloudflared tunnel run --credentials-contents '{json}' {MINE}\n"),
            None,
            "",
            vec!["token-exposed"],
            1,
        ),
        (
            format!("{run}EnvironmentFile=DIR/env\n"),
            Some(("env", 0o644, format!("TUNNEL_CRED_CONTENTS='{json}'\n"))),
            "",
            vec!["file-readable"],
            1,
        ),
        (
            format!("{run}EnvironmentFile=DIR/env\n"),
            Some(("env", 0o600, format!("TUNNEL_CRED_CONTENTS='{json}'\n"))),
            "",
            none.clone(),
            0,
        ),
        (
            by_config.into(),
            None,
            &format!("tunnel: {MINE}\ncredentials-contents: '{json}'\n"),
            vec!["file-readable", "token-in-config"],
            1,
        ),
        (
            by_config.into(),
            Some((by_id.as_str(), 0o644, json.clone())),
            &format!("tunnel: {MINE}\n"),
            vec!["file-readable"],
            1,
        ),
        (
            by_config.into(),
            Some((by_id.as_str(), 0o400, json.clone())),
            &format!("tunnel: {MINE}\n"),
            none.clone(),
            0,
        ),
        // As the unit takes it.
        (
            format!("WorkingDirectory=DIR\n{by_config}"),
            Some(("c.json", 0o644, json.clone())),
            &format!("tunnel: {MINE}\ncredentials-file: c.json\n"),
            vec!["file-readable"],
            1,
        ),
        // Nothing was seen, so nothing is praised.
        (by_config.into(), None, &format!("tunnel: {MINE}\n"), none.clone(), 2),
        (by_config.into(), None, "tunnel: by-name\n", none.clone(), 2),
        (
            by_config.into(),
            None,
            &format!("tunnel: {MINE}\ncredentials-file: '%h/c.json'\n"),
            none.clone(),
            2,
        ),
        (run.into(), None, "", none.clone(), 2),
    ] {
        let files = Files::new();
        files.unit(&unit);
        if let Some((name, mode, text)) = &file {
            files.write(name, *mode, text);
        }
        if !config.is_empty() {
            files.write("config.yml", 0o644, config);
        }
        assert_eq!(files.rules(), expected, "{unit}{config}");
        for form in [&["--json"][..], &["--markdown"], &[]] {
            let output = files.audit(form);
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!said.contains(secret), "{said}");
            assert_eq!(output.status.code(), Some(code), "{unit}{config}{said}");
            assert_eq!(said.contains("kept as they should be"), code == 0, "{said}");
        }
    }
}

/// As it is read, but for line breaks, the user that runs the test, and what lies elsewhere on its machine.
#[test]
fn a_report_on_credentials_reads_well() {
    let files = Files::new();
    files.unit("ExecStart=/usr/bin/cloudflared --no-autoupdate --config DIR/config.yml tunnel run --token-file DIR/token\n");
    files.write("token", 0o644, &token(OTHER));
    files.write("config.yml", 0o644, &format!("tunnel: {MINE}\n"));
    files.write("cert.pem", 0o600, "");
    let said = text(&files.audit(&[]).stdout);
    let own = files.path("").trim_end_matches('/').to_owned();
    let user = said.split("user ").nth(1).unwrap().split(')').next().unwrap().to_owned();
    let blocks: Vec<String> = said
        .split("\n\n")
        .map(|block| block.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|block| {
            !["/etc/cloudflared/", "/usr/local/", "/root/"]
                .iter()
                .any(|other| block.starts_with(&format!("warning {other}")))
        })
        .map(|block| block.replace(&own, "DIR").replace(&user, "U, group G"))
        .collect();
    expect(&folder("credentials").join("report.txt"), &(blocks.join("\n\n") + "\n"));
}
