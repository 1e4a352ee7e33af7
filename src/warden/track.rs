//! What can only be known by watching over time: how long a state has held, and whose life a process is.

mod edge;

use std::time::Duration;

pub use edge::EdgeTrack;

use super::evidence::{Counters, Invocation, Ready, ReadySight, UnitSight};
use super::time::Now;

/// Who started this life of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there when we came.
    Before,
    Ours,
    Systemd,
    /// An admin, a package, cloudflared-update.
    Other,
}

/// One life of the unit (an `InvocationID`).
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub invocation: Invocation,
    pub origin: Origin,
    pub began: Duration,
    /// We saw it from its beginning.
    pub watched_whole: bool,
    /// A public answer came through while it ran.
    pub through: bool,
    /// When names that gave 1033 last came back with its connections untouched, and how often in a row.
    pub came_back: Option<(Duration, u32)>,
}

/// Counters at the moment when the names began to fail, to compare with later ones.
#[derive(Clone, Debug)]
pub struct Baseline {
    pub connector: Option<String>,
    pub counters: Counters,
    pub at: Duration,
    /// When they were last counted.
    counted: Duration,
    /// When more than before were counted: in the first minute of the trouble, and later.
    rose_early: Option<Duration>,
    rose: Option<Duration>,
}

/// What came by QUIC.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub bytes: u64,
    /// No more than that since.
    pub since: Duration,
    /// The counter was last read.
    pub looked: Duration,
}

/// Durations of one tunnel's states.
#[derive(Clone, Debug, Default)]
pub struct Track {
    pub life: Option<Life>,
    /// R has been 0 since.
    pub zero_since: Option<Duration>,
    /// R was last known to be 0.
    pub zero_seen: Option<Duration>,
    /// Looks at `/ready` (or at the unit) that found R = 0 in a row.
    pub zero_looks: u32,
    /// `/ready` accepts and says nothing since, and how many times in a row.
    pub silent_since: Option<Duration>,
    pub silent: u32,
    /// Nobody could look at `/ready` since.
    ready_blind_since: Option<Duration>,
    /// Connected, but with fewer connections than usual, since.
    pub partly_since: Option<Duration>,
    /// R has been at least 1 since.
    pub connected_since: Option<Duration>,
    /// R and when `/ready` said it in this life, as long as it can be asked.
    pub held: Option<(Duration, u8)>,
    /// When R last came to be at least 1, in whatever life.
    pub accepted: Option<Duration>,
    /// No name has been through since; none while one is, or while no name answers.
    pub names_bad_since: Option<Duration>,
    /// Some name last said something.
    names_seen: Option<Duration>,
    /// DNS or a record last led visitors elsewhere at this time.
    pub astray: Option<Duration>,
    /// Some name has given 1033 since no name is through.
    pub unrouted: bool,
    /// All conclusive names have been served since.
    pub names_good_since: Option<Duration>,
    pub baseline: Option<Baseline>,
    pub counters: Option<Counters>,
    pub received: Option<Received>,
    /// Registrations refused by counter, since when they rise without a success.
    pub refusals_since: Option<Duration>,
    pub refused_last: Option<Duration>,
    /// Requests last failed at an origin, by counter.
    pub requests_failed: Option<Duration>,
    /// A file that the next process would read was last seen to have changed.
    pub files_changed: Option<Duration>,
    /// When the unit was started, newest last; bounded.
    pub starts: Vec<Duration>,
}

/// Connections that a connector holds unless it is set to another number.
pub const FULL: u8 = 4;
const STARTS_KEPT: usize = 16;
/// A life that was seen so soon after its beginning was seen from its beginning.
const SEEN_WHOLE: Duration = Duration::from_secs(20);
/// A registration younger than this: the edge may not have learnt of it everywhere.
pub const PROPAGATION: Duration = Duration::from_secs(60);
/// Refusals that are further apart are not the same trouble; cloudflared is silent for less.
const REFUSALS_APART: Duration = Duration::from_secs(420);
/// What was not seen for longer than this may have been anything meanwhile.
const UNSEEN_ENDS: Duration = Duration::from_secs(60);
/// Not all visitors lose a connector at the same moment: requests of the first minute say little of what comes after, and
/// later ones that the edge knows it, however seldom they come.
const ROSE_EARLY: Duration = Duration::from_secs(300);
const ROSE_LATE: Duration = Duration::from_secs(1800);
/// Names that came back by themselves are remembered for so long.
pub const COMES_AND_GOES: Duration = Duration::from_secs(600);

