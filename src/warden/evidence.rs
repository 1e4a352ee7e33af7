//! What was seen, kept with its time; nothing here concludes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::announcement::Announcement;
pub use super::connector::{Counters, FilesSight, Ready, ReadySight, Setup};
pub use super::edge::{Control, EdgeSight, Families, Family, Link, Reach, Transport};
pub use super::journal::{Line, LogLine, LogTrack};
pub use super::name::{Answer, Elsewhere, Exchange, NameSight, NameTrack};
use super::route::{RouteSight, RouteTrack};
use super::time::Now;
pub use super::unit::{Active, Invocation, Job, Load, UnitSight};

/// What a probe saw, or why it could not look. Blindness is never illness.
pub type Seen<T> = Result<T, Blind>;

/// Why a sense could not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Blind {
    /// Nothing was asked yet.
    NotYet,
    /// The question took longer than its limit.
    TimedOut,
    /// We may not read it.
    Forbidden,
    /// The place to look is not known.
    NotFound,
    /// The other end, or the way to it, is not there.
    Unreachable,
    /// It answered something that makes no sense.
    Garbled,
}

impl Blind {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotYet => "not looked yet",
            Self::TimedOut => "took too long",
            Self::Forbidden => "not permitted",
            Self::NotFound => "place not known",
            Self::Unreachable => "cannot be reached",
            Self::Garbled => "answer makes no sense",
        }
    }
}

/// Our senses, one word each as users see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sense {
    Unit,
    Journal,
    Ready,
    Public,
    Control,
    Edge,
    Dns,
    Tunnel,
    Host,
    StatusPage,
}

impl Sense {
    /// The word in labels and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Journal => "journal",
            Self::Ready => "ready",
            Self::Public => "public",
            Self::Control => "control",
            Self::Edge => "edge",
            Self::Dns => "dns",
            Self::Tunnel => "tunnel",
            Self::Host => "host",
            Self::StatusPage => "status_page",
        }
    }
}

/// The host around us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSight {
    /// A default route exists, by IPv4 or IPv6.
    pub route: bool,
    /// The system is going down.
    pub shutting_down: bool,
    /// A package manager, or `cloudflared update`, is at work.
    pub upgrading: bool,
    /// Nothing keeps the clock right; looked at only in trouble.
    #[serde(default)]
    pub unsynchronised: bool,
    /// The configured window for remedies is shut until then (time since boot).
    pub window_shut_until: Option<Duration>,
}

/// What Cloudflare's own records say of the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelSight {
    pub deleted: bool,
    /// Live connections of *this* connector, where its id was known.
    pub live: Option<u32>,
    /// Remote ingress rules exist since (time since boot); `None` if there are none, or the rules are local.
    pub remote_rules_since: Option<Duration>,
}

/// The typed answer of a sense about one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    Unit(Seen<UnitSight>),
    Log(LogLine),
    /// The journal can be read up to now (or not).
    Journal(Seen<()>),
    /// The journal lost lines of this unit.
    JournalGap,
    Ready(Seen<ReadySight>),
    Name {
        hostname: String,
        sight: NameSight,
    },
    /// Where a public name leads.
    Route {
        hostname: String,
        seen: Seen<RouteSight>,
    },
    /// What a prober elsewhere sees of a public name that errs here.
    Elsewhere {
        hostname: String,
        seen: Seen<Elsewhere>,
    },
    Files(FilesSight),
    Setup(Setup),
    Tunnel(Seen<TunnelSight>),
}

/// The typed answer of a sense about the host as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostFinding {
    Control(Seen<Control>),
    Edge(Seen<EdgeSight>),
    Host(Seen<HostSight>),
    /// What Cloudflare announces; found only where a status page is set.
    Announced(Seen<Vec<Announcement>>),
}

/// The latest of something, with its time.
#[derive(Clone, Debug)]
pub struct Slot<T> {
    /// The latest answer, and when it was asked for.
    pub latest: Option<(Duration, Seen<T>)>,
    /// When it last could see.
    pub seen_at: Option<Duration>,
    /// What it saw then, where a blind look came after.
    overtaken: Option<T>,
    /// Since when looks have taken too long, and were not blind for another reason.
    late_since: Option<Duration>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { latest: None, seen_at: None, overtaken: None, late_since: None }
    }
}

impl<T> Slot<T> {
    /// Takes the answer of a look that ended at `now`.
    pub fn put(&mut self, now: Now, seen: Seen<T>) {
        let before = self.latest.take().and_then(|(_, seen)| seen.ok());
        match &seen {
            Ok(_) => {
                self.seen_at = Some(now.boot);
                (self.overtaken, self.late_since) = (None, None);
            }
            Err(blind) => {
                let late = before.as_ref().map(|_| now.boot).or(self.late_since);
                self.late_since = late.filter(|_| *blind == Blind::TimedOut);
                self.overtaken = before.or(self.overtaken.take());
            }
        }
        self.latest = Some((now.boot, seen));
    }

