//! The probes of this host and of each tunnel: one task each, on the frame of `sense::polling`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::announcements;
use super::connector::{Connector, READY_LIMIT};
use super::discover::{self, Found};
use super::event_loop::Signal;
use super::executor::Reins;
use super::names::NameProbes;
use super::observers::{self, Observers};
use super::records::Archive;
use super::routes::{Leads, RouteProbe, follow_ranges};
use super::set_up::follow_set_up;
use super::survey::HISTORY;
use crate::client::blackbox::Blackbox;
use crate::client::cloudflare_api::{AddressRanges, Credentials, VerifiedToken};
use crate::client::dns::Dns;
use crate::client::edge::{EdgeDialer, EdgeSettings, Family};
use crate::client::http::{PublicClient, PublicTarget};
use crate::client::journal::{JournalHandle, Options, follow};
use crate::client::status_page::StatusPage;
use crate::client::systemd::Systemd;
use crate::client::tls::Tls;
use crate::config::{HttpsUrl, Resolve, Settings};
use crate::report::metrics::Metrics;
use crate::sense::dns::{Routes, Zones};
use crate::sense::host::HostSense;
use crate::sense::journal::{Count, Listeners, Told, listen};
use crate::sense::polling::{Lanes, Pace, Periods, poll};
use crate::sense::tunnel::Mine;
use crate::sense::{edge, files, public, unit};
use crate::warden::event::Event;
use crate::warden::evidence::{Blind, Finding, HostFinding};

/// Looks at public names that run at once, and those that only wait for an answer besides.
const LOOKS_AT_ONCE: usize = 16;
const LOOKS_WAITING: usize = 64;
const HOST_PROBES: usize = 3;
const EDGE_LIMIT: Duration = Duration::from_secs(5);
const FILES_PERIOD: Duration = Duration::from_secs(60);
/// Beside one for each name, and that of Cloudflare's records: the unit with `/ready`, and the files.
const TUNNEL_PROBES: usize = 2;

/// What all probes share.
pub(super) struct Senses {
    settings: Settings,
    systemd: Arc<Systemd>,
    events: mpsc::Sender<Event>,
    client: PublicClient,
    /// The same with the resolver that is set for public names.
    visitor: PublicClient,
    /// There where probers elsewhere are configured.
    blackbox: Option<Blackbox>,
    /// There where one is configured.
    status_page: Option<StatusPage>,
    dns: Arc<Dns>,
    /// Where names that lead to Cloudflare resolve to.
    ranges: Arc<watch::Sender<AddressRanges>>,
    dialer: Arc<EdgeDialer>,
    /// By which families each unit's connector reaches the edge.
    families: Arc<watch::Sender<BTreeMap<String, Family>>>,
    signals: mpsc::Sender<Signal>,
    archive: Option<Archive>,
}

/// What the journal sense gives to the others.
pub(super) struct JournalSense {
    /// Dropping it ends the reading thread.
    _handle: JournalHandle,
    pub(super) told: BTreeMap<String, watch::Receiver<Told>>,
}

impl Senses {
    /// `found`: the tunnels to watch. `records`: credentials for Cloudflare's API, and how many tunnels will be looked up.
    pub(super) fn new(
        settings: &Settings,
        found: &[Found],
        systemd: Arc<Systemd>,
        events: mpsc::Sender<Event>,
        signals: mpsc::Sender<Signal>,
        records: Option<(Credentials, usize)>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let tls = Tls::system().context("cannot set up TLS")?;
        let dns = Arc::new(Dns::system());
        let agent = concat!("tunnelwarden/", env!("CARGO_PKG_VERSION"));
        let client = PublicClient::new(&tls, Arc::clone(&dns), agent).context("cannot set up HTTPS")?;
        let visitor = match settings.probe.resolve {
            Resolve::At(resolver) => {
                let dns = Dns::with_servers(&[resolver]).context("cannot set up probe.resolve")?;
                client.resolving_by(Arc::new(dns))
            }
            Resolve::System | Resolve::EdgeDirect => client.clone(),
        };
        let archive = records.map(|(credentials, share)| {
            Archive::new(&tls, Arc::clone(&dns), agent, credentials, &settings.api, share, metrics)
        });
        let region = Some(discover::region(settings, found)).filter(|word| !word.is_empty());
        let blackbox = (!settings.probe.observers.is_empty())
            .then(|| Blackbox::new(&tls, Arc::clone(&dns), agent, observers::LIMIT))
            .transpose()
            .context("cannot set up probe.observers")?;
        let page = |page: &HttpsUrl| {
            StatusPage::new(&tls, Arc::clone(&dns), agent, page.url(), announcements::LIMIT)
        };
        let status_page = settings
            .edge
            .status_page
            .as_ref()
            .map(page)
            .transpose()
            .context("cannot set up edge.status_page")?;
        let ranges = match settings.dns.ranges.as_slice() {
            [] => AddressRanges::published(),
            set => AddressRanges::of(set.iter().copied()),
        };
        let dialer = EdgeDialer::new(&tls, Arc::clone(&dns), EdgeSettings { region });
        Ok(Self {
            settings: settings.clone(),
            systemd,
            events,
            client,
            visitor,
            blackbox,
            status_page,
            dns,
            ranges: Arc::new(watch::Sender::new(ranges)),
            dialer: Arc::new(dialer),
            families: Arc::default(),
            signals,
            archive: archive.transpose()?,
        })
    }

