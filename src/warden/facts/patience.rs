//! How long cloudflared gets to reconnect by itself: as long as that may be sooner than a new process.

use std::time::Duration;

use super::super::evidence::Transport;
use super::Facts;

/// By http2 each failure doubles what it may wait at most, from 10 s on to 320 s (cloudflared's supervisor, `retry`). After two
/// minutes of them, half a minute is left in the mean where dials time out, and more where they are refused.
const BACKED_OFF: Duration = Duration::from_secs(120);

/// Upper bound of cloudflared's own silence: 320 s in the supervisor's queue, 32 s of back-off, 30 s of a dial.
pub const SILENCE_AT_MOST: Duration = Duration::from_secs(420);

impl Facts<'_> {
    /// The time this connector gets to reconnect by itself.
    pub fn patience(&self) -> Duration {
        let base = self.policy.patience;
        match self.transport() {
            Transport::Quic => base * 3 / 2,
            Transport::Http2 if self.would_fall_back_first() => base.max(SILENCE_AT_MOST),
            Transport::Http2 if self.sleeps_for_long() => base / 3,
            Transport::Http2 if self.dial_failed_lately() => base * 2 / 3,
            Transport::Http2 => base,
        }
    }

    /// It was connected, and tried in vain for so long that it may wait for minutes before the next attempt. One that never was
    /// tries each 32 s at most. Without swift restarts a new process is no sooner, as the old one takes its time to end.
    fn sleeps_for_long(&self) -> bool {
        let (Some(zero), Some(dial)) = (self.track.zero_since, self.dial_ok_since()) else { return false };
        let was_connected = self.life().is_some_and(|life| Some(life.began) <= self.accepted());
        let opens = self.edge.is_some_and(|edge| edge.opens(Transport::Http2, self.families));
        self.policy.swift && was_connected && opens && zero + BACKED_OFF <= dial
    }

    /// The next process may begin with QUIC, in vain, for minutes: this one tries sooner, if it does not hang.
    fn would_fall_back_first(&self) -> bool {
        let shut = self.edge_track.shut(Transport::Quic, self.begins_by(Transport::Quic));
        self.forced != Some(Transport::Http2) && shut
    }
}
