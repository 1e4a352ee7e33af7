//! Will we be allowed to act?
//!
//! polkit does not tell: only trusted callers may ask it with details, and without the unit's name the answer is
//! about another question. So its kind is looked at, and then systemd is asked for something that passes the
//! same check and has no effect: SIGCONT to the *control* process of the unit, which a running service has none of.

use zbus::Connection;
use zbus::names::BusName;

use super::proxies::ManagerProxy;
use super::unit_state::property;
use super::{SystemdError, limited};

const SIGCONT: i32 = 18;
const POLKIT: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";
const AUTHORITY_PATH: &str = "/org/freedesktop/PolicyKit1/Authority";

/// Whether systemd will take our orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// We run as root: no polkit needed.
    Root,
    Granted,
    /// polkit has rules, none lets us.
    Denied,
    /// This polkit (its version) does not know rules that see a unit.
    PolkitTooOld(String),
    PolkitAbsent,
    /// systemd has not loaded the unit (it was never started), so that it cannot be asked. Nothing speaks against it.
    NotLoaded,
}

pub(super) async fn ask(connection: &Connection, unit: &str) -> Result<Permission, SystemdError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Permission::Root);
    }
    let otherwise = match systemd_allows(connection, unit).await {
        Ok(true) => return Ok(Permission::Granted),
        Ok(false) => Permission::Denied,
        Err(SystemdError::NoSuchUnit(_)) => Permission::NotLoaded,
        Err(error) => return Err(error),
    };
    // Only now does it matter which polkit there is.
    match polkit(connection, "BackendVersion").await {
        Ok(version) if too_old(&version, &polkit(connection, "BackendName").await.unwrap_or_default()) => {
            Ok(Permission::PolkitTooOld(version))
        }
        Ok(_) => Ok(otherwise),
        Err(_) if !polkit_known(connection).await? => Ok(Permission::PolkitAbsent),
        Err(error) => Err(error),
    }
}

async fn systemd_allows(connection: &Connection, unit: &str) -> Result<bool, SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    match limited(manager.kill_unit(unit, "control", SIGCONT)).await {
        Ok(()) | Err(SystemdError::NoSuchProcess(_)) => Ok(true),
        Err(SystemdError::NotAuthorized(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn polkit(connection: &Connection, name: &str) -> Result<String, SystemdError> {
    let value = property(connection, POLKIT, AUTHORITY_PATH, AUTHORITY, name).await?;
    Ok(String::try_from(value).unwrap_or_default())
}

/// Rules in JavaScript came with 0.106; Debian kept 0.105 (backend "local") for long.
fn too_old(version: &str, backend: &str) -> bool {
    let old = version.strip_prefix("0.").and_then(|minor| minor.split('.').next()?.parse::<u32>().ok());
    backend == "local" || old.is_some_and(|minor| minor < 106)
}

/// Whether polkit runs or could be started by the bus.
async fn polkit_known(connection: &Connection) -> Result<bool, SystemdError> {
    let bus = limited(zbus::fdo::DBusProxy::new(connection)).await?;
    let name = BusName::try_from(POLKIT)?;
    if limited(bus.name_has_owner(name)).await? {
        return Ok(true);
    }
    let names = limited(bus.list_activatable_names()).await?;
    Ok(names.iter().any(|known| known.as_str() == POLKIT))
}

#[cfg(test)]
mod tests {
    use super::too_old;

    #[test]
    fn versions_without_rules_are_known() {
        assert!(too_old("0.105", ""));
        assert!(too_old("0.105", "local"));
        assert!(!too_old("0.120", "js"));
        assert!(!too_old("122", "js"));
        assert!(!too_old("126", ""));
    }
}
