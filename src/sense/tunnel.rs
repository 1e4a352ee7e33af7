//! What Cloudflare's records say of a tunnel. An API that cannot be read says nothing of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::client::cloudflare_api::{
    ApiError, CloudflareApi, ConfigSource, Configuration, Connector, Tunnel,
};
use crate::client::cloudflared_config::is_uuid;
use crate::warden::evidence::{Blind, TunnelSight};

/// A look that nobody waits for may take this long.
pub const LIMIT: Duration = Duration::from_secs(15);
/// Of what changes seldom, the oldest that is believed; longer where many tunnels share the requests.
const SELDOM: Duration = Duration::from_secs(300);
/// The same while cloudflared holds no connection: was the tunnel deleted?
const OFTEN: Duration = Duration::from_secs(50);
/// Records lag by minutes; asked again sooner, they say the same.
const JUST_READ: Duration = Duration::from_secs(10);
/// For so long a sight is not replaced by blindness that is our own doing.
const SIGHT_LASTS: Duration = Duration::from_secs(300);

/// What this host knows of the process whose connections are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mine {
    /// Its `connectorId`.
    pub connector: Option<String>,
    /// Connections that it says it holds; 0 without a process.
    pub connections: Option<u8>,
}

/// Accounts in which something was read: what is not there is not there, rather than out of our sight.
pub type Verified = Arc<watch::Sender<BTreeSet<String>>>;

/// Why a look saw nothing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub blind: Blind,
    /// What went wrong.
    pub what: String,
    /// What to do about it; the same trouble has the same advice.
    pub advice: &'static str,
}

/// Looks at the records of one tunnel, and remembers what changes seldom.
#[derive(Debug)]
pub struct Records {
    api: Arc<CloudflareApi>,
    /// Set in the configuration.
    account: Option<String>,
    verified: Verified,
    /// Between two readings of the connections.
    period: Duration,
    /// How long what changes seldom is believed.
    seldom: Duration,
    of: Option<Of>,
    /// When a sight was last given.
    seen: Option<Instant>,
    /// When the API last failed us, if it did not answer since.
    failed: Option<Instant>,
}

/// What is known of the tunnel with this id.
#[derive(Debug)]
struct Of {
    tunnel: String,
    account: Option<String>,
    /// When the tunnel itself was last read, and what was found.
    object: Option<(Instant, Existence)>,
    /// When its configuration was last asked for.
    rules_read: Option<Instant>,
    /// Which remote rules are in effect, and since when we know of them (time since boot).
    rules: Option<(Option<i64>, Duration)>,
    connections_read: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existence {
    /// `remote` unless its rules are known to be local.
    There {
        remote: bool,
    },
    Deleted,
    /// Not in an account of which we have read.
    Absent,
}

impl Records {
    /// Connections are read each `period`; `share` tunnels ask through this client.
    pub fn new(
        api: Arc<CloudflareApi>,
        account: Option<String>,
        verified: Verified,
        period: Duration,
        share: u32,
    ) -> Self {
        let seldom = SELDOM * share.max(1);
        Self { api, account, verified, period, seldom, of: None, seen: None, failed: None }
    }

    /// Looks once, at what is due or (`fresh`) at what was not read just now. `None`: nothing was asked that could be
    /// told, and what was told before stands.
    pub async fn look(
        &mut self,
        tunnel: Option<&str>,
        mine: &watch::Receiver<Mine>,
        limit: Duration,
        fresh: bool,
    ) -> Option<Result<TunnelSight, Trouble>> {
        // A tunnel may be called by its name; the API knows it by its id alone.
        let Some(tunnel) = tunnel.filter(|id| is_uuid(id)) else {
            return Some(Err(Trouble {
                blind: Blind::NotFound,
                what: "which tunnel to ask for is not known".into(),
                advice: "set its id in [[tunnel]]",
            }));
        };
        if self.of.as_ref().is_none_or(|of| of.tunnel != tunnel) {
            self.of = Some(Of::new(tunnel, self.account.clone()));
        }
        // Jitter must not make a reading miss its turn.
        let age = if fresh { JUST_READ } else { self.period * 9 / 10 };
        if self.failed.is_some_and(|at| at.elapsed() < age) {
            return None;
        }
        let hasty = limit < LIMIT;
        let asked = timeout(limit, self.ask(mine, age)).await.unwrap_or(Err(ApiError::Timeout));
        match asked {
            Ok(None) => None,
            Ok(Some(sight)) => {
                self.seen = Some(Instant::now());
                self.failed = None;
                Some(Ok(sight))
            }
            Err(error) => {
                // Not Cloudflare's word, but ours: the limit of a last look, the budget of this host.
                let ours =
                    matches!(error, ApiError::Budget { .. }) || (hasty && matches!(error, ApiError::Timeout));
                let lasts = self.seen.is_some_and(|at| at.elapsed() < SIGHT_LASTS);
                if ours && (lasts || self.failed.is_some()) {
                    return None;
                }
                self.failed = Some(Instant::now());
                Some(Err(Trouble::of(&error)))
            }
        }
    }