impl Track {
    /// Takes in what systemd said. `ours` tells whether a new life is our doing, `known` is what
    /// memory has of it (watched whole, through before).
    pub(super) fn unit(
        &mut self,
        now: Now,
        before: Option<&UnitSight>,
        unit: &UnitSight,
        ours: bool,
        known: Option<(bool, bool)>,
    ) {
        let Some(invocation) = unit.invocation else {
            return;
        };
        if self.life.is_some_and(|life| life.invocation == invocation) {
            return;
        }
        let by_systemd = before.is_some_and(|before| {
            before.restarting()
                || before.n_restarts < unit.n_restarts
                || unit.n_restarts > 0 && before.main_pid == 0
        });
        let origin = match (before, &self.life) {
            _ if ours => Origin::Ours,
            // A first start is nobody's restart.
            (_, None) => Origin::Before,
            _ if by_systemd => Origin::Systemd,
            _ => Origin::Other,
        };
        let began = unit.started.unwrap_or(unit.since);
        let (watched_whole, through) = known.unwrap_or_else(|| (now.since(began) < SEEN_WHOLE, false));
        self.life = Some(Life { invocation, origin, began, watched_whole, through, came_back: None });
        self.starts.push(began);
        if STARTS_KEPT < self.starts.len() {
            self.starts.remove(0);
        }
        self.connected_since = None;
        self.held = None;
        self.partly_since = None;
        self.silent_since = None;
        self.silent = 0;
        self.baseline = None;
        self.counters = None;
        self.received = None;
        self.refusals_since = None;
    }

    /// `/ready` could not be looked at.
    pub(super) fn ready_blind(&mut self, now: Now) {
        self.ready_blind_since.get_or_insert(now.boot);
    }

    /// Takes in a look at `/ready`.
    pub(super) fn ready(&mut self, now: Now, sight: &ReadySight, expected: u8) {
        if self.ready_blind_since.take().is_some_and(|at| UNSEEN_ENDS < now.since(at)) {
            self.silent_since = None;
            self.silent = 0;
            self.partly_since = None;
            self.held = None;
        }
        match sight.ready {
            Ready::Connections(0) => {
                self.held = Some((now.boot, 0));
                self.silent_since = None;
                self.silent = 0;
                self.connected_since = None;
                self.partly_since = None;
                self.zero(now);
            }
            Ready::Connections(n) => {
                self.held = Some((now.boot, n));
                self.silent_since = None;
                self.silent = 0;
                self.zero_since = None;
                self.zero_looks = 0;
                self.accepted = Some(*self.connected_since.get_or_insert(now.boot));
                if expected <= n {
                    self.partly_since = None;
                } else {
                    self.partly_since.get_or_insert(now.boot);
                }
            }
            Ready::Silent => {
                self.silent_since.get_or_insert(now.boot);
                self.silent = self.silent.saturating_add(1);
            }
            Ready::Refused => {
                self.held = None;
                self.silent_since = None;
                self.silent = 0;
            }
        }
        if let Some(counters) = sight.counters {
            self.count(now, sight.connector.as_deref(), counters);
        }
    }

    /// A name is through again. If the edge said 1033 before, and no connection was made since or shortly before, it was
    /// not this process that was lost and found.
    pub(super) fn came_through(&mut self, now: Now, registered: Option<Duration>) {
        let Some(bad) = self.names_bad_since.take() else { return };
        let newest = registered.max(self.connected_since);
        let untouched = self.connected_since.is_some() && newest.is_some_and(|at| at + PROPAGATION <= bad);
        if std::mem::take(&mut self.unrouted)
            && untouched
            && let Some(life) = &mut self.life
        {
            let lately = life.came_back.filter(|(at, _)| now.since(*at) < COMES_AND_GOES);
            life.came_back = Some((now.boot, lately.map_or(1, |(_, times)| times.saturating_add(1))));
        }
    }

