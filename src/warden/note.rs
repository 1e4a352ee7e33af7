//! What the warden says while it works: each event once.

use std::time::Duration;

use super::cause::Cause;
use super::evidence::Sense;
use super::incident::Closing;
use super::rails::Hold;
use super::remedy::{Ending, Remedy};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    IncidentOpened { cause: Cause, after: Duration },
    CauseChanged { cause: Cause },
    RemedyOrdered { remedy: Remedy, cause: Cause },
    RemedyFinished { remedy: Remedy, ending: Ending },
    RemedyHeld { hold: Hold, cause: Cause },
    Escalated { cause: Cause },
    IncidentClosed { closing: Closing, cause: Cause, lasted: Duration },
    SenseBlind { sense: Sense },
    SenseSees { sense: Sense },
}

/// What happens to the host as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHappening {
    Paused,
    Resumed,
}

/// An event, with whom it concerns and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub unit: String,
    pub incident: Option<String>,
    pub happening: Happening,
    pub text: String,
}
