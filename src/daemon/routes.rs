//! Follows where the public names of a tunnel lead: one after the other, spread over the period.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::cloudflare_api::{AddressRanges, CloudflareApi};
use crate::config;
use crate::sense::dns::{Routes, Zones};
use crate::sense::journal::Told;
use crate::sense::polling::{Pace, jittered};
use crate::warden::event::Event;
use crate::warden::evidence::{Finding, Seen};
use crate::warden::route::RouteSight;

/// In a hurry, names follow each other so soon.
const HURRIED_GAP: Duration = Duration::from_secs(1);
/// What is wrong is looked at twice before it counts.
const AGAIN: Duration = Duration::from_secs(5);
/// Cloudflare changes its ranges less than once a year.
const RANGES_FIRST: Duration = Duration::from_secs(15 * 60);
const RANGES_EACH: Duration = Duration::from_secs(24 * 3600);

/// Where each name leads; what is wrong was seen twice.
pub(super) type Leads = BTreeMap<String, RouteSight>;

/// The names of one tunnel.
pub(super) struct RouteProbe {
    pub(super) unit: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) routes: Routes,
    pub(super) zones: Option<Zones>,
    /// The tunnel's id, as far as it was known beforehand.
    pub(super) tunnel: Option<String>,
    pub(super) told: watch::Receiver<Told>,
    pub(super) names: watch::Receiver<Vec<String>>,
    /// Names that the edge cannot lead to a tunnel.
    pub(super) ailing: watch::Receiver<BTreeSet<String>>,
    pub(super) pace: watch::Receiver<Pace>,
    pub(super) settings: config::Dns,
    /// For the audits.
    pub(super) leads: watch::Sender<Leads>,
}

/// What became of a rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Over,
    /// Everything is to be looked at now.
    CutShort,
    /// Nobody wants to know any more.
    Ended,
}

/// What was known when a round of looks began.
#[derive(Clone, Copy, Default)]
struct Known {
    hurry: bool,
    /// Some name is led to no tunnel.
    ill: bool,
}

impl RouteProbe {
    /// Until the reins are dropped.
    pub(super) async fn run(mut self) {
        let mut until = Instant::now();
        let mut known = Known::default();
        loop {
            if self.rest(until, known).await == Rest::Ended {
                return;
            }
            let names = self.names.borrow().clone();
            self.forget_others(&names);
            known = Known { hurry: self.pace.borrow().hurry, ill: !self.ailing.borrow().is_empty() };
            let hurry = known.hurry;
            let period = jittered(if hurry { self.settings.period_down } else { self.settings.period });
            let began = Instant::now();
            let share = period / u32::try_from(names.len().max(1)).unwrap_or(u32::MAX);
            let gap = if hurry { share.min(HURRIED_GAP) } else { share };
            until = began + period;
            let mut blind = false;
            let (mut wrong, mut since) = (Vec::new(), None);
            for (place, name) in names.iter().enumerate() {
                for (name, seen) in self.look_on(name, &names, hurry).await {
                    blind |= seen.is_err();
                    if seen.as_ref().is_ok_and(|sight| sight.fault().is_some()) {
                        since.get_or_insert(Instant::now());
                        wrong.push(name);
                    } else {
                        self.settle(&name, &seen);
                    }
                }
                let last = place + 1 == names.len();
                let mut rest = Rest::Over;
                if let Some(first) = since.filter(|first| last || AGAIN <= first.elapsed()) {
                    rest = self.rest(first + AGAIN, known).await;
                    since = None;
                    if rest == Rest::Over {
                        for name in wrong.drain(..) {
                            for (name, seen) in self.look_on(&name, &names, hurry).await {
                                self.settle(&name, &seen);
                            }
                        }
                    }
                }
                // What is wrong is not left alone for long.
                let gap = if since.is_some() { gap.min(HURRIED_GAP) } else { gap };
                if rest == Rest::Over && !last {
                    rest = self.rest(Instant::now() + gap, known).await;
                }
                match rest {
                    Rest::Over => (),
                    Rest::CutShort => {
                        until = Instant::now();
                        break;
                    }
                    Rest::Ended => return,
                }
            }
            if blind {
                // A resolver that did not answer may do so soon.
                until = until.min(Instant::now() + self.settings.period_down);
            }
        }
    }

