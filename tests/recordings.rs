//! Recorded incidents of the real cloudflared, judged by the core at machine speed. Each folder of `tests/recordings` (and
//! of the folder that TUNNELWARDEN_RECORDINGS names, if set) has to come out as its `truth.toml` says.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use tunnelwarden::replay::recording;

struct Truth {
    causes: Vec<Vec<String>>,
    acts: (usize, usize),
    not_before: f64,
    until: f64,
}

fn truth(folder: &Path) -> Truth {
    let table: toml::Table = std::fs::read_to_string(folder.join("truth.toml")).unwrap().parse().unwrap();
    let names = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let number = |key: &str, otherwise: f64| match table.get(key) {
        Some(toml::Value::Integer(n)) => *n as f64,
        Some(toml::Value::Float(n)) => *n,
        _ => otherwise,
    };
    Truth {
        causes: table["causes"].as_array().unwrap().iter().map(names).collect(),
        acts: (number("acts_min", 0.0) as usize, number("acts_max", 0.0) as usize),
        not_before: number("acts_not_before_s", 0.0),
        until: number("judged_until_s", f64::MAX),
    }
}

fn folders() -> Vec<PathBuf> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings"));
    let more = std::env::var_os("TUNNELWARDEN_RECORDINGS").map(PathBuf::from);
    let mut all: Vec<_> = [Some(own), more]
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.join("truth.toml").exists())
        .collect();
    all.sort();
    all
}

#[test]
fn every_recording_comes_out_as_its_truth_says() {
    let mut wrong = Vec::new();
    let folders = folders();
    assert!(10 <= folders.len(), "recordings are missing");
    for folder in &folders {
        let truth = truth(folder);
        let judged = recording(folder).unwrap();
        let causes = judged.causes();
        // Later the recording's own hand took over.
        let acts: Vec<_> = judged.acts().filter(|(at, _, _)| *at < truth.until).collect();
        let mut seen = causes.iter();
        let causes_fit =
            truth.causes.iter().all(|wanted| seen.any(|cause| wanted.iter().any(|name| name == cause)));
        let acts_fit = (truth.acts.0..=truth.acts.1).contains(&acts.len())
            && acts.iter().all(|(at, _, _)| truth.not_before <= *at);
        if !(causes_fit && acts_fit) {
            let name = folder.file_name().unwrap().to_string_lossy();
            wrong.push(format!(
                "{name}: causes {causes:?}, wanted {:?}; acts {acts:?}, wanted {:?} not before {}",
                truth.causes, truth.acts, truth.not_before
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} recordings:\n{}", wrong.len(), folders.len(), wrong.join("\n"));
}
