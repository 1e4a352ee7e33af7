//! The numbers that the judge goes by; validated before they come here.

use std::collections::BTreeMap;
use std::time::Duration;

/// Validated settings of judge and remedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Judge and report, touch nothing.
    pub observe_only: bool,
    /// The units that we may not act on, and why (polkit).
    pub powerless: BTreeMap<String, String>,
    /// Trouble must have lasted this long.
    pub sustained: Duration,
    /// And must have been seen in this many rounds.
    pub rounds: u32,
    /// Time a connector gets to reconnect by itself.
    pub patience: Duration,
    pub start_grace: Duration,
    pub boot_grace: Duration,
    /// Counters forget after this much proven health.
    pub healthy_after: Duration,
    pub cooldown: Vec<Duration>,
    pub per_hour: u32,
    pub per_day: u32,
    pub per_hour_host: u32,
    pub half_open: Duration,
    pub swift: bool,
    /// Remedies are allowed in some spans of the calendar only.
    pub windows: bool,
    pub start_stopped: bool,
    /// An answer about a public name is fresh for this long.
    pub name_age: Duration,
    /// An answer of `/ready` is fresh for this long.
    pub ready_age: Duration,
    /// A dial of ours, or the control probe, is fresh for this long.
    pub edge_age: Duration,
    /// What DNS says of a public name is fresh for this long.
    pub route_age: Duration,
    /// Leaves out a rule or a rail, to prove that something notices. Release builds know no such thing.
    #[cfg(debug_assertions)]
    pub knocked_out: Option<KnockOut>,
}

/// What a test leaves out.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnockOut {
    Rule(super::cause::Cause),
    Rail(super::rails::Hold),
}

impl Policy {
    /// What the shipped configuration says.
    pub fn shipped() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            observe_only: false,
            powerless: BTreeMap::new(),
            sustained: Duration::from_secs(10),
            rounds: 2,
            patience: Duration::from_secs(30),
            start_grace: minutes(1),
            boot_grace: minutes(2),
            healthy_after: minutes(60),
            cooldown: vec![minutes(5), minutes(10), minutes(20), minutes(30)],
            per_hour: 3,
            per_day: 10,
            per_hour_host: 6,
            half_open: minutes(60),
            swift: true,
            windows: false,
            start_stopped: false,
            name_age: Duration::from_secs(40),
            ready_age: Duration::from_secs(20),
            edge_age: Duration::from_secs(130),
            route_age: minutes(11),
            #[cfg(debug_assertions)]
            knocked_out: None,
        }
    }

    pub(super) fn rule_stands(&self, cause: super::cause::Cause) -> bool {
        #[cfg(debug_assertions)]
        if self.knocked_out == Some(KnockOut::Rule(cause)) {
            return false;
        }
        let _: super::cause::Cause = cause;
        true
    }

    pub(super) fn rail_stands(&self, hold: super::rails::Hold) -> bool {
        #[cfg(debug_assertions)]
        if self.knocked_out == Some(KnockOut::Rail(hold)) {
            return false;
        }
        let _: super::rails::Hold = hold;
        true
    }
}
