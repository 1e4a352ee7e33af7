//! Cloudflare's API v4: what Cloudflare knows of tunnels, connectors, zones and tokens. Only GET, never the run token.
//!
//! An answer that is not of its form is an error, not an empty list: an API that cannot be read is no evidence.

mod allowance;
mod asked;
mod credentials;
mod endpoint;
mod envelope;
mod error;
mod exchange;
mod field;
mod refusal;
mod token;
mod tunnel;
mod zone;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderValue, InvalidHeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::time::Instant;

pub use allowance::{Allowance, Budget};
pub use asked::{Asked, Count, Outcome};
pub use credentials::Credentials;
pub use error::{ApiError, Fault, Permission};
pub use token::{Account, TokenOwner, TokenStatus, VerifiedToken};
pub use tunnel::{ConfigSource, Configuration, Connector, EdgeConnection, Tunnel, TunnelStatus};
pub use zone::{AddressRange, AddressRanges, Record, Zone};

use super::dns::{Dns, Names};
use super::tls::Tls;
use allowance::Gate;
use endpoint::Endpoint;

/// Where the API is.
pub const BASE: &str = "https://api.cloudflare.com/client/v4";

/// An idle connection serves the pages of one call and no more.
const IDLE: Duration = Duration::from_secs(5);
/// The most that Cloudflare gives of accounts and zones at once.
const FEW: usize = 50;
/// Records come in larger pages.
const MANY: usize = 100;

/// Where and how much to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Without a final slash. `https`, or `http` on loopback.
    pub base: String,
    /// For one request with its answer.
    pub request: Duration,
    /// For one call with all its pages.
    pub call: Duration,
    pub budget: Budget,
}

