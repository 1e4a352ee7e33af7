//! What listens to people and to systemd: other settings, other units, an end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::discover::{self, Found};
use super::event_loop::Signal;
use super::memory::{Keeper, Places};
use super::os_signals::{Asked, OsSignals};
use super::{about, credentials, environment, policy, port, power};
use crate::client::systemd::{Systemd, SystemdError};
use crate::config::Settings;
use crate::report::journal::{self as told, Weight};
use crate::report::metrics::Metrics;
use crate::report::notify;
use crate::warden::event::Event;

/// Whether we may act on a unit that we may only watch is asked again after so long.
const POWERLESS_FOR: Duration = Duration::from_secs(60);
/// Units that could not be asked for are asked for again after this time.
const UNITS_AGAIN: Duration = Duration::from_secs(5);

/// What a life goes by.
pub(super) struct Grounds {
    pub(super) settings: Settings,
    pub(super) systemd: Arc<Systemd>,
    pub(super) found: Vec<Found>,
    /// They may be others by now, and could not be asked for.
    pub(super) units_unread: bool,
    /// `None`: nobody has listened yet.
    pub(super) heard: Option<OsSignals>,
}

/// Knows what is in force.
pub(super) struct Ear {
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) systemd: Arc<Systemd>,
    pub(super) found: Vec<Found>,
    pub(super) units_unread: bool,
    pub(super) powerless: BTreeMap<String, String>,
    pub(super) settings: Settings,
    pub(super) given: credentials::Found,
}

impl Ear {
    /// SIGHUP, SIGTERM, SIGINT, and units that come or go. `Some`: everything has to begin anew, on these grounds. They are
    /// whole, so that nothing has to be asked for again: the bus may be gone by then.
    pub(super) async fn listen(
        mut self,
        mut changed: mpsc::Receiver<()>,
        mut heard: OsSignals,
    ) -> Option<Grounds> {
        loop {
            let anew = tokio::select! {
                asked = heard.next() => match asked {
                    Asked::Reload => {
                        notify::reloading();
                        let anew = self.reload().await;
                        if !anew {
                            notify::ready("settings reloaded");
                        }
                        anew
                    }
                    Asked::Stop => {
                        // The loop may have ended already.
                        let _ = self.signals.send(Signal::Stop).await;
                        return None;
                    }
                },
                Some(()) = changed.recv() => self.units_changed().await,
                () = sleep(UNITS_AGAIN), if self.units_unread => self.units_changed().await,
                () = sleep(POWERLESS_FOR), if !self.powerless.is_empty() => {
                    self.ask_for_power().await;
                    false
                }
            };
            if anew {
                let _ = self.signals.send(Signal::Anew).await;
                let Self { settings, systemd, found, units_unread, .. } = self;
                return Some(Grounds { settings, systemd, found, units_unread, heard: Some(heard) });
            }
        }
    }

    /// Units that we could only watch: may we act on them by now?
    async fn ask_for_power(&mut self) {
        let now = power::still_lacking(&self.systemd, &self.powerless).await;
        if now != self.powerless {
            self.powerless = now;
            let policy = Box::new(policy(&self.settings, self.powerless.clone()));
            // The loop is gone only when we are going down.
            let _ = self.events.send(Event::Policy(policy)).await;
        }
    }

    /// systemd read its unit files anew: are there others to watch?
    async fn units_changed(&mut self) -> bool {
        // systemd is busy right after it read them.
        let new = discover::tunnels(&self.systemd, &self.settings).await;
        self.found_anew(new)
    }

    /// Whether other units are there to be watched, or the same in another way.
    fn found_anew(&mut self, new: Result<Vec<Found>, SystemdError>) -> bool {
        let unread_before = std::mem::replace(&mut self.units_unread, new.is_err());
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                if !unread_before {
                    tracing::warn!(
                        "cannot ask systemd for its units, those known before are watched: {error}"
                    );
                }
                return false;
            }
        };
        let changed = !same(&new, &self.found);
        self.found = new;
        changed
    }

    /// New settings replace the running ones only if they are good. Whether everything has to begin anew for them.
    async fn reload(&mut self) -> bool {
        let roots = crate::config::Roots::system();
        let loaded = match crate::config::load(&roots, crate::config::process_environment()) {
            Ok(loaded) => loaded,
            Err(errors) => {
                self.reject(&errors.to_string());
                return false;
            }
        };
        let new = loaded.settings;
        if let Err(error) = port::listenable(self.settings.http.listen, new.http.listen).await {
            self.reject(&format!("http.listen: cannot listen on {}: {error}", new.http.listen));
            return false;
        }
        self.metrics.reloaded(true);
        let accepted = Keeper::new(Places::system(), String::new()).loss_accepted();
        // What the judge goes by takes effect at once; everything else shapes the senses.
        let Settings { mode, judge, remedy, .. } = self.settings.clone();
        let shape = Settings { mode, judge, remedy, ..new.clone() };
        let others = self.found_anew(discover::tunnels(&self.systemd, &new).await);
        let given = credentials::find(&new.api, environment);
        if shape != self.settings || !given.same(&self.given) || others {
            self.settings = new;
            return true;
        }
        self.ask_for_power().await;
        let policy = Box::new(policy(&new, self.powerless.clone()));
        let sent = self.events.send(Event::Policy(policy)).await.is_ok()
            && (!accepted || self.events.send(Event::MemoryAccepted).await.is_ok())
            && self
                .signals
                .send(Signal::About(about(&self.found, self.given.warning.as_deref())))
                .await
                .is_ok();
        if sent {
            told::daemon(told::CONFIG_RELOADED, Weight::Notice, "New settings are in force.");
        }
        self.settings = new;
        false
    }

    fn reject(&self, why: &str) {
        self.metrics.reloaded(false);
        let text = format!("The new configuration has mistakes, the running settings stay:\n{why}");
        told::daemon(told::CONFIG_REJECTED, Weight::Error, &text);
    }
}

fn same(new: &[Found], old: &[Found]) -> bool {
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.same(old))
}
