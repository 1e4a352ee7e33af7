//! Verdicts: how a tunnel is, and why.

use super::cause::Cause;

/// How a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Healthy,
    /// Something is wrong and some name is served.
    Degraded,
    /// No name is served.
    Down,
    /// Too little was seen to say. Never leads to a remedy.
    Unknown,
}

impl Health {
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Down, Self::Unknown];

    /// The word in JSON, journal and D-Bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Down => "Down",
            Self::Unknown => "Unknown",
        }
    }

    /// The word in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// The conclusion: how it is, and why. Unknown has no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub health: Health,
    pub cause: Option<Cause>,
}

impl Verdict {
    pub const UNKNOWN: Self = Self { health: Health::Unknown, cause: None };
}
