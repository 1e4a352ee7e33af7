//! Looks at one public name, and what they add up to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Now;

/// What a look at a public name found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// The origin's own answer, through the tunnel.
    Served,
    /// Error 1033.
    TunnelError,
    /// Error 1016.
    DnsError,
    /// Another error that the edge made.
    EdgeError,
    /// The origin, or the connector for it, says it is down (502, 503, 504).
    OriginError,
    /// Cloudflare Access asks for a login: the edge works, the tunnel is not proven.
    Access,
    /// The probe itself was challenged, limited or banned.
    Challenge,
    /// Answered by a cache.
    Cached,
    /// Not what `[[tunnel.probe]]` says that the origin answers.
    Unexpected,
    /// The probe could not look.
    Blind,
}

impl Answer {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Served,
        Self::TunnelError,
        Self::DnsError,
        Self::EdgeError,
        Self::OriginError,
        Self::Access,
        Self::Challenge,
        Self::Cached,
        Self::Unexpected,
        Self::Blind,
    ];

    /// The word in labels and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::TunnelError => "tunnel_error",
            Self::DnsError => "dns_error",
            Self::EdgeError => "edge_error",
            Self::OriginError => "origin_error",
            Self::Access => "access",
            Self::Challenge => "challenge",
            Self::Cached => "cached",
            Self::Unexpected => "unexpected",
            Self::Blind => "blind",
        }
    }

    /// It came through the tunnel: the origin's own answer, or a connector's word that the origin is down. `reported`:
    /// cloudflared itself says that an origin does not answer.
    pub(super) fn through(self, reported: bool) -> bool {
        self == Self::Served || (reported && self == Self::OriginError)
    }

    /// It says something about the way of a visitor.
    pub fn conclusive(self) -> bool {
        match self {
            Self::Served
            | Self::TunnelError
            | Self::DnsError
            | Self::EdgeError
            | Self::OriginError
            | Self::Unexpected => true,
            Self::Access | Self::Challenge | Self::Cached | Self::Blind => false,
        }
    }
}

/// A look at one public name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameSight {
    pub answer: Answer,
    pub status: Option<u16>,
    /// The edge's error code.
    pub code: Option<u16>,
    pub latency: Duration,
    pub colo: Option<String>,
    /// For people: what went wrong, bounded.
    pub detail: String,
    #[serde(default)]
    pub exchange: Exchange,
}

/// How the exchange with the edge went: for people and metrics, nothing is concluded from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    pub dns: Option<Duration>,
    pub tcp: Option<Duration>,
    pub tls: Option<Duration>,
    pub first_byte: Option<Duration>,
    /// `HTTP/2`, say.
    pub http: Option<String>,
    /// When the certificate that was shown ends, Unix time in seconds.
    pub certificate_expiry: Option<i64>,
}

/// What a prober elsewhere saw of a public name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Where it is, as configured.
    pub by: String,
    pub served: bool,
    pub status: Option<u16>,
}

/// The record of one public name.
#[derive(Clone, Debug, Default)]
pub struct NameTrack {
    pub latest: Option<(Duration, NameSight)>,
    /// How many looks in a row gave the same kind of answer.
    pub streak: u32,
    /// Since when that answer stands.
    pub since: Duration,
    /// When it was last served.
    pub served: Option<Duration>,
    /// When a look last saw anything.
    pub seen_at: Option<Duration>,
    /// The last answer that was a sight.
    last: Option<Answer>,
    /// No look has seen anything since.
    pub blind_since: Option<Duration>,
}

/// Blindness shorter than this pauses a streak; longer, it ends it.
const BLIND_PAUSES: Duration = Duration::from_secs(60);

/// An outage that began before we came is no reason to count a name out: it is looked at for so long first.
const NEVER_WORKED_FOR: Duration = Duration::from_secs(300);

/// A name that was served so many times in a row counts as good.
pub(super) const PROOF_ROUNDS: u32 = 3;

