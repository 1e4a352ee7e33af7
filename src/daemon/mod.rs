//! Wiring: settings → clients → probes → warden → loop. Start and stop order is here and nowhere else.

mod announcements;
mod audits;
mod connector;
pub(crate) mod credentials;
pub(crate) mod discover;
mod ear;
mod event_loop;
mod executor;
mod memory;
mod names;
mod observers;
pub(crate) mod once;
mod os_signals;
mod port;
mod power;
mod probes;
mod records;
mod routes;
pub(crate) mod secret_files;
mod set_up;
pub(crate) mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::act::Hands;
use crate::client::cloudflare_api::Credentials;
use crate::client::systemd::Systemd;
use crate::clock;
use crate::config::{Loaded, Mode, Settings};
use crate::report::dbus::{self, Picture};
use crate::report::journal::{self as told, Weight};
use crate::report::metrics::{Metrics, name_of};
use crate::report::notify;
use crate::report::snapshot::{About, AboutTunnel};
use crate::warden::event::Event;
use crate::warden::machine::{Memory, Warden};
use crate::warden::policy::Policy;
use audits::Audits;
pub(crate) use audits::checklist;
use discover::Found;
use ear::{Ear, Grounds};
use event_loop::Ended;
use executor::Executor;
use memory::{DISK_WAITS, Keeper, Places, Writer};
pub(crate) use names::expected;
use os_signals::OsSignals;

/// Events on their way to the loop. Senses wait when it is full; nothing is thrown away.
const EVENTS: usize = 256;
/// Signals on their way to the bus; more than these in one go are lost, and the journal has them.
const BUS_SIGNALS: usize = 64;
/// For our name on the bus, before we say that we are ready.
const BUS_PATIENCE: Duration = Duration::from_secs(1);

/// Runs until told to stop. Settings that shape the senses, and units that come or go, begin everything anew, but for what would
/// survive a restart.
///
/// # Errors
/// If the bus, TLS or the listening address cannot be had.
pub async fn run(loaded: Loaded) -> anyhow::Result<()> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let settings = loaded.settings;
    let systemd = Arc::new(Systemd::connect().await.context("cannot reach systemd over the system bus")?);
    let found = discover::tunnels(&systemd, &settings).await.context("cannot ask systemd for its units")?;
    // Until all is set up for the first time a signal simply ends us; from then on none is lost.
    let mut grounds = Grounds { settings, systemd, found, units_unread: false, heard: None };
    let mut past = Past::remembered();
    while let Some(next) = live(grounds, past).await? {
        (grounds, past) = next;
    }
    notify::stopping();
    told::daemon(told::STOPPED, Weight::Notice, "tunnelwarden stopped");
    Ok(())
}

/// What one life leaves to the next, and the first finds on disk.
struct Past {
    memory: Memory,
    keeper: Arc<Keeper>,
    writer: Writer,
}

impl Past {
    fn remembered() -> Self {
        let boot_id = crate::client::host::boot_id().unwrap_or_default();
        let keeper = Arc::new(Keeper::new(Places::system(), boot_id));
        let memory = keeper.read(clock::now());
        if let Some(why) = &memory.lost {
            told::daemon(
                told::MEMORY_LOST,
                Weight::Error,
                &format!("Memory lost, so nothing is done: {why}"),
            );
        }
        Self { memory, writer: Writer::start(Arc::clone(&keeper)), keeper }
    }
}

