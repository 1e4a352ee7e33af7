//! What systemd hears of us.

use std::time::Duration;

use sd_notify::NotifyState;

/// Up and deciding.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// A decision cycle has finished.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// A reload has begun; `ready` ends it.
pub fn reloading() {
    if let Ok(monotonic) = NotifyState::monotonic_usec_now() {
        send(&[NotifyState::Reloading, monotonic]);
    }
}

/// Going down.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often systemd wants to hear of a finished cycle, if it does; half of its limit.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
