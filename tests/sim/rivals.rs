//! What people use today, in the same worlds.

use crate::Faults;
use crate::driver::play;
use crate::incidents::{Cure, Incident};
use crate::seeded;
use crate::world::{NEVER, World};
use tunnelwarden::warden::evidence::{Answer, Ready};
use tunnelwarden::warden::policy::Policy;

/// A way to watch cloudflared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rival {
    Nothing,
    SystemdAlone,
    CronCurl,
    LivenessProbe,
    Monit,
    ReadyLoop,
    HomeMade,
    /// The same at three times our pace in calm.
    HomeMadeEager,
    Tunnelwarden,
    Oracle,
}

const ALL: [(Rival, &str); 10] = [
    (Rival::Nothing, "nothing (no Restart=)"),
    (Rival::SystemdAlone, "systemd alone"),
    (Rival::CronCurl, "cron, curl each minute"),
    (Rival::LivenessProbe, "liveness on /ready, 10 s"),
    (Rival::Monit, "monit, 2 cycles of 30 s"),
    (Rival::ReadyLoop, "24 x 5 s on /ready"),
    (Rival::HomeMade, "2 fails, 120 s; each 15 s"),
    (Rival::HomeMadeEager, "2 fails, 120 s; each 5 s"),
    (Rival::Tunnelwarden, "tunnelwarden"),
    (Rival::Oracle, "oracle"),
];

/// Outages made to wear out a budget; no measure of downtime.
const WEARING: &str = "relapses for hours";

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

/// How much longer than the oracle we may be down of an incident, in seconds: of a phantom a period of the probe and 12 s, of what
/// hangs or sleeps 30 s. What else befalls a tunnel we do not cure, or systemd does.
const ABOVE: [f64; 3] = [15.0 + 12.0, 30.0, 30.0];

#[derive(Clone, Copy, Default)]
struct Row {
    incidents: [u64; 4],
    down: [f64; 4],
    restarts: u64,
    useless: u64,
    harmful: u64,
    storm: u64,
}

/// Prints the table, and says whether we keep to [`ABOVE`].
pub(crate) fn compare(incidents: u64) -> bool {
    head();
    let rows = ALL.map(|(rival, name)| {
        let row = row_of(rival, incidents);
        row.print(name, incidents);
        (rival, row)
    });
    let of =
        |wanted| rows.iter().find(|(rival, _)| *rival == wanted).map_or_else(Row::default, |(_, row)| *row);
    near(&of(Rival::Tunnelwarden), &of(Rival::Oracle))
}

/// Says whether we keep to [`ABOVE`].
pub(crate) fn near_the_oracle(incidents: u64) -> bool {
    near(&row_of(Rival::Tunnelwarden, incidents), &row_of(Rival::Oracle, incidents))
}

fn near(ours: &Row, oracle: &Row) -> bool {
    let mut keeps = true;
    for ((class, limit), (ours, oracle)) in CLASSES.iter().zip(ABOVE).zip(ours.each().zip(oracle.each())) {
        let above = ours - oracle;
        println!("{class}: {above:.1} s an incident above the oracle (at most {limit:.0})");
        keeps &= above <= limit;
    }
    keeps
}

fn row_of(rival: Rival, incidents: u64) -> Row {
    let mut row = Row::default();
    for seed in 0..incidents {
        let (mut world, incident, _) = seeded(seed);
        if incident.name == WEARING {
            continue;
        }
        if rival == Rival::Tunnelwarden {
            let course = play(world, &incident, Faults::default(), &Policy::shipped(), false);
            row.add(incident.name, course.down, course.useless, course.harmful, course.acts.len() as u64);
            continue;
        }
        if rival == Rival::Nothing {
            world.restarts = false;
        }
        let (down, useless, harmful, acts) = watch(rival, world, &incident);
        row.add(incident.name, down, useless, harmful, acts);
    }
    row
}

/// Prints what other numbers of ours would do.
pub(crate) fn curves(incidents: u64) {
    let secs = std::time::Duration::from_secs;
    let patience = [5, 10, 20, 30, 45, 60]
        .map(|n| (format!("patience {n} s"), Policy { patience: secs(n), ..Policy::shipped() }));
    let sustained = [0, 5, 7, 8, 10, 20]
        .map(|n| (format!("sustained {n} s"), Policy { sustained: secs(n), ..Policy::shipped() }));
    let both = [(5, 15), (8, 15), (10, 15)].map(|(n, m)| {
        (
            format!("sustained {n} s, patience {m} s"),
            Policy { sustained: secs(n), patience: secs(m), ..Policy::shipped() },
        )
    });
    let grace = [20, 60, 120]
        .map(|n| (format!("start_grace {n} s"), Policy { start_grace: secs(n), ..Policy::shipped() }));
    let numbers = patience.into_iter().chain(sustained).chain(both).chain(grace);
    let numbers = numbers.map(|(name, policy)| (name, policy, 15));
    let periods = [5, 10, 15, 30].map(|n| (format!("probe.period {n} s"), Policy::shipped(), n));
    head();
    for (name, policy, period) in numbers.chain(periods) {
        let mut row = Row::default();
        for seed in 0..incidents {
            let (mut world, incident, _) = seeded(seed);
            world.probed_every = f64::from(period);
            if incident.name == WEARING {
                continue;
            }
            let course = play(world, &incident, Faults::default(), &policy, false);
            row.add(incident.name, course.down, course.useless, course.harmful, course.acts.len() as u64);
        }
        row.print(&name, incidents);
    }
}

