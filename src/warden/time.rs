//! Time as the core sees it: given, never read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One reading of the clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now {
    /// Time since boot, suspend included (`CLOCK_BOOTTIME`). Every age and every deadline uses it.
    pub boot: Duration,
    /// Unix time. Only for records a person reads, and to place what another boot left behind.
    pub wall: Duration,
}

impl Now {
    /// Age of something seen at `at` (time since boot); zero if that lies ahead.
    pub fn since(self, at: Duration) -> Duration {
        self.boot.saturating_sub(at)
    }

    /// Unix time of a moment given as time since boot.
    pub fn wall_of(self, at: Duration) -> Duration {
        (self.wall + at).saturating_sub(self.boot)
    }

    /// Time since boot of a moment given as Unix time; a moment ahead of us counts as just now,
    /// because hosts without a clock battery boot in the past.
    pub fn boot_of(self, wall: Duration) -> Duration {
        self.boot.saturating_sub(self.wall.saturating_sub(wall))
    }
}