impl NameTrack {
    pub(super) fn put(&mut self, now: Now, sight: NameSight) {
        if sight.answer == Answer::Blind {
            // A blind look pauses what is known; only lasting blindness ends it.
            let since = *self.blind_since.get_or_insert(now.boot);
            if BLIND_PAUSES < now.since(since) {
                self.last = None;
                self.streak = 0;
            }
        } else {
            self.blind_since = None;
            self.seen_at = Some(now.boot);
            if self.last == Some(sight.answer) {
                self.streak = self.streak.saturating_add(1);
            } else {
                self.last = Some(sight.answer);
                self.streak = 1;
                self.since = now.boot;
            }
        }
        if sight.answer == Answer::Served {
            self.served = Some(now.boot);
        }
        self.latest = Some((now.boot, sight));
    }

    /// It was not served when it could last be looked at.
    pub(super) fn broken_and_unseen(&self) -> bool {
        let blind = self.latest.as_ref().is_some_and(|(_, sight)| sight.answer == Answer::Blind);
        blind && self.last.is_some_and(|last| last.conclusive() && last != Answer::Served)
    }

    /// It is served, and was known to be: one more such look says nothing new.
    pub(super) fn known_good(&self) -> bool {
        let served = self.latest.as_ref().is_some_and(|(_, sight)| sight.answer == Answer::Served);
        served && PROOF_ROUNDS <= self.streak
    }

    /// It was never served, and the edge itself has long been the one that errs for it: a record that was left over, say. What
    /// becomes of the connector, it shows nothing of that.
    pub(super) fn never_worked(&self, now: Now) -> bool {
        let of_the_edge = match self.last {
            Some(Answer::DnsError | Answer::EdgeError) => true,
            Some(
                Answer::Served
                | Answer::TunnelError
                | Answer::OriginError
                | Answer::Unexpected
                | Answer::Access
                | Answer::Challenge
                | Answer::Cached
                | Answer::Blind,
            )
            | None => false,
        };
        of_the_edge && self.served.is_none() && NEVER_WORKED_FOR <= now.since(self.since)
    }

    /// The latest answer if not older than `max_age`.
    pub fn fresh(&self, now: Now, max_age: Duration) -> Option<&NameSight> {
        let (at, sight) = self.latest.as_ref()?;
        (now.since(*at) <= max_age).then_some(sight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(track: &mut NameTrack, at: u64, answer: Answer) -> (u32, Duration) {
        let (status, code, colo, latency, detail) = (None, None, None, Duration::ZERO, String::new());
        let sight = NameSight { answer, status, code, latency, colo, detail, exchange: Exchange::default() };
        let now = Duration::from_secs(at);
        track.put(Now { boot: now, wall: now }, sight);
        (track.streak, track.since)
    }

    #[test]
    fn blindness_pauses_a_streak_and_ends_it_after_a_minute() {
        let mut track = NameTrack::default();
        let secs = Duration::from_secs;
        assert_eq!(look(&mut track, 100, Answer::TunnelError), (1, secs(100)));
        assert_eq!(look(&mut track, 105, Answer::TunnelError), (2, secs(100)));
        look(&mut track, 110, Answer::Blind);
        assert_eq!(
            look(&mut track, 170, Answer::Blind).0,
            2,
            "it has been blind for a minute, and no longer"
        );
        assert_eq!(look(&mut track, 175, Answer::TunnelError), (3, secs(100)));
        // The next blindness is one of its own.
        look(&mut track, 180, Answer::Blind);
        assert_eq!(look(&mut track, 240, Answer::Blind).0, 3);
        assert_eq!(look(&mut track, 241, Answer::Blind).0, 0);
        assert_eq!(look(&mut track, 245, Answer::TunnelError), (1, secs(245)));
        assert_eq!(look(&mut track, 250, Answer::Served), (1, secs(250)));
        assert_eq!(track.served, Some(secs(250)));
    }
}