/// One life on the same grounds. `Some`: those of the next, and what it leaves to that.
async fn live(grounds: Grounds, past: Past) -> anyhow::Result<Option<(Grounds, Past)>> {
    let Grounds { settings, systemd, found, units_unread, heard } = grounds;
    let Past { memory, keeper, writer } = past;
    let address = settings.http.listen;
    let listener = port::listen(address)
        .await
        .with_context(|| format!("cannot listen on {} (http.listen)", settings.http.listen))?;

    let powerless = power::lacking(&systemd, &found).await;
    let mut warden = Warden::new(policy(&settings, powerless.clone()), memory);

    let (events, event_rx) = mpsc::channel(EVENTS);
    let (asks, ask_rx) = mpsc::channel(8);
    let (signals, signal_rx) = mpsc::channel(8);
    let metrics = Arc::new(Metrics::new());
    metrics.reloaded(true);
    let given = credentials::find(&settings.api, environment);
    if let Some(warning) = &given.warning {
        tracing::warn!("{warning}");
    }
    let about = about(&found, given.warning.as_deref());
    let (picture, shown) = watch::channel(Picture::of(&warden, &about, clock::now()));
    let (to_bus, bus_signals) = mpsc::channel(BUS_SIGNALS);
    let (on_bus_tx, on_bus_rx) = oneshot::channel();
    let asked = asks.clone();
    let serving = tokio::spawn(async move {
        let listener = match listener {
            Some(listener) => listener,
            None => port::listen_some_time(address).await,
        };
        crate::report::http::serve(listener, asked).await;
    });
    let on_bus = tokio::spawn(dbus::serve(asks, shown, bus_signals, on_bus_tx));
    // So that `tunnelwarden status` works as soon as systemd says that we run. Before any probe begins, as their first
    // looks all want the processor. No bus is no reason not to watch.
    let _ = tokio::time::timeout(BUS_PATIENCE, on_bus_rx).await;
    let records = given.credentials.clone().map(|credentials| (credentials, found.len()));
    let senses = probes::Senses::new(
        &settings,
        &found,
        Arc::clone(&systemd),
        events.clone(),
        signals.clone(),
        records,
        &metrics,
    )?;
    let host = senses.host();
    let hands = Hands::new(Arc::clone(&systemd));
    let writing = (Arc::clone(&keeper), writer);
    let mut executor =
        Executor::new(events.clone(), hands, writing, Arc::clone(&metrics), host, about.clone(), to_bus);
    let units: Vec<_> = found.iter().map(|tunnel| tunnel.unit.clone()).collect();
    let (counted, called) = (Arc::clone(&metrics), about.clone());
    let count = move |unit: &str, meaning, history: bool| {
        if !history {
            counted.journal_line(name_of(&called, unit), meaning);
        }
    };
    let cursor_path = keeper.cursor_path();
    let keep = move |cursor: &str| {
        if let Err(error) = crate::store::write_cursor(&cursor_path, cursor) {
            tracing::warn!("cannot keep the place in the journal: {error}");
        }
    };
    let mut journal = senses.journal(&units, keeper.cursor(), Box::new(count), Box::new(keep))?;
    let api = match (&given.credentials, senses.token()) {
        (Some(Credentials::GlobalKey { .. }), _) => audits::Api::GlobalKey,
        (Some(Credentials::Token(_)), Some(token)) => audits::Api::Token(token),
        (Some(Credentials::Token(_)) | None, _) => audits::Api::Nothing,
    };
    // Dropping it ends them.
    let mut auditing = JoinSet::new();
    for (number, tunnel) in found.iter().enumerate() {
        for unread in &tunnel.unread {
            tracing::warn!(unit_name = %tunnel.unit, "not readable for us: {unread}");
        }
        if tunnel.setup.other_region {
            tracing::warn!(
                unit_name = %tunnel.unit,
                "connects to region {:?} of the edge, and {:?} is dialled (edge.region), so that it is never restarted",
                tunnel.region.as_deref().unwrap_or_default(),
                discover::region(&settings, &found),
            );
        }
        let event = Event::Tunnel { unit: tunnel.unit.clone(), names: tunnel.names.clone() };
        for command in warden.handle(event, clock::now()) {
            if executor.start(&warden, command).is_break() {
                return Ok(None);
            }
        }
        let told = journal.told.remove(&tunnel.unit).unwrap_or_else(|| watch::channel(Default::default()).1);
        let (leads, seen) = watch::channel(Default::default());
        let audits = Audits {
            systemd: Arc::clone(&systemd),
            signals: signals.clone(),
            metrics: Arc::clone(&metrics),
            unit: tunnel.unit.clone(),
            name: tunnel.name.clone(),
            tunnel: tunnel.id.clone(),
            config: tunnel.files.config.clone(),
            port: tunnel.port.clone(),
            expected: audits::expected(&settings, &tunnel.unit),
            told: told.clone(),
            leads: seen,
            // The token is the host's: what is wrong with it is said once.
            api: if number == 0 { api.clone() } else { audits::Api::Nothing },
        };
        executor.rein(tunnel.unit.clone(), senses.tunnel(tunnel, told, leads));
        auditing.spawn(audits.run());
    }
    let (units_tx, units_rx) = watch::channel(units);
    let (changed, changed_rx) = mpsc::channel(1);
    tokio::spawn(crate::sense::unit::watch(Arc::clone(&systemd), units_rx, events.clone(), changed));
    let events = events.clone();
    let ear = Ear { signals, events, metrics, systemd, found, units_unread, powerless, settings, given };
    let first = heard.is_none();
    let heard = heard.map_or_else(OsSignals::listen, Ok).context("cannot listen to signals")?;
    let listening = tokio::spawn(ear.listen(changed_rx, heard));

    let line = format!("watching {}", names(&about));
    let (id, text) = match first {
        true => (told::STARTED, format!("tunnelwarden {} started, {line}", env!("CARGO_PKG_VERSION"))),
        false => (told::CONFIG_RELOADED, format!("Begun anew, {line}.")),
    };
    told::daemon(id, Weight::Notice, &text);
    notify::ready(&line);
    let ended =
        event_loop::turn(&mut warden, &mut executor, about, event_rx, ask_rx, signal_rx, picture).await;
    drop(units_tx);
    notify::watchdog();
    let leaving = Instant::now();
    let writer = executor.leave(&mut warden).await;
    for task in [serving, on_bus] {
        task.abort();
        // Port and name are free once their tasks are gone; that they were cut short is what was asked for.
        let _ = task.await;
    }
    match ended {
        Ended::Stop => {
            writer.finish(leaving + DISK_WAITS).await;
            Ok(None)
        }
        // It has said so, and listens no more.
        Ended::Anew => {
            let grounds = listening.await.context("cannot listen to signals")?;
            let mut memory = warden.memory();
            memory.lost = memory.lost.filter(|_| !keeper.loss_accepted());
            Ok(grounds.map(|grounds| (grounds, Past { memory, keeper, writer })))
        }
    }
}