    /// Follows the journal of `units`, from `cursor` or from some lines ago; what is heard is counted, and the place kept.
    pub(super) fn journal(
        &self,
        units: &[String],
        cursor: Option<String>,
        count: Count,
        keep: Box<dyn Fn(&str) + Send + Sync>,
    ) -> anyhow::Result<JournalSense> {
        let options = Options { units: units.to_vec(), cursor, history: HISTORY, directory: None };
        let (handle, journal) = follow(options).context("cannot start the journal's thread")?;
        let mut told = BTreeMap::new();
        let mut tell = BTreeMap::new();
        for unit in units {
            let (tx, rx) = watch::channel(Told::default());
            tell.insert(unit.clone(), tx);
            told.insert(unit.clone(), rx);
        }
        let listeners =
            Listeners { events: self.events.clone(), told: tell, units: units.to_vec(), count, keep };
        tokio::spawn(listen(journal, listeners));
        Ok(JournalSense { _handle: handle, told })
    }

    /// Starts the probes of the host.
    pub(super) fn host(&self) -> Reins {
        let (pace, rx) = watch::channel(Pace { hurry: true, look: None });
        if let Some(archive) = &self.archive {
            archive.follow_token(rx.clone());
            if self.settings.dns.ranges.is_empty() {
                tokio::spawn(follow_ranges(archive.api(), Arc::clone(&self.ranges), rx.clone()));
            }
        }
        if let Some(page) = &self.status_page {
            tokio::spawn(announcements::follow(page.clone(), self.events.clone(), rx.clone()));
        }
        let send = |events: &mpsc::Sender<Event>| {
            let events = events.clone();
            async move |finding| {
                // The loop is gone only when we are going down.
                let _ = events.send(Event::HostObserved(finding)).await;
            }
        };
        let Settings { probe, edge: edge_settings, .. } = &self.settings;
        // Served names prove the way out better than the control name does; it is asked often only in trouble.
        let control = Periods {
            calm: edge_settings.period,
            hurried: probe.period_down,
            limit: probe.timeout,
            delay: Duration::ZERO,
        };
        let dial = Periods {
            calm: edge_settings.period,
            hurried: edge_settings.period_down,
            limit: EDGE_LIMIT,
            delay: Duration::ZERO,
        };
        let targets: Vec<_> = probe.control.iter().map(|url| PublicTarget::of(url.url().clone())).collect();

        let (client, tell, blind) = (self.client.clone(), send(&self.events), send(&self.events));
        tokio::spawn(poll(
            control,
            rx.clone(),
            async move |limit| {
                tell(HostFinding::Control(public::control(&client, &targets, limit).await)).await
            },
            async move || blind(HostFinding::Control(Err(Blind::TimedOut))).await,
        ));
        let (dialer, tell, blind) = (Arc::clone(&self.dialer), send(&self.events), send(&self.events));
        let families = self.families.subscribe();
        tokio::spawn(poll(
            dial,
            rx.clone(),
            async move |limit| {
                let wanted = families.borrow().values().copied().collect();
                tell(HostFinding::Edge(Ok(edge::sight(&dialer.dial(limit, &wanted).await)))).await;
            },
            async move || blind(HostFinding::Edge(Err(Blind::TimedOut))).await,
        ));
        let (tell, blind, pace_now) = (send(&self.events), send(&self.events), rx.clone());
        let mut host = HostSense::new(Arc::clone(&self.systemd), self.settings.window.clone());
        tokio::spawn(poll(
            dial,
            rx,
            async move |_| {
                let trouble = pace_now.borrow().hurry;
                tell(HostFinding::Host(host.look(trouble).await)).await;
            },
            async move || blind(HostFinding::Host(Err(Blind::TimedOut))).await,
        ));
        Reins { pace, probes: Arc::new(AtomicUsize::new(HOST_PROBES)) }
    }

    /// The API token as Cloudflare verified it last; `None` where there are no credentials.
    pub(super) fn token(&self) -> Option<watch::Receiver<Option<VerifiedToken>>> {
        self.archive.as_ref().map(Archive::token)
    }