    /// Some name says something at this moment. What they did while none could be looked at for long, nobody knows.
    pub(super) fn names_say(&mut self, now: Now) {
        if self.names_seen.replace(now.boot).is_some_and(|at| UNSEEN_ENDS < now.since(at)) {
            self.names_bad_since = None;
            self.unrouted = false;
        }
    }

    /// What lasts is counted from now: the time before was not lived through.
    pub(super) fn begin_anew(&mut self, now: Now) {
        self.held = None;
        let starts = [
            &mut self.zero_since,
            &mut self.silent_since,
            &mut self.partly_since,
            &mut self.names_bad_since,
            &mut self.refusals_since,
        ];
        for since in starts.into_iter().flatten() {
            *since = now.boot;
        }
        if let Some(received) = &mut self.received {
            (received.since, received.looked) = (now.boot, now.boot);
        }
    }

    /// R is 0 at this moment.
    pub(super) fn zero(&mut self, now: Now) {
        self.zero_stands(now);
        self.zero_looks = self.zero_looks.saturating_add(1);
    }

    /// R is 0 by what was last seen of it. What it was while nobody could see it for long, nobody knows.
    pub(super) fn zero_stands(&mut self, now: Now) {
        if self.zero_seen.is_some_and(|at| UNSEEN_ENDS < now.since(at)) {
            self.zero_since = None;
            self.zero_looks = 0;
        }
        self.zero_seen = Some(now.boot);
        self.zero_since.get_or_insert(now.boot);
    }

    fn count(&mut self, now: Now, connector: Option<&str>, counters: Counters) {
        // What another process has counted is not to be compared with this one's.
        let same = self.baseline.as_ref().is_some_and(|baseline| baseline.connector.as_deref() == connector);
        if let Some(before) = self.counters.filter(|_| same) {
            let refused = before.register_fail < counters.register_fail;
            let accepted =
                before.register_success < counters.register_success || self.connected_since.is_some();
            if accepted {
                self.refusals_since = None;
            } else if refused {
                let apart = self.refused_last.is_some_and(|last| REFUSALS_APART < now.since(last));
                let since = self.refusals_since.filter(|_| !apart);
                self.refusals_since = since.or(Some(now.boot));
                self.refused_last = Some(now.boot);
            }
            if before.request_errors < counters.request_errors {
                self.requests_failed = Some(now.boot);
            }
        }
        let began = self.names_bad_since.or(self.zero_since);
        if let Some(baseline) = &mut self.baseline {
            baseline.counted = now.boot;
            if self.counters.is_some_and(|before| before.total_requests < counters.total_requests) {
                let early = began.is_none_or(|began| now.since(began) < PROPAGATION);
                *(if early { &mut baseline.rose_early } else { &mut baseline.rose }) = Some(now.boot);
            }
        }
        self.counters = Some(counters);
        self.received = counters.quic_received.map(|bytes| {
            let same = self.received.filter(|received| received.bytes == bytes);
            Received { bytes, since: same.map_or(now.boot, |same| same.since), looked: now.boot }
        });
        // The baseline is the first sample after the names began to fail, or R became 0: an earlier one would count the
        // last good requests as if they had come after.
        let stands = self.baseline.as_ref().is_some_and(|baseline| {
            baseline.connector.as_deref() == connector && began.is_some_and(|began| began < baseline.at)
        });
        if !stands {
            let connector = connector.map(str::to_owned);
            let (at, counted) = (now.boot, now.boot);
            self.baseline = Some(Baseline { connector, counters, at, counted, rose_early: None, rose: None });
        }
    }

    /// Requests have reached the connector lately, since the names began to fail or R became 0. `None` where the counters do
    /// not say.
    pub fn requests_rising(&self) -> Option<bool> {
        let baseline = self.baseline.as_ref()?;
        let lately =
            |at: Option<Duration>, span| at.is_some_and(|at| baseline.counted.saturating_sub(at) < span);
        Some(lately(baseline.rose_early, ROSE_EARLY) || lately(baseline.rose, ROSE_LATE))
    }
}

#[cfg(test)]
mod tests;