impl Default for ApiSettings {
    /// As a command asks: once, with cloudflared's own 15 s for a request.
    fn default() -> Self {
        Self {
            base: BASE.into(),
            request: Duration::from_secs(15),
            call: Duration::from_secs(45),
            budget: Budget::Unlimited,
        }
    }
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Credentials would travel in clear, or nowhere.
    #[error("`{0}` is no https address")]
    Base(String),
    #[error("the user agent is no header value")]
    UserAgent(#[source] InvalidHeaderValue),
    #[error("cannot set up HTTPS")]
    Client(#[source] reqwest::Error),
}

/// Asks Cloudflare's API. Uses no proxy and follows no redirect.
///
/// One client is one budget: share it, so that what one caller is told by a 429 silences the others too.
#[derive(Debug)]
pub struct CloudflareApi {
    http: Client,
    base: Url,
    credentials: Option<Credentials>,
    request: Duration,
    call: Duration,
    gate: Mutex<Gate>,
    count: Option<Count>,
}

impl CloudflareApi {
    /// Opens nothing yet. Without credentials only [`CloudflareApi::ips`] gives an answer. `user_agent` names us
    /// honestly: `tunnelwarden/1.2.3`.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(
        tls: &Tls,
        dns: Arc<Dns>,
        user_agent: &str,
        credentials: Option<Credentials>,
        settings: &ApiSettings,
    ) -> Result<Self, SetupError> {
        let base = base(&settings.base).ok_or_else(|| SetupError::Base(settings.base.clone()))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls.web())
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            // A request that we do not see would not be counted.
            .retry(reqwest::retry::never())
            .pool_idle_timeout(IDLE)
            .user_agent(HeaderValue::from_str(user_agent).map_err(SetupError::UserAgent)?)
            .dns_resolver(Arc::new(Names { dns, limit: settings.request / 2 }))
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self {
            http,
            base,
            credentials,
            request: settings.request,
            call: settings.call,
            gate: Mutex::new(Gate::new(settings.budget)),
            count: None,
        })
    }

    /// From now on `count` is told of each request.
    #[must_use]
    pub fn counted(self, count: Count) -> Self {
        Self { count: Some(count), ..self }
    }

    /// The accounts that the credentials reach.
    ///
    /// # Errors
    /// [`ApiError::AccountsNotListable`] for a token that belongs to an account; else see [`ApiError`].
    pub async fn accounts(&self) -> Result<Vec<Account>, ApiError> {
        self.list(Endpoint::Accounts, &[], FEW, self.until()).await
    }

    /// A tunnel, deleted ones too.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn tunnel(&self, account: &str, tunnel: &str) -> Result<Tunnel, ApiError> {
        self.one(Endpoint::Tunnel { account, tunnel }, self.until()).await
    }

    /// The account, of all that the credentials reach, that holds this tunnel; and the tunnel.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] only if every account was asked and none has it, or none that we may see: a role can
    /// be limited to single tunnels. Where an account could not be asked, that account's error.
    pub async fn find_tunnel(&self, tunnel: &str) -> Result<(Account, Tunnel), ApiError> {
        let until = self.until();
        let accounts: Vec<Account> = self.list(Endpoint::Accounts, &[], FEW, until).await?;
        if accounts.is_empty() {
            return Err(ApiError::MissingPermission { needs: Permission::AccountSettingsRead });
        }
        let mut unseen = None;
        for account in accounts {
            match self.one(Endpoint::Tunnel { account: &account.id, tunnel }, until).await {
                Ok(found) => return Ok((account, found)),
                Err(ApiError::NotFound) => {}
                Err(error @ (ApiError::MissingPermission { .. } | ApiError::WrongAccount)) => {
                    unseen.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(unseen.unwrap_or(ApiError::NotFound))
    }

    /// The connectors of a tunnel that the edge tracks; may lag by minutes.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn connections(&self, account: &str, tunnel: &str) -> Result<Vec<Connector>, ApiError> {
        let endpoint = Endpoint::Connections { account, tunnel };
        Ok(self.page(endpoint, &[], self.until()).await?.result.unwrap_or_default())
    }

    /// What Cloudflare holds of the tunnel's ingress; in effect only where its source is Cloudflare.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn configuration(&self, account: &str, tunnel: &str) -> Result<Configuration, ApiError> {
        self.one(Endpoint::Configuration { account, tunnel }, self.until()).await
    }

    /// The zones of exactly this name; one name can be in several accounts.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn zones(&self, name: &str) -> Result<Vec<Zone>, ApiError> {
        self.list(Endpoint::Zones, &[("name", name)], FEW, self.until()).await
    }

    /// The records of exactly this name, of every type.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn records(&self, zone: &str, name: &str) -> Result<Vec<Record>, ApiError> {
        self.list(Endpoint::Records { zone }, &[("name", name)], MANY, self.until()).await
    }

    /// The addresses of Cloudflare's proxies. Sends no credentials.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn ips(&self) -> Result<AddressRanges, ApiError> {
        self.one(Endpoint::Addresses, self.until()).await
    }

    /// Whether the token is good, and until when; `None` for a global key, which has no end.
    ///
    /// A user's token and an account's own are verified at two endpoints, each of which calls the other kind invalid
    /// (cloudflare/cloudflare-docs#29486). The account's is asked only if its id is given.
    ///
    /// # Errors
    /// What the likelier endpoint said, if both refuse; else see [`ApiError`].
    pub async fn verify(&self, account: Option<&str>) -> Result<Option<VerifiedToken>, ApiError> {
        let Some(credentials) = &self.credentials else { return Err(ApiError::NoCredentials) };
        if !credentials.is_token() {
            return Ok(None);
        }
        let until = self.until();
        let mut endpoints = vec![(Endpoint::VerifyUser, TokenOwner::User)];
        if let Some(account) = account {
            let place = usize::from(!credentials.is_of_account());
            endpoints.insert(place, (Endpoint::VerifyAccount { account }, TokenOwner::Account));
        }
        let mut refusal = None;
        for (endpoint, owner) in endpoints {
            match self.one(endpoint, until).await {
                Ok(answer) => return Ok(Some(VerifiedToken::new(owner, answer))),
                Err(error @ (ApiError::BadToken(Fault::Invalid) | ApiError::WrongAccount)) => {
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or(ApiError::NoCredentials))
    }

    /// What the last answer said is left of Cloudflare's limit; `None` until one said so.
    pub fn allowance(&self) -> Option<Allowance> {
        self.gate().allowance()
    }

    /// Until when nothing is asked, because Cloudflare said so.
    pub fn silenced(&self) -> Option<Instant> {
        self.gate().silenced(Instant::now())
    }

    fn until(&self) -> Instant {
        Instant::now() + self.call
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address, if credentials may be sent there.
fn base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let here = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    (url.scheme() == "https" || (url.scheme() == "http" && here)).then_some(url)
}

/// For the fuzzer: opens `body` as the answer of each endpoint.
#[cfg(fuzzing)]
pub fn fuzz(status: u16, body: &[u8]) {
    use envelope::open;
    let (account, tunnel) = ("a", "t");
    let errors = [
        open::<Vec<Account>>(Endpoint::Accounts, status, body).err(),
        open::<Tunnel>(Endpoint::Tunnel { account, tunnel }, status, body).err(),
        open::<Vec<Connector>>(Endpoint::Connections { account, tunnel }, status, body).err(),
        open::<Configuration>(Endpoint::Configuration { account, tunnel }, status, body).err(),
        open::<Vec<Zone>>(Endpoint::Zones, status, body).err(),
        open::<Vec<Record>>(Endpoint::Records { zone: "z" }, status, body).err(),
        open::<AddressRanges>(Endpoint::Addresses, status, body).err(),
    ];
    for error in errors.into_iter().flatten() {
        let told = error.to_string();
        assert!(told.len() < 2000 && !told.contains(char::is_control), "{told:?}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