/// Our environment, where it is text.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn names(about: &About) -> String {
    match about.tunnels.len() {
        0 => "no unit, because none on this host runs a tunnel".to_owned(),
        _ => about.tunnels.iter().map(|tunnel| tunnel.unit.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// What the surfaces say of the tunnels. `warning` is about the API's credentials, which all of them share.
fn about(found: &[Found], warning: Option<&str>) -> About {
    let tunnels = found.iter().map(|tunnel| AboutTunnel {
        unit: tunnel.unit.clone(),
        name: tunnel.name.clone(),
        id: tunnel.id.clone(),
        version: None,
        unread: tunnel.unread.iter().cloned().chain(warning.map(str::to_owned)).collect(),
        api: None,
        findings: Vec::new(),
    });
    About { started: clock::now().wall, tunnels: tunnels.collect() }
}

/// The judge's numbers, from the settings.
pub(crate) fn policy(settings: &Settings, powerless: BTreeMap<String, String>) -> Policy {
    let Settings { probe, dns, ready, edge, judge, remedy, .. } = settings;
    let grace = Duration::from_secs(5);
    Policy {
        observe_only: settings.mode == Mode::Observe,
        powerless,
        sustained: judge.sustained,
        rounds: judge.rounds,
        patience: judge.patience,
        start_grace: judge.start_grace,
        boot_grace: judge.boot_grace,
        healthy_after: judge.healthy_after,
        cooldown: remedy.cooldown.clone(),
        per_hour: remedy.per_hour,
        per_day: remedy.per_day,
        per_hour_host: remedy.per_hour_host,
        half_open: remedy.half_open,
        swift: remedy.swift,
        windows: !settings.window.is_empty(),
        start_stopped: remedy.start_stopped,
        name_age: probe.period * 2 + probe.timeout + grace,
        ready_age: ready.period * 3 + grace,
        edge_age: edge.period * 2 + grace * 2,
        route_age: dns.period * 2 + Duration::from_secs(60),
        #[cfg(debug_assertions)]
        knocked_out: None,
    }
}
