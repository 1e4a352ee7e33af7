//! Looks at one public name, and what they add up to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::Answer;
use super::time::Now;

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
    /// The last answer that was a sight.
    last: Option<Answer>,
    blind_since: Option<Duration>,
}

/// Blindness shorter than this pauses a streak; longer, it ends it.
const BLIND_PAUSES: Duration = Duration::from_secs(60);

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
            if self.last == Some(sight.answer) {
                self.streak = self.streak.saturating_add(1);
            } else {
                self.last = Some(sight.answer);
                self.streak = 1;
                self.since = now.boot;
            }
        }
        self.latest = Some((now.boot, sight));
    }

    /// The latest answer if not older than `max_age`.
    pub fn fresh(&self, now: Now, max_age: Duration) -> Option<&NameSight> {
        let (at, sight) = self.latest.as_ref()?;
        (now.since(*at) <= max_age).then_some(sight)
    }
}