fn head() {
    println!("downtime in hours, and restarts, per 1,000 incidents; most restarts in one incident");
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "policy", CLASSES[0], CLASSES[1], CLASSES[2], CLASSES[3], "restarts", "useless", "harmful", "storm"
    );
}

impl Row {
    /// Downtime of one incident, by class, in seconds.
    fn each(&self) -> impl Iterator<Item = f64> {
        self.down.into_iter().zip(self.incidents).map(|(down, n)| down / n.max(1) as f64)
    }

    fn add(&mut self, incident: &str, down: f64, useless: u32, harmful: u32, acts: u64) {
        self.incidents[class(incident)] += 1;
        self.down[class(incident)] += down;
        self.useless += u64::from(useless);
        self.harmful += u64::from(harmful);
        self.restarts += acts;
        self.storm = self.storm.max(acts);
    }

    fn print(&self, name: &str, incidents: u64) {
        let per = 1_000.0 / incidents as f64;
        let hours = self.down.map(|down| down / 3_600.0 * per);
        println!(
            "{name:<26} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {:>8.1} {:>8.1} {:>6}",
            hours[0],
            hours[1],
            hours[2],
            hours[3],
            self.restarts as f64 * per,
            self.useless as f64 * per,
            self.harmful as f64 * per,
            self.storm
        );
    }
}

fn period(rival: Rival) -> f64 {
    match rival {
        Rival::Nothing | Rival::SystemdAlone => NEVER,
        Rival::CronCurl => 60.0,
        Rival::LivenessProbe => 10.0,
        Rival::Monit => 30.0,
        // As often as we do in calm: the same load on whoever is asked.
        Rival::HomeMade => 15.0,
        Rival::ReadyLoop | Rival::HomeMadeEager => 5.0,
        Rival::Tunnelwarden | Rival::Oracle => 1.0,
    }
}

/// Downtime, useless and harmful restarts, all restarts.
fn watch(rival: Rival, mut world: World, incident: &Incident) -> (f64, u32, u32, u64) {
    let (mut down, mut useless, mut harmful, mut acts) = (0.0, 0, 0, 0);
    let every = period(rival);
    let mut tick = if every == NEVER { NEVER } else { world.rng.between(0.0, every) };
    let (mut fails, mut last) = (0_u32, -NEVER);
    let mut turns = incident.turns.iter().copied().peekable();
    let mut now = 0.0;
    while now < incident.until {
        let turn_at = turns.peek().map_or(NEVER, |(at, _)| *at);
        let next = turn_at.min(world.next()).min(tick).min(incident.until);
        if world.down() {
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
            let failed = match rival {
                Rival::CronCurl | Rival::Monit | Rival::HomeMade | Rival::HomeMadeEager => !curl_ok,
                Rival::LivenessProbe | Rival::ReadyLoop => !ready_ok,
                Rival::Nothing | Rival::SystemdAlone | Rival::Tunnelwarden => false,
                // Sees what a probe sees, and knows the cause.
                Rival::Oracle => {
                    let from = if incident.curable_from == NEVER { 0.0 } else { incident.curable_from };
                    let curable = from + 1.0 <= now && incident.cure != Cure::Never;
                    curable
                        && !curl_ok
                        && world.could_come_up()
                        && world.unit.job.is_none()
                        && !world.operator_stopped
                        && !(world.beside_ill_replica() && 0 < world.held)
                }
            };
            fails = if failed { fails + 1 } else { 0 };
            let (needed, apart) = match rival {
                Rival::Monit => (2, 0.0),
                Rival::ReadyLoop => (24, 0.0),
                Rival::HomeMade | Rival::HomeMadeEager => (2, 120.0),
                Rival::Oracle => (2, 30.0),
                Rival::Nothing
                | Rival::SystemdAlone
                | Rival::CronCurl
                | Rival::LivenessProbe
                | Rival::Tunnelwarden => (1, 0.0),
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
                world.restart(rival == Rival::Oracle);
            }
        }
    }
    (down, useless, harmful, acts)
}
