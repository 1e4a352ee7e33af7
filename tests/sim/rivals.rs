//! What people use today, in the same worlds.

use crate::Faults;
use crate::driver::play;
use crate::incidents::{Cure, Incident};
use crate::seeded;
use crate::world::{NEVER, World};
use tunnelwarden::warden::evidence::{Answer, Ready};

/// A way to watch cloudflared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Nothing,
    SystemdAlone,
    CronCurl,
    LivenessProbe,
    Monit,
    ReadyLoop,
    HomeMade,
    Tunnelwarden,
    Oracle,
}

const ALL: [(Policy, &str); 9] = [
    (Policy::Nothing, "nothing (no Restart=)"),
    (Policy::SystemdAlone, "systemd alone"),
    (Policy::CronCurl, "cron, curl each minute"),
    (Policy::LivenessProbe, "liveness on /ready, 10 s"),
    (Policy::Monit, "monit, 2 cycles of 30 s"),
    (Policy::ReadyLoop, "24 x 5 s on /ready"),
    (Policy::HomeMade, "2 fails, 120 s apart"),
    (Policy::Tunnelwarden, "tunnelwarden"),
    (Policy::Oracle, "oracle"),
];

/// Columns of downtime.
const CLASSES: [&str; 4] = ["phantom", "frozen", "asleep", "other"];

fn class(name: &str) -> usize {
    if name.starts_with("phantom") {
        0
    } else if name == "frozen" {
        1
    } else if name.contains("healed") {
        2
    } else {
        3
    }
}

#[derive(Default)]
struct Row {
    down: [f64; 4],
    useless: u64,
    harmful: u64,
    storm: u64,
}

/// Prints the table.
pub(crate) fn compare(incidents: u64) {
    println!(
        "downtime in hours per 1,000 incidents, restarts per 1,000 incidents, most restarts in one incident"
    );
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "policy", CLASSES[0], CLASSES[1], CLASSES[2], CLASSES[3], "useless", "harmful", "storm"
    );
    for (policy, name) in ALL {
        let mut row = Row::default();
        for seed in 0..incidents {
            let (mut world, incident, _) = seeded(seed);
            let (down, useless, harmful, acts) = if policy == Policy::Tunnelwarden {
                let course = play(world, &incident, Faults::default(), false);
                (course.down, course.useless, course.harmful, course.acts.len() as u64)
            } else {
                if policy == Policy::Nothing {
                    world.restarts = false;
                }
                watch(policy, world, &incident)
            };
            row.down[class(incident.name)] += down;
            row.useless += u64::from(useless);
            row.harmful += u64::from(harmful);
            row.storm = row.storm.max(acts);
        }
        let per = 1_000.0 / incidents as f64;
        let hours = row.down.map(|down| down / 3_600.0 * per);
        println!(
            "{name:<26} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {:>8.1} {:>6}",
            hours[0],
            hours[1],
            hours[2],
            hours[3],
            row.useless as f64 * per,
            row.harmful as f64 * per,
            row.storm
        );
    }
}

fn period(policy: Policy) -> f64 {
    match policy {
        Policy::Nothing | Policy::SystemdAlone => NEVER,
        Policy::CronCurl => 60.0,
        Policy::LivenessProbe => 10.0,
        Policy::Monit => 30.0,
        Policy::ReadyLoop | Policy::HomeMade => 5.0,
        Policy::Tunnelwarden | Policy::Oracle => 1.0,
    }
}

/// Downtime, useless and harmful restarts, all restarts.
fn watch(policy: Policy, mut world: World, incident: &Incident) -> (f64, u32, u32, u64) {
    let (mut down, mut useless, mut harmful, mut acts) = (0.0, 0, 0, 0);
    let every = period(policy);
    let mut tick = if every == NEVER { NEVER } else { world.rng.between(0.0, every) };
    let (mut fails, mut last) = (0_u32, -NEVER);
    let mut turns = incident.turns.iter().copied().peekable();
    let mut now = 0.0;
    while now < incident.until {
        let turn_at = turns.peek().map_or(NEVER, |(at, _)| *at);
        let next = turn_at.min(world.next()).min(tick).min(incident.until);
        if !world.served() {
            down += next - now;
        }
        now = next;
        world.pass(now);
        world.said.clear();
        world.job_done_at = None;
        while let Some((_, turn)) = turns.next_if(|(at, _)| *at <= now) {
            world.turn(turn);
        }
        if tick <= now {
            tick = now + every;
            let curl_ok = matches!(world.answer().0, Answer::Served);
            let ready_ok = matches!(world.ready(), Ready::Connections(1..));
            let failed = match policy {
                Policy::CronCurl | Policy::Monit | Policy::HomeMade => !curl_ok,
                Policy::LivenessProbe | Policy::ReadyLoop => !ready_ok,
                Policy::Nothing | Policy::SystemdAlone | Policy::Tunnelwarden => false,
                // Sees what a probe sees, and knows the cause.
                Policy::Oracle => {
                    let curable = incident.curable_from + 1.0 <= now && incident.cure != Cure::Never;
                    curable
                        && !curl_ok
                        && world.could_come_up()
                        && world.unit.job.is_none()
                        && !world.operator_stopped
                }
            };
            fails = if failed { fails + 1 } else { 0 };
            let (needed, apart) = match policy {
                Policy::Monit => (2, 0.0),
                Policy::ReadyLoop => (24, 0.0),
                Policy::HomeMade => (2, 120.0),
                Policy::Oracle => (2, 30.0),
                Policy::Nothing
                | Policy::SystemdAlone
                | Policy::CronCurl
                | Policy::LivenessProbe
                | Policy::Tunnelwarden => (1, 0.0),
            };
            if needed <= fails && last + apart <= now {
                (fails, last) = (0, now);
                acts += 1;
                let carries = world.carries() && world.held > 0 && world.unit.main_pid != 0;
                if carries || world.operator_stopped {
                    harmful += 1;
                } else if !world.could_come_up() || incident.cure == Cure::Never {
                    useless += 1;
                }
                world.operator_stopped = false;
                world.restart(policy == Policy::Oracle);
            }
        }
    }
    (down, useless, harmful, acts)
}
