//! The present process, by what it says itself.

use std::time::Duration;

use super::super::evidence::{Invocation, LogTrack, Transport};
use super::super::time::Now;
use super::super::track::Track;
use super::Facts;

/// A process whose set-up is no good, that is shown a wrong certificate, or that is set to a transport says so within a second or
/// two of its first word; of a host that is slow it takes longer to hear of it.
const SAYS_AT_ONCE: Duration = Duration::from_secs(5);

impl Facts<'_> {
    /// What was said then, this process said, if any is known.
    pub fn said_in_this_life(&self, at: Duration) -> bool {
        self.life().is_none_or(|life| life.began <= at)
    }

    /// A file that the next process would read was changed since `at`.
    pub fn files_newer(&self, at: Duration) -> bool {
        self.track.files_changed.is_some_and(|changed| at < changed)
    }

    /// What was said then is the last word of a process: of the newest that was heard of, or of the one before as long as the
    /// newest has hardly begun to speak.
    pub fn last_word(&self, at: Duration) -> bool {
        self.log.heard.is_none_or(|heard| {
            heard.since <= at || (self.now.since(heard.since) < SAYS_AT_ONCE && heard.before <= Some(at))
        })
    }

    /// The transport that the connector uses, or will try first.
    pub fn transport(&self) -> Transport {
        self.transport_of_life().or(self.forced).unwrap_or(Transport::Quic)
    }

    /// The transport that this life's own journal names.
    pub fn transport_of_life(&self) -> Option<Transport> {
        let (transport, of) = self.log.transport?;
        self.of_this_life(of).then_some(transport)
    }

    /// `of` names the present process.
    fn of_this_life(&self, of: Option<Invocation>) -> bool {
        of.is_some() && of == self.life().map(|life| life.invocation)
    }

    /// The next process would not begin with http2, though this one goes by it: nothing is set, and its own journal says
    /// with what it began (with QUIC, which it gave up, or with http2, as it does where it cannot look up what Cloudflare
    /// advises), or that it gave up QUIC.
    pub fn http2_by_chance(&self) -> bool {
        let told = self.of_this_life(self.log.initial) || self.of_this_life(self.log.fell_back);
        self.forced != Some(Transport::Http2) && told
    }

    /// It had been connected by QUIC in this life.
    pub fn quic_worked(&self) -> bool {
        self.of_this_life(self.log.quic_worked)
    }
}

/// What the last process said was set for it. Of the unit's command line, its environment and the files it names, not all is
/// always ours to read.
pub(super) fn set_transport(track: &Track, log: &LogTrack, now: Now) -> Option<Transport> {
    let (transport, of) = log.set_transport?;
    let life = track.life?;
    let own = of == Some(life.invocation);
    // It says so at once. Until then it is as the last one that spoke.
    let of_the_last =
        log.heard.is_some_and(|heard| Some(heard.of) == of) && now.since(life.began) < SAYS_AT_ONCE;
    (of.is_some() && (own || of_the_last)).then_some(transport)
}
