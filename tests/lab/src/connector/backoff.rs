//! cloudflared's back-off, with its habit of announcing another ceiling than it uses.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::Instant;

/// Random waits whose ceiling doubles up to a limit.
pub struct Backoff {
    base: Duration,
    max_retries: u32,
    pub retries: u32,
    /// After this moment the count starts anew.
    reset_at: Option<Instant>,
    random: SmallRng,
}

impl Backoff {
    /// `seed` makes the waits repeatable; `salt` keeps back-offs with one seed apart.
    pub fn new(base: Duration, max_retries: u32, seed: Option<u64>, salt: u64) -> Self {
        let random = match seed {
            Some(seed) => SmallRng::seed_from_u64(seed.wrapping_add(salt)),
            None => SmallRng::from_os_rng(),
        };
        Self { base, max_retries, retries: 0, reset_at: None, random }
    }

    /// The ceiling as the log tells it; one step ahead of the truth, except right after a reset.
    pub fn announced(&self) -> Duration {
        if self.is_reset_due() { self.base } else { self.ceiling(self.retries + 1) }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        if self.is_reset_due() {
            (self.retries, self.reset_at) = (0, None);
        }
        self.retries = (self.retries + 1).min(self.max_retries.max(1));
        let ceiling = self.ceiling(self.retries);
        ceiling.mul_f64(self.random.random_range(0.0..1.0))
    }

    /// Start anew at once.
    pub fn reset_now(&mut self) {
        self.reset_at = Some(Instant::now());
    }

    /// Start anew if all stays well for a while.
    pub fn reset_after_grace(&mut self) {
        let grace = self.ceiling(self.retries + 1).mul_f64(self.random.random_range(0.0..1.0));
        self.reset_at = Some(Instant::now() + grace);
    }

    fn is_reset_due(&self) -> bool {
        self.reset_at.is_some_and(|at| Instant::now() >= at)
    }

    fn ceiling(&self, retries: u32) -> Duration {
        // The real one overflows some day; a day is long enough here.
        self.base
            .saturating_mul(1_u32.checked_shl(retries).unwrap_or(u32::MAX))
            .min(Duration::from_secs(86_400))
    }
}

/// A duration as Go prints whole seconds: `1s`, `32s`, `1m4s`.
pub fn go_seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn announced_as_recorded() {
        let mut backoff = Backoff::new(Duration::from_secs(1), 5, Some(1), 0);
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push(go_seconds(backoff.announced()));
            assert!(backoff.next_wait() < Duration::from_secs(32));
        }
        assert_eq!(seen, ["2s", "4s", "8s", "16s", "32s", "1m4s", "1m4s"]);
        backoff.reset_now();
        assert_eq!(go_seconds(backoff.announced()), "1s");
        backoff.next_wait();
        assert_eq!(go_seconds(backoff.announced()), "4s");
    }

    #[test]
    fn a_seed_repeats_the_waits() {
        let waits = || {
            let mut backoff = Backoff::new(Duration::from_secs(10), 5, Some(7), 3);
            [backoff.next_wait(), backoff.next_wait()]
        };
        assert_eq!(waits(), waits());
    }
}
