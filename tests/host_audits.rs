//! `audit unit` and `audit credentials` as a person meets them: files beside what is said of them.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit").join(name)
}

/// Runs in `folder`, so that no path of this machine is said, and without a bus or anything of this machine's environment.
fn audit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
    command.env_clear().env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    command.current_dir(folder).arg("audit").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn units(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".service")).collect();
    names.sort();
    names
}

/// The versions that the first line of a unit asks for.
fn versions(path: &Path) -> Vec<String> {
    let unit = fs::read_to_string(path).unwrap();
    let words: Vec<_> = unit.lines().next().unwrap().split(' ').collect();
    assert_eq!(words[..2], ["#", "versions:"], "{}", path.display());
    vec!["--cloudflared-version".into(), words[2].into(), "--systemd-version".into(), words[3].into()]
}

/// Compares with the file beside it. `UPDATE_EXPECTED=1` writes it anew.
fn expect(path: &Path, said: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(path, said).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(said, expected, "{}", path.display());
}

#[test]
fn each_bad_unit_lies_beside_its_findings_and_no_token_is_repeated() {
    let folder = folder("unit/bad");
    let token = fs::read_to_string(folder.join("token-2025.service")).unwrap();
    let token = token.lines().find_map(|line| line.split("--token ").nth(1)).unwrap();
    for name in units(&folder) {
        let versions = versions(&folder.join(&name));
        for form in ["", "--json", "--markdown"] {
            let mut arguments = vec!["unit", name.as_str()];
            arguments.extend(versions.iter().map(String::as_str));
            arguments.extend((!form.is_empty()).then_some(form));
            let output = audit(&folder, &arguments);
            let said = text(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            let all = said.clone() + &text(&output.stderr);
            assert!(!all.contains(&token[..20]) && !all.contains("bm90IGEgc2Vj"), "{name} {form}: {said}");
            if form.is_empty() {
                expect(&folder.join(&name).with_extension("txt"), &said);
            }
        }
    }
}

#[test]
fn a_good_unit_is_fine_with_its_drop_ins() {
    let folder = folder("unit/good");
    for name in units(&folder) {
        let versions = versions(&folder.join(&name));
        let mut arguments = vec!["unit", "--json", name.as_str()];
        arguments.extend(versions.iter().map(String::as_str));
        let output = audit(&folder, &arguments);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["findings"], serde_json::json!([]), "{name}: {report:#}");
        assert_eq!(output.status.code(), Some(0), "{name}");
    }
}

/// A unit is judged with what cloudflared's own configuration says of its stop and of its updates.
#[test]
fn what_the_configuration_sets_is_not_asked_of_the_unit() {
    let unit = "[Unit]\nAfter=network-online.target\n[Service]\nType=notify\nRestart=on-failure\nRestartSec=5s\nDynamicUser=yes\n\
                TimeoutStartSec=5min\nExecStart=/usr/bin/cloudflared --config config.yml tunnel run\n";
    for (config, stop, expected) in [
        ("grace-period: 5s\nno-autoupdate: true\n", "TimeoutStopSec=15s\n", vec![]),
        ("grace-period: 3m\nno-autoupdate: true\n", "", vec!["stop-timeout-short"]),
        ("no-autoupdate: true\n", "TimeoutStopSec=15s\n", vec!["stop-timeout-short"]),
        ("no-autoupdate: false\n", "", vec!["updates-itself"]),
    ] {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::write(folder.path().join("c.service"), format!("{unit}{stop}")).unwrap();
        fs::write(folder.path().join("config.yml"), format!("tunnel: {MINE}\n{config}")).unwrap();
        let output =
            audit(folder.path(), &["unit", "--json", "c.service", "--cloudflared-version", "2026.8.2"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let rules: Vec<_> = findings.map(|finding| finding["rule"].as_str().unwrap()).collect();
        assert_eq!(rules, expected, "{config} {report:#}");
    }
}

/// The drop-in that is offered, put beside the unit, leaves no warning: what it says is what it mends. (What stays in the unit's own
/// file is said still.)
#[test]
fn the_drop_in_mends_what_it_is_for() {
    let source = folder("unit/bad");
    // What these lack, or have too much of, no drop-in mends.
    let beyond = ["nothing.service", "retries.service"];
    for name in units(&source).into_iter().filter(|name| !beyond.contains(&name.as_str())) {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let unit = folder.path().join(&name);
        fs::copy(source.join(&name), &unit).unwrap();
        let versions = versions(&unit);
        let mut arguments = vec!["unit", "--json", name.as_str()];
        arguments.extend(versions.iter().map(String::as_str));
        let before: serde_json::Value =
            serde_json::from_slice(&audit(folder.path(), &arguments).stdout).unwrap();
        let drop_in = before["units"][0]["drop_in"].as_str().unwrap();
        fs::create_dir(folder.path().join(format!("{name}.d"))).unwrap();
        fs::write(folder.path().join(format!("{name}.d/override.conf")), drop_in).unwrap();
        let after: serde_json::Value =
            serde_json::from_slice(&audit(folder.path(), &arguments).stdout).unwrap();
        for finding in after["findings"].as_array().unwrap() {
            let rule = finding["rule"].as_str().unwrap();
            let left = ["runs-as-root", "token-exposed", "token-left", "no-span"];
            assert!(left.contains(&rule), "{name}: {rule} is left\n{drop_in}\n{after:#}");
            // A command line is replaced as a whole, so this is gone from what is in force.
            assert!(!(rule == "token-exposed" && name.starts_with("token-2025")), "{drop_in}");
        }
    }
}

#[test]
fn what_is_no_unit_is_said_with_its_place_and_a_remedy() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty.service", Vec::new()),
        ("words.service", b"[Service]\nType=notify\nthis is no setting\n".to_vec()),
        ("before.service", b"Type=notify\n".to_vec()),
        ("timer.service", b"[Timer]\nOnCalendar=daily\n".to_vec()),
        ("binary.service", b"[Service]\n\x7fELF\x00\x01".to_vec()),
        ("latin.service", b"[Service]\nUser=caf\xe9\n".to_vec()),
        ("large.service", vec![b'#'; 10 << 20]),
    ];
    let mut said = String::new();
    let mut run = |name: &str| {
        let output = audit(folder.path(), &["unit", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let out = text(&output.stdout);
        said.push_str(&format!(
            "{}\n",
            out.split("Not seen\n").nth(1).unwrap().split("\n\n").next().unwrap()
        ));
    };
    for (name, bytes) in cases {
        fs::write(folder.path().join(name), bytes).unwrap();
        run(name);
    }
    run("./nowhere.service");
    run("/dev/null");
    // Without a bus nothing is known of a unit by its name.
    run("cloudflared");
    // Nor is a folder that is called like it a file.
    fs::create_dir(folder.path().join("cloudflared")).unwrap();
    run("cloudflared");
    expect(&self::folder("unit").join("unread.txt"), &said);
    let wrong = audit(folder.path(), &["unit", "empty.service", "--cloudflared-version", "newest"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("a version of cloudflared looks like 2026.8.2"));
}

/// A token for a tunnel, whose secret is nobody's.
fn token(tunnel: &str) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let secret = base64.encode([7; 32]);
    base64.encode(format!(r#"{{"a":"0123456789abcdef0123456789abcdef","t":"{tunnel}","s":"{secret}"}}"#))
}

const MINE: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";
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

#[test]
fn without_a_bus_nothing_is_claimed() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    for verb in ["unit", "credentials"] {
        let output = audit(folder.path(), &[verb]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stdout);
        assert!(said.contains("Not seen") && said.contains("could be looked at"), "{said}");
    }
}
