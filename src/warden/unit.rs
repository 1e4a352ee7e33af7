//! A unit, as systemd tells of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `ActiveState` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Active {
    Active,
    Activating,
    Deactivating,
    Inactive,
    Failed,
    /// A state we do not know the meaning of (reloading, maintenance, one of the future).
    Other,
}

/// `LoadState` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    Loaded,
    NotFound,
    Masked,
    /// `bad-setting`, `error`: systemd cannot use the file.
    Broken,
}

/// A job of systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    Start,
    Stop,
    Restart,
    Other,
}

/// An `InvocationID`: one life of a unit.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Invocation(pub u128);

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What systemd says of a unit, all at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSight {
    pub load: Load,
    /// `UnitFileState` is `disabled` or `masked`.
    pub disabled: bool,
    pub active: Active,
    /// `SubState` as systemd words it; shown, and read for `auto-restart` and `stop-sigterm`.
    pub sub: String,
    /// `Result` as systemd words it.
    pub result: String,
    /// Exit status of the main process if it exited by itself (not by a signal).
    pub exit_status: Option<i32>,
    pub main_pid: u32,
    pub invocation: Option<Invocation>,
    /// Automatic restarts; goes back to 0 at a manual one.
    pub n_restarts: u32,
    pub job: Option<Job>,
    /// The cgroup is frozen by `systemctl freeze`.
    pub frozen: bool,
    /// The state has held since (time since boot).
    pub since: Duration,
    /// The main process started at (time since boot), if it did in this boot.
    pub started: Option<Duration>,
    /// Was active at some time in this boot.
    pub was_active: bool,
    /// `TimeoutStartUSec`; `None` is infinity.
    pub start_limit: Option<Duration>,
    /// `TimeoutStopUSec`; `None` is infinity.
    pub stop_limit: Option<Duration>,
    /// `StartLimitBurst` and `StartLimitIntervalUSec`; `None` where switched off.
    pub start_rate: Option<(u32, Duration)>,
    /// The program on disk is newer than the running process. Worth a word, and no reason for anything.
    #[serde(default)]
    pub newer_program: bool,
}

impl UnitSight {
    /// The unit that `cloudflared service install` writes since 2025.10.1, before its first start: its own limit for a start,
    /// and systemd's defaults for the rest.
    pub fn stock() -> Self {
        Self {
            load: Load::Loaded,
            disabled: false,
            active: Active::Inactive,
            sub: "dead".into(),
            result: "success".into(),
            exit_status: None,
            main_pid: 0,
            invocation: None,
            n_restarts: 0,
            job: None,
            frozen: false,
            since: Duration::ZERO,
            started: None,
            was_active: false,
            start_limit: Some(Duration::from_secs(15)),
            stop_limit: Some(Duration::from_secs(90)),
            start_rate: Some((5, Duration::from_secs(10))),
            newer_program: false,
        }
    }

    /// systemd is in the middle of bringing it up again by itself.
    pub fn restarting(&self) -> bool {
        self.active == Active::Activating && self.sub.starts_with("auto-restart")
    }

    /// systemd has a main process up: running, or (with a unit that may start for ever) starting.
    pub fn up(&self) -> bool {
        self.active == Active::Active && self.main_pid != 0
    }
}
