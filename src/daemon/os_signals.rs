//! What the operating system's signals ask of us. They are listened to from life to life, so that one that comes while
//! everything begins anew waits for whoever is there next: a stop must not be lost.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that we take.
#[derive(Debug)]
pub(super) struct OsSignals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

/// What one of them asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Reload,
    Stop,
}

impl OsSignals {
    /// From now on they do not end the process.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next; one that came meanwhile counts. A stop before a reload.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = self.hup.recv() => Asked::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn a_signal_that_comes_while_nobody_waits_is_not_lost() {
        let mut signals = OsSignals::listen().unwrap();
        let within = Duration::from_secs(5);
        for signal in [Signal::HUP, Signal::TERM] {
            kill_process(getpid(), signal).unwrap();
        }
        sleep(Duration::from_millis(50)).await;
        // As from one life to the next.
        let mut signals = tokio::spawn(async move {
            assert_eq!(timeout(within, signals.next()).await.unwrap(), Asked::Stop);
            signals
        })
        .await
        .unwrap();
        assert_eq!(timeout(within, signals.next()).await.unwrap(), Asked::Reload);
        assert!(timeout(Duration::from_millis(100), signals.next()).await.is_err(), "each counts once");
    }
}