    /// Starts the probes of one tunnel; where its names lead goes to `leads`, too.
    pub(super) fn tunnel(
        &self,
        found: &Found,
        told: watch::Receiver<Told>,
        leads: watch::Sender<Leads>,
    ) -> Reins {
        let (pace, rx) = watch::channel(Pace { hurry: true, look: None });
        let send = || {
            let (events, unit) = (self.events.clone(), found.unit.clone());
            async move |finding| {
                let unit = unit.clone();
                let _ = events.send(Event::Observed { unit, finding }).await;
            }
        };
        let probe = &self.settings.probe;

        let wanted = edge::wanted(found.setup.families);
        self.families.send_modify(|families| {
            families.insert(found.unit.clone(), wanted);
        });
        let first = (send(), found.setup);
        tokio::spawn(async move { first.0(Finding::Setup(first.1)).await });

        let period = self.settings.ready.period;
        let periods =
            Periods { calm: period, hurried: period, limit: READY_LIMIT * 2, delay: Duration::ZERO };
        let (effective_told, records_told, told_routes) = (told.clone(), told.clone(), told.clone());
        let (know, mine) = watch::channel(Mine::default());
        let mut connector = Connector::new(found, self.events.clone(), told, know);
        let (systemd, unit_name, blind) = (Arc::clone(&self.systemd), found.unit.clone(), send());
        let pace_now = rx.clone();
        tokio::spawn(poll(
            periods,
            rx.clone(),
            async move |limit| {
                let hurry = pace_now.borrow().hurry;
                connector.look(limit, hurry, unit::look(&systemd, &unit_name)).await;
            },
            async move || blind(Finding::Ready(Err(Blind::TimedOut))).await,
        ));

        let periods =
            Periods { calm: FILES_PERIOD, hurried: FILES_PERIOD, limit: READY_LIMIT, delay: Duration::ZERO };
        let (watched, tell) = (found.files.clone(), send());
        tokio::spawn(poll(
            periods,
            rx.clone(),
            async move |_| tell(Finding::Files(files::look(&watched))).await,
            async || (),
        ));

        let mut probes = TUNNEL_PROBES;
        if let Some(archive) = &self.archive {
            let (events, signals) = (self.events.clone(), self.signals.clone());
            archive.probe(found, records_told, mine, rx.clone(), events, signals);
            probes += 1;
        }
        let count = Arc::new(AtomicUsize::new(probes));
        let (listed, list) = watch::channel(Vec::new());
        let (ailing, ill) = watch::channel(BTreeSet::new());
        // A resolver that is asked for public names is one outside, too.
        let outside = self.settings.dns.resolver.or(match probe.resolve {
            Resolve::At(resolver) => Some(resolver),
            Resolve::System | Resolve::EdgeDirect => None,
        });
        let routes = RouteProbe {
            unit: found.unit.clone(),
            events: self.events.clone(),
            routes: Routes {
                inside: Arc::clone(&self.dns),
                // That one can be set up was seen when the settings were read.
                outside: outside.and_then(|resolver| Dns::with_servers(&[resolver]).ok()),
                ranges: self.ranges.subscribe(),
            },
            zones: self.archive.as_ref().map(|archive| Zones::new(archive.api())),
            tunnel: found.id.clone(),
            told: told_routes,
            names: list,
            ailing: ill,
            pace: rx.clone(),
            settings: self.settings.dns.clone(),
            leads,
        };
        tokio::spawn(routes.run());
        if let Some(client) = &self.blackbox {
            let refined = found.probes.iter();
            let observers = Observers {
                unit: found.unit.clone(),
                events: self.events.clone(),
                client: client.clone(),
                observers: probe.observers.iter().map(|observer| observer.url().clone()).collect(),
                targets: refined
                    .map(|probe| (probe.url.host().as_str().to_owned(), probe.url.url().clone()))
                    .collect(),
                ailing: ailing.subscribe(),
            };
            tokio::spawn(observers.run());
        }
        let mut names = NameProbes {
            unit: found.unit.clone(),
            events: self.events.clone(),
            client: self.visitor.clone(),
            lanes: Arc::new(Lanes::new(LOOKS_AT_ONCE, LOOKS_WAITING)),
            pace: rx,
            settings: probe.clone(),
            refined: found.probes.clone(),
            count: Arc::clone(&count),
            running: BTreeMap::new(),
            spread: None,
            listed,
            ailing,
        };
        names.set(&found.names);
        tokio::spawn(follow_set_up(
            found.clone(),
            names,
            effective_told,
            self.signals.clone(),
            Arc::clone(&self.families),
        ));
        Reins { pace, probes: count }
    }
}
