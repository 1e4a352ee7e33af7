//! What systemd-logind and systemd-timedated tell of the host, where they are there.

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::unit_state::property;
use super::{SystemdError, limited};

const LOGIND: &str = "org.freedesktop.login1";
const TIMEDATED: &str = "org.freedesktop.timedate1";
/// Programs that change what is installed, as they call themselves when they ask for the host not to go down.
const PACKAGE_MANAGERS: [&str; 8] =
    ["apt", "dnf", "dpkg", "fwupd", "packagekit", "rpm", "unattended", "zypp"];

type Inhibitor = (String, String, String, String, u32, u32);

/// Whether logind is about to shut the host down. `false` where there is no logind.
pub(super) async fn going_down(connection: &Connection) -> Result<bool, SystemdError> {
    if !present(connection, LOGIND).await? {
        return Ok(false);
    }
    let path = "/org/freedesktop/login1";
    let preparing =
        property(connection, LOGIND, path, "org.freedesktop.login1.Manager", "PreparingForShutdown").await?;
    Ok(bool::try_from(preparing).unwrap_or(false))
}

/// Whether a program that installs things has asked logind not to let the host go down. `false` where there is no logind.
pub(super) async fn installing(connection: &Connection) -> Result<bool, SystemdError> {
    if !present(connection, LOGIND).await? {
        return Ok(false);
    }
    let path = "/org/freedesktop/login1";
    let manager = Some("org.freedesktop.login1.Manager");
    let reply = limited(connection.call_method(Some(LOGIND), path, manager, "ListInhibitors", &())).await?;
    let inhibitors: Vec<Inhibitor> = reply.body().deserialize().map_err(SystemdError::from)?;
    Ok(inhibitors.iter().any(|(what, who, _why, mode, _uid, _pid)| {
        // Those that only delay are there all the time.
        mode.starts_with("block") && what.split(':').any(|what| what == "shutdown") && is_package_manager(who)
    }))
}

/// `PackageKit` and `unattended-upgrades` are, `laptop-lid` is not.
fn is_package_manager(who: &str) -> bool {
    let who = who.to_ascii_lowercase();
    let mut words = who.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| PACKAGE_MANAGERS.iter().any(|manager| word.starts_with(manager)))
}

/// Whether the kernel's clock is kept in step with others.
pub(super) async fn clock_synchronised(connection: &Connection) -> Result<bool, SystemdError> {
    let path = "/org/freedesktop/timedate1";
    let value = property(connection, TIMEDATED, path, TIMEDATED, "NTPSynchronized").await?;
    Ok(bool::try_from(value).unwrap_or(true))
}

/// Asked first, so that nothing is started by being asked.
async fn present(connection: &Connection, name: &'static str) -> Result<bool, SystemdError> {
    let bus = limited(DBusProxy::new(connection)).await?;
    limited(bus.name_has_owner(BusName::from_static_str(name)?)).await
}

#[cfg(test)]
mod tests {
    use super::is_package_manager;

    #[test]
    fn only_what_installs_things_holds_for_that() {
        for who in [
            "apt-get",
            "PackageKit",
            "packagekitd",
            "/usr/bin/unattended-upgrade",
            "rpm-ostree",
            "zypper",
            "dnf5",
        ] {
            assert!(is_package_manager(who), "{who}");
        }
        for who in ["laptop-mode", "screen capture", "GNOME Shell", "restic", ""] {
            assert!(!is_package_manager(who), "{who}");
        }
    }
}
