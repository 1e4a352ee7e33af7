//! Spans of the calendar in systemd's words (systemd.time(7)): weekdays, dates, times of day and a time zone, as in
//! `Mon..Fri 08:00..18:00`, `Sat,Sun`, `*-12-24..*-12-26`, `22:00..06:00 UTC`.

mod words;

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

/// Text that is no span of the calendar; it says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpanError(String);

/// A date with or without a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    year: Option<i16>,
    month: i8,
    day: i8,
}

/// From a second of the day to another; one that is not later lies in the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: i64,
    to: i64,
}

/// One span, coming again for as long as the calendar goes on.
#[derive(Clone)]
pub struct Span {
    text: String,
    /// Monday first.
    weekdays: [bool; 7],
    /// First and last day, both within.
    dates: Option<(Day, Day)>,
    hours: Option<Hours>,
    /// `None`: this host's.
    zone: Option<TimeZone>,
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Span {}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({:?})", self.text)
    }
}

impl Span {
    /// Reads a span.
    ///
    /// # Errors
    /// The text is none; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        words::parse(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn covers(&self, at: Timestamp, local: &TimeZone) -> bool {
        let here = at.to_zoned(self.zone.clone().unwrap_or_else(|| local.clone())).datetime();
        let second = i64::from(here.hour()) * 3600 + i64::from(here.minute()) * 60 + i64::from(here.second());
        let on = |date: Option<Date>| date.is_some_and(|date| self.holds(date));
        let (today, yesterday) = (Some(here.date()), here.date().yesterday().ok());
        match self.hours {
            None => on(today),
            Some(Hours { from, to }) if from < to => on(today) && from <= second && second < to,
            Some(Hours { from, to }) => on(today) && from <= second || on(yesterday) && second < to,
        }
    }

    fn holds(&self, date: Date) -> bool {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        if !self.weekdays.get(weekday).copied().unwrap_or(false) {
            return false;
        }
        let Some((first, last)) = self.dates else { return true };
        let like =
            |day: Day| Day { year: day.year.map(|_| date.year()), month: date.month(), day: date.day() };
        if first.year.is_none() && last < first {
            // Over the turn of the year.
            return first <= like(first) || like(last) <= last;
        }
        first <= like(first) && like(last) <= last
    }

    /// The first moment after `at` at which it may begin or end.
    fn next_turn(&self, at: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        let zone = self.zone.clone().unwrap_or_else(|| local.clone());
        let today = at.to_zoned(zone.clone()).date();
        let seconds: Vec<i64> = match self.hours {
            // A turn of the weekday or date is at midnight; with hours those alone matter.
            None => vec![0],
            Some(Hours { from, to }) => vec![from, to],
        };
        let days =
            [Some(today), today.tomorrow().ok(), today.tomorrow().ok().and_then(|d| d.tomorrow().ok())];
        days.into_iter()
            .flatten()
            .flat_map(|day| seconds.iter().map(move |second| (day, *second)))
            .filter_map(|(day, second)| {
                let civil: DateTime = day.to_datetime(Time::midnight()).checked_add(second.seconds()).ok()?;
                civil.to_zoned(zone.clone()).ok().map(|zoned: Zoned| zoned.timestamp())
            })
            .filter(|turn| at < *turn)
            .min()
    }
}

/// When remedies are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Never in these.
    pub forbid: Vec<Span>,
    /// Only in these; empty: always.
    pub allow: Vec<Span>,
}

/// How far ahead an end is looked for.
const HORIZON: Duration = Duration::from_secs(32 * 24 * 3600);

impl Windows {
    /// None is set, so that everything is always allowed.
    pub fn is_empty(&self) -> bool {
        self.forbid.is_empty() && self.allow.is_empty()
    }

    /// `None`: open at `now` (Unix time). Else the time at which it opens; a month ahead if it stays shut longer.
    pub fn shut_until(&self, now: Duration) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        self.shut_in(now, &TimeZone::system())
    }

    fn shut_in(&self, now: Duration, local: &TimeZone) -> Option<Duration> {
        let mut at = Timestamp::from_second(i64::try_from(now.as_secs()).ok()?).ok()?;
        let until = now + HORIZON;
        if self.open(at, local) {
            return None;
        }
        loop {
            let next =
                self.forbid.iter().chain(&self.allow).filter_map(|span| span.next_turn(at, local)).min();
            let Some(next) = next else { return Some(until) };
            let wall = Duration::from_secs(u64::try_from(next.as_second()).unwrap_or(0));
            if until < wall || self.open(next, local) {
                return Some(wall.min(until));
            }
            at = next;
        }
    }

    fn open(&self, at: Timestamp, local: &TimeZone) -> bool {
        let covers = |span: &Span| span.covers(at, local);
        !self.forbid.iter().any(covers) && (self.allow.is_empty() || self.allow.iter().any(covers))
    }
}

#[cfg(test)]
mod tests;
