//! The probes of Cloudflare's records: one for each tunnel, through one client with one budget, where there are
//! credentials for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::discover::Found;
use super::event_loop::Signal;
use crate::client::cloudflare_api::{
    ApiSettings, Budget, CloudflareApi, Count, Credentials, TokenOwner, TokenStatus, VerifiedToken,
};
use crate::client::dns::Dns;
use crate::client::tls::Tls;
use crate::config::Api;
use crate::report::metrics::Metrics;
use crate::sense::journal::Told;
use crate::sense::polling::{Pace, Periods, poll};
use crate::sense::tunnel::{LIMIT, Mine, Records, Trouble, Verified};
use crate::warden::event::Event;
use crate::warden::evidence::{Blind, Finding, Seen, TunnelSight};

/// Cloudflare allows 1,200, and every script of the same user draws on them.
const BUDGET: Budget = Budget::AtMost { requests: 10, per: Duration::from_secs(300) };
const REQUEST: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(10);
/// By then `/ready` and the journal have said which tunnel and which connector it is.
const FIRST: Duration = Duration::from_secs(5);
/// While something is wrong, connections are read this often even where the configured period is longer.
const HURRIED: Duration = Duration::from_secs(60);
/// And whether something is due is looked up this often: cloudflared may have lost its connections since.
const GLANCE: Duration = Duration::from_secs(15);
/// The end of the token is looked up this often, first when the account is known.
const TOKEN_EACH: Duration = Duration::from_secs(24 * 3600);
const TOKEN_FIRST: Duration = Duration::from_secs(60);
const TOKEN_AGAIN: Duration = Duration::from_secs(3600);

/// The way to the records; there only with credentials.
pub(super) struct Archive {
    api: Arc<CloudflareApi>,
    account: Option<String>,
    verified: Verified,
    token: Arc<watch::Sender<Option<VerifiedToken>>>,
    period: Duration,
    /// Tunnels that share the budget.
    share: u32,
    metrics: Arc<Metrics>,
}

impl Archive {
    /// Asks nothing yet.
    pub(super) fn new(
        tls: &Tls,
        dns: Arc<Dns>,
        agent: &str,
        credentials: Credentials,
        settings: &Api,
        share: usize,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let limits = ApiSettings { request: REQUEST, call: CALL, budget: BUDGET, ..ApiSettings::default() };
        let counted = Arc::clone(metrics);
        let api = CloudflareApi::new(tls, dns, agent, Some(credentials), &limits)
            .context("cannot set up Cloudflare's API")?
            .counted(Count(Box::new(move |asked, outcome| counted.api_asked(asked, outcome))));
        Ok(Self {
            api: Arc::new(api),
            account: settings.account_id.as_ref().map(|id| id.as_str().to_owned()),
            verified: Arc::new(watch::Sender::new(Default::default())),
            token: Arc::new(watch::Sender::new(None)),
            period: settings.period,
            share: u32::try_from(share).unwrap_or(u32::MAX),
            metrics: Arc::clone(metrics),
        })
    }

    /// The way for others who share its budget.
    pub(super) fn api(&self) -> Arc<CloudflareApi> {
        Arc::clone(&self.api)
    }

    /// The token as it was verified last; nothing before that, and of a global key.
    pub(super) fn token(&self) -> watch::Receiver<Option<VerifiedToken>> {
        self.token.subscribe()
    }

