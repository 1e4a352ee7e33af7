//! `org.tunnelwarden.Warden1` on the system bus: everybody may read, orders need polkit's word (or root).
//!
//! A client can do no harm: reads are answered from a picture that is at most [`FRESH`] old, orders are few at once, and the
//! loop decides before it answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use zbus::fdo::DBusProxy;
use zbus::message::{Flags, Header};
use zbus::names::BusName;
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::{Connection, DBusError, Variant, connection, interface, proxy};

use super::ask::{Ask, Order, Refusal, ask};
use super::diagnosis::Diagnosis;
use super::metrics::name_of;
use super::snapshot::{About, Status};
use crate::clock;
use crate::warden::evidence::Ready;
use crate::warden::machine::Warden;
use crate::warden::note::{Happening, Note};
use crate::warden::time::Now;

/// The name on the bus.
pub const NAME: &str = "org.tunnelwarden.Warden1";
/// The object.
pub const PATH: &str = "/org/tunnelwarden/Warden1";
/// How old an answer to a read may be.
const FRESH: Duration = Duration::from_millis(200);
/// Orders under way at once, of everybody and of one user.
const ORDERS: usize = 8;
const ORDERS_OF_ONE: usize = 2;
/// For polkit, which may ask a person.
const POLKIT_LIMIT: Duration = Duration::from_secs(60);
const BUS_LIMIT: Duration = Duration::from_secs(5);
/// Pauses before a lost bus is tried again: the first, doubled up to the last. A bus that has just been restarted, or has
/// not read our policy yet, is there in a moment.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(2);
const REASON_LIMIT: usize = 200;

/// What the properties show. Connections are 0 where they are not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    mode: String,
    /// Name, verdict, cause, connections.
    tunnels: Vec<(String, String, String, u32)>,
    /// µs since 1970; 0 = not paused.
    paused_until: u64,
}

impl Picture {
    /// The picture of the moment.
    pub fn of(warden: &Warden, about: &About, now: Now) -> Self {
        let tunnels = warden.tunnels().map(|tunnel| {
            let ready = tunnel.evidence.ready.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok());
            let connections = match ready.map(|sight| sight.ready) {
                Some(Ready::Connections(n)) => u32::from(n),
                Some(Ready::Refused | Ready::Silent) | None => 0,
            };
            let cause = tunnel.verdict.cause.map_or("", |cause| cause.name());
            let verdict = tunnel.verdict.health.name();
            (name_of(about, &tunnel.unit).to_owned(), verdict.to_owned(), cause.to_owned(), connections)
        });
        // To the second: the two clocks drift, and a property must not change because of that.
        let paused = warden.paused().map_or(0, |pause| now.wall_of(pause.until).as_secs() * 1_000_000);
        Self {
            mode: if warden.policy().observe_only { "observe" } else { "remedy" }.into(),
            tunnels: tunnels.collect(),
            paused_until: paused,
        }
    }
}

/// What goes out as a signal.
#[derive(Clone, Debug)]
pub struct Signal {
    tunnel: String,
    incident: String,
    happening: Happening,
}

impl Signal {
    /// What of a note others may want to react to.
    pub fn of(note: &Note, tunnel: &str) -> Option<Self> {
        match &note.happening {
            Happening::IncidentOpened { .. }
            | Happening::IncidentClosed { .. }
            | Happening::RemedyOrdered { .. } => Some(Self {
                tunnel: tunnel.to_owned(),
                incident: note.incident.clone().unwrap_or_default(),
                happening: note.happening.clone(),
            }),
            Happening::CauseChanged { .. }
            | Happening::RemedyFinished { .. }
            | Happening::RemedyHeld { .. }
            | Happening::Escalated { .. }
            | Happening::SenseBlind { .. }
            | Happening::SenseSees { .. } => None,
        }
    }
}

/// Why a call was refused.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.tunnelwarden.Warden1.Error")]
enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    /// Rails object; one line for each.
    Held(String),
    UnknownTunnel(String),
    InvalidArgument(String),
    NotAuthorized(String),
    Busy(String),
    /// The decision loop does not turn.
    Stuck(String),
}

