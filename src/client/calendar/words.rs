//! From words to a span.

use jiff::tz::TimeZone;

use super::{Day, Hours, Span, SpanError};

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const DAY: i64 = 24 * 3600;

pub(super) fn parse(text: &str) -> Result<Span, SpanError> {
    let wrong = |why: String| SpanError(format!("{why}; write such as \"Mon..Fri 08:00..18:00\""));
    if 200 < text.len() {
        return Err(wrong("is too long for a calendar span".into()));
    }
    let mut span = Span {
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        weekdays: [true; 7],
        dates: None,
        hours: None,
        zone: None,
    };
    let mut words = text.split_whitespace().peekable();
    if words.peek().is_none() {
        return Err(wrong("is empty".into()));
    }
    if let Some(weekdays) = words.peek().and_then(|word| weekdays(word)) {
        span.weekdays = weekdays;
        words.next();
    }
    if let Some(word) =
        words.next_if(|word| word.contains('-') && word.starts_with(|c: char| c.is_ascii_digit() || c == '*'))
    {
        span.dates = Some(dates(word).ok_or_else(|| {
            wrong(format!(
                "has {word:?}, which is no date or span of dates such as 2026-12-24..2027-01-02 or *-12-24"
            ))
        })?);
    }
    if let Some(word) = words.next_if(|word| word.contains(':')) {
        span.hours = Some(hours(word).map_err(wrong)?);
    }
    if let Some(word) = words.next() {
        span.zone = Some(zone(word).ok_or_else(|| {
            wrong(format!("has {word:?}, which is no weekday, date, time of day or time zone"))
        })?);
    }
    match words.next() {
        Some(word) => Err(wrong(format!("has {word:?} too many"))),
        None => Ok(span),
    }
}

/// `Mon..Fri,Sun`; full names and their first three letters.
fn weekdays(word: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for part in word.trim_end_matches(',').split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (mut at, last) = (weekday(first)?, weekday(last)?);
        loop {
            *days.get_mut(at)? = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(days)
}

fn weekday(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    DAYS.iter().position(|day| *day == name || day.get(..3) == Some(name.as_str()))
}

fn dates(word: &str) -> Option<(Day, Day)> {
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    let (first, last) = (date(first)?, date(last)?);
    let in_order = match (first.year, last.year) {
        (None, None) => true,
        (Some(_), Some(_)) => first <= last,
        (None, Some(_)) | (Some(_), None) => false,
    };
    in_order.then_some((first, last))
}

/// `2026-12-24`, or `*-12-24` in every year.
fn date(text: &str) -> Option<Day> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let year = match year {
        "*" => None,
        year => Some(year.parse().ok().filter(|year| (1970..=9000).contains(year))?),
    };
    let day = Day { year, month: month.parse().ok()?, day: day.parse().ok()? };
    // A leap year, so that the 29th of February may be written.
    let exists = jiff::civil::Date::new(day.year.unwrap_or(2024), day.month, day.day).is_ok();
    (parts.next().is_none() && exists).then_some(day)
}

fn hours(word: &str) -> Result<Hours, String> {
    let Some((from, to)) = word.split_once("..") else {
        return Err(format!("has {word:?}, a moment; a span has an end"));
    };
    match (second(from), second(to)) {
        (Some(from), Some(to)) if from < DAY => Ok(Hours { from, to }),
        _ => Err(format!("has {word:?}, which are no times of a day")),
    }
}

/// `08:00` or `08:00:30`, up to `24:00`.
fn second(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        Some(second) => second?,
        None => 0,
    };
    let whole = hour * 3600 + minute * 60 + second;
    (parts.next().is_none() && minute < 60 && second < 60 && whole <= DAY).then_some(whole)
}

fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" | "Z" => Some(TimeZone::UTC),
        _ => TimeZone::get(name).ok(),
    }
}
