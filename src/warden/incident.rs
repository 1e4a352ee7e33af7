//! One period of trouble: its timeline, its remedies, its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cause::Cause;

/// How an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Closing {
    /// A remedy of ours was proven to have cured it.
    Cured,
    RecoveredAlone,
    /// It came back within the healthy hour.
    Relapsed,
    /// Open still; only half-open tries are made.
    GaveUp,
    /// An operator dealt with it.
    Resolved,
}

impl Closing {
    pub const ALL: [Self; 5] =
        [Self::Cured, Self::RecoveredAlone, Self::Relapsed, Self::GaveUp, Self::Resolved];

    /// The word in JSON, journal and D-Bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cured => "Cured",
            Self::RecoveredAlone => "RecoveredAlone",
            Self::Relapsed => "Relapsed",
            Self::GaveUp => "GaveUp",
            Self::Resolved => "Resolved",
        }
    }

    /// The word in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cured => "cured",
            Self::RecoveredAlone => "recovered_alone",
            Self::Relapsed => "relapsed",
            Self::GaveUp => "gave_up",
            Self::Resolved => "resolved",
        }
    }
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unix time.
    pub wall: Duration,
    /// What kind of thing happened, one word.
    pub what: String,
    pub detail: String,
}

/// One period of trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// `cloudflared-1795431270`: the unit's name without its ending, and when the trouble began (Unix time).
    pub id: String,
    /// Time since boot, and Unix time, at which the trouble began.
    pub began: Duration,
    pub began_wall: Duration,
    pub cause: Cause,
    pub steps: Vec<Step>,
    /// One of them was proven.
    pub cured: bool,
    pub escalated: bool,
    pub closed: Option<(Duration, Closing)>,
}

/// A timeline longer than this keeps its beginning and its end.
const STEPS_KEPT: usize = 200;

impl Incident {
    /// Adds to the timeline.
    pub fn note(&mut self, wall: Duration, what: &str, detail: impl Into<String>) {
        if STEPS_KEPT <= self.steps.len() {
            self.steps.remove(STEPS_KEPT / 2);
        }
        self.steps.push(Step { wall, what: what.to_owned(), detail: detail.into() });
    }

    /// A remedy was ordered in it.
    pub fn tried(&self) -> bool {
        self.steps.iter().any(|step| step.what == "ordered")
    }

    pub fn open(&self) -> bool {
        self.closed.is_none()
    }
}
