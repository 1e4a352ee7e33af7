//! The unit, by systemd's signals; read anew after each, because notices carry stale values.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::client::systemd::{Signal, Systemd, SystemdError, UnitState, follow};
use crate::clock;
use crate::warden::evidence::{Active, Blind, Finding, Invocation, Job, Load, Seen, UnitSight};
use crate::warden::machine::Event;

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
    while let Some(signal) = signals.recv().await {
        let all = || units.borrow().clone();
        let (reread, lost) = match signal {
            Signal::Connected => (all(), false),
            Signal::Reloaded => {
                // A full channel has the news already.
                let _ = changed.try_send(());
                (all(), false)
            }
            Signal::UnitChanged(unit) | Signal::JobNew { unit, .. } | Signal::JobRemoved { unit, .. } => {
                (vec![unit], false)
            }
            Signal::BusLost => (all(), true),
        };
        for unit in reread {
            let seen = if lost { Err(Blind::Unreachable) } else { look(&systemd, &unit).await };
            let event = Event::Observed { unit, finding: Finding::Unit(seen) };
            if events.send(event).await.is_err() {
                following.abort();
                return;
            }
        }
    }
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
        started: (state.exec_main_start.monotonic_us != 0).then(|| boot(state.exec_main_start.monotonic_us)),
        was_active: state.active_enter_us != 0,
        start_limit: finite(state.timeout_start_us),
        stop_limit: finite(state.timeout_stop_us),
        start_rate: (state.start_limit_burst != 0 && !interval.is_zero())
            .then_some((state.start_limit_burst, interval)),
    }
}
