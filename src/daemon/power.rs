//! Whether systemd takes our orders: asked at the start, and again of each unit for which it did not. Whoever mends polkit's
//! rules, or a bus that was too slow at a boot, does not tell us.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::discover::Found;
use crate::client::systemd::{Permission, Systemd};
use crate::report::journal::{self as told, Weight};

/// For all units together. Whoever waits for our start, or wants us to stop, is not to wait for a bus that hangs.
const LIMIT: Duration = Duration::from_secs(5);

/// The units that we may only watch, and why; each is told.
pub(super) async fn lacking(systemd: &Systemd, found: &[Found]) -> BTreeMap<String, String> {
    let until = Instant::now() + LIMIT;
    let mut units = BTreeMap::new();
    for Found { unit, .. } in found {
        let late = || Some(unknown(unit, &"no answer in time"));
        if let Some(why) = timeout_at(until, ask(systemd, unit)).await.unwrap_or_else(|_| late()) {
            tell(unit, &why);
            units.insert(unit.clone(), why);
        }
    }
    units
}

/// Those of them that we may still only watch. What is new is told; where nothing is heard, it is as it was.
pub(super) async fn still_lacking(
    systemd: &Systemd,
    known: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let until = Instant::now() + LIMIT;
    let mut units = BTreeMap::new();
    for (unit, why) in known {
        match timeout_at(until, ask(systemd, unit)).await {
            Ok(None) => tracing::info!(unit_name = %unit, "{unit} may be restarted by us from now on"),
            Ok(Some(now)) => {
                if now != *why {
                    tell(unit, &now);
                }
                units.insert(unit.clone(), now);
            }
            Err(_) => {
                units.insert(unit.clone(), why.clone());
            }
        }
    }
    units
}

/// Why systemd would not take our orders for this unit, if it would not.
async fn ask(systemd: &Systemd, unit: &str) -> Option<String> {
    match systemd.permission(unit).await {
        Ok(Permission::Root | Permission::Granted | Permission::NotLoaded) => None,
        Ok(Permission::Denied) => Some(format!(
            "polkit does not let us restart {unit}; tunnelwarden config polkit prints the rule that would"
        )),
        Ok(Permission::PolkitTooOld(version)) => Some(format!(
            "polkit {version} cannot allow single units, and allowing all would be as good as root"
        )),
        Ok(Permission::PolkitAbsent) => Some("polkit is not installed".to_owned()),
        Err(error) => Some(unknown(unit, &error)),
    }
}

fn unknown(unit: &str, why: &dyn std::fmt::Display) -> String {
    format!("whether polkit lets us restart {unit} cannot be found out: {why}")
}

fn tell(unit: &str, why: &str) {
    let text = format!("{unit} is only watched: {why}");
    told::daemon(told::POLKIT_MISSING, Weight::Warning, &text);
}
