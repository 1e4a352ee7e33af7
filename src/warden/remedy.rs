//! The remedies and what became of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something we can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Remedy {
    Restart,
    /// A restart that sends a second SIGTERM to a process that waits out its grace period.
    SwiftRestart,
    Start,
    ResetAndStart,
}

impl Remedy {
    pub const ALL: [Self; 4] = [Self::Restart, Self::SwiftRestart, Self::Start, Self::ResetAndStart];

    /// The word in JSON, journal and D-Bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Restart => "Restart",
            Self::SwiftRestart => "SwiftRestart",
            Self::Start => "Start",
            Self::ResetAndStart => "ResetAndStart",
        }
    }

    /// The word in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::SwiftRestart => "swift_restart",
            Self::Start => "start",
            Self::ResetAndStart => "reset_and_start",
        }
    }

    /// The remedy of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|remedy| remedy.name() == name)
    }

    /// How long systemd may take over it: its own stop and start limits, the latter bounded because an
    /// endless start is no job to wait for.
    pub fn deadline(self, stop_limit: Option<Duration>, start_limit: Option<Duration>) -> Duration {
        let start = start_limit.unwrap_or(START_AT_MOST).min(START_AT_MOST);
        match self {
            Self::Restart | Self::SwiftRestart => {
                stop_limit.unwrap_or(STOP_AT_MOST).min(STOP_AT_MOST) + start
            }
            Self::Start | Self::ResetAndStart => start,
        }
    }
}

const START_AT_MOST: Duration = Duration::from_secs(240);
const STOP_AT_MOST: Duration = Duration::from_secs(300);

/// Why a remedy never got as far as changing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    BusUnreachable,
    NotAuthorized,
    NoSuchUnit,
    /// systemd ended the job without success.
    JobFailed,
    /// The charge could not be written down, so nothing was done.
    NotRemembered,
    /// While the charge was written down something came in between, so nothing was done.
    Overtaken,
}

impl Failure {
    /// In words, for the journal.
    pub fn words(self) -> &'static str {
        match self {
            Self::BusUnreachable => "the system bus cannot be reached",
            Self::NotAuthorized => "polkit does not allow it",
            Self::NoSuchUnit => "there is no such unit",
            Self::JobFailed => "systemd's job failed",
            Self::NotRemembered => "the charge could not be written to disk",
            Self::Overtaken => "what it was ordered for was no longer so when its charge was on disk",
        }
    }
}

/// What became of an ordered remedy, as far as the hands know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// systemd finished the job.
    Done,
    /// The deadline passed with the job still running.
    Pending,
    Failed {
        kind: Failure,
        detail: String,
    },
}

/// How a remedy ended, proven from the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ending {
    Cured,
    NotCured,
    Failed,
}

impl Ending {
    pub const ALL: [Self; 3] = [Self::Cured, Self::NotCured, Self::Failed];

    /// The word in JSON, journal and D-Bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cured => "Cured",
            Self::NotCured => "NotCured",
            Self::Failed => "Failed",
        }
    }

    /// The word in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cured => "cured",
            Self::NotCured => "not_cured",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_gets_the_time_that_its_unit_allows_and_not_for_ever() {
        let secs = |n| Some(Duration::from_secs(n));
        let deadline = |remedy: Remedy, stop, start| remedy.deadline(stop, start).as_secs();
        assert_eq!(deadline(Remedy::Restart, secs(90), secs(15)), 105);
        assert_eq!(deadline(Remedy::SwiftRestart, secs(90), secs(15)), 105);
        assert_eq!(deadline(Remedy::Start, secs(90), secs(15)), 15);
        assert_eq!(deadline(Remedy::ResetAndStart, None, None), 240);
        assert_eq!(deadline(Remedy::Restart, None, secs(900)), 540);
    }

    #[test]
    fn names_lead_back() {
        for remedy in Remedy::ALL {
            assert_eq!(Remedy::from_name(remedy.name()), Some(remedy));
        }
        assert_eq!(Remedy::from_name("Reboot"), None);
    }
}
