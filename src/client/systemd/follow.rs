//! Watching units: signals, not polling.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use zbus::fdo::DBusProxy;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, message};

use super::actions::{subscribe, systemd_owner};
use super::proxies::ManagerProxy;
use super::{SYSTEMD, SystemdError, connect, limited};

/// A transition comes as 3 to 6 notices with stale values between: they become one.
const COALESCE: Duration = Duration::from_millis(50);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";

/// What happened. None carries a state: read the unit, its notices may be stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Watching begins, or begins again after [`Signal::BusLost`]: read everything.
    Connected,
    UnitChanged(String),
    JobNew {
        unit: String,
        id: u32,
    },
    /// `result` is systemd's word: `done`, `canceled`, `timeout`, `failed`, `dependency`, `skipped` …
    JobRemoved {
        unit: String,
        id: u32,
        result: String,
    },
    /// A job of a service that is not watched is done: it may be new.
    OtherJob(String),
    /// systemd read its unit files anew or re-executed itself: read everything.
    Reloaded,
    /// No bus, or systemd left it: nothing is seen until [`Signal::Connected`] or [`Signal::Reloaded`].
    BusLost,
}

/// Why watching stopped.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// The connection is gone.
    Lost,
}

impl From<SystemdError> for Stop {
    fn from(_: SystemdError) -> Self {
        Self::Lost
    }
}

impl From<zbus::Error> for Stop {
    fn from(_: zbus::Error) -> Self {
        Self::Lost
    }
}

impl<T> From<mpsc::error::SendError<T>> for Stop {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Unheard
    }
}

/// Watches `units` until nobody listens to `tx` or the sender of `units` is gone. Reconnects by itself, after 1 s to 30 s.
pub async fn follow(mut units: watch::Receiver<Vec<String>>, tx: mpsc::Sender<Signal>) {
    let mut retry = FIRST_RETRY;
    loop {
        let began = Instant::now();
        let Err(stop) = watch_until_lost(&mut units, &tx).await;
        match stop {
            Stop::Unheard => return,
            Stop::Lost => {
                if tx.send(Signal::BusLost).await.is_err() {
                    return;
                }
            }
        }
        if began.elapsed() > LAST_RETRY {
            retry = FIRST_RETRY;
        }
        tokio::select! {
            () = sleep(retry) => {}
            () = tx.closed() => return,
        }
        retry = (retry * 2).min(LAST_RETRY);
    }
}

async fn watch_until_lost(
    units: &mut watch::Receiver<Vec<String>>,
    tx: &mpsc::Sender<Signal>,
) -> Result<Infallible, Stop> {
    let connection = connect().await?;
    let mut stream = MessageStream::from(&connection);
    let mut watcher = Watcher::new(&connection, tx).await?;
    let wanted = units.borrow_and_update().clone();
    watcher.watch(wanted).await?;
    tx.send(Signal::Connected).await?;
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(message)) => watcher.hear(&message).await?,
                Some(Err(_)) | None => return Err(Stop::Lost),
            },
            changed = units.changed() => {
                changed.map_err(|_| Stop::Unheard)?;
                let wanted = units.borrow_and_update().clone();
                watcher.watch(wanted).await?;
            }
            () = sleep_until(watcher.due), if !watcher.changed.is_empty() => watcher.tell().await?,
            () = tx.closed() => return Err(Stop::Unheard),
        }
    }
}

/// One connection's view.
struct Watcher<'a> {
    manager: ManagerProxy<'a>,
    bus: DBusProxy<'a>,
    tx: &'a mpsc::Sender<Signal>,
    units: Vec<String>,
    /// systemd's unique name; anyone can send us a signal, only this one counts.
    owner: String,
    changed: BTreeSet<String>,
    due: Instant,
}

impl<'a> Watcher<'a> {
    async fn new(connection: &Connection, tx: &'a mpsc::Sender<Signal>) -> Result<Self, Stop> {
        let manager = limited(ManagerProxy::new(connection)).await?;
        let bus = limited(DBusProxy::new(connection)).await?;
        let owner = systemd_owner(connection).await?;
        let watcher = Self {
            manager,
            bus,
            tx,
            units: Vec::new(),
            owner,
            changed: BTreeSet::new(),
            due: Instant::now(),
        };
        let signal = || MatchRule::builder().msg_type(message::Type::Signal);
        watcher.add(signal().sender(SYSTEMD).interface(MANAGER).path(MANAGER_PATH).build()?).await?;
        let owner_changes = signal().sender(BUS).interface(BUS).member("NameOwnerChanged").arg(0, SYSTEMD);
        watcher.add(owner_changes.build()?).await?;
        subscribe(&watcher.manager).await?;
        Ok(watcher)
    }

