//! One diagnosis with the daemon's own senses and judge: everything looks once, and again where one look cannot tell; where
//! only time can, for as long as somebody wants to wait. It needs no daemon, disturbs none, and carries out nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::discover::{self, Found};
use super::event_loop::Signal;
use super::executor::Reins;
use super::memory::{Keeper, Places};
use super::probes::Senses;
use crate::client::cloudflare_api::Credentials;
use crate::client::dns::{Addresses, Dns, DnsFailure};
use crate::client::systemd::Systemd;
use crate::clock;
use crate::config::{Mode, Settings};
use crate::report::metrics::Metrics;
use crate::report::snapshot::{About, Status};
use crate::sense::journal::Told;
use crate::sense::polling::Look;
use crate::warden::diagnosis::Health;
use crate::warden::event::Event;
use crate::warden::evidence::{Blind, Control, Sense};
use crate::warden::explain::span;
use crate::warden::machine::{Memory, Warden};
use crate::warden::outlook::Outlook;
use crate::warden::rails::Hold;
use crate::warden::time::Now;
use crate::warden::tunnel::Tunnel;

/// Every sense has its own limit, and none is longer.
const FIRST_ROUND: Duration = Duration::from_secs(6);
/// A process that was only now found may have names to tell.
const NAMES_KNOWN: Duration = Duration::from_secs(4);
const AGAIN: Duration = Duration::from_secs(2);
/// Cloudflare's records are several questions.
const AGAIN_WITH_RECORDS: Duration = Duration::from_secs(4);
/// A process that says nothing is asked three times before it is called frozen.
const SILENT_ROUNDS: u32 = 3;
const DNS_LIMIT: Duration = Duration::from_secs(3);
const EVENTS: usize = 256;
/// A diagnosis that nobody gave more time to takes no longer.
const AT_MOST: Duration = Duration::from_secs(15);
/// While it goes on, everything looks this often, as the daemon's own senses do in trouble.
const EVERY: Duration = Duration::from_secs(5);
/// And somebody who waits is told this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What was seen and concluded.
pub(crate) struct Diagnosed {
    pub status: Status,
    /// Lines of the journal, by unit and the word for their meaning.
    pub lines: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Where DNS leads.
    pub dns: BTreeMap<String, Result<Addresses, DnsFailure>>,
    /// Whether a name that does not use the tunnel answered.
    pub way_out: Option<Control>,
    /// By unit, what the judge would come to in time.
    pub outlooks: BTreeMap<String, Outlook>,
    /// By unit, when its journal last told of a connection.
    pub heard: BTreeMap<String, Heard>,
    /// Why what the daemon remembers could not be read.
    pub unremembered: Option<String>,
    pub took: Duration,
}

/// Times out of the journal, Unix time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// A connection was registered.
    pub registered: Option<Duration>,
    /// cloudflared tried to make one.
    pub attempt: Option<Duration>,
}

