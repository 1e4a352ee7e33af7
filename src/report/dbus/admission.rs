//! Who may order: few orders at once, and polkit's word (or root).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use zbus::fdo::DBusProxy;
use zbus::message::{Flags, Header};
use zbus::names::BusName;
use zbus::{Connection, Variant, proxy};

use super::{BUS_LIMIT, Error};

/// Orders under way at once, of everybody and of one user.
const ORDERS: usize = 8;
const ORDERS_OF_ONE: usize = 2;
/// For polkit, which may ask a person.
const POLKIT_LIMIT: Duration = Duration::from_secs(60);

/// The door that every order passes.
pub(super) struct Admission {
    orders: Arc<Semaphore>,
    of_one: Arc<Mutex<BTreeMap<u32, usize>>>,
}

/// An order under way; makes room when it is dropped.
pub(super) struct Admitted {
    /// Who ordered.
    pub(super) uid: u32,
    _slot: OwnedSemaphorePermit,
    _own: OneOf,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self { orders: Arc::new(Semaphore::new(ORDERS)), of_one: Arc::default() }
    }

    /// Lets the caller in, if there is room and polkit allows the action.
    pub(super) async fn admit(
        &self,
        action: &str,
        header: &Header<'_>,
        bus: &Connection,
    ) -> Result<Admitted, Error> {
        let busy = || Error::Busy("too many orders at once, try again".into());
        let slot = Arc::clone(&self.orders).try_acquire_owned().map_err(|_| busy())?;
        let uid = uid_of(header, bus).await?;
        let own = OneOf::enter(&self.of_one, uid).ok_or_else(busy)?;
        if uid != 0 {
            authorized(action, header, bus).await?;
        }
        Ok(Admitted { uid, _slot: slot, _own: own })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_has_two_orders_at_once_and_they_come_back() {
        let all = Arc::default();
        let first = OneOf::enter(&all, 1000).unwrap();
        let _second = OneOf::enter(&all, 1000).unwrap();
        assert!(OneOf::enter(&all, 1000).is_none());
        assert!(OneOf::enter(&all, 0).is_some(), "others are not kept out");
        drop(first);
        assert!(OneOf::enter(&all, 1000).is_some());
    }
}
