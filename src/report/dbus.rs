//! `org.tunnelwarden.Warden1` on the system bus: everybody may read, orders need polkit's word (or root).
//!
//! A client can do no harm: reads are answered from a picture that is at most [`FRESH`] old, orders are few at once, and the
//! loop decides before it answers.

mod admission;
mod picture;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use zbus::message::Header;
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::{Connection, DBusError, connection, interface};

use self::admission::Admission;
use self::picture::emit;
pub use self::picture::{Picture, Signal};
use super::ask::{Ask, Order, Refusal, ask};
use super::diagnosis::Diagnosis;
use super::snapshot::Status;
use crate::clock;

/// The name on the bus.
pub const NAME: &str = "org.tunnelwarden.Warden1";
/// The object.
pub const PATH: &str = "/org/tunnelwarden/Warden1";
/// How old an answer to a read may be.
const FRESH: Duration = Duration::from_millis(200);
const BUS_LIMIT: Duration = Duration::from_secs(5);
/// Pauses before a lost bus is tried again: the first, doubled up to the last. A bus that has just been restarted, or has
/// not read our policy yet, is there in a moment.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(2);
const REASON_LIMIT: usize = 200;

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
    admission: Admission,
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
        Self { asks, picture, fresh: Mutex::default(), admission: Admission::new() }
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
        let admitted = self.admission.admit(action, header, bus).await?;
        let (order, asks) = (order(format!("uid {}", admitted.uid)), &self.asks);
        let answer = ask(asks, |reply| Ask::Order(order, reply)).await.ok_or_else(stuck)?;
        self.remember(None);
        answer.map_err(|refusal| match refusal {
            Refusal::Held(holds) => Error::Held(holds.trim_end().to_owned()),
            Refusal::UnknownTunnel(tunnel) => unknown(&tunnel),
            Refusal::Invalid(why) => Error::InvalidArgument(why),
        })
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

#[cfg(test)]
mod tests;
