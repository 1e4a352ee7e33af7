//! The only reader of clocks.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::warden::time::Now;

/// Both clocks, now.
pub fn now() -> Now {
    Now { boot: duration(clock_gettime(ClockId::Boottime)), wall: duration(clock_gettime(ClockId::Realtime)) }
}

/// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`: the time this host has been suspended. systemd's
/// monotonic time stamps are of the latter.
pub fn suspended() -> Duration {
    let monotonic = duration(clock_gettime(ClockId::Monotonic));
    now().boot.saturating_sub(monotonic)
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Unix time for the calendar; its beginning where it is none of ours.
pub fn timestamp(wall: Duration) -> jiff::Timestamp {
    let second = i64::try_from(wall.as_secs()).unwrap_or_default();
    jiff::Timestamp::from_second(second).unwrap_or_default()
}

/// Unix time as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(wall: Duration) -> String {
    let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "unknown".into(),
    }
}
