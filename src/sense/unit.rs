//! The unit, by systemd's signals; read anew after each, because notices carry stale values.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::client::cloudflared_config::is_tunnel_run;
use crate::client::host;
use crate::client::systemd::{Signal, Systemd, SystemdError, UnitState, follow};
use crate::clock;
use crate::warden::event::Event;
use crate::warden::evidence::{Active, Blind, Finding, Invocation, Job, Load, Seen, UnitSight};
use crate::warden::time::Now;

/// Reads a unit once.
pub async fn look(systemd: &Systemd, unit: &str) -> Seen<UnitSight> {
    match systemd.unit(unit).await {
        Ok(state) => Ok(sight(&state)),
        Err(error) => Err(blind(&error)),
    }
}

/// Follows the units until nobody listens. `changed` hears that units may have come or gone.
pub async fn watch(
    systemd: Arc<Systemd>,
    units: watch::Receiver<Vec<String>>,
    events: mpsc::Sender<Event>,
    changed: mpsc::Sender<()>,
) {
    let (tx, mut signals) = mpsc::channel(64);
    let following = tokio::spawn(follow(units.clone(), tx));
    let mut lives = Lives::default();
    while let Some(signal) = signals.recv().await {
        let all = || units.borrow().clone();
        let (reread, lost) = match signal {
            // What was read anew while nobody followed, nobody told of.
            Signal::Connected | Signal::Reloaded => {
                // A full channel has the news already.
                let _ = changed.try_send(());
                (all(), false)
            }
            Signal::UnitChanged(unit) | Signal::JobNew { unit, .. } | Signal::JobRemoved { unit, .. } => {
                (vec![unit], false)
            }
            Signal::OtherJob(unit) => {
                if systemd.is_cloudflareds(&unit).await.unwrap_or(false) {
                    let _ = changed.try_send(());
                }
                continue;
            }
            Signal::BusLost => (all(), true),
        };
        for unit in reread {
            let seen = if lost { Err(Blind::Unreachable) } else { look(&systemd, &unit).await };
            // Whatever it was started with may be new, and then it has been read by now.
            if seen.as_ref().is_ok_and(|seen| lives.came_up(&unit, seen)) {
                let _ = changed.try_send(());
            }
            let event = Event::Observed { unit, finding: Finding::Unit(seen) };
            if events.send(event).await.is_err() {
                following.abort();
                return;
            }
        }
    }
}

/// In which of its lives each unit was last seen up; `None`: in none yet.
#[derive(Debug, Default)]
struct Lives(BTreeMap<String, Option<Invocation>>);

impl Lives {
    /// It is up, in another life than before.
    fn came_up(&mut self, unit: &str, seen: &UnitSight) -> bool {
        let life = seen.invocation.filter(|_| seen.up());
        match self.0.get_mut(unit) {
            None => {
                self.0.insert(unit.to_owned(), life);
                false
            }
            Some(known) => {
                let another = life.is_some() && *known != life;
                *known = life.or(*known);
                another
            }
        }
    }
}

/// A newer program lies where the running one was started from: a package replaces the file and leaves the process. The start
/// is placed by the time since boot, as a clock that was set since then would have moved its date.
pub fn newer_program(state: &UnitState, now: Now) -> bool {
    let Some(started) = started(state).filter(|_| state.main_pid != 0) else { return false };
    let commands = state.exec_start.commands();
    let program =
        commands.iter().find(|argv| is_tunnel_run(argv)).and_then(|argv| argv.first()).map(Path::new);
    // A container's program is not the host's.
    let program = program.filter(|program| program.ends_with("cloudflared"));
    let installed = program.and_then(|program| host::installed(program).ok());
    installed.is_some_and(|installed| now.wall_of(started) + INSTALLS < installed)
}

/// Start and installation in one go are one event.
const INSTALLS: Duration = Duration::from_secs(2);

/// When the main process started (time since boot).
fn started(state: &UnitState) -> Option<Duration> {
    let monotonic = state.exec_main_start.monotonic_us;
    (monotonic != 0).then(|| Duration::from_micros(monotonic) + clock::suspended())
}

fn blind(error: &SystemdError) -> Blind {
    match error {
        SystemdError::BusUnreachable(_) => Blind::Unreachable,
        SystemdError::NotAuthorized(_) => Blind::Forbidden,
        SystemdError::TimedOut => Blind::TimedOut,
        SystemdError::NoSuchUnit(_) | SystemdError::UnitMasked(_) | SystemdError::NoSuchJob(_) => {
            Blind::NotFound
        }
        SystemdError::NoSuchProcess(_) | SystemdError::Other(_) => Blind::Garbled,
    }
}

/// systemd's words → ours.
fn sight(state: &UnitState) -> UnitSight {
    let suspended = clock::suspended();
    let boot = |us: u64| Duration::from_micros(us) + suspended;
    let finite = |us: u64| (us != u64::MAX && us != 0).then(|| Duration::from_micros(us));
    // Code 1 is CLD_EXITED: the status is an exit status; with others it is a signal.
    let exited = state.exec_main_code == 1;
    let interval = Duration::from_micros(state.start_limit_interval_us);
    UnitSight {
        load: match state.load_state.as_str() {
            "loaded" => Load::Loaded,
            "not-found" => Load::NotFound,
            "masked" => Load::Masked,
            _ => Load::Broken,
        },
        disabled: matches!(state.unit_file_state.as_str(), "disabled" | "masked" | "masked-runtime"),
        active: match state.active_state.as_str() {
            "active" => Active::Active,
            "activating" => Active::Activating,
            "deactivating" => Active::Deactivating,
            "inactive" => Active::Inactive,
            "failed" => Active::Failed,
            _ => Active::Other,
        },
        sub: state.sub_state.clone(),
        result: state.result.clone(),
        exit_status: exited.then_some(state.exec_main_status),
        main_pid: state.main_pid,
        invocation: u128::from_str_radix(&state.invocation_id, 16).ok().map(Invocation),
        n_restarts: state.n_restarts,
        job: state.job.as_ref().map(|job| match job.kind.as_str() {
            "start" => Job::Start,
            "stop" => Job::Stop,
            "restart" => Job::Restart,
            _ => Job::Other,
        }),
        frozen: matches!(state.freezer_state.as_str(), "frozen" | "freezing" | "frozen-by-parent"),
        since: boot(state.state_change_us),
        started: started(state),
        was_active: state.active_enter_us != 0,
        start_limit: finite(state.timeout_start_us),
        stop_limit: finite(state.timeout_stop_us),
        start_rate: (state.start_limit_burst != 0 && !interval.is_zero())
            .then_some((state.start_limit_burst, interval)),
        newer_program: newer_program(state, clock::now()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(active: Active, life: u128) -> UnitSight {
        UnitSight {
            active,
            sub: String::new(),
            main_pid: 7,
            invocation: Some(Invocation(life)),
            was_active: true,
            ..UnitSight::stock()
        }
    }

    #[test]
    fn a_unit_that_comes_up_in_another_life_may_have_been_given_another_set_up() {
        let mut lives = Lives::default();
        let mut came_up = |unit: &str, active, life| lives.came_up(unit, &seen(active, life));
        assert!(!came_up("a.service", Active::Active, 1), "as it was found");
        assert!(
            !came_up("a.service", Active::Deactivating, 1) && !came_up("a.service", Active::Activating, 2)
        );
        assert!(came_up("a.service", Active::Active, 2));
        assert!(!came_up("a.service", Active::Active, 2), "once");
        assert!(!came_up("b.service", Active::Inactive, 1), "not up when it was found");
        assert!(came_up("b.service", Active::Active, 2));
    }
}
