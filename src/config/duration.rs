//! Durations as people write them: "500ms", "15s", "2m", "1h".

use std::time::Duration;

use serde::Deserialize;

/// Why a text is not a duration. The text itself is not repeated: it may be a secret in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("is empty; write a number and its unit, such as \"15s\"")]
    Empty,
    #[error("has no unit; write \"{0}s\" for seconds (units: ms, s, m, h)")]
    NoUnit(u64),
    #[error(
        "is not a duration; write one whole number and one unit, such as \"500ms\", \"15s\", \"2m\" or \"1h\""
    )]
    Malformed,
    #[error("is too long; a year (\"8760h\") is the most")]
    TooLong,
}

const LONGEST: Duration = Duration::from_secs(8760 * 3600);

/// A duration in a config file, already understood.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        parse(&text).map(Self)
    }
}

/// Reads one whole number and one unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(DurationError::Malformed);
    }
    let number: u64 = number.parse().map_err(|_too_many_digits| DurationError::TooLong)?;
    let millis = match unit {
        "" => return Err(DurationError::NoUnit(number)),
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(DurationError::Malformed),
    };
    let duration = Duration::from_millis(millis.ok_or(DurationError::TooLong)?);
    if LONGEST < duration { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// The form that [`parse`] reads, in the largest unit that loses nothing (parts of a millisecond are dropped).
pub fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis != 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["500ms", "15s", "2m", "1h", "8760h", "0s", "90s"] {
            assert_eq!(written(parse(text).unwrap()), text, "{text}");
        }
        assert_eq!(written(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn what_is_not_a_duration_says_what_is() {
        assert_eq!(parse(""), Err(DurationError::Empty));
        assert_eq!(parse("15"), Err(DurationError::NoUnit(15)));
        for text in ["s", "1.5s", "-1s", "1h30m", "15 s", "15S", "١s", "1d"] {
            assert_eq!(parse(text), Err(DurationError::Malformed), "{text}");
        }
        for text in ["8761h", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(parse(text), Err(DurationError::TooLong), "{text}");
        }
    }
}
