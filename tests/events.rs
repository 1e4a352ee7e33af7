//! Incidents of the simulation, event by event, as `cargo test -p tunnelwarden-sim -- --seed N --events FILE` writes them:
//! the warden is given each event at its time, and has to order what the file says, no more and no less.
//!
//! A seed that breaks a rule becomes a test so: copy its file to `tests/events`, strike what should not have been ordered,
//! or add what should, and mend the warden.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use serde::Deserialize;
use tunnelwarden::warden::event::{Command, Event};
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::remedy::Remedy;
use tunnelwarden::warden::time::Now;

#[derive(Deserialize)]
struct Line {
    begin: Option<Memory>,
    now: Option<Now>,
    event: Option<Event>,
    ordered: Option<Remedy>,
}

/// What was ordered where the file says otherwise.
fn play(path: &Path) -> Result<usize, String> {
    let mut warden = Warden::new(Policy::shipped(), Memory::default());
    let mut open: Vec<Remedy> = Vec::new();
    let mut all = 0;
    let text = std::fs::read_to_string(path).unwrap();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let place = format!("{}:{}", path.display(), number + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| format!("{place}: {error}"))?;
        if let Some(ordered) = line.ordered {
            if open.first() != Some(&ordered) {
                return Err(format!("{place}: {} is not ordered, but {open:?}", ordered.name()));
            }
            open.remove(0);
            all += 1;
        }
        if let Some(memory) = line.begin {
            warden = Warden::new(Policy::shipped(), memory);
        }
        let (Some(now), Some(event)) = (line.now, line.event) else { continue };
        if let Some(remedy) = open.first() {
            return Err(format!("{place}: {} was ordered before", remedy.name()));
        }
        open.extend(warden.handle(event, now).into_iter().filter_map(|command| match command {
            Command::Apply { remedy, .. } => Some(remedy),
            Command::Hurry { .. }
            | Command::Look { .. }
            | Command::Persist
            | Command::Record { .. }
            | Command::Tell(_)
            | Command::Announce { .. } => None,
        }));
    }
    match open.first() {
        Some(remedy) => Err(format!("{}: {} is ordered at the end", path.display(), remedy.name())),
        None => Ok(all),
    }
}

#[test]
fn each_incident_goes_as_it_went() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events");
    let mut played = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        played.push(play(&entry.unwrap().path()));
    }
    let wrong: Vec<_> = played.iter().filter_map(|result| result.as_ref().err()).cloned().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played.iter().flatten().any(|ordered| 0 < *ordered), "no file in which anything is ordered");
}
