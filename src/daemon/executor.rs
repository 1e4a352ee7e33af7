//! Commands → deeds. Each starts at once; what becomes of it returns as an event.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::memory::{self, DISK_WAITS, Keeper, Writer};
use crate::act::Hands;
use crate::clock;
use crate::report::dbus::Signal;
use crate::report::journal::{self, Weight};
use crate::report::metrics::{By, Metrics, name_of};
use crate::report::snapshot::About;
use crate::sense::polling::{Look, Pace};
use crate::warden::event::{Command, Event};
use crate::warden::evidence::{Answer, Finding, Invocation};
use crate::warden::machine::Warden;
use crate::warden::note::HostHappening;
use crate::warden::remedy::{Failure, Outcome, Remedy};
use crate::warden::track::Origin;
use crate::warden::tunnel::Phase;

/// The paces of one tunnel's probes, and how many they are.
#[derive(Debug)]
pub(super) struct Reins {
    pub pace: watch::Sender<Pace>,
    pub probes: Arc<AtomicUsize>,
}

/// A remedy whose charge is on its way to the disk.
pub(super) struct Charging {
    unit: String,
    remedy: Remedy,
    deadline: Duration,
    since: Instant,
    /// The state that has the charge.
    number: u64,
    then: Circumstances,
}

/// What must not change between an order and the act.
#[derive(PartialEq, Eq)]
struct Circumstances {
    life: Option<Invocation>,
    paused: bool,
    observe_only: bool,
    /// The remedy is the one under way.
    acting: bool,
}

impl Circumstances {
    fn of(warden: &Warden, unit: &str) -> Self {
        let tunnel = warden.tunnels().find(|tunnel| tunnel.unit == unit);
        Self {
            life: tunnel.and_then(|tunnel| tunnel.track.life).map(|life| life.invocation),
            paused: warden.paused().is_some(),
            observe_only: warden.policy().observe_only,
            acting: tunnel.is_some_and(|tunnel| matches!(tunnel.phase, Phase::Acting { .. })),
        }
    }
}

fn not_done(unit: String, kind: Failure) -> Event {
    Event::RemedyDone { unit, outcome: Outcome::Failed { kind, detail: "nothing was done".into() } }
}

/// Carries out what the warden orders.
pub(super) struct Executor {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) hands: Hands,
    keeper: Arc<Keeper>,
    writer: Writer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) host: Reins,
    pub(super) tunnels: BTreeMap<String, Reins>,
    pub(super) about: About,
    to_bus: mpsc::Sender<Signal>,
    hurried: BTreeMap<String, bool>,
    origins: BTreeMap<String, Invocation>,
    charging: VecDeque<Charging>,
}

impl Executor {
    pub(super) fn new(
        events: mpsc::Sender<Event>,
        hands: Hands,
        (keeper, writer): (Arc<Keeper>, Writer),
        metrics: Arc<Metrics>,
        host: Reins,
        about: About,
        to_bus: mpsc::Sender<Signal>,
    ) -> Self {
        Self {
            events,
            hands,
            keeper,
            writer,
            metrics,
            host,
            tunnels: BTreeMap::new(),
            about,
            to_bus,
            hurried: BTreeMap::new(),
            origins: BTreeMap::new(),
            charging: VecDeque::new(),
        }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// New names for things.
    pub(super) fn rename(&mut self, about: &About) {
        self.about = about.clone();
    }

    /// A tunnel's probes run from now on.
    pub(super) fn rein(&mut self, unit: String, reins: Reins) {
        self.metrics.appear(name_of(&self.about, &unit));
        self.tunnels.insert(unit, reins);
    }

    /// Counts what is only seen in passing.
    pub(super) fn saw(&self, event: &Event) {
        let Event::Observed { unit, finding } = event else { return };
        let tunnel = name_of(&self.about, unit);
        match finding {
            Finding::Name { sight, .. } if sight.answer != Answer::Blind => {
                self.metrics.probed(tunnel, sight.latency)
            }
            Finding::JournalGap => self.metrics.journal_gap(),
            Finding::Unit(_)
            | Finding::Log(_)
            | Finding::Journal(_)
            | Finding::Ready(_)
            | Finding::Name { .. }
            | Finding::Route { .. }
            | Finding::Elsewhere { .. }
            | Finding::Files(_)
            | Finding::Setup(_)
            | Finding::Tunnel(_) => (),
        }
    }

    /// Starts one command. `Break` ends the loop.
    pub(super) fn start(&mut self, warden: &Warden, command: Command) -> ControlFlow<()> {
        self.count_lives(warden);
        match command {
            Command::Hurry { unit, hurry } => self.hurry(unit, hurry),
            Command::Look { unit, limit } => self.look(unit, limit),
            Command::Persist => self.persist(warden),
            Command::Apply { unit, remedy, deadline } => self.apply(warden, unit, remedy, deadline),
            Command::Tell(note) => {
                let tunnel = name_of(&self.about, &note.unit);
                self.metrics.count(tunnel, &note);
                journal::write(&note, tunnel);
                if let Some(signal) = Signal::of(&note, tunnel)
                    && self.to_bus.try_send(signal).is_err()
                {
                    tracing::debug!("nobody takes signals to the bus");
                }
            }
            Command::Announce { what, text } => {
                let id = match what {
                    HostHappening::Paused => journal::PAUSED,
                    HostHappening::Resumed => journal::RESUMED,
                };
                journal::daemon(id, Weight::Notice, &text);
            }
            Command::Record { unit, incident } => {
                self.writer.record(memory::record(name_of(&self.about, &unit), &incident));
            }
        }
        ControlFlow::Continue(())
    }

    fn hurry(&mut self, unit: String, hurry: bool) {
        if let Some(reins) = self.tunnels.get(&unit) {
            reins.pace.send_modify(|pace| pace.hurry = hurry);
        }
        self.hurried.insert(unit, hurry);
        let any = self.hurried.values().any(|hurry| *hurry);
        self.host.pace.send_if_modified(|pace| {
            let changed = pace.hurry != any;
            pace.hurry = any;
            changed
        });
    }

    fn look(&mut self, unit: String, limit: Duration) {
        let look = Arc::new(Look::new(limit));
        let mut probes = self.host.probes.load(Ordering::Relaxed);
        self.host.pace.send_modify(|pace| pace.look = Some(Arc::clone(&look)));
        if let Some(reins) = self.tunnels.get(&unit) {
            reins.pace.send_modify(|pace| pace.look = Some(Arc::clone(&look)));
            probes += reins.probes.load(Ordering::Relaxed);
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            look.wait(probes).await;
            // The loop is gone only when we are going down.
            drop(events.send(Event::Looked { unit }).await);
        });
    }

