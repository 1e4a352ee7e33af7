//! What comes in at the machine's door, and what goes out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Finding, HostFinding};
use super::incident::Incident;
use super::note::{HostHappening, Note};
use super::operator::{Pause, Request};
use super::policy::Policy;
use super::remedy::{Outcome, Remedy};

/// Everything that can happen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A unit that runs a tunnel is there, with the public names to watch.
    Tunnel {
        unit: String,
        names: Vec<String>,
    },
    /// A unit is no longer ours to watch.
    Gone {
        unit: String,
    },
    Observed {
        unit: String,
        finding: Finding,
    },
    HostObserved(HostFinding),
    /// Every probe of the last look has answered or reached its limit.
    Looked {
        unit: String,
    },
    RemedyDone {
        unit: String,
        outcome: Outcome,
    },
    /// New settings.
    #[serde(skip)]
    Policy(Box<Policy>),
    /// Somebody accepts that the memory is lost.
    MemoryAccepted,
    Paused(Pause),
    Resumed {
        by: String,
    },
    /// A person wants the unit restarted; ignored if [`Warden::refusal`](super::machine::Warden::refusal) objects.
    Requested(Request),
    /// Nothing happened; those are judged whose time has come (see [`Warden::next_wakeup`](super::machine::Warden::next_wakeup)).
    Woke,
}

/// Everything the daemon can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Look often, and once at once (or go back to the calm pace).
    Hurry {
        unit: String,
        hurry: bool,
    },
    /// Look at everything now, each probe within `limit`; then say `Looked`.
    Look {
        unit: String,
        limit: Duration,
    },
    /// Write down what must survive us.
    Persist,
    /// Carry it out once all that was to be persisted before is on disk; say `RemedyDone` after `deadline` at the latest.
    Apply {
        unit: String,
        remedy: Remedy,
        deadline: Duration,
    },
    Tell(Note),
    /// Say what concerns the whole host.
    Announce {
        what: HostHappening,
        text: String,
    },
    /// An incident is over: keep its record.
    Record {
        unit: String,
        incident: Box<Incident>,
    },
}