    async fn add(&self, rule: MatchRule<'_>) -> Result<(), Stop> {
        limited(self.bus.add_match_rule(rule)).await?;
        Ok(())
    }

    async fn watch(&mut self, wanted: Vec<String>) -> Result<(), Stop> {
        for unit in wanted.iter().filter(|unit| !self.units.contains(unit)) {
            self.add(unit_rule(unit)?).await?;
        }
        for unit in self.units.iter().filter(|unit| !wanted.contains(unit)) {
            let rule = unit_rule(unit)?;
            limited(self.bus.remove_match_rule(rule)).await?;
        }
        self.units = wanted;
        Ok(())
    }

    async fn hear(&mut self, message: &Message) -> Result<(), Stop> {
        let header = message.header();
        if header.message_type() != message::Type::Signal {
            return Ok(());
        }
        let (Some(sender), Some(interface), Some(member)) =
            (header.sender(), header.interface(), header.member())
        else {
            return Ok(());
        };
        match (sender.as_str(), interface.as_str(), member.as_str()) {
            (BUS, BUS, "NameOwnerChanged") => self.owner_changed(message).await,
            (sender, MANAGER, member) if sender == self.owner => self.manager_said(member, message).await,
            (sender, PROPERTIES, "PropertiesChanged") if sender == self.owner => {
                let path = header.path().map(|path| path.as_str()).unwrap_or_default();
                if let Some(unit) = self.units.iter().find(|unit| unit_path(unit) == path) {
                    if self.changed.is_empty() {
                        self.due = Instant::now() + COALESCE;
                    }
                    self.changed.insert(unit.clone());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn owner_changed(&mut self, message: &Message) -> Result<(), Stop> {
        let Ok((name, _, new)) = message.body().deserialize::<(String, String, String)>() else {
            return Ok(());
        };
        if name != SYSTEMD {
            return Ok(());
        }
        self.owner = new;
        if self.owner.is_empty() {
            self.tx.send(Signal::BusLost).await?;
        } else {
            subscribe(&self.manager).await?;
            self.tx.send(Signal::Reloaded).await?;
        }
        Ok(())
    }

    async fn manager_said(&mut self, member: &str, message: &Message) -> Result<(), Stop> {
        let body = message.body();
        match member {
            "JobNew" => {
                if let Ok((id, _, unit)) = body.deserialize::<(u32, OwnedObjectPath, String)>()
                    && self.units.contains(&unit)
                {
                    self.tx.send(Signal::JobNew { unit, id }).await?;
                }
            }
            "JobRemoved" => {
                if let Ok((id, _, unit, result)) =
                    body.deserialize::<(u32, OwnedObjectPath, String, String)>()
                {
                    if self.units.contains(&unit) {
                        self.tx.send(Signal::JobRemoved { unit, id, result }).await?;
                    } else if unit.ends_with(".service") {
                        self.tx.send(Signal::OtherJob(unit)).await?;
                    }
                }
            }
            "Reloading" => {
                if matches!(body.deserialize::<bool>(), Ok(false)) {
                    self.tx.send(Signal::Reloaded).await?;
                }
            }
            "UnitFilesChanged" => self.tx.send(Signal::Reloaded).await?,
            _ => {}
        }
        Ok(())
    }

    async fn tell(&mut self) -> Result<(), Stop> {
        for unit in std::mem::take(&mut self.changed) {
            self.tx.send(Signal::UnitChanged(unit)).await?;
        }
        Ok(())
    }
}

fn unit_rule(unit: &str) -> Result<MatchRule<'static>, Stop> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(SYSTEMD)
        .interface(PROPERTIES)
        .member("PropertiesChanged")
        .path(unit_path(unit));
    Ok(rule.build()?)
}

/// The object path systemd gives a unit: everything but letters and digits as `_xx`, a leading digit too.
pub(super) fn unit_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::unit_path;

    #[test]
    fn paths_are_escaped_as_systemd_does() {
        let prefix = "/org/freedesktop/systemd1/unit/";
        assert_eq!(unit_path("cloudflared.service"), format!("{prefix}cloudflared_2eservice"));
        assert_eq!(unit_path("cloudflared@a-b.service"), format!("{prefix}cloudflared_40a_2db_2eservice"));
        assert_eq!(unit_path("1x.service"), format!("{prefix}_31x_2eservice"));
    }
}
