//! How long the host's own dials to the edge have got through, or not.

use std::time::Duration;

use super::super::evidence::{EdgeSight, Family, Reach, Transport};
use super::super::time::Now;

/// Durations of the host's own reach to the edge.
#[derive(Clone, Debug, Default)]
pub struct EdgeTrack {
    ways: [Way; WAYS.len()],
}

/// One transport by one family.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    ok_since: Option<Duration>,
    failed: Option<Duration>,
    /// It has failed at each dial since.
    shut_since: Option<Duration>,
    /// It counts as open or shut until it was the other for [`SETTLES`].
    open: Option<bool>,
}

/// A dial that gets lost shuts no way, and an opening of seconds is none.
const SETTLES: Duration = Duration::from_secs(10);

impl Way {
    fn dialled(&mut self, now: Now, answered: bool) {
        let since = if answered {
            self.shut_since = None;
            *self.ok_since.get_or_insert(now.boot)
        } else {
            (self.ok_since, self.failed) = (None, Some(now.boot));
            *self.shut_since.get_or_insert(now.boot)
        };
        if self.open.is_none() || SETTLES <= now.since(since) {
            self.open = Some(answered);
        }
    }
}

const WAYS: [(Transport, Family); 4] = [
    (Transport::Quic, Family::V4),
    (Transport::Quic, Family::V6),
    (Transport::Http2, Family::V4),
    (Transport::Http2, Family::V6),
];

impl EdgeTrack {
    pub(in super::super) fn put(&mut self, now: Now, sight: &EdgeSight) {
        for ((transport, family), way) in WAYS.into_iter().zip(&mut self.ways) {
            let dialled = || sight.links.iter().filter(|link| link.transport == transport);
            let mut reached =
                dialled().filter(|link| link.family == family).map(|link| link.reach).peekable();
            let tried = reached.peek().is_some();
            if reached.any(|reach| reach == Reach::Reachable) {
                way.dialled(now, true);
            } else if tried {
                way.dialled(now, false);
            } else if dialled().next().is_some() {
                // Only the other family was dialled: what this one has done since is not known.
                way.ok_since = None;
            }
        }
    }

    /// Times of answers are counted from now.
    pub(in super::super) fn begin_anew(&mut self, now: Now) {
        for way in &mut self.ways {
            for since in [&mut way.ok_since, &mut way.shut_since].into_iter().flatten() {
                *since = now.boot;
            }
        }
    }

    fn way(&self, transport: Transport, family: Family) -> Way {
        let mut ways = WAYS.into_iter().zip(self.ways);
        ways.find(|(way, _)| *way == (transport, family)).map(|(_, way)| way).unwrap_or_default()
    }

    /// Since when this transport answers by this family.
    pub fn ok_since(&self, transport: Transport, family: Family) -> Option<Duration> {
        self.way(transport, family).ok_since
    }

    /// It is known not to answer, not only for a moment.
    pub fn shut(&self, transport: Transport, family: Family) -> bool {
        self.way(transport, family).open == Some(false)
    }

    /// When a dial by this transport and this family last failed.
    pub fn failed(&self, transport: Transport, family: Family) -> Option<Duration> {
        self.way(transport, family).failed
    }
}