    fn persist(&mut self, warden: &Warden) {
        self.writer.keep(self.keeper.state(&warden.histories(), warden.paused(), clock::now()));
    }

    /// Once the charge is on disk, not before.
    fn apply(&mut self, warden: &Warden, unit: String, remedy: Remedy, deadline: Duration) {
        let (since, number) = (Instant::now(), self.writer.number());
        let then = Circumstances::of(warden, &unit);
        self.charging.push_back(Charging { unit, remedy, deadline, since, number, then });
    }

    /// Waits for the next remedy whose charge the disk has taken, or not taken in time.
    pub(super) async fn charged(&mut self) -> (Charging, bool) {
        let Some(first) = self.charging.front() else { return std::future::pending().await };
        let kept = self.writer.kept(first.number, first.since + DISK_WAITS).await;
        match self.charging.pop_front() {
            Some(first) => (first, kept),
            None => std::future::pending().await,
        }
    }

    /// Carries it out, if it is still to be done. `Some`: nothing was done.
    pub(super) fn act(&mut self, warden: &Warden, charging: Charging, kept: bool) -> Option<Event> {
        let Charging { unit, remedy, deadline, since, then, .. } = charging;
        if !kept {
            return Some(not_done(unit, Failure::NotRemembered));
        }
        if Circumstances::of(warden, &unit) != then {
            return Some(not_done(unit, Failure::Overtaken));
        }
        let (events, hands) = (self.events.clone(), self.hands.clone());
        let deadline = deadline.saturating_sub(since.elapsed());
        tokio::spawn(async move {
            let outcome = hands.apply(&unit, remedy, then.life, deadline).await;
            // The loop is gone only when we are going down, or begin anew: then its effect is looked at.
            drop(events.send(Event::RemedyDone { unit, outcome }).await);
        });
        None
    }

    /// Whether all that was to be written until now is on disk, known within `limit`.
    pub(super) fn kept(&self, limit: Duration) -> impl Future<Output = bool> + Send + use<> {
        self.writer.kept(self.writer.number(), Instant::now() + limit)
    }

    /// Writes everything down once more before we go; gives back who writes. What only waited for the disk is not done.
    pub(super) async fn leave(mut self, warden: &mut Warden) -> Writer {
        while let Some(Charging { unit, .. }) = self.charging.pop_front() {
            for command in warden.handle(not_done(unit, Failure::Overtaken), clock::now()) {
                // Nothing of it ends a loop that has ended.
                let _ = self.start(warden, command);
            }
        }
        self.persist(warden);
        if !self.kept(DISK_WAITS).await {
            tracing::error!("what must survive is not on disk yet");
        }
        self.writer
    }

    /// New lives of the units, by who began them.
    fn count_lives(&mut self, warden: &Warden) {
        for tunnel in warden.tunnels() {
            let Some(life) = tunnel.track.life else { continue };
            let before = self.origins.insert(tunnel.unit.clone(), life.invocation);
            if before == Some(life.invocation) {
                continue;
            }
            let by = match life.origin {
                Origin::Before => continue,
                Origin::Ours => By::Tunnelwarden,
                Origin::Systemd => By::Systemd,
                Origin::Other => By::Other,
            };
            self.metrics.unit_restarted(name_of(&self.about, &tunnel.unit), by);
        }
    }
}
