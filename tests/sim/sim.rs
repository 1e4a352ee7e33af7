//! A seeded world in virtual time, and the judge in it: no seed may make it break one of its rules. Then the same worlds with
//! what people use instead.
//!
//! `cargo test -p tunnelwarden-sim -- --incidents 100000` plays so many; without an option some. `--soak` plays a million,
//! `--seed N` tells one step by step, and with `--events FILE` writes it as a test for `tests/events`, `--policies` prints the
//! comparison, `--curves` what other defaults would do, `--speed` what an event and a tunnel cost (with `cargo test --release`
//! as in the package), `--knock-outs` what each rule and rail is there for.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program of its own that measures itself"
)]

extern crate warden_core as tunnelwarden;

mod driver;
mod host;
mod incidents;
mod rivals;
mod rng;
mod speed;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use driver::{Course, play};
use incidents::{Faults, Incident, befall};
use rng::Rng;
use tunnelwarden::warden::policy::Policy;
use world::World;

/// Without an option: enough to see that the world turns.
const PLAIN: u64 = 2_000;
const SOAK: u64 = 1_000_000;

/// World, incident and faults of a seed.
fn seeded(seed: u64) -> (World, Incident, Faults) {
    let mut world = World::new(Rng::new(seed));
    let incident = befall(&mut world);
    let faults = Faults::of(&mut world.rng);
    (world, incident, faults)
}

/// Every so many seeds is a host with several tunnels.
const HOSTS_EVERY: u64 = 256;

/// What was played, and how it went.
fn one(seed: u64, policy: &Policy, talk: bool) -> (String, Course) {
    if (seed + 1).is_multiple_of(HOSTS_EVERY) {
        return ("several tunnels".into(), host::play(seed, policy, talk));
    }
    let (world, incident, faults) = seeded(seed);
    let course = play(world, &incident, faults, policy, talk);
    (format!("{}; {:?}; {faults:?}", incident.name, incident.cure), course)
}

#[derive(Default)]
struct Sum {
    handles: u64,
    violations: u64,
    /// By what was violated: how often, and the first seed.
    kinds: BTreeMap<String, (u64, u64)>,
    acts: u64,
}

fn play_all(incidents: u64, policy: &Policy) -> Sum {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut sum = Sum::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if incidents <= seed {
                        break;
                    }
                    let (name, course) = one(seed, policy, false);
                    sum.handles += course.handles;
                    sum.acts += course.acts.len() as u64;
                    for violation in course.violations {
                        sum.violations += 1;
                        let what =
                            violation.split(':').next().unwrap_or("").split(" by ").next().unwrap_or("");
                        let known = sum
                            .kinds
                            .entry(format!("{}: {what}", name.split(';').next().unwrap_or("")))
                            .or_insert((0, seed));
                        known.0 += 1;
                    }
                }
                if let Ok(mut total) = total.lock() {
                    total.handles += sum.handles;
                    total.violations += sum.violations;
                    total.acts += sum.acts;
                    for (kind, (count, seed)) in sum.kinds {
                        let known = total.kinds.entry(kind).or_insert((0, seed));
                        (known.0, known.1) = (known.0 + count, known.1.min(seed));
                    }
                }
            });
        }
    });
    total.into_inner().unwrap_or_default()
}

/// Without one rule or rail at a time: how often the simulation notices. The stories of `tests/scenarios` notice each of them.
#[cfg(debug_assertions)]
fn knock_outs(incidents: u64) {
    use tunnelwarden::warden::cause::Cause;
    use tunnelwarden::warden::policy::KnockOut;
    use tunnelwarden::warden::rails::Hold;
    let rules = Cause::all().map(KnockOut::Rule);
    for gone in rules.chain(Hold::ALL.into_iter().map(KnockOut::Rail)) {
        let sum = play_all(incidents, &Policy { knocked_out: Some(gone), ..Policy::shipped() });
        let word = if sum.violations == 0 {
            "not noticed".to_owned()
        } else {
            format!("{} violations", sum.violations)
        };
        println!("{:<32} {word}", format!("{gone:?}"));
    }
}

#[cfg(not(debug_assertions))]
fn knock_outs(_incidents: u64) {
    println!("A release build knows no knock-outs; leave out --release.");
}

/// Tells one incident; `events` is where its events go, for `tests/scenarios`.
fn tell(seed: u64, events: &Path) -> bool {
    let (name, course) = one(seed, &Policy::shipped(), true);
    println!("# seed {seed}: {name}");
    for line in &course.timeline {
        println!("{line}");
    }
    for violation in &course.violations {
        println!("# violated: {violation}");
    }
    let mut story = format!("# cargo test -p tunnelwarden-sim -- --seed {seed}: {name}\n");
    for line in course
        .events
        .iter()
        .cloned()
        .chain(course.violations.iter().map(|said| format!("# violated: {said}")))
    {
        story.push_str(&line);
        story.push('\n');
    }
    match std::fs::write(events, story) {
        Ok(()) => println!("# its events: {}; copied to tests/events they are a test", events.display()),
        Err(error) => println!("# its events cannot be written to {}: {error}", events.display()),
    }
    course.violations.is_empty()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let file = args.iter().position(|arg| arg == "--events").and_then(|at| args.get(at + 1));
    let events = |seed: u64| {
        file.map_or_else(|| std::env::temp_dir().join(format!("seed-{seed}.events")), PathBuf::from)
    };
    if let Some(seed) = number("--seed") {
        return if tell(seed, &events(seed)) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let incidents = number("--incidents").unwrap_or(if has("--soak") { SOAK } else { PLAIN });
    if has("--policies") {
        let near = rivals::compare(number("--incidents").unwrap_or(22_000));
        return if near { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if has("--speed") {
        speed::measure();
        speed::memory();
        return ExitCode::SUCCESS;
    }
    if has("--knock-outs") {
        knock_outs(number("--incidents").unwrap_or(2_000));
        return ExitCode::SUCCESS;
    }
    if has("--curves") {
        rivals::curves(number("--incidents").unwrap_or(11_000));
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let sum = play_all(incidents, &Policy::shipped());
    let took = began.elapsed().as_secs_f64();
    for (kind, (count, seed)) in &sum.kinds {
        println!("{kind}: {count} times; first with --seed {seed}");
    }
    if let Some((_, seed)) = sum.kinds.values().next() {
        tell(*seed, &events(*seed));
    }
    println!(
        "sim: {incidents} incidents, {} remedies, {} events judged in {took:.1} s ({:.2} us each), {} violations",
        sum.acts,
        sum.handles,
        took * 1e6 * std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
            / sum.handles.max(1) as f64,
        sum.violations
    );
    let near = rivals::near_the_oracle(PLAIN);
    let failed = u32::from(0 < sum.violations) + u32::from(!near);
    println!("test result: {} passed, {failed} failed", 2 - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