/// What is served.
struct Warden1 {
    asks: mpsc::Sender<Ask>,
    picture: watch::Receiver<Picture>,
    fresh: Mutex<Option<(Instant, Arc<Status>)>>,
    orders: Arc<Semaphore>,
    of_one: Arc<Mutex<BTreeMap<u32, usize>>>,
}

#[interface(name = "org.tunnelwarden.Warden1")]
impl Warden1 {
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    #[zbus(property)]
    fn mode(&self) -> String {
        self.picture.borrow().mode.clone()
    }

    #[zbus(property)]
    fn tunnels(&self) -> Vec<(String, String, String, u32)> {
        self.picture.borrow().tunnels.clone()
    }

    #[zbus(property)]
    fn paused_until(&self) -> u64 {
        self.picture.borrow().paused_until
    }

    /// Holds ages, so that it changes all the time: no signal for it.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn explanation(&self) -> zbus::fdo::Result<HashMap<String, String>> {
        let status = self.read().await.map_err(|error| zbus::fdo::Error::Failed(error.to_string()))?;
        let wall = clock::now().wall;
        Ok(status.tunnels.iter().map(|tunnel| (tunnel.name.clone(), tunnel.explain(wall))).collect())
    }

    #[zbus(out_args("status"))]
    async fn status(&self) -> Result<String, Error> {
        let status = self.read().await?;
        serde_json::to_string(&*status).map_err(|error| Error::Stuck(error.to_string()))
    }

    #[zbus(out_args("explanation"))]
    async fn explain(&self, tunnel: &str) -> Result<String, Error> {
        let status = self.read().await?;
        let found = status.tunnels.iter().find(|known| known.name == tunnel || known.unit == tunnel);
        let found = found.ok_or_else(|| unknown(tunnel))?;
        Ok(found.explain(clock::now().wall))
    }

    #[zbus(out_args("diagnosis"))]
    async fn diagnose(&self, tunnel: &str) -> Result<String, Error> {
        let status = self.read().await?;
        let found = status.tunnels.iter().find(|known| known.name == tunnel || known.unit == tunnel);
        let found = found.ok_or_else(|| unknown(tunnel))?;
        serde_json::to_string(&Diagnosis::of(found.clone())).map_err(|error| Error::Stuck(error.to_string()))
    }

    async fn pause(
        &self,
        until: u64,
        reason: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<(), Error> {
        let reason = checked(reason)?;
        let until = Duration::from_micros(until);
        let order = |by| Order::Pause { until, reason, by };
        self.order("org.tunnelwarden.pause", order, &header, bus).await.map(drop)
    }

    async fn resume(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<(), Error> {
        self.order("org.tunnelwarden.pause", |by| Order::Resume { by }, &header, bus).await.map(drop)
    }

    #[zbus(out_args("incident"))]
    async fn restart(
        &self,
        tunnel: &str,
        reason: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<String, Error> {
        let reason = checked(reason)?;
        let tunnel = tunnel.to_owned();
        let order = |by| Order::Restart { tunnel, reason, by, force: false };
        self.order("org.tunnelwarden.restart", order, &header, bus).await
    }

    #[zbus(out_args("incident"))]
    async fn force_restart(
        &self,
        tunnel: &str,
        reason: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<String, Error> {
        let reason = checked(reason)?;
        let tunnel = tunnel.to_owned();
        let order = |by| Order::Restart { tunnel, reason, by, force: true };
        self.order("org.tunnelwarden.restart", order, &header, bus).await
    }

    #[zbus(signal)]
    async fn incident_opened(
        emitter: &SignalEmitter<'_>,
        tunnel: &str,
        incident: &str,
        cause: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn incident_closed(
        emitter: &SignalEmitter<'_>,
        tunnel: &str,
        incident: &str,
        outcome: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn remedy_ordered(
        emitter: &SignalEmitter<'_>,
        tunnel: &str,
        remedy: &str,
        cause: &str,
    ) -> zbus::Result<()>;
}

impl Warden1 {
    fn new(asks: mpsc::Sender<Ask>, picture: watch::Receiver<Picture>) -> Self {
        Self {
            asks,
            picture,
            fresh: Mutex::default(),
            orders: Arc::new(Semaphore::new(ORDERS)),
            of_one: Arc::default(),
        }
    }

    /// The whole status, at most [`FRESH`] old.
    async fn read(&self) -> Result<Arc<Status>, Error> {
        let known = self.fresh.lock().ok().and_then(|known| known.clone());
        if let Some((at, status)) = known
            && at.elapsed() < FRESH
        {
            return Ok(status);
        }
        let status = ask(&self.asks, Ask::Status).await.ok_or_else(stuck)?;
        let status = Arc::<Status>::from(status);
        self.remember(Some((Instant::now(), Arc::clone(&status))));
        Ok(status)
    }

    fn remember(&self, status: Option<(Instant, Arc<Status>)>) {
        if let Ok(mut known) = self.fresh.lock() {
            *known = status;
        }
    }

    async fn order(
        &self,
        action: &str,
        order: impl FnOnce(String) -> Order,
        header: &Header<'_>,
        bus: &Connection,
    ) -> Result<String, Error> {
        let busy = || Error::Busy("too many orders at once, try again".into());
        let _slot = Arc::clone(&self.orders).try_acquire_owned().map_err(|_| busy())?;
        let uid = uid_of(header, bus).await?;
        let _own = OneOf::enter(&self.of_one, uid).ok_or_else(busy)?;
        if uid != 0 {
            authorized(action, header, bus).await?;
        }
        let (order, asks) = (order(format!("uid {uid}")), &self.asks);
        let answer = ask(asks, |reply| Ask::Order(order, reply)).await.ok_or_else(stuck)?;
        self.remember(None);
        answer.map_err(|refusal| match refusal {
            Refusal::Held(holds) => Error::Held(holds.trim_end().to_owned()),
            Refusal::UnknownTunnel(tunnel) => unknown(&tunnel),
            Refusal::Invalid(why) => Error::InvalidArgument(why),
        })
    }
}

/// One of a user's orders; leaves by itself.
struct OneOf {
    all: Arc<Mutex<BTreeMap<u32, usize>>>,
    uid: u32,
}

impl OneOf {
    fn enter(all: &Arc<Mutex<BTreeMap<u32, usize>>>, uid: u32) -> Option<Self> {
        let mut counts = all.lock().ok()?;
        let count = counts.entry(uid).or_default();
        if ORDERS_OF_ONE <= *count {
            return None;
        }
        *count += 1;
        Some(Self { all: Arc::clone(all), uid })
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        let Ok(mut counts) = self.all.lock() else { return };
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

fn unknown(tunnel: &str) -> Error {
    let shown: String = tunnel.chars().filter(|c| !c.is_control()).take(100).collect();
    Error::UnknownTunnel(format!("no tunnel is called {shown:?} here"))
}

fn stuck() -> Error {
    Error::Stuck("the decision loop does not turn".into())
}

/// A reason goes into journal and timeline, so it is one line of reasonable length.
fn checked(reason: &str) -> Result<String, Error> {
    let reason = reason.trim();
    let long = REASON_LIMIT < reason.chars().count();
    if reason.is_empty() || long || reason.chars().any(char::is_control) {
        return Err(Error::InvalidArgument(format!(
            "a reason is one line of 1 to {REASON_LIMIT} characters"
        )));
    }
    Ok(reason.to_owned())
}

#[proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action: &str,
        details: HashMap<&str, &str>,
        flags: u32,
        cancellation: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;
}

async fn uid_of(header: &Header<'_>, bus: &Connection) -> Result<u32, Error> {
    let refused = || Error::NotAuthorized("the bus does not say who asks".into());
    let sender = header.sender().ok_or_else(refused)?.clone();
    let asking = async {
        let credentials =
            DBusProxy::new(bus).await?.get_connection_credentials(BusName::from(sender)).await?;
        Ok::<_, zbus::fdo::Error>(credentials.unix_user_id())
    };
    match timeout(BUS_LIMIT, asking).await {
        Ok(Ok(Some(uid))) => Ok(uid),
        Ok(Ok(None) | Err(_)) | Err(_) => Err(refused()),
    }
}

async fn authorized(action: &str, header: &Header<'_>, bus: &Connection) -> Result<(), Error> {
    let refused = |why: &str| Error::NotAuthorized(format!("{why} (polkit action {action})"));
    let sender = header.sender().ok_or_else(|| refused("the bus does not say who asks"))?.to_string();
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender.as_str()))]));
    // 1 = polkit may ask the person.
    let flags = u32::from(header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH));
    let asking = async {
        AuthorityProxy::new(bus).await?.check_authorization(&subject, action, HashMap::new(), flags, "").await
    };
    match timeout(POLKIT_LIMIT, asking).await {
        Ok(Ok((true, _, _))) => Ok(()),
        Ok(Ok((false, true, _))) => Err(refused("an administrator has to confirm this; try with sudo")),
        Ok(Ok((false, false, _))) => Err(refused("polkit does not allow it")),
        Ok(Err(error)) => Err(refused(&format!("polkit cannot be asked: {error}"))),
        Err(_) => Err(refused("polkit did not answer in time")),
    }
}

