//! What was done, and when there is room again. The windows never forget early.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::Invocation;
use super::incident::Incident;
use super::policy::Policy;
use super::remedy::Remedy;
use super::time::Now;

pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// One remedy that was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    #[serde(rename = "at")]
    pub paid: Paid,
    pub remedy: Remedy,
}

/// When a remedy was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Paid {
    /// In this boot: time since boot.
    At(Duration),
    /// In an earlier one, of which the wall clock alone tells: Unix time.
    EarlierBoot { wall: Duration },
}

impl Charge {
    /// How long ago it was made. What an earlier boot left is at least as old as this one, also where the wall clock is
    /// still in the past; once that is set, it is as old as it is.
    pub fn age(self, now: Now) -> Duration {
        match self.paid {
            Paid::At(at) => now.since(at),
            Paid::EarlierBoot { wall } => now.wall.saturating_sub(wall).max(now.boot),
        }
    }

    /// When it is as old as `span` (time since boot); a moment that is past if it is already.
    pub fn aged(self, now: Now, span: Duration) -> Duration {
        (now.boot + span).saturating_sub(self.age(now))
    }
}

/// A remedy that was ordered and not yet heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub remedy: Remedy,
    pub at: Duration,
    /// The life that it was to end.
    pub before: Option<Invocation>,
}

/// What is remembered of one life of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownLife {
    pub invocation: Invocation,
    pub watched_whole: bool,
    pub through: bool,
}

/// Refused credentials: latched until a registration or a newer file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    pub at: Duration,
    /// Newest change of the files at that time, or at the last try, Unix time.
    pub files: Option<Duration>,
    /// A newer file was tried since.
    pub tried: bool,
}

/// What must survive us, for one tunnel. Times are since boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub charges: Vec<Charge>,
    /// Which of the cooldowns comes next.
    pub step: usize,
    /// Remedies of this trouble that did not cure.
    pub not_cured: u32,
    pub healthy_since: Option<Duration>,
    pub in_flight: Option<InFlight>,
    pub lives: Vec<KnownLife>,
    pub latch: Option<Latch>,
    pub incident: Option<Incident>,
}

const LIVES_KEPT: usize = 8;

impl History {
    /// Pays for a remedy.
    pub fn charge(&mut self, now: Now, remedy: Remedy, before: Option<Invocation>, policy: &Policy) {
        self.charges.retain(|charge| charge.age(now) < DAY);
        self.charges.push(Charge { paid: Paid::At(now.boot), remedy });
        self.step = (self.step + 1).min(policy.cooldown.len());
        // What is healthy from here on has to prove itself.
        self.healthy_since = None;
        self.in_flight = Some(InFlight { remedy, at: now.boot, before });
    }

    /// Remedies paid for within `window`.
    pub fn spent(&self, now: Now, window: Duration) -> u32 {
        let count = self.charges.iter().filter(|charge| charge.age(now) < window).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The last remedy paid for.
    pub fn last(&self) -> Option<Charge> {
        self.charges.last().copied()
    }

    /// End of the cooldown, if one runs.
    pub fn cooldown_until(&self, now: Now, policy: &Policy) -> Option<Duration> {
        let last = self.last()?;
        let step = self.step.checked_sub(1)?;
        let pause = policy.cooldown.get(step).or(policy.cooldown.last())?;
        let until = last.aged(now, *pause);
        (now.boot < until).then_some(until)
    }

    /// When a window that is full has room again; `None` while it has.
    pub fn full_until(&self, now: Now, window: Duration, limit: u32) -> Option<Duration> {
        full_until(self.charges.iter().map(|charge| charge.age(now)), now, window, limit)
    }

    /// Proven health: what may be forgotten after an hour of it, is.
    pub fn forget_after_health(&mut self, now: Now, policy: &Policy) -> bool {
        let proven = self.healthy_since.is_some_and(|since| policy.healthy_after <= now.since(since));
        let anything = self.step != 0 || self.not_cured != 0;
        if proven && anything {
            self.step = 0;
            self.not_cured = 0;
        }
        proven && anything
    }

    pub fn life(&self, invocation: Invocation) -> Option<KnownLife> {
        self.lives.iter().copied().find(|life| life.invocation == invocation)
    }

    /// Remembers a life; the newest few are kept. True if that changed anything.
    pub fn remember(&mut self, life: KnownLife) -> bool {
        if self.lives.contains(&life) {
            return false;
        }
        self.lives.retain(|known| known.invocation != life.invocation);
        self.lives.push(life);
        if LIVES_KEPT < self.lives.len() {
            self.lives.remove(0);
        }
        true
    }
}

/// When the oldest of `limit` things within `window` leaves it, by their ages.
pub fn full_until(
    ages: impl Iterator<Item = Duration>,
    now: Now,
    window: Duration,
    limit: u32,
) -> Option<Duration> {
    let mut within: Vec<_> = ages.filter(|age| *age < window).collect();
    let over = within.len().checked_sub(usize::try_from(limit).unwrap_or(usize::MAX))?;
    within.sort_unstable_by(|one, other| other.cmp(one));
    within.get(over).map(|oldest| (now.boot + window).saturating_sub(*oldest))
}

/// The histories of all tunnels, by unit.
pub type Histories = BTreeMap<String, History>;
