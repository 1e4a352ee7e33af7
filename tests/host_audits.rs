//! `audit unit` and `audit credentials` as a person meets them: files beside what is said of them.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "audit/credentials.rs"]
mod credentials;

const MINE: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";

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
