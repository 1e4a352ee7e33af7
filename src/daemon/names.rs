//! The probes of one tunnel's public names: a task each, which come and go with the names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::HeaderName;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::credentials;
use crate::client::http::{Expected, Known, PublicClient, PublicTarget};
use crate::config::{Credential, NameProbe, Probe, Resolve};
use crate::sense::polling::{Lanes, Pace, Periods, Turn, poll_in_turn};
use crate::sense::public;
use crate::warden::event::Event;
use crate::warden::evidence::{Answer, Finding};

/// In a hurry, looks at the names of one tunnel are so far apart at least: fifty a second.
const APART: Duration = Duration::from_millis(20);
/// So far where they see nothing.
const APART_BLIND: Duration = Duration::from_millis(60);
/// First looks are spread over this time at least.
const FIRST: Duration = Duration::from_secs(1);
/// Of many names, about so many stand for all of them in a last look.
const LAST_LOOKS: usize = 24;

/// Looks at the names it is told to.
pub(super) struct NameProbes {
    pub(super) unit: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) client: PublicClient,
    /// Bound the looks that run at once. Of this tunnel alone: where its names hang, those of others do not wait for them.
    pub(super) lanes: Arc<Lanes>,
    pub(super) pace: watch::Receiver<Pace>,
    pub(super) settings: Probe,
    /// How configured names are asked.
    pub(super) refined: Vec<NameProbe>,
    /// Probes of this tunnel, for the last look to wait for.
    pub(super) count: Arc<AtomicUsize>,
    pub(super) running: BTreeMap<String, Running>,
    /// How those that run are spread.
    pub(super) spread: Option<Spread>,
    /// The names, for whoever else looks at them.
    pub(super) listed: watch::Sender<Vec<String>>,
    /// Those that the edge cannot lead to a tunnel.
    pub(super) ailing: watch::Sender<BTreeSet<String>>,
}

/// The probe of one name.
pub(super) struct Running {
    task: AbortHandle,
    /// The last look waits for it.
    counted: bool,
}

impl NameProbes {
    /// From now on these names are looked at, and no others.
    pub(super) fn set(&mut self, names: &[String]) {
        self.listed.send_if_modified(|listed| {
            let others = listed != names;
            if others {
                *listed = names.to_vec();
            }
            others
        });
        self.ailing.send_modify(|ailing| ailing.retain(|name| names.contains(name)));
        self.running.retain(|name, running| {
            let stays = names.contains(name);
            if !stays {
                running.task.abort();
                self.count.fetch_sub(usize::from(running.counted), Ordering::Relaxed);
            }
            stays
        });
        let spread = Spread::of(names.len(), &self.settings);
        // What suits many suits few not: who takes part in last looks, and how often one looks.
        if self.spread.as_ref().is_some_and(|before| !before.suits_as(&spread)) {
            for running in std::mem::take(&mut self.running).into_values() {
                running.task.abort();
                self.count.fetch_sub(usize::from(running.counted), Ordering::Relaxed);
            }
        }
        for (place, name) in names.iter().enumerate() {
            if self.running.contains_key(name) {
                continue;
            }
            let Some((target, access)) = self.target(name) else {
                tracing::warn!(unit_name = %self.unit, "{name:?} is no name to ask");
                continue;
            };
            let (periods, turn) = spread.turn(place, &self.lanes);
            let counted = turn.last_looks;
            let task = self.start(name.clone(), target, access, periods, turn);
            self.running.insert(name.clone(), Running { task, counted });
            self.count.fetch_add(usize::from(counted), Ordering::Relaxed);
        }
        self.spread = Some(spread);
    }

    fn start(
        &self,
        hostname: String,
        mut target: PublicTarget,
        access: Option<Credential>,
        periods: Periods,
        turn: Turn,
    ) -> AbortHandle {
        let (client, timeout) = (self.client.clone(), periods.limit);
        let send = || {
            let (events, unit, hostname) = (self.events.clone(), self.unit.clone(), hostname.clone());
            async move |sight| {
                let finding = Finding::Name { hostname: hostname.clone(), sight };
                // The loop is gone only when we are going down.
                let _ = events.send(Event::Observed { unit: unit.clone(), finding }).await;
            }
        };
        let (tell, blind) = (send(), send());
        let mut known = Known::default();
        let (ailing, name) = (self.ailing.clone(), hostname.clone());
        let probe = poll_in_turn(
            periods,
            turn,
            self.pace.clone(),
            async move |limit| {
                // Read anew for a name that is not let in, so that a token that was changed counts from the next look.
                if target.access.is_none() {
                    target.access = access.as_ref().and_then(token);
                }
                // On the heap, so that a name that waits for its turn costs little.
                let sight = Box::pin(public::look(&client, &target, &mut known, limit)).await;
                let saw = sight.answer != Answer::Blind;
                let ails = matches!(sight.answer, Answer::TunnelError | Answer::DnsError);
                ailing.send_if_modified(|ailing| match ails {
                    true => ailing.insert(name.clone()),
                    false => ailing.remove(&name),
                });
                if sight.answer == Answer::Access {
                    target.access = None;
                }
                tell(sight).await;
                saw
            },
            async move || blind(public::too_long(timeout)).await,
        );
        tokio::spawn(probe).abort_handle()
    }