    /// Keeps the end of the token known, until the probes' reins are dropped.
    pub(super) fn follow_token(&self, mut pace: watch::Receiver<Pace>) {
        let token = Token {
            api: Arc::clone(&self.api),
            account: self.account.clone(),
            verified: Arc::clone(&self.verified),
            token: Arc::clone(&self.token),
            metrics: Arc::clone(&self.metrics),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = token.follow() => (),
                () = async { while pace.changed().await.is_ok() {} } => (),
            }
        });
    }

    /// Starts the probe of one tunnel.
    pub(super) fn probe(
        &self,
        found: &Found,
        told: watch::Receiver<Told>,
        mine: watch::Receiver<Mine>,
        pace: watch::Receiver<Pace>,
        events: mpsc::Sender<Event>,
        signals: mpsc::Sender<Signal>,
    ) {
        let spread = Duration::from_millis(u64::from(crate::clock::now().boot.subsec_millis()) * 3);
        let periods =
            Periods { calm: self.period * self.share, hurried: GLANCE, limit: LIMIT, delay: FIRST + spread };
        let mut records = Records::new(
            Arc::clone(&self.api),
            self.account.clone(),
            Arc::clone(&self.verified),
            self.period.min(HURRIED),
            self.share,
        );
        let mut teller = Teller { unit: found.unit.clone(), events, signals, trouble: None };
        let known = found.id.clone();
        tokio::spawn(async move {
            // So that the sense is there from the start.
            teller.find(Err(Blind::NotYet)).await;
            let (pace_now, mut hurried) = (pace.clone(), false);
            let look = async move |limit| {
                let hurry = pace_now.borrow().hurry;
                let fresh = limit < LIMIT || (hurry && !hurried);
                hurried = hurry;
                // What the process itself says is newer than what we found before it ran.
                let id = told.borrow().tunnel_id.clone().or_else(|| known.clone());
                if let Some(answer) = records.look(id.as_deref(), &mine, limit, fresh).await {
                    teller.tell(answer).await;
                }
            };
            // The look keeps to its limit itself.
            poll(periods, pace, look, async || ()).await;
        });
    }
}

/// Tells the warden what was seen, and people why nothing was.
struct Teller {
    unit: String,
    events: mpsc::Sender<Event>,
    signals: mpsc::Sender<Signal>,
    trouble: Option<Trouble>,
}

impl Teller {
    async fn find(&self, seen: Seen<TunnelSight>) {
        let event = Event::Observed { unit: self.unit.clone(), finding: Finding::Tunnel(seen) };
        // The loop is gone only when we are going down.
        let _ = self.events.send(event).await;
    }

    async fn tell(&mut self, answer: Result<TunnelSight, Trouble>) {
        let (seen, trouble) = match answer {
            Ok(sight) => (Ok(sight), None),
            Err(trouble) => (Err(trouble.blind), Some(trouble)),
        };
        self.find(seen).await;
        let advice = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| trouble.advice);
        if advice(&trouble) == advice(&self.trouble) {
            return;
        }
        let text = trouble
            .as_ref()
            .map(|Trouble { what, advice, .. }| format!("Cloudflare's API: {what}; {advice}"));
        match &text {
            Some(text) => tracing::warn!(unit_name = %self.unit, "{text}"),
            None => tracing::info!(unit_name = %self.unit, "Cloudflare's API can be read again."),
        }
        self.trouble = trouble;
        let _ = self.signals.send(Signal::Api { unit: self.unit.clone(), trouble: text }).await;
    }
}

/// Looks up when the token ends.
struct Token {
    api: Arc<CloudflareApi>,
    account: Option<String>,
    verified: Verified,
    token: Arc<watch::Sender<Option<VerifiedToken>>>,
    metrics: Arc<Metrics>,
}

impl Token {
    async fn follow(self) {
        sleep(TOKEN_FIRST).await;
        loop {
            let account = self.account.clone().or_else(|| self.verified.borrow().first().cloned());
            let again = match self.api.verify(account.as_deref()).await {
                Ok(token) => {
                    let token = token.as_ref();
                    let ends = token.and_then(|token| token.expires_on).map(Timestamp::as_second);
                    self.metrics.api_token_ends(ends.map(|ends| ends as f64));
                    let active = token.filter(|token| token.status == Some(TokenStatus::Active));
                    let of_account = active.is_some_and(|token| token.owner == TokenOwner::Account);
                    if let Some(account) = account.filter(|_| of_account) {
                        self.verified.send_if_modified(|known| known.insert(account));
                    }
                    self.token.send_replace(token.cloned());
                    TOKEN_EACH
                }
                Err(error) => {
                    // The probes tell people; many a good token may not be verified by us.
                    tracing::debug!("the API token cannot be verified: {error}");
                    TOKEN_AGAIN
                }
            };
            sleep(again).await;
        }
    }
}
