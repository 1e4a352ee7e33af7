//! Stories in text, played against the warden in virtual time. See the files in `tests/scenarios`: a line is a time, and what
//! becomes of the world then, or what is expected of the warden by then.
#![expect(clippy::unwrap_used, reason = "a test")]

mod story;

use std::path::{Path, PathBuf};

use story::{World, seconds};
use tunnelwarden::warden::cause::Cause;
use tunnelwarden::warden::policy::KnockOut;
use tunnelwarden::warden::rails::Hold;

fn play(path: &Path, knocked_out: Option<KnockOut>) -> Result<(), String> {
    let mut world = World::new(knocked_out);
    for (number, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some((time, rest)) = line.split_once(char::is_whitespace) else { continue };
        world.pass_until(seconds(time));
        let words: Vec<_> = rest.split_whitespace().collect();
        match words.as_slice() {
            ["=>", expected @ ..] => {
                let place = format!("{}:{}", path.display(), number + 1);
                world.check(expected).map_err(|found| format!("{place}: {rest}\n  found {found}"))?;
            }
            words => world.set(words),
        }
    }
    Ok(())
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut stories: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    stories.sort();
    stories
}

#[test]
fn every_story_goes_as_it_is_told() {
    let stories = stories();
    assert!(60 <= stories.len(), "stories are missing");
    let wrong: Vec<_> = stories.iter().filter_map(|story| play(story, None).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Holds that no sense of ours can bring about yet: there is no fleet.
const LATER: [Hold; 1] = [Hold::FleetSlot];

#[test]
fn every_cause_and_every_hold_occurs_in_a_story() {
    let text: String = stories().iter().map(|story| std::fs::read_to_string(story).unwrap()).collect();
    let told = |wanted: &str| text.lines().any(|line| line.trim_end().ends_with(wanted));
    let causes = Cause::all().filter(|cause| !told(&format!("=> cause {}", cause.name()))).map(Cause::name);
    let holds = Hold::ALL.iter().filter(|hold| {
        !LATER.contains(hold)
            && !told(&format!("=> hold {}", hold.name()))
            && !told(&format!("=> told {}", hold.name()))
    });
    let missing: Vec<_> = causes.chain(holds.map(|hold| hold.name())).collect();
    assert!(missing.is_empty(), "no story has {missing:?}");
}

/// Without any one rule or rail, some story has to go wrong: else nothing would notice its loss.
#[test]
fn every_rule_and_every_rail_is_missed_when_it_is_gone() {
    let stories = stories();
    let rules = Cause::all().map(KnockOut::Rule);
    let rails = Hold::ALL.into_iter().filter(|hold| !LATER.contains(hold)).map(KnockOut::Rail);
    let unmissed: Vec<_> = rules
        .chain(rails)
        .filter(|gone| {
            let name = match gone {
                KnockOut::Rule(cause) => cause.name(),
                KnockOut::Rail(hold) => hold.name(),
            };
            // Those that name it first: one that fails is enough.
            let (likely, others): (Vec<_>, Vec<_>) =
                stories.iter().partition(|story| std::fs::read_to_string(story).unwrap().contains(name));
            likely.iter().chain(&others).all(|story| play(story, Some(*gone)).is_ok())
        })
        .collect();
    assert!(unmissed.is_empty(), "nobody misses {unmissed:?}");
}
