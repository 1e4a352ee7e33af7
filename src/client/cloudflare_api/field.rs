//! Fields whose form is not to be trusted: what is not understood counts as missing.

use jiff::Timestamp;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::error::clean;

/// The value, or `None` for anything else.
pub(super) fn loose<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Maybe<T> {
        Is(T),
        IsNot(IgnoredAny),
    }
    Ok(match Maybe::deserialize(from)? {
        Maybe::Is(value) => Some(value),
        Maybe::IsNot(_) => None,
    })
}

/// A whole number, written as one or in quotes.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Plain(i64),
        Quoted(String),
    }
    Ok(match loose(from)? {
        Some(Written::Plain(number)) => Some(number),
        Some(Written::Quoted(text)) => text.trim().parse().ok(),
        None => None,
    })
}

/// A short text for people.
pub(super) fn label<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(loose::<_, String>(from)?.map(|text| clean(&text)))
}

/// A time that matters little.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(loose::<_, String>(from)?.and_then(|text| text.parse().ok()).filter(is_set))
}

/// A time whose presence decides something: one that cannot be read is an error.
pub(super) fn strict_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    match Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()) {
        Some(text) => Ok(Some(text.parse().map_err(D::Error::custom)?).filter(is_set)),
        None => Ok(None),
    }
}

/// A list, where `null` stands for an empty one.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Go writes its zero time, in the year 1, where there is none.
fn is_set(time: &Timestamp) -> bool {
    time.as_second() > 0
}