    /// Waits, unless trouble begins, a name is led to no tunnel and its record may say why, or the names become others. What
    /// began since this round did, while it looked, is not waited out either.
    async fn rest(&mut self, until: Instant, known: Known) -> Rest {
        let Known { hurry: hurried, ill } = known;
        if (!hurried && self.pace.borrow_and_update().hurry) || (!ill && !self.ailing.borrow().is_empty()) {
            return Rest::CutShort;
        }
        loop {
            tokio::select! {
                () = sleep_until(until) => return Rest::Over,
                changed = self.names.changed() => match changed {
                    Ok(()) => return Rest::CutShort,
                    Err(_) => return Rest::Ended,
                },
                // What is judged of it does not wait long.
                changed = self.ailing.changed() => match changed {
                    Ok(()) if self.concerns(ill) => return Rest::CutShort,
                    Ok(()) => (),
                    Err(_) => return Rest::Ended,
                },
                changed = self.pace.changed() => match changed {
                    Ok(()) if !hurried && self.pace.borrow_and_update().hurry => return Rest::CutShort,
                    Ok(()) => (),
                    Err(_) => return Rest::Ended,
                },
            }
        }
    }

    /// Of the names that are led to no tunnel one is the first, or has a record that is to be read.
    fn concerns(&self, ill: bool) -> bool {
        let ailing = self.ailing.borrow();
        let wanted =
            || self.zones.as_ref().is_some_and(|zones| zones.wants(ailing.iter().map(String::as_str)));
        !ailing.is_empty() && (!ill || wanted())
    }

    /// Looks at a name, and at those whose records were read on the way: what they say is told at once.
    async fn look_on(
        &mut self,
        name: &str,
        names: &[String],
        hurry: bool,
    ) -> Vec<(String, Seen<RouteSight>)> {
        let (mut turn, mut all) = (vec![name.to_owned()], Vec::new());
        while let Some(name) = turn.pop() {
            let (seen, read) = self.look(&name, hurry).await;
            turn.extend(read.into_iter().filter(|other| *other != name && names.contains(other)));
            all.push((name, seen));
        }
        all
    }

    /// What was seen, and the names whose records were read for it.
    async fn look(&mut self, name: &str, hurry: bool) -> (Seen<RouteSight>, Vec<String>) {
        let (seen, read) = self.see(name, hurry).await;
        self.tell(name, seen.clone()).await;
        (seen, read)
    }

    /// What was seen stands for the audits; a blind look changes nothing there.
    fn settle(&self, name: &str, seen: &Seen<RouteSight>) {
        let Ok(sight) = seen else { return };
        self.leads
            .send_if_modified(|leads| leads.insert(name.to_owned(), sight.clone()).as_ref() != Some(sight));
    }

    /// Of names that are not looked at any more nothing stands.
    fn forget_others(&self, names: &[String]) {
        let names: BTreeSet<_> = names.iter().collect();
        self.leads.send_if_modified(|leads| {
            let before = leads.len();
            leads.retain(|known, _| names.contains(known));
            leads.len() != before
        });
    }

    async fn see(&mut self, name: &str, hurry: bool) -> (Seen<RouteSight>, Vec<String>) {
        let seen = self.routes.look(name).await;
        let Some(zones) = &mut self.zones else { return (seen, Vec::new()) };
        // What the process itself says is newer than what we found before it ran.
        let tunnel = self.told.borrow().tunnel_id.clone().or_else(|| self.tunnel.clone());
        let mut read = Vec::new();
        if let Some(tunnel) = tunnel.filter(|_| hurry) {
            let ailing = self.ailing.borrow_and_update().clone();
            let names = zones.read(ailing.iter().map(String::as_str), &tunnel).await;
            read.extend(names.into_iter().map(str::to_owned));
        }
        let seen = match (seen, zones.known(name)) {
            (Ok(sight), kept) => Ok(RouteSight { kept, ..sight }),
            (Err(_), Some(kept)) => Ok(RouteSight { kept: Some(kept), ..RouteSight::default() }),
            (Err(blind), None) => Err(blind),
        };
        (seen, read)
    }

