//! The layers of the house, held by a test: imports point down only.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.into()];
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// No line of code (comments aside) below `folder` holds one of `words`.
fn forbid(folder: &str, words: &[&str]) {
    let mut broken = Vec::new();
    for path in sources(&root().join(folder)) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in words.iter().filter(|word| code.contains(**word)) {
                broken.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_warden_is_pure() {
    let world = [
        "tokio", "zbus", "reqwest", "std::fs", "std::net", "std::env", "::now()", "async ", ".await",
        "tracing",
    ];
    forbid("src/warden", &world);
    let ours = ["client", "sense", "act", "report", "store", "config", "audit", "daemon", "cli", "clock"];
    let ours: Vec<_> = ours.iter().map(|layer| format!("crate::{layer}::")).collect();
    forbid("src/warden", &ours.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A release has nothing below info compiled in (`release_max_level_info`): an event that is written so would be lost.
#[test]
fn every_event_is_written_in_a_release() {
    forbid("src/report/journal.rs", &["Level::DEBUG", "Level::TRACE", "debug!", "trace!"]);
}

#[test]
fn clients_do_not_know_us() {
    let layers = ["warden", "sense", "act", "report", "store", "config", "audit", "daemon", "cli"];
    let layers: Vec<_> = layers.iter().map(|layer| format!("crate::{layer}::")).collect();
    forbid("src/client", &layers.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_middle_layers_do_not_know_each_other() {
    let middle = ["sense", "act", "report", "store", "config", "audit"];
    for layer in middle {
        let others = middle.iter().filter(|other| **other != layer).chain(&["daemon", "cli"]);
        let others: Vec<_> = others.map(|other| format!("crate::{other}::")).collect();
        forbid(&format!("src/{layer}"), &others.iter().map(String::as_str).collect::<Vec<_>>());
    }
    forbid("src/daemon", &["crate::cli::"]);
}

#[test]
fn audits_are_pure() {
    let world = [
        "tokio", "zbus", "reqwest", "std::fs", "std::net", "std::env", "::now()", "async ", ".await",
        "tracing",
    ];
    forbid("src/audit", &world);
}

#[test]
fn files_stay_readable_and_are_named_by_a_noun() {
    for path in sources(&root().join("src")) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 430, "{} has {lines} lines", path.display());
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        for banned in ["utils", "util", "common", "manager", "helpers", "types", "misc"] {
            assert_ne!(stem, banned, "{}", path.display());
        }
    }
}

/// Every alert leads to a section that is there, and names causes that exist and that no restart cures.
#[test]
fn the_alerts_lead_somewhere() {
    use tunnelwarden::warden::cause::Cause;
    let alerts = std::fs::read_to_string(root().join("packaging/prometheus/tunnelwarden.yml")).unwrap();
    let runbook = std::fs::read_to_string(root().join("packaging/runbook.md")).unwrap();
    let headings = runbook.lines().filter(|line| line.starts_with('#'));
    let anchors: Vec<_> =
        headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-")).collect();
    let links: Vec<_> = alerts.lines().filter_map(|line| line.split("runbook.md#").nth(1)).collect();
    assert_eq!(links.len(), alerts.matches("- alert:").count(), "an alert without a runbook");
    for link in links.iter().map(|link| link.trim_end_matches('\'')).filter(|link| !link.contains("{{")) {
        assert!(anchors.iter().any(|anchor| anchor == link), "no section for {link}");
    }
    let list = alerts.split("cause=~\"").nth(1).unwrap().split('"').next().unwrap();
    for label in list.split('|') {
        let cause = Cause::all().find(|cause| cause.label() == label);
        let cause = cause.unwrap_or_else(|| panic!("no cause has the label {label}"));
        assert!(anchors.contains(&label.replace('_', "")), "no section for {label}");
        let by_person = cause == Cause::StoppedFromOutside;
        assert!(cause.remedy().is_none() || by_person || cause == Cause::CredentialsRejected, "{label}");
    }
    for cause in Cause::all().filter(|cause| cause.is_incident() && cause.remedy().is_none()) {
        let told = list.split('|').any(|label| label == cause.label());
        assert!(told || cause == Cause::PartlyConnected, "nobody is told of {}", cause.name());
    }
}

#[test]
fn the_top_level_is_clean() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "packaging",
        "systemd",
        "tests",
        "README.md",
        "CHANGELOG.md",
        "target",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let known = allowed.contains(&name.as_str()) || name.starts_with('.') || name.starts_with("LICENSE-");
        assert!(known, "{name} does not belong here");
    }
}

#[test]
fn the_runbook_has_a_section_for_every_cause_and_a_line_for_every_hold() {
    let text = std::fs::read_to_string(root().join("packaging/runbook.md")).unwrap();
    for cause in tunnelwarden::warden::cause::Cause::all() {
        assert!(text.contains(&format!("\n## {}\n", cause.name())), "{}", cause.name());
        assert!(text.contains(cause.known_by()), "{}", cause.name());
    }
    for hold in tunnelwarden::warden::rails::Hold::ALL {
        assert!(text.contains(&format!("| {} |", hold.name())), "{}", hold.name());
    }
}
