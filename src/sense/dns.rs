//! Where the public names lead: by this host's resolver, by one outside, and as Cloudflare keeps their records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::cloudflare_api::{AddressRanges, ApiError, CloudflareApi, Record, Zone};
use crate::client::dns::{Dns, DnsFailure};
use crate::warden::evidence::{Blind, Seen};
use crate::warden::route::{Kept, Route, RouteSight};

/// One question to one resolver.
const QUESTION: Duration = Duration::from_secs(3);
/// Between two readings of a record: the few requests that a host has belong to the connections first.
const RECORDS_REST: Duration = Duration::from_secs(150);
/// Names that fail together are read together: each of them has to be explained before it is believed that all are.
const AT_ONCE: usize = 3;
/// After the API refused, it is asked again.
const REFUSED_REST: Duration = Duration::from_secs(3600);
/// As long as a name can be.
const LONGEST_NAME: usize = 253;
/// A record that was read counts for so long; of many names, until its turn has come again.
const KEPT_FOR: Duration = Duration::from_secs(600);
const KEPT_AT_MOST: Duration = Duration::from_secs(3600);

/// Whom to ask.
pub struct Routes {
    pub inside: Arc<Dns>,
    pub outside: Option<Dns>,
    /// Where proxied names resolve to.
    pub ranges: watch::Receiver<AddressRanges>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

impl Routes {
    /// Looks once where `name` leads; what no resolver answers is not known. Takes a few seconds at most.
    pub async fn look(&self, name: &str) -> Seen<RouteSight> {
        let ranges = self.ranges.borrow().clone();
        let inside = route(&self.inside, name, &ranges).await;
        let outside = match &self.outside {
            Some(outside) => Some(route(outside, name, &ranges).await.map_err(|failure| blind(&failure))?),
            None => None,
        };
        match (inside, outside) {
            (Ok(inside), outside) => Ok(RouteSight { inside: Some(inside), outside, kept: None }),
            (Err(_), Some(outside)) => Ok(RouteSight { inside: None, outside: Some(outside), kept: None }),
            (Err(failure), None) => Err(blind(&failure)),
        }
    }
}

async fn route(dns: &Dns, name: &str, ranges: &AddressRanges) -> Result<Route, DnsFailure> {
    match dns.addresses(name, QUESTION).await {
        Ok(found) => Ok(Route::of(&found.aliases, &found.addresses, |address| ranges.contains(address))),
        // An alias that leads nowhere looks the same, and is another mistake.
        Err(DnsFailure::NxDomain | DnsFailure::NoRecords) => match dns.alias(name, QUESTION).await {
            Ok(alias) => Ok(Route::of_alias(&alias).unwrap_or(Route::Missing)),
            Err(DnsFailure::NxDomain | DnsFailure::NoRecords) => Ok(Route::Missing),
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

fn blind(failure: &DnsFailure) -> Blind {
    match failure {
        DnsFailure::TimedOut => Blind::TimedOut,
        DnsFailure::Refused => Blind::Forbidden,
        DnsFailure::NoResolver(_) | DnsFailure::ServFail => Blind::Unreachable,
        DnsFailure::BadName(_) => Blind::NotFound,
        DnsFailure::NxDomain | DnsFailure::NoRecords | DnsFailure::Other(_) => Blind::Garbled,
    }
}

/// Reads the records themselves, seldom and a few at a time, where a token allows it.
#[derive(Debug)]
pub struct Zones {
    api: Arc<CloudflareApi>,
    /// By name: the zone's id, or that there is none in our sight.
    zones: BTreeMap<String, Option<String>>,
    kept: BTreeMap<String, Reading>,
    rest_until: Option<Instant>,
    /// Names whose record was never read may be read before the rest is over, so many of them.
    left: usize,
}

/// What is known of the record of one public name.
#[derive(Debug)]
struct Reading {
    asked: Instant,
    /// What was read last, and when. An answer that was missed takes nothing of it away.
    read: Option<(Instant, Kept)>,
}

impl Zones {
    pub fn new(api: Arc<CloudflareApi>) -> Self {
        Self { api, zones: BTreeMap::new(), kept: BTreeMap::new(), rest_until: None, left: AT_ONCE }
    }

    /// What is known of the record of `name`.
    pub fn known(&self, name: &str) -> Option<Kept> {
        let (at, kept) = self.kept.get(name)?.read.as_ref()?;
        let turns = u32::try_from(self.kept.len()).unwrap_or(u32::MAX).saturating_add(2);
        let counts = KEPT_FOR.max(RECORDS_REST.saturating_mul(turns)).min(KEPT_AT_MOST);
        (at.elapsed() < counts).then(|| kept.clone())
    }

    /// One of `names` was never read, and may be now.
    pub fn wants<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        (0 < self.left || !self.resting()) && names.any(|name| !self.kept.contains_key(name))
    }

    fn resting(&self) -> bool {
        self.rest_until.is_some_and(|until| Instant::now() < until)
    }

    /// Reads the records of `names` that were never read, a few of them; or else the one that was not read for the longest, if
    /// it is due. Returns those that it read.
    pub async fn read<'a>(&mut self, names: impl Iterator<Item = &'a str>, tunnel: &str) -> Vec<&'a str> {
        let resting = self.resting();
        if !resting {
            self.left = AT_ONCE;
        }
        let (read, unread): (Vec<_>, Vec<_>) = names.partition(|name| self.kept.contains_key(*name));
        let oldest = read.into_iter().min_by_key(|name| self.kept.get(*name).map(|one| one.asked));
        let mut due: Vec<_> = unread.into_iter().take(self.left).collect();
        if due.is_empty() && !resting {
            due.extend(oldest);
        }
        let mut done = Vec::new();
        for name in due {
            if self.left == 0 {
                break;
            }
            self.read_one(name, tunnel).await;
            done.push(name);
        }
        done
    }

    async fn read_one(&mut self, name: &str, tunnel: &str) {
        self.left = self.left.saturating_sub(1);
        let (found, rest) = match self.ask(name, tunnel).await {
            Ok(kept) => (Ok(kept), RECORDS_REST),
            Err(error) => {
                tracing::debug!("the record of {name} cannot be read: {error}");
                self.left = 0;
                let rest = match error {
                    ApiError::MissingPermission { .. } | ApiError::BadToken(_) | ApiError::WrongAccount => {
                        REFUSED_REST
                    }
                    ApiError::NoCredentials
                    | ApiError::BadId
                    | ApiError::NotFound
                    | ApiError::AccountsNotListable
                    | ApiError::Refused { .. }
                    | ApiError::Timeout
                    | ApiError::RateLimited { .. }
                    | ApiError::Silenced { .. }
                    | ApiError::Budget { .. }
                    | ApiError::Unreachable(_)
                    | ApiError::CutOff { .. }
                    | ApiError::NotJson { .. }
                    | ApiError::TooLarge
                    | ApiError::Unexpected { .. } => RECORDS_REST,
                };
                (Err(()), rest)
            }
        };
        let now = Instant::now();
        let reading = self.kept.entry(name.to_owned()).or_insert(Reading { asked: now, read: None });
        reading.asked = now;
        if let Ok(kept) = found {
            reading.read = kept.map(|kept| (now, kept));
        }
        self.rest_until = Some(now + rest);
    }

    /// A name without a record of its own may be covered by a wildcard, or balanced between tunnels; of the latter nothing
    /// is known here.
    async fn ask(&mut self, name: &str, tunnel: &str) -> Result<Option<Kept>, ApiError> {
        let Some(zone) = self.zone(name).await? else { return Ok(None) };
        let exact = self.api.records(&zone, name).await?;
        if let Some(kept) = meaning(&exact, tunnel) {
            return Ok(Some(kept));
        }
        match name.split_once('.') {
            Some((_, parent)) if exact.is_empty() => {
                Ok(meaning(&self.api.records(&zone, &format!("*.{parent}")).await?, tunnel))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The zone of `name`: most are of two labels.
    async fn zone(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let labels: Vec<_> = name.split('.').collect();
        for many in 2..=labels.len().min(4) {
            let zone = labels[labels.len() - many..].join(".");
            let known = match self.zones.get(&zone) {
                Some(known) => known.clone(),
                None => {
                    let found = self.api.zones(&zone).await?;
                    let id = found.into_iter().find(Zone::answers).map(|zone| zone.id);
                    self.zones.insert(zone, id.clone());
                    id
                }
            };
            if known.is_some() {
                return Ok(known);
            }
        }
        Ok(None)
    }
}

/// What these records of one name mean for the tunnel; `None` where they do not say where a visitor goes.
fn meaning(records: &[Record], tunnel: &str) -> Option<Kept> {
    let leads = records.iter().find(|record| matches!(record.kind.as_str(), "CNAME" | "A" | "AAAA"))?;
    let content = leads.content.as_deref()?;
    let content: String = content.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    Kept::of(&leads.kind, &content, leads.proxied, tunnel)
}

#[cfg(test)]
mod tests;
