//! The hands: they carry out what the warden ordered and say what became of it. They decide nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::client::error_chain::chain;
use crate::client::systemd::{JobOutcome, JobResult, Systemd, SystemdError, UnitState};
use crate::warden::evidence::Invocation;
use crate::warden::remedy::{Failure, Outcome, Remedy};

/// Our way to systemd.
#[derive(Clone)]
pub struct Hands {
    systemd: Arc<Systemd>,
}

/// A process that still waits after this time waits out its grace period.
const SWIFT_AFTER: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(200);

impl Hands {
    pub fn new(systemd: Arc<Systemd>) -> Self {
        Self { systemd }
    }

    /// Carries out `remedy` on `unit` and waits for systemd's job, at most `deadline`. `before` is the life it ends.
    pub async fn apply(
        &self,
        unit: &str,
        remedy: Remedy,
        before: Option<Invocation>,
        deadline: Duration,
    ) -> Outcome {
        let began = Instant::now();
        let result = match remedy {
            Remedy::Restart => self.systemd.restart(unit, deadline).await,
            Remedy::SwiftRestart => {
                let (restarted, ()) =
                    tokio::join!(self.systemd.restart(unit, deadline), self.hasten(unit, before));
                restarted
            }
            Remedy::Start => self.systemd.start(unit, deadline).await,
            Remedy::ResetAndStart => self.reset_and_start(unit, deadline).await,
        };
        let left = deadline.saturating_sub(began.elapsed());
        let brought = if leaves_it_to_us(remedy, &result) { self.bring_back(unit, left).await } else { None };
        brought.unwrap_or_else(|| outcome(result))
    }

    async fn reset_and_start(&self, unit: &str, deadline: Duration) -> Result<JobOutcome, SystemdError> {
        self.systemd.reset_failed(unit).await?;
        self.systemd.start(unit, deadline).await
    }

    /// One more SIGTERM, if the very process that is to end is still waiting out its grace period.
    async fn hasten(&self, unit: &str, before: Option<Invocation>) {
        let Ok(old) = self.systemd.unit(unit).await else { return };
        sleep(SWIFT_AFTER).await;
        // Read directly before the signal: it must never reach a new process.
        let Ok(now) = self.systemd.unit(unit).await else { return };
        if waits_out_its_grace(&old, &now, before) {
            match self.systemd.terminate_main(unit).await {
                Ok(()) => tracing::info!(
                    unit_name = unit,
                    "sent a second SIGTERM to a process that waits out its grace period"
                ),
                Err(error) => {
                    tracing::warn!(unit_name = unit, "the second SIGTERM failed: {}", chain(&error))
                }
            }
        }
    }

    /// Starts a unit that our own remedy left inactive. `None` if it is up.
    async fn bring_back(&self, unit: &str, left: Duration) -> Option<Outcome> {
        sleep(SETTLE).await;
        let state = self.systemd.unit(unit).await.ok()?;
        if state.job.is_some() {
            return None;
        }
        let start = async {
            match state.active_state.as_str() {
                "inactive" => Some(self.systemd.start(unit, left).await),
                "failed" => Some(self.reset_and_start(unit, left).await),
                _ => None,
            }
        };
        let limit = left + Duration::from_secs(5);
        timeout(limit, start).await.ok()?.map(outcome)
    }
}

/// The process may have ended by our second signal in a way that leaves the unit inactive. A job that was canceled made way for
/// somebody else's: whoever stopped the unit meanwhile wants it stopped.
fn leaves_it_to_us(remedy: Remedy, result: &Result<JobOutcome, SystemdError>) -> bool {
    let restarts = matches!(remedy, Remedy::Restart | Remedy::SwiftRestart);
    let ended = match result {
        Ok(JobOutcome::Failed(result)) => *result != JobResult::Canceled,
        Ok(JobOutcome::Pending) => false,
        Ok(JobOutcome::Done) => true,
        Err(error) => {
            matches!(
                error,
                SystemdError::NoSuchJob(_) | SystemdError::NoSuchProcess(_) | SystemdError::Other(_)
            )
        }
    };
    restarts && ended
}

fn waits_out_its_grace(old: &UnitState, now: &UnitState, before: Option<Invocation>) -> bool {
    let invocation = u128::from_str_radix(&now.invocation_id, 16).ok().map(Invocation);
    now.active_state == "deactivating"
        && now.sub_state == "stop-sigterm"
        && now.main_pid != 0
        && now.main_pid == old.main_pid
        && now.invocation_id == old.invocation_id
        && before.is_some()
        && invocation == before
}

fn outcome(result: Result<JobOutcome, SystemdError>) -> Outcome {
    let failed = |kind, detail| Outcome::Failed { kind, detail };
    match result {
        Ok(JobOutcome::Done) => Outcome::Done,
        Ok(JobOutcome::Pending) => Outcome::Pending,
        Ok(JobOutcome::Failed(result)) => failed(Failure::JobFailed, format!("{result:?}").to_lowercase()),
        Err(error) => {
            let detail = chain(&error);
            match error {
                // The order may have reached systemd although its answer did not reach us.
                SystemdError::TimedOut => Outcome::Pending,
                SystemdError::BusUnreachable(_) => failed(Failure::BusUnreachable, detail),
                SystemdError::NotAuthorized(_) => failed(Failure::NotAuthorized, detail),
                SystemdError::NoSuchUnit(_) | SystemdError::UnitMasked(_) => {
                    failed(Failure::NoSuchUnit, detail)
                }
                SystemdError::NoSuchJob(_) | SystemdError::NoSuchProcess(_) | SystemdError::Other(_) => {
                    failed(Failure::JobFailed, detail)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_somebody_stopped_while_we_restarted_it_stays_stopped() {
        let left = |remedy, outcome| leaves_it_to_us(remedy, &Ok(outcome));
        assert!(!left(Remedy::Restart, JobOutcome::Failed(JobResult::Canceled)));
        assert!(!left(Remedy::SwiftRestart, JobOutcome::Failed(JobResult::Canceled)));
        assert!(left(Remedy::SwiftRestart, JobOutcome::Failed(JobResult::Failed)));
        assert!(left(Remedy::SwiftRestart, JobOutcome::Done));
        assert!(!left(Remedy::SwiftRestart, JobOutcome::Pending));
        assert!(!left(Remedy::ResetAndStart, JobOutcome::Failed(JobResult::Failed)));
    }
}