/// Looks at the tunnels of this host, or at the one that is called `wanted` (its name, unit or id). With `patience` it goes
/// on until the verdicts stand, for so long at most. `step` is told what is being done.
///
/// # Errors
/// If systemd cannot be asked, or TLS cannot be set up.
pub(crate) async fn look(
    settings: &Settings,
    wanted: Option<&str>,
    credentials: Option<Credentials>,
    patience: Option<Duration>,
    step: impl Fn(&str),
) -> anyhow::Result<Diagnosed> {
    let began = Instant::now();
    step("asking systemd for the units that run a tunnel");
    let systemd = Arc::new(Systemd::connect().await.context("cannot reach systemd over the system bus")?);
    let mut found =
        discover::tunnels(&systemd, settings).await.context("cannot ask systemd for its units")?;
    let of_the_host: Vec<_> = found.iter().map(|found| found.name.clone()).collect();
    if let Some(wanted) = wanted {
        found.retain(|found| {
            found.name == wanted || found.unit == wanted || found.id.as_deref() == Some(wanted)
        });
        anyhow::ensure!(
            !found.is_empty(),
            "no tunnel of this host is called {wanted:?}; it runs {}",
            listed(&of_the_host)
        );
        discover::compare_regions(settings, &mut found);
    }
    let mut round = Round::begin(settings, systemd, found, credentials)?;
    step("unit, journal, /ready, edge, public names: a first look at everything");
    let until = began + FIRST_ROUND;
    while Instant::now() < until && !round.complete(began.elapsed()) {
        round.take_until(until.min(Instant::now() + Duration::from_millis(200))).await;
    }
    let names = round.names();
    let dns = tokio::spawn(async move {
        let dns = Dns::system();
        let one = async |name: String| {
            let seen = dns.addresses(&name, DNS_LIMIT).await;
            (name, seen)
        };
        join_all(names.into_iter().map(one)).await
    });
    let limit = if round.with_records { AGAIN_WITH_RECORDS } else { AGAIN };
    if round.with_records || round.ill() {
        step("looking again, at Cloudflare's records too where there is a token");
        round.again(limit).await;
    }
    while round.silent() {
        step("cloudflared's own port says nothing; asking once more");
        round.again(AGAIN).await;
    }
    round.wait_for_certainty(began, patience, limit, &step).await;
    let dns = dns.await.unwrap_or_default().into_iter().collect();
    Ok(round.end(settings, dns, began.elapsed()))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Senses at work, and the judge.
struct Round {
    warden: Warden,
    about: About,
    events: mpsc::Receiver<Event>,
    signals: mpsc::Receiver<Signal>,
    host: Reins,
    tunnels: Vec<Reins>,
    lines: Arc<Mutex<BTreeMap<String, BTreeMap<&'static str, u64>>>>,
    unremembered: Option<String>,
    /// By unit, what its journal says of its process.
    told: Vec<(String, watch::Receiver<Told>)>,
    with_records: bool,
    /// The thread that reads the journal ends with it.
    _journal: super::probes::JournalSense,
    _senses: Senses,
}

impl Round {
    fn begin(
        settings: &Settings,
        systemd: Arc<Systemd>,
        found: Vec<Found>,
        credentials: Option<Credentials>,
    ) -> anyhow::Result<Self> {
        let keeper = Keeper::new(Places::system(), crate::client::host::boot_id().unwrap_or_default());
        let (memory, unremembered) = match keeper.peek(clock::now()) {
            Ok(memory) => (memory, None),
            Err(why) => (Memory::default(), Some(why)),
        };
        // Whatever the settings say, here nothing is done.
        let policy = super::policy(&Settings { mode: Mode::Observe, ..settings.clone() }, BTreeMap::new());
        let mut warden = Warden::new(policy, memory);
        let (events_tx, events) = mpsc::channel(EVENTS);
        let (signals_tx, signals) = mpsc::channel(EVENTS);
        let about = super::about(&found, None);
        let with_records = credentials.is_some();
        let records = credentials.map(|credentials| (credentials, found.len()));
        let metrics = Arc::new(Metrics::new());
        let senses = Senses::new(settings, &found, systemd, events_tx, signals_tx, records, &metrics)?;
        let host = senses.host();
        let lines = Arc::new(Mutex::new(BTreeMap::<String, BTreeMap<&'static str, u64>>::new()));
        let counted = Arc::clone(&lines);
        let count = move |unit: &str, meaning: &'static str, _history: bool| {
            let mut lines = counted.lock().unwrap_or_else(PoisonError::into_inner);
            *lines.entry(unit.to_owned()).or_default().entry(meaning).or_default() += 1;
        };
        let units: Vec<_> = found.iter().map(|tunnel| tunnel.unit.clone()).collect();
        let mut journal = senses.journal(&units, None, Box::new(count), Box::new(|_| ()))?;
        let mut tunnels = Vec::new();
        let said = journal.told.clone().into_iter().collect();
        for tunnel in &found {
            let event = Event::Tunnel { unit: tunnel.unit.clone(), names: tunnel.names.clone() };
            drop(warden.handle(event, clock::now()));
            let told = journal.told.remove(&tunnel.unit);
            let told = told.unwrap_or_else(|| watch::channel(Told::default()).1);
            tunnels.push(senses.tunnel(tunnel, told, watch::Sender::new(Default::default())));
        }
        Ok(Self {
            warden,
            about,
            events,
            signals,
            host,
            tunnels,
            lines,
            unremembered,
            told: said,
            with_records,
            _journal: journal,
            _senses: senses,
        })
    }

    /// Takes in what is seen until then.
    async fn take_until(&mut self, until: Instant) {
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => self.take(event),
                Some(signal) = self.signals.recv() => self.hear(signal),
                () = sleep_until(until) => return,
            }
        }
    }

    fn take(&mut self, event: Event) {
        // What it would have done is nobody's order here.
        drop(self.warden.handle(event, clock::now()));
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Known { unit, id, version } => self.about.learn(&unit, id, version),
            Signal::Api { unit, trouble } => self.about.read_api(&unit, trouble.as_deref()),
            Signal::Audited { unit, findings } => self.about.audited(&unit, findings),
            Signal::About(_) | Signal::Anew | Signal::Stop => (),
        }
    }

    /// Everything that looks has looked once.
    fn complete(&self, after: Duration) -> bool {
        let host = self.warden.host();
        let looked = |blind: Option<Blind>| blind != Some(Blind::NotYet);
        looked(host.control.blind())
            && looked(host.edge.blind())
            && looked(host.host.blind())
            && self.warden.tunnels().all(|tunnel| {
                let names = &tunnel.evidence.names;
                let named = if names.is_empty() {
                    NAMES_KNOWN <= after
                } else {
                    names.values().all(|name| name.latest.is_some())
                };
                let senses = tunnel.blindness();
                // Records come with the second look.
                named
                    && senses.iter().all(|(sense, blind)| {
                        *sense == Sense::Tunnel || *sense == Sense::Public || looked(*blind)
                    })
            })
    }

    fn ill(&self) -> bool {
        self.warden.tunnels().any(|tunnel| tunnel.verdict.health != Health::Healthy)
    }

    fn silent(&self) -> bool {
        let silent = |tunnel: &Tunnel| (1..SILENT_ROUNDS).contains(&tunnel.track.silent);
        self.warden.tunnels().any(silent)
    }

    /// Looks again and again while that can still make the verdict another or surer: with `patience` for so long, else only
    /// where little time is missing.
    async fn wait_for_certainty(
        &mut self,
        began: Instant,
        patience: Option<Duration>,
        limit: Duration,
        step: &impl Fn(&str),
    ) {
        let until = began + patience.unwrap_or(AT_MOST);
        let mut tell_at = Instant::now();
        loop {
            let now = clock::now();
            let Some(missing) = self.missing(now, patience.is_some()) else { return };
            let round = EVERY + limit;
            let worth = match patience {
                Some(_) => Instant::now() < until,
                None => Instant::now() + missing + round <= until,
            };
            if !worth {
                return;
            }
            if tell_at <= Instant::now() {
                tell_at += TELL_EVERY;
                let left = span(until.saturating_duration_since(Instant::now()));
                step(&format!("{}; looking on for {left} at most", self.so_far(now)));
            }
            self.take_until(until.min(Instant::now() + EVERY)).await;
            self.again(limit).await;
        }
    }

    /// What the verdicts still want in time; `None`: nothing. `standing`: they must have stood for as long as a remedy
    /// would want it.
    fn missing(&self, now: Now, standing: bool) -> Option<Duration> {
        let sustained = self.warden.policy().sustained;
        let of = |tunnel: &Tunnel| match self.warden.outlook(&tunnel.unit, now) {
            Some(outlook) => Some(outlook.after),
            None if standing && tunnel.verdict.health != Health::Healthy => {
                Some(sustained.saturating_sub(now.since(tunnel.since))).filter(|left| !left.is_zero())
            }
            None => None,
        };
        self.warden.tunnels().filter_map(of).max()
    }

    fn so_far(&self, now: Now) -> String {
        let of = |tunnel: &Tunnel| {
            let name = &tunnel.unit;
            match (self.warden.outlook(&tunnel.unit, now), tunnel.verdict.cause) {
                (Some(Outlook { cause, after }), _) => {
                    format!("{name}: {} suspected, certain in {}", cause.name(), span(after))
                }
                (None, Some(cause)) => format!("{name}: {}", cause.name()),
                (None, None) => format!("{name}: not known yet"),
            }
        };
        self.warden.tunnels().map(of).collect::<Vec<_>>().join(", ")
    }

    fn names(&self) -> Vec<String> {
        self.warden.tunnels().flat_map(|tunnel| tunnel.evidence.names.keys().cloned()).collect()
    }

    /// All probes look at once, as before an act.
    async fn again(&mut self, limit: Duration) {
        let look = Arc::new(Look::new(limit));
        let mut probes = 0;
        for reins in std::iter::once(&self.host).chain(&self.tunnels) {
            reins.pace.send_modify(|pace| pace.look = Some(Arc::clone(&look)));
            probes += reins.probes.load(Ordering::Relaxed);
        }
        let mut done = std::pin::pin!(look.wait(probes));
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.take(event),
                Some(signal) = self.signals.recv() => self.hear(signal),
                () = &mut done => return,
            }
        }
    }

    fn end(
        mut self,
        settings: &Settings,
        dns: BTreeMap<String, Result<Addresses, DnsFailure>>,
        took: Duration,
    ) -> Diagnosed {
        self.take(Event::Woke);
        for (unit, told) in &self.told {
            let told = told.borrow();
            self.about.learn(unit, told.tunnel_id.clone(), told.version.clone());
        }
        let now = clock::now();
        let mut status = Status::new(&self.warden, &self.about, now);
        if settings.mode == Mode::Remedy {
            // Ours, for this look; not a rail of the host.
            for tunnel in &mut status.tunnels {
                tunnel.holds.retain(|hold| hold.hold != Hold::ObserveOnly.name());
            }
        }
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        let way_out =
            self.warden.host().control.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok()).copied();
        let outlook = |tunnel: &Tunnel| Some((tunnel.unit.clone(), self.warden.outlook(&tunnel.unit, now)?));
        let outlooks = self.warden.tunnels().filter_map(outlook).collect();
        let heard = |tunnel: &Tunnel| {
            let log = &tunnel.evidence.log;
            let [registered, attempt] = [log.registered, log.attempt].map(|at| at.map(|at| now.wall_of(at)));
            (tunnel.unit.clone(), Heard { registered, attempt })
        };
        let heard = self.warden.tunnels().map(heard).collect();
        Diagnosed { status, lines, dns, way_out, outlooks, heard, unremembered: self.unremembered, took }
    }
}
