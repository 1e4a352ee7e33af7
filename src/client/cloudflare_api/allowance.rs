//! How much may be asked: our own budget, and what Cloudflare says of its limit.
//!
//! Cloudflare allows 1,200 requests in 5 minutes to a user, the dashboard and every script included, and refuses all
//! of them for the next 5 minutes once they are exceeded (its documentation, "API rate limits").

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

use super::error::ApiError;

/// The block of a user who exceeds the limit.
const BLOCK: Duration = Duration::from_secs(300);
/// No header silences for longer.
const MOST_SILENCE: Duration = Duration::from_secs(3600);
const LEAST_SILENCE: Duration = Duration::from_secs(1);

/// How many requests the caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    Unlimited,
    /// At most so many in any span of this length.
    AtMost {
        requests: usize,
        per: Duration,
    },
}

/// What an answer said of Cloudflare's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Requests allowed in the window.
    pub limit: Option<u64>,
    /// Of these, still left.
    pub remaining: Option<u64>,
    /// From that answer until the window begins anew.
    pub resets_in: Option<Duration>,
}

impl Allowance {
    /// Reads `x-ratelimit-*`, or else the form of the IETF draft (`Ratelimit: "default";r=50;t=30`,
    /// `Ratelimit-Policy: "default";q=1200;w=300`); `None` if there is neither.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let number = |name| text(headers, name).and_then(|text| text.parse().ok());
        let older = Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            resets_in: text(headers, "x-ratelimit-reset").and_then(|date| until_date(date, headers)),
        };
        if older != Self::default() {
            return Some(older);
        }
        // Of several policies, the tightest.
        let items = text(headers, "ratelimit")?.split(',');
        let (name, remaining, item) = items
            .filter_map(|item| Some((policy(item), parameter(item, "r")?, item)))
            .min_by_key(|(_, remaining, _)| *remaining)?;
        let mut policies = text(headers, "ratelimit-policy").unwrap_or_default().split(',');
        let limit = policies.find(|item| policy(item) == name).and_then(|item| parameter(item, "q"));
        let resets_in = parameter(item, "t").map(Duration::from_secs);
        Some(Self { limit, remaining: Some(remaining), resets_in })
    }
}

/// Lets a request through, or says until when not.
#[derive(Debug)]
pub(super) struct Gate {
    budget: Budget,
    /// When requests were made, oldest first; only those that the budget still counts.
    made: VecDeque<Instant>,
    silent: Option<Instant>,
    allowance: Option<Allowance>,
}

impl Gate {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, made: VecDeque::new(), silent: None, allowance: None }
    }

    pub(super) fn allowance(&self) -> Option<Allowance> {
        self.allowance
    }

    pub(super) fn silenced(&self, now: Instant) -> Option<Instant> {
        self.silent.filter(|until| *until > now)
    }

    /// Counts a request that is about to be made.
    pub(super) fn pass(&mut self, now: Instant) -> Result<(), ApiError> {
        if let Some(until) = self.silenced(now) {
            return Err(ApiError::Silenced { until });
        }
        let Budget::AtMost { requests, per } = self.budget else { return Ok(()) };
        while self.made.front().is_some_and(|made| now.saturating_duration_since(*made) >= per) {
            self.made.pop_front();
        }
        if self.made.len() >= requests {
            let oldest = self.made.front().copied().unwrap_or(now);
            return Err(ApiError::Budget { until: oldest + per });
        }
        self.made.push_back(now);
        Ok(())
    }

    /// Takes in the head of an answer.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`]; from then on nothing passes for as long as it says.
    pub(super) fn heard(&mut self, now: Instant, status: u16, headers: &HeaderMap) -> Result<(), ApiError> {
        let allowance = Allowance::of(headers);
        self.allowance = allowance.or(self.allowance);
        if status == 429 {
            let until = now + bounded(retry_after(headers).unwrap_or(BLOCK));
            self.silent = self.silent.max(Some(until));
            return Err(ApiError::RateLimited { until });
        }
        // The next request would be the one that blocks everybody.
        if let Some(Allowance { remaining: Some(0), resets_in: Some(wait), .. }) = allowance {
            self.silent = self.silent.max(Some(now + bounded(wait)));
        }
        Ok(())
    }
}

fn bounded(wait: Duration) -> Duration {
    wait.clamp(LEAST_SILENCE, MOST_SILENCE)
}

/// Whole seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text(headers, RETRY_AFTER.as_str())?;
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => until_date(text, headers),
    }
}

/// How long after the answer's own `Date`: our clock may be wrong, theirs is the one that counts.
fn until_date(date: &str, headers: &HeaderMap) -> Option<Duration> {
    let sent = timestamp(text(headers, DATE.as_str())?)?;
    let wait = timestamp(date)?.duration_since(sent);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

fn timestamp(date: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The name in `"name";r=1`.
fn policy(item: &str) -> &str {
    item.split(';').next().unwrap_or_default().trim()
}

/// The number of `key` in `"name";key=1`.
fn parameter(item: &str, key: &str) -> Option<u64> {
    let mut pairs = item.split(';').skip(1).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == key)?.1.parse().ok()
}

#[cfg(test)]
mod tests;
