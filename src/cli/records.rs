//! The records of names as Cloudflare keeps them, which no resolver shows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::cloudflare_api::{ApiError, CloudflareApi, Record, Zone};

/// By hostname: its records or those of the wildcard over it; or why they are not known.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) of: BTreeMap<String, Vec<Record>>,
    pub(super) unread: BTreeMap<String, String>,
}

impl Records {
    /// Each reason why records were not read, with the names that it concerns.
    pub(super) fn reasons(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, why) in &self.unread {
            reasons.entry(why).or_default().push(name);
        }
        reasons
    }
}

/// As machines want them.
pub(super) fn as_json(found: &[Record]) -> Value {
    let one = |record: &Record| json!({ "type": record.kind, "name": record.name, "content": record.content, "proxied": record.proxied });
    found.iter().map(one).collect()
}

/// Reads the records of all names, one after the other; why one is not known is kept beside. What would keep every other name
/// from being read ends it, for each may take its whole time over that.
pub(super) async fn read<'a>(api: &CloudflareApi, names: impl Iterator<Item = &'a str>) -> Records {
    let mut zones = Zones { api, known: BTreeMap::new() };
    let mut records = Records::default();
    let mut ended: Option<String> = None;
    for hostname in names {
        if records.of.contains_key(hostname) || records.unread.contains_key(hostname) {
            continue;
        }
        if let Some(why) = &ended {
            records.unread.insert(hostname.to_owned(), why.clone());
            continue;
        }
        match one(&mut zones, hostname).await {
            Ok(found) => {
                records.of.insert(hostname.to_owned(), found);
            }
            Err(why) => {
                let says = why.says();
                ended = why.of_all().then(|| says.clone());
                records.unread.insert(hostname.to_owned(), says);
            }
        }
    }
    records
}

/// Why the records of one name are not known.
enum Missed {
    NoZone,
    Api(ApiError),
}

impl Missed {
    fn says(&self) -> String {
        match self {
            Self::NoZone => "its zone is not in reach of these credentials".into(),
            Self::Api(error) => format!("{error}: {}", error.advice()),
        }
    }

    /// The next name would hear the same.
    fn of_all(&self) -> bool {
        match self {
            Self::NoZone => false,
            Self::Api(error) => match error {
                ApiError::NoCredentials
                | ApiError::BadToken(_)
                | ApiError::Timeout
                | ApiError::Unreachable(_)
                | ApiError::CutOff { .. }
                | ApiError::RateLimited { .. }
                | ApiError::Silenced { .. }
                | ApiError::Budget { .. } => true,
                ApiError::MissingPermission { .. }
                | ApiError::WrongAccount
                | ApiError::BadId
                | ApiError::NotFound
                | ApiError::AccountsNotListable
                | ApiError::Refused { .. }
                | ApiError::NotJson { .. }
                | ApiError::TooLarge
                | ApiError::Unexpected { .. } => false,
            },
        }
    }
}

async fn one(zones: &mut Zones<'_>, hostname: &str) -> Result<Vec<Record>, Missed> {
    let zone = zones.of(hostname).await.map_err(Missed::Api)?;
    let Some(zone) = zone else { return Err(Missed::NoZone) };
    let found = zones.api.records(&zone.id, hostname).await.map_err(Missed::Api)?;
    if !found.is_empty() {
        return Ok(found);
    }
    // A record of the name itself, of whatever type, wins over a wildcard; the closest wildcard wins over others.
    for parent in parents(hostname).take_while(|parent| ends_with(parent, &zone.name)) {
        let found = zones.api.records(&zone.id, &format!("*.{parent}")).await.map_err(Missed::Api)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Zones that were asked for.
struct Zones<'a> {
    api: &'a CloudflareApi,
    known: BTreeMap<String, Option<Zone>>,
}

impl Zones<'_> {
    /// The closest zone over a name.
    async fn of(&mut self, hostname: &str) -> Result<Option<Zone>, ApiError> {
        for name in std::iter::once(hostname).chain(parents(hostname)) {
            let zone = match self.known.get(name) {
                Some(zone) => zone.clone(),
                None => {
                    let zone = self.api.zones(name).await?.into_iter().find(Zone::answers);
                    self.known.insert(name.to_owned(), zone.clone());
                    zone
                }
            };
            if zone.is_some() {
                return Ok(zone);
            }
        }
        Ok(None)
    }
}

/// `a.b.example.com` → `b.example.com`, `example.com`; no zone of ours is a whole top-level domain.
fn parents(hostname: &str) -> impl Iterator<Item = &str> {
    let after = |name: &'_ str| -> Option<usize> { name.find('.').map(|at| at + 1) };
    let mut rest = hostname;
    std::iter::from_fn(move || {
        rest = &rest[after(rest)?..];
        rest.contains('.').then_some(rest)
    })
}

fn ends_with(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}