    /// `seen` says what the latest look said, and that one is not older than `max_age`: nothing follows from it but that it
    /// still holds.
    pub(super) fn repeats(&self, now: Now, seen: &Seen<T>, max_age: Duration) -> bool
    where
        T: PartialEq,
    {
        self.latest.as_ref().is_some_and(|(at, latest)| now.since(*at) <= max_age && latest == seen)
    }

    /// The last sight with its time, if not older than `max_age`. Blind looks since then say nothing against it: for what
    /// is seen seldom, and speaks against an act.
    pub fn standing(&self, now: Now, max_age: Duration) -> Option<(Duration, &T)> {
        let at = self.seen_at.filter(|at| now.since(*at) <= max_age)?;
        let sight = match &self.latest {
            Some((_, Ok(sight))) => Some(sight),
            Some((_, Err(_))) | None => self.overtaken.as_ref(),
        };
        Some((at, sight?))
    }

    /// What it saw last, where looks have only taken too long since, and that for less than `span`.
    pub fn late(&self, now: Now, span: Duration) -> Option<&T> {
        self.overtaken.as_ref().filter(|_| self.late_since.is_some_and(|since| now.since(since) < span))
    }

    /// The latest answer, if it is a sight and not older than `max_age`.
    pub fn fresh(&self, now: Now, max_age: Duration) -> Option<&T> {
        let (at, seen) = self.latest.as_ref()?;
        if max_age < now.since(*at) {
            return None;
        }
        seen.as_ref().ok()
    }

    /// Why it cannot see, if it cannot.
    pub fn blind(&self) -> Option<Blind> {
        match &self.latest {
            None => Some(Blind::NotYet),
            Some((_, Err(blind))) => Some(*blind),
            Some((_, Ok(_))) => None,
        }
    }
}

/// Everything seen of one tunnel.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub unit: Slot<UnitSight>,
    pub journal: Slot<()>,
    pub ready: Slot<ReadySight>,
    pub names: BTreeMap<String, NameTrack>,
    pub routes: BTreeMap<String, RouteTrack>,
    pub elsewhere: BTreeMap<String, Slot<Elsewhere>>,
    pub log: LogTrack,
    pub files: Option<FilesSight>,
    pub setup: Setup,
    pub tunnel: Slot<TunnelSight>,
}

/// Everything seen of the host.
#[derive(Clone, Debug, Default)]
pub struct HostEvidence {
    pub control: Slot<Control>,
    pub edge: Slot<EdgeSight>,
    pub host: Slot<HostSight>,
    pub announced: Slot<Vec<Announcement>>,
}

impl HostEvidence {
    /// It says what is known, by a look not older than `max_age`.
    pub(super) fn repeats(&self, now: Now, finding: &HostFinding, max_age: Duration) -> bool {
        match finding {
            HostFinding::Control(seen) => self.control.repeats(now, seen, max_age),
            HostFinding::Edge(seen) => self.edge.repeats(now, seen, max_age),
            HostFinding::Host(seen) => self.host.repeats(now, seen, max_age),
            HostFinding::Announced(seen) => self.announced.repeats(now, seen, max_age),
        }
    }

    pub(super) fn put(&mut self, now: Now, finding: HostFinding) {
        match finding {
            HostFinding::Control(seen) => self.control.put(now, seen),
            HostFinding::Edge(seen) => self.edge.put(now, seen),
            HostFinding::Host(seen) => self.host.put(now, seen),
            HostFinding::Announced(seen) => self.announced.put(now, seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stands_through_blindness_until_it_is_old() {
        let now = |at: u64| Now { boot: Duration::from_secs(at), wall: Duration::from_secs(at) };
        let age = Duration::from_secs(60);
        let mut slot = Slot::default();
        assert_eq!((slot.blind(), slot.standing(now(1), age)), (Some(Blind::NotYet), None));
        slot.put(now(10), Ok(1));
        slot.put(now(20), Ok(2));
        slot.put(now(30), Err(Blind::TimedOut));
        slot.put(now(40), Err(Blind::Forbidden));
        assert_eq!((slot.blind(), slot.fresh(now(40), age)), (Some(Blind::Forbidden), None));
        assert_eq!(slot.standing(now(80), age), Some((Duration::from_secs(20), &2)));
        assert_eq!(slot.standing(now(81), age), None);
        slot.put(now(90), Ok(3));
        assert_eq!((slot.blind(), slot.fresh(now(150), age)), (None, Some(&3)));
        assert_eq!(slot.fresh(now(151), age), None);
    }
}