    /// Reads what is older than it may be; of connections, what is older than `age`.
    async fn ask(
        &mut self,
        mine: &watch::Receiver<Mine>,
        age: Duration,
    ) -> Result<Option<TunnelSight>, ApiError> {
        let Some(of) = &mut self.of else { return Ok(None) };
        let holds = mine.borrow().connections;
        let mut read = false;
        if of.object_due(self.seldom, holds) {
            of.read_object(&self.api, &self.verified, holds).await?;
            read = true;
        }
        let (remote, account) = match (of.object, of.account.as_deref()) {
            (Some((_, Existence::Deleted | Existence::Absent)), _) => {
                return Ok(read.then(|| TunnelSight { deleted: true, ..TunnelSight::default() }));
            }
            (Some((_, Existence::There { remote })), Some(account)) => (remote, account),
            (Some((_, Existence::There { .. })), None) | (None, _) => return Ok(None),
        };
        if !remote {
            of.rules = None;
        } else if of.rules_read.is_none_or(|at| self.seldom <= at.elapsed()) {
            let found = self.api.configuration(account, &of.tunnel).await?;
            of.rules = rules(&found, of.rules);
            of.rules_read = Some(Instant::now());
        }
        let mut live = None;
        // A sight replaces the last one whole, so none is given without them. Without a connection of its own there is none
        // to be looked for.
        let due = read || of.connections_read.is_none_or(|at| age <= at.elapsed());
        if holds != Some(0) && due {
            let before = mine.borrow().connector.clone();
            let listed = self.api.connections(account, &of.tunnel).await?;
            of.connections_read = Some(Instant::now());
            read = true;
            // Another process by now? Then they are nobody's.
            let after = mine.borrow().connector.clone();
            live = before.as_deref().filter(|_| before == after).map(|mine| live_of(&listed, mine));
        }
        let remote_rules_since = of.rules.map(|(_, since)| since);
        Ok(read.then_some(TunnelSight { deleted: false, live, remote_rules_since }))
    }
}

impl Of {
    fn new(tunnel: &str, account: Option<String>) -> Self {
        Self {
            tunnel: tunnel.to_owned(),
            account,
            object: None,
            rules_read: None,
            rules: None,
            connections_read: None,
        }
    }

    fn object_due(&self, seldom: Duration, holds: Option<u8>) -> bool {
        let Some((read, existence)) = self.object else { return true };
        let age = match (holds, existence) {
            // It cannot be absent any more.
            (Some(1..) | None, Existence::Absent) => return true,
            // A search costs a request for each account.
            (Some(0), Existence::Absent) if self.account.is_none() => SELDOM / 2,
            (Some(0), _) | (_, Existence::Deleted) => OFTEN,
            (Some(1..) | None, Existence::There { .. }) => seldom,
        };
        age <= read.elapsed()
    }

    /// Reads the tunnel itself, after a search for its account where that is not known.
    async fn read_object(
        &mut self,
        api: &CloudflareApi,
        verified: &Verified,
        holds: Option<u8>,
    ) -> Result<(), ApiError> {
        let found = match &self.account {
            Some(account) => api.tunnel(account, &self.tunnel).await,
            None => api.find_tunnel(&self.tunnel).await.map(|(account, tunnel)| {
                self.account = Some(account.id);
                tunnel
            }),
        };
        let existence = match found {
            Ok(tunnel) => {
                if let Some(account) = &self.account {
                    verified.send_if_modified(|known| known.insert(account.clone()));
                }
                existence(&tunnel)
            }
            // A search has read every account. Whoever holds connections has a tunnel, whatever we may see of it.
            Err(ApiError::NotFound)
                if holds == Some(0)
                    && self.account.as_ref().is_none_or(|account| verified.borrow().contains(account)) =>
            {
                Existence::Absent
            }
            Err(error) => return Err(error),
        };
        self.object = Some((Instant::now(), existence));
        Ok(())
    }
}

fn existence(tunnel: &Tunnel) -> Existence {
    let local = tunnel.config_source == Some(ConfigSource::Local);
    if tunnel.deleted_at.is_some() { Existence::Deleted } else { Existence::There { remote: !local } }
}

/// The remote rules in effect, and since when we know of them. `None` where there are none, or local ones count.
fn rules(found: &Configuration, known: Option<(Option<i64>, Duration)>) -> Option<(Option<i64>, Duration)> {
    let leads_somewhere = found.ingress.iter().any(|rule| !rule.service.starts_with("http_status:"));
    if found.source != Some(ConfigSource::Cloudflare) || !leads_somewhere {
        return None;
    }
    let same = known.filter(|(version, _)| *version == found.version);
    Some(same.unwrap_or_else(|| (found.version, crate::clock::now().boot)))
}

/// Connections of this connector that carry requests; one that is not listed has none.
fn live_of(listed: &[Connector], connector: &str) -> u32 {
    let ours = listed.iter().filter(|listed| listed.id.eq_ignore_ascii_case(connector));
    ours.map(|connector| u32::try_from(connector.live()).unwrap_or(u32::MAX)).fold(0, u32::saturating_add)
}

impl Trouble {
    fn of(error: &ApiError) -> Self {
        Self { blind: blind(error), what: error.to_string(), advice: error.advice() }
    }
}

fn blind(error: &ApiError) -> Blind {
    match error {
        ApiError::NoCredentials | ApiError::BadId | ApiError::NotFound => Blind::NotFound,
        ApiError::BadToken(_)
        | ApiError::MissingPermission { .. }
        | ApiError::WrongAccount
        | ApiError::AccountsNotListable
        | ApiError::Refused { .. } => Blind::Forbidden,
        ApiError::Timeout => Blind::TimedOut,
        ApiError::RateLimited { .. }
        | ApiError::Silenced { .. }
        | ApiError::Budget { .. }
        | ApiError::Unreachable(_)
        | ApiError::CutOff { .. } => Blind::Unreachable,
        ApiError::NotJson { .. } | ApiError::TooLarge | ApiError::Unexpected { .. } => Blind::Garbled,
    }
}

#[cfg(test)]
mod tests;
