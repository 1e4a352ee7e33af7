//! Commands → deeds. Each starts at once; what becomes of it returns as an event.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};

use super::memory::{self, Keeper, Writer};
use crate::act::Hands;
use crate::clock;
use crate::report::dbus::Signal;
use crate::report::journal::{self, Weight};
use crate::report::metrics::{By, Metrics, name_of};
use crate::report::snapshot::About;
use crate::sense::polling::{Look, Pace};
use crate::warden::evidence::{Answer, Finding};
use crate::warden::machine::{Command, Event, Warden};
use crate::warden::note::HostHappening;
use crate::warden::remedy::{Failure, Outcome, Remedy};
use crate::warden::track::Origin;

/// The paces of one tunnel's probes, and how many they are.
#[derive(Debug)]
pub(super) struct Reins {
    pub pace: watch::Sender<Pace>,
    pub probes: Arc<AtomicUsize>,
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
    origins: BTreeMap<String, crate::warden::evidence::Invocation>,
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

    fn look(&mut self, unit: String, limit: std::time::Duration) {
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

    /// Once the charge is on disk (or in the runtime directory); without that nothing is done.
    fn apply(&mut self, warden: &Warden, unit: String, remedy: Remedy, deadline: std::time::Duration) {
        let events = self.events.clone();
        let before = warden.tunnels().find(|tunnel| tunnel.unit == unit).and_then(|tunnel| tunnel.track.life);
        let (charged, hands) = (self.writer.kept(), self.hands.clone());
        tokio::spawn(async move {
            let outcome = if charged.await {
                hands.apply(&unit, remedy, before.map(|life| life.invocation), deadline).await
            } else {
                Outcome::Failed { kind: Failure::NotRemembered, detail: "nothing was done".into() }
            };
            drop(events.send(Event::RemedyDone { unit, outcome }).await);
        });
    }

    /// Writes everything down once more before we go; gives back who writes.
    pub(super) async fn leave(mut self, warden: &Warden) -> Writer {
        self.persist(warden);
        if !self.writer.kept().await {
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