/// Serves for ever; a lost bus is tried again. `ready` hears when we are first on it.
pub async fn serve(
    asks: mpsc::Sender<Ask>,
    mut picture: watch::Receiver<Picture>,
    mut signals: mpsc::Receiver<Signal>,
    ready: oneshot::Sender<()>,
) {
    let (mut told, mut ready, mut pause) = (false, Some(ready), SOON);
    loop {
        match connect(&asks, &picture).await {
            Ok(connection) => {
                (told, pause) = (false, SOON);
                // Whoever waited long enough has gone on.
                let _ = ready.take().map(|ready| ready.send(()));
                if let Err(error) = show(&connection, &mut picture, &mut signals).await {
                    tracing::debug!("the bus is gone: {error}");
                }
            }
            Err(error) if !told && pause == AGAIN => {
                told = true;
                tracing::warn!("cannot offer {NAME} on the system bus, trying again: {error}");
            }
            Err(_) => (),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN);
        // What happened meanwhile nobody could hear.
        while signals.try_recv().is_ok() {}
    }
}

async fn connect(asks: &mpsc::Sender<Ask>, picture: &watch::Receiver<Picture>) -> zbus::Result<Connection> {
    let served = Warden1::new(asks.clone(), picture.clone());
    let building = connection::Builder::system().serve_at(PATH, served).name(NAME).build();
    timeout(BUS_LIMIT, building).await.unwrap_or_else(|_| {
        Err(zbus::Error::InputOutput(Arc::new(std::io::Error::from(std::io::ErrorKind::TimedOut))))
    })
}

