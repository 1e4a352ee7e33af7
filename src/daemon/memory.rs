//! Between the core's histories and what is on disk.

mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::{self, IncidentLog, IncidentRecord, State, Stored};
use crate::warden::cause::Cause;
use crate::warden::evidence::Invocation;
use crate::warden::history::{Charge, Histories, History, InFlight, KnownLife, Latch, Paid};
use crate::warden::incident::{Incident, Step};
use crate::warden::machine::Memory;
use crate::warden::operator::Pause;
use crate::warden::remedy::{Ending, Remedy};
use crate::warden::time::Now;
pub(super) use writer::{DISK_WAITS, Writer};

/// Where memory lies.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub state: PathBuf,
    pub cursor: PathBuf,
    pub incidents: PathBuf,
    /// Takes the state where the disk is full.
    pub fallback: PathBuf,
}

impl Places {
    /// The directories that systemd made for us, or the usual ones.
    pub(super) fn system() -> Self {
        let directory = |variable: &str, usual: &str| {
            let given = std::env::var_os(variable).filter(|given| !given.is_empty());
            given.map_or_else(|| PathBuf::from(usual), PathBuf::from)
        };
        let state = directory("STATE_DIRECTORY", "/var/lib/tunnelwarden");
        let fallback = directory("RUNTIME_DIRECTORY", "/run/tunnelwarden");
        Self {
            cursor: state.join("cursor"),
            incidents: state.join("incidents.jsonl"),
            state: state.join("state.toml"),
            fallback,
        }
    }
}

/// An absence that is shorter hides no life in which something came through: a restart of ours, an upgrade.
const WATCHED_ON: Duration = Duration::from_secs(60);

/// Reads and writes what survives us.
#[derive(Debug)]
pub(super) struct Keeper {
    places: Places,
    boot_id: String,
    incidents: IncidentLog,
}

impl Keeper {
    pub(super) fn new(places: Places, boot_id: String) -> Self {
        let incidents = IncidentLog::new(places.incidents.clone());
        Self { places, boot_id, incidents }
    }

    /// What is remembered. A broken file stays beside the good one until somebody has looked at it and taken it
    /// away; that is how its loss is accepted.
    pub(super) fn read(&self, now: Now) -> Memory {
        let memory = State::read_with_fallback(&self.places.state, &self.places.fallback);
        let aside = aside(&self.places.state);
        let unresolved = aside.exists().then(|| {
            format!(
                "{} is there from an earlier loss; remove it to accept the loss and reload",
                aside.display()
            )
        });
        match memory {
            store::Memory::Fresh => Memory { lost: unresolved, ..Memory::default() },
            store::Memory::Kept(state) => Memory { lost: unresolved, ..self.remembered(&state, now) },
            store::Memory::Lost { reason, kept_aside } => {
                let aside = kept_aside.map_or(String::new(), |aside| {
                    format!("; kept as {}: remove it to accept the loss and reload", aside.display())
                });
                Memory { lost: Some(format!("{reason}{aside}")), ..Memory::default() }
            }
        }
    }