    async fn tell(&self, name: &str, seen: Seen<RouteSight>) {
        let finding = Finding::Route { hostname: name.to_owned(), seen };
        // The loop is gone only when we are going down.
        let _ = self.events.send(Event::Observed { unit: self.unit.clone(), finding }).await;
    }
}

/// Keeps the ranges as Cloudflare publishes them, until the probes' reins are dropped.
pub(super) async fn follow_ranges(
    api: Arc<CloudflareApi>,
    ranges: Arc<watch::Sender<AddressRanges>>,
    mut pace: watch::Receiver<Pace>,
) {
    let refresh = async {
        sleep(RANGES_FIRST).await;
        loop {
            match api.ips().await {
                // An empty list would make every name look misrouted.
                Ok(new) if !new.v4.is_empty() && !new.v6.is_empty() => {
                    ranges.send_replace(new);
                }
                Ok(_) => tracing::debug!("Cloudflare names no ranges of addresses"),
                Err(error) => tracing::debug!("Cloudflare's ranges cannot be read: {error}"),
            }
            sleep(jittered(RANGES_EACH)).await;
        }
    };
    tokio::select! {
        () = refresh => (),
        () = async { while pace.changed().await.is_ok() {} } => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::dns::tests::server;
    use crate::warden::route::Fault;
    use hickory_resolver::proto::op::ResponseCode;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_told_twice_and_trouble_cuts_the_rest_short() {
        let dns = server(|_, _| Some(Err(ResponseCode::NXDomain))).await;
        let (events, mut heard) = mpsc::channel(16);
        let (reins, pace) = watch::channel(Pace::default());
        let (list, names) = watch::channel(vec!["app.example.com".to_owned()]);
        let (leads, audited) = watch::channel(Leads::new());
        let (ailing, ill) = watch::channel(BTreeSet::new());
        let probe = RouteProbe {
            unit: "cloudflared.service".into(),
            events,
            routes: Routes {
                inside: Arc::new(dns),
                outside: None,
                ranges: watch::channel(AddressRanges::published()).1,
            },
            zones: None,
            tunnel: None,
            told: watch::channel(Told::default()).1,
            names,
            ailing: ill,
            pace,
            settings: config::Dns {
                period: Duration::from_secs(300),
                period_down: Duration::from_secs(60),
                resolver: None,
                ranges: Vec::new(),
            },
            leads,
        };
        let running = tokio::spawn(probe.run());
        let mut next = async || {
            let Some(Event::Observed { finding: Finding::Route { hostname, seen }, .. }) = heard.recv().await
            else {
                panic!("no route")
            };
            (hostname, seen.unwrap().fault() == Some(Fault::Missing { outside: false }))
        };
        let began = Instant::now();
        assert_eq!(
            (next().await, next().await),
            (("app.example.com".into(), true), ("app.example.com".into(), true))
        );
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let (quiet, ()) = (Instant::now(), tokio::time::sleep(Duration::from_secs(30)).await);
        reins.send_modify(|pace| pace.hurry = true);
        assert!(next().await.1);
        assert!(quiet.elapsed() < Duration::from_secs(60), "{:?}", quiet.elapsed());
        assert!(next().await.1);
        // In a hurry already, and a name gives 1033.
        let (quiet, ()) = (Instant::now(), tokio::time::sleep(Duration::from_secs(8)).await);
        ailing.send_modify(|ailing| ailing.extend(["app.example.com".to_owned()]));
        assert!(next().await.1 && next().await.1);
        assert!(quiet.elapsed() < Duration::from_secs(30), "{:?}", quiet.elapsed());
        list.send_replace(vec!["b.example.com".to_owned()]);
        assert_eq!(next().await.0, "b.example.com");
        // The old name is no more; of the new one nothing stands before it was looked at twice.
        assert!(audited.borrow().is_empty());
        next().await;
        assert_eq!(audited.borrow().keys().collect::<Vec<_>>(), ["b.example.com"]);
        drop(reins);
        running.await.unwrap();
    }
}