/// Until the bus is lost: changed properties and signals.
async fn show(
    connection: &Connection,
    picture: &mut watch::Receiver<Picture>,
    signals: &mut mpsc::Receiver<Signal>,
) -> zbus::Result<()> {
    let object: InterfaceRef<Warden1> = connection.object_server().interface(PATH).await?;
    let mut before = picture.borrow_and_update().clone();
    loop {
        tokio::select! {
            () = connection.closed() => return Ok(()),
            changed = picture.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = picture.borrow_and_update().clone();
                let served = object.get().await;
                let emitter = object.signal_emitter();
                if now.mode != before.mode {
                    served.mode_changed(emitter).await?;
                }
                if now.tunnels != before.tunnels {
                    served.tunnels_changed(emitter).await?;
                }
                if now.paused_until != before.paused_until {
                    served.paused_until_changed(emitter).await?;
                }
                before = now;
            }
            signal = signals.recv() => match signal {
                Some(signal) => emit(object.signal_emitter(), &signal).await?,
                None => return Ok(()),
            },
        }
    }
}

async fn emit(emitter: &SignalEmitter<'_>, signal: &Signal) -> zbus::Result<()> {
    let Signal { tunnel, incident, happening } = signal;
    match happening {
        Happening::IncidentOpened { cause, .. } => {
            Warden1::incident_opened(emitter, tunnel, incident, cause.name()).await
        }
        Happening::IncidentClosed { closing, .. } => {
            Warden1::incident_closed(emitter, tunnel, incident, closing.name()).await
        }
        Happening::RemedyOrdered { remedy, cause } => {
            Warden1::remedy_ordered(emitter, tunnel, remedy.name(), cause.name()).await
        }
        Happening::CauseChanged { .. }
        | Happening::RemedyFinished { .. }
        | Happening::RemedyHeld { .. }
        | Happening::Escalated { .. }
        | Happening::SenseBlind { .. }
        | Happening::SenseSees { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests;