    /// The same for somebody who only looks and may not be allowed to; nothing is written.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn peek(&self, now: Now) -> Result<Memory, String> {
        let state = State::peek(&self.places.state, &self.places.fallback)?;
        Ok(state.map(|state| self.remembered(&state, now)).unwrap_or_default())
    }

    fn remembered(&self, state: &State, now: Now) -> Memory {
        let away = self.away(state, now);
        let history = |tunnel| self.history(tunnel, away, now);
        let histories = state.tunnel.iter().map(|(unit, tunnel)| (unit.clone(), history(tunnel))).collect();
        let paused = state.paused_until_wall.map(|wall| Pause {
            until: self.pause_ends(state, millis(wall), now),
            reason: state.paused_reason.clone().unwrap_or_default(),
        });
        Memory { histories, lost: None, paused }
    }

    /// When a pause ends that ends at `wall`. In the boot that wrote it down, what became of the wall clock since does not
    /// matter. In a later one no more can be left than was then, however far back that clock begins.
    fn pause_ends(&self, state: &State, wall: Duration, now: Now) -> Duration {
        let left = wall.saturating_sub(millis(state.wall));
        if self.ours(now, &state.boot_id, state.boot) {
            millis(state.boot) + left
        } else {
            now.boot + wall.saturating_sub(now.wall).min(left)
        }
    }

    /// Nobody watched for a while before now, as far as is known: a crash leaves what was written last.
    fn away(&self, state: &State, now: Now) -> bool {
        !self.ours(now, &state.boot_id, state.boot) || WATCHED_ON < now.since(millis(state.boot))
    }

    /// True if a loss was accepted: the broken file is gone.
    pub(super) fn loss_accepted(&self) -> bool {
        !aside(&self.places.state).exists()
    }

    /// Everything that must survive, as it is written.
    pub(super) fn state(&self, histories: &Histories, paused: Option<&Pause>, now: Now) -> State {
        State {
            boot_id: self.boot_id.clone(),
            boot: ms(now.boot),
            wall: ms(now.wall),
            paused_until_wall: paused.map(|pause| ms(now.wall_of(pause.until))),
            paused_reason: paused.map(|pause| pause.reason.clone()),
            memory_lost: None,
            tunnel: histories
                .iter()
                .map(|(unit, history)| (unit.clone(), self.written(history, now)))
                .collect(),
        }
    }

    /// Writes it down; `Some` names another place if the usual one had no room. Waits for the disk.
    ///
    /// # Errors
    /// If no place took it.
    pub(super) fn write(&self, state: &State) -> Result<Option<String>, store::StoreError> {
        match state.write_or_fallback(&self.places.state, &self.places.fallback)? {
            Stored::Primary => Ok(None),
            Stored::Fallback { at, why } => Ok(Some(format!("{} ({why})", at.display()))),
        }
    }

    /// Appends a closed incident to the log. Waits for the disk.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub(super) fn record(&self, incident: &IncidentRecord) -> Result<(), store::StoreError> {
        self.incidents.append(incident)
    }

    pub(super) fn cursor(&self) -> Option<String> {
        store::read_cursor(&self.places.cursor)
    }

    /// Where the cursor lies, for the sense that moves it on.
    pub(super) fn cursor_path(&self) -> PathBuf {
        self.places.cursor.clone()
    }

    /// A time of this boot stands as it was; one of another boot is placed by the wall clock.
    fn placed(&self, now: Now, boot_id: &str, boot: u64, wall: u64) -> Duration {
        if self.ours(now, boot_id, boot) { millis(boot) } else { now.boot_of(millis(wall)) }
    }

    fn ours(&self, now: Now, boot_id: &str, boot: u64) -> bool {
        !boot_id.is_empty() && boot_id == self.boot_id && millis(boot) <= now.boot
    }

    /// A charge of another boot keeps the time of its own, however often it is read and written: the clock that places it
    /// may not be set yet.
    fn paid(&self, now: Now, charge: &store::Charge) -> Paid {
        if self.ours(now, &charge.boot_id, charge.boot) {
            Paid::At(millis(charge.boot))
        } else if [&charge.boot_id, &self.boot_id].into_iter().any(String::is_empty)
            || charge.boot_id == self.boot_id
        {
            // It may be of this boot, and then it is younger than that.
            Paid::At(now.boot_of(millis(charge.wall)))
        } else {
            Paid::EarlierBoot { wall: millis(charge.wall) }
        }
    }

    fn charge_written(&self, now: Now, charge: &Charge) -> store::Charge {
        let remedy = charge.remedy.name().to_owned();
        match charge.paid {
            Paid::At(at) => store::Charge {
                remedy,
                boot: ms(at),
                wall: ms(now.wall_of(at)),
                boot_id: self.boot_id.clone(),
            },
            // Which one it was does not matter any more.
            Paid::EarlierBoot { wall } => {
                store::Charge { remedy, boot: 0, wall: ms(wall), boot_id: "earlier".to_owned() }
            }
        }
    }

    fn history(&self, kept: &store::Tunnel, away: bool, now: Now) -> History {
        let wall = |wall: u64| now.boot_of(millis(wall));
        let charges = kept.charges.iter().map(|charge| {
            // A remedy of a name we do not know was still a remedy.
            let remedy = Remedy::from_name(&charge.remedy).unwrap_or(Remedy::Restart);
            Charge { paid: self.paid(now, charge), remedy }
        });
        let lives = kept.through.iter().filter_map(|(invocation, life)| {
            Some(KnownLife {
                invocation: parse_invocation(invocation)?,
                // What came through while we were away, nobody saw.
                watched_whole: life.watched_whole_life && (life.was_through || !away),
                through: life.was_through,
            })
        });
        History {
            charges: charges.collect(),
            step: usize::try_from(kept.cooldown_step).unwrap_or(usize::MAX),
            not_cured: u32::try_from(kept.not_cured).unwrap_or(u32::MAX),
            // Nobody watched while we were away: health is to be proven anew.
            healthy_since: None,
            in_flight: kept.in_flight.as_ref().map(|flight| InFlight {
                remedy: Remedy::from_name(&flight.remedy).unwrap_or(Remedy::Restart),
                at: self.placed(now, &flight.boot_id, flight.boot, flight.wall),
                before: flight.invocation_before.as_deref().and_then(parse_invocation),
            }),
            lives: lives.collect(),
            latch: kept.latch.as_ref().map(|latch| Latch {
                at: wall(latch.wall),
                files: latch.credentials_mtime_wall.map(millis),
                tried: latch.tried,
            }),
            incident: kept.incident.as_ref().and_then(|open| {
                let told = |what: &str| open.steps.iter().rposition(|step| step.what == what);
                Some(Incident {
                    id: open.id.clone(),
                    began: self.placed(now, &open.boot_id, open.opened_boot, open.opened_wall),
                    began_wall: millis(open.opened_wall),
                    cause: Cause::from_name(&open.cause)?,
                    steps: open.steps.iter().map(step_read).collect(),
                    // A relapse wants a cure of its own.
                    cured: told("relapsed") < told(Ending::Cured.name()),
                    escalated: told("relapsed") < told("escalated"),
                    closed: None,
                })
            }),
        }
    }

    fn written(&self, history: &History, now: Now) -> store::Tunnel {
        let wall = |at: Duration| ms(now.wall_of(at));
        store::Tunnel {
            cooldown_step: u64::try_from(history.step).unwrap_or(u64::MAX),
            not_cured: u64::from(history.not_cured),
            latch: history.latch.map(|latch| store::Latch {
                credentials_mtime_wall: latch.files.map(ms),
                wall: wall(latch.at),
                tried: latch.tried,
            }),
            in_flight: history.in_flight.map(|flight| store::InFlight {
                remedy: flight.remedy.name().to_owned(),
                invocation_before: flight.before.map(|invocation| invocation.to_string()),
                boot: ms(flight.at),
                wall: wall(flight.at),
                boot_id: self.boot_id.clone(),
            }),
            incident: history.incident.as_ref().filter(|incident| incident.open()).map(|open| {
                store::OpenIncident {
                    id: open.id.clone(),
                    cause: open.cause.name().to_owned(),
                    opened_boot: ms(open.began),
                    opened_wall: ms(open.began_wall),
                    boot_id: self.boot_id.clone(),
                    steps: open.steps.iter().map(step_written).collect(),
                }
            }),
            charges: history.charges.iter().map(|charge| self.charge_written(now, charge)).collect(),
            through: history
                .lives
                .iter()
                .map(|life| {
                    let kept =
                        store::Life { watched_whole_life: life.watched_whole, was_through: life.through };
                    (life.invocation.to_string(), kept)
                })
                .collect(),
        }
    }
}