    /// How a name is asked, and where the token lies that it is asked with.
    fn target(&self, hostname: &str) -> Option<(PublicTarget, Option<Credential>)> {
        let refined = self.refined.iter().find(|probe| probe.url.host().as_str() == hostname);
        let mut target = match refined {
            Some(probe) => {
                let expected = expected(probe);
                PublicTarget { expected, ..PublicTarget::of(probe.url.url().clone()) }
            }
            None => PublicTarget::https(hostname, "/").ok()?,
        };
        target.resolve = match self.settings.resolve {
            Resolve::EdgeDirect => self.settings.edge_addresses.clone(),
            Resolve::System | Resolve::At(_) => Vec::new(),
        };
        Some((target, refined.and_then(|probe| probe.access.clone())))
    }
}

/// How the looks at the names of one tunnel spread over time.
pub(super) struct Spread {
    names: u32,
    periods: Periods,
    blind: Duration,
}

impl Spread {
    /// Many names are never looked at more often than is good for the host, whatever is wrong; few as their settings say. Those
    /// that see nothing hold a lane for their whole limit: all of them together leave lanes to the others.
    fn of(names: usize, settings: &Probe) -> Self {
        let Probe { period, period_down, timeout, .. } = *settings;
        let names = u32::try_from(names.max(1)).unwrap_or(u32::MAX);
        let slowest = period.max(period_down);
        let hurried = period_down.max(APART.saturating_mul(names)).min(slowest);
        let blind = hurried.max(APART_BLIND.saturating_mul(names));
        Self {
            names,
            periods: Periods { calm: period, hurried, limit: timeout, delay: Duration::ZERO },
            blind,
        }
    }

    /// One in so many takes part in a last look.
    fn sample(&self) -> usize {
        (self.names as usize).div_ceil(LAST_LOOKS)
    }

    /// Whoever was started for the one need not be started anew for the other.
    fn suits_as(&self, other: &Self) -> bool {
        let of = |spread: &Self| (spread.sample(), spread.periods.hurried, spread.blind);
        of(self) == of(other)
    }

    /// Of the name at this place of the list.
    fn turn(&self, place: usize, lanes: &Arc<Lanes>) -> (Periods, Turn) {
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let delay = (FIRST / self.names).max(APART) * number;
        let turn = Turn {
            lanes: Arc::clone(lanes),
            hurried: APART * number,
            calm: self.periods.calm.mul_f64(f64::from(number) / f64::from(self.names)),
            blind: self.blind,
            last_looks: place.is_multiple_of(self.sample()),
        };
        (Periods { delay, ..self.periods }, turn)
    }
}

/// What the origin's own answer to this probe is known by.
pub(crate) fn expected(probe: &NameProbe) -> Expected {
    // Its name was checked when it was read.
    let header = probe.header.as_ref().and_then(|header| {
        Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, header.value.clone()))
    });
    Expected { status: probe.status.clone(), header, body: probe.body.clone() }
}

/// The token, if it can be read; that it cannot was told when the unit was found.
fn token(credential: &Credential) -> Option<crate::client::http::ServiceToken> {
    credentials::access(credential, super::environment)
        .inspect_err(|why| tracing::debug!("an Access service token cannot be used: {why}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Probe {
        let second = Duration::from_secs(1);
        Probe {
            period: second * 60,
            period_down: second * 5,
            timeout: second * 5,
            control: Vec::new(),
            resolve: Resolve::System,
            edge_addresses: Vec::new(),
            observers: Vec::new(),
        }
    }

    #[test]
    fn few_names_are_asked_as_they_are_set_and_many_at_a_bounded_rate() {
        let lanes = Arc::new(Lanes::new(1, 1));
        let few = Spread::of(5, &settings());
        assert_eq!((few.periods.hurried, few.blind), (Duration::from_secs(5), Duration::from_secs(5)));
        assert!((0..5).all(|place| few.turn(place, &lanes).1.last_looks));
        assert!(few.turn(4, &lanes).1.hurried < Duration::from_millis(100));
        let many = Spread::of(1000, &settings());
        assert_eq!((many.periods.hurried, many.blind), (Duration::from_secs(20), Duration::from_secs(60)));
        let sample = (0..1000).filter(|place| many.turn(*place, &lanes).1.last_looks).count();
        assert!((16..=24).contains(&sample), "{sample}");
        let (periods, turn) = many.turn(500, &lanes);
        assert_eq!((periods.delay, turn.calm), (Duration::from_secs(10), Duration::from_secs(30)));
        // Of forty-eight each second one takes part in last looks, of few each.
        let of = |names| Spread::of(names, &settings());
        assert!(of(3).suits_as(&of(4)) && !of(48).suits_as(&of(4)) && !of(4).suits_as(&of(1000)));
        // Never slower than in calm, but where nothing is seen.
        let quick = Spread::of(1000, &Probe { period: Duration::from_secs(10), ..settings() });
        assert_eq!((quick.periods.hurried, quick.blind), (Duration::from_secs(10), Duration::from_secs(60)));
    }
}