/// An incident of `tunnel` that is over, as it is written.
pub(super) fn record(tunnel: &str, incident: &Incident) -> IncidentRecord {
    let closing = incident.closed.map_or("Open", |(_, closing)| closing.name());
    let closed = incident.steps.last().map_or(incident.began_wall, |step| step.wall);
    IncidentRecord {
        id: incident.id.clone(),
        tunnel: tunnel.to_owned(),
        cause: incident.cause.name().to_owned(),
        outcome: closing.to_owned(),
        opened_wall: ms(incident.began_wall),
        closed_wall: ms(closed),
        steps: incident.steps.iter().map(step_written).collect(),
    }
}

fn aside(state: &Path) -> PathBuf {
    let mut name = state.file_name().unwrap_or_default().to_owned();
    name.push(".broken-1");
    state.with_file_name(name)
}

fn parse_invocation(text: &str) -> Option<Invocation> {
    u128::from_str_radix(text, 16).ok().map(Invocation)
}

fn step_written(step: &Step) -> store::Step {
    store::Step { wall: ms(step.wall), what: step.what.clone(), detail: step.detail.clone() }
}

fn step_read(step: &store::Step) -> Step {
    Step { wall: millis(step.wall), what: step.what.clone(), detail: step.detail.clone() }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests;
