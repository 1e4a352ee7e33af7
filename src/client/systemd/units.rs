//! Finding the units that run cloudflared.

use zbus::Connection;

use super::follow::unit_path;
use super::proxies::ManagerProxy;
use super::unit_state::{ExecStart, exec_start};
use super::{SystemdError, limited};

/// A unit that may run a tunnel, with its command lines for the caller to judge.
#[derive(Debug, Clone)]
pub struct TunnelUnit {
    pub name: String,
    pub exec_start: ExecStart,
}

pub(super) async fn tunnel_units(connection: &Connection) -> Result<Vec<TunnelUnit>, SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    let mut found: Vec<TunnelUnit> = Vec::new();
    for (name, _, load, _, _, _, path, ..) in
        limited(manager.list_units_by_patterns(&[], &["*.service"])).await?
    {
        // Also those that have failed, or wait for the network: at a boot we come before them.
        let named = name.contains("cloudflared");
        if !named && load != "loaded" {
            continue;
        }
        match exec_start(connection, &path).await {
            Ok(exec_start) if named || runs_cloudflared(&exec_start) => {
                found.push(TunnelUnit { name, exec_start })
            }
            Ok(_) => {}
            // Gone since it was listed.
            Err(SystemdError::NoSuchUnit(_) | SystemdError::NoSuchJob(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for (file, _) in limited(manager.list_unit_files_by_patterns(&[], &["cloudflared*.service"])).await? {
        let name = file.rsplit('/').next().unwrap_or_default();
        // A template is no unit.
        if name.contains("@.") || found.iter().any(|unit| unit.name == name) {
            continue;
        }
        match limited(manager.load_unit(name)).await {
            Ok(path) => {
                let exec_start = exec_start(connection, &path).await?;
                found.push(TunnelUnit { name: name.to_owned(), exec_start });
            }
            Err(SystemdError::NoSuchUnit(_) | SystemdError::UnitMasked(_)) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What `unit` is started with runs cloudflared.
pub(super) async fn is_cloudflareds(connection: &Connection, unit: &str) -> Result<bool, SystemdError> {
    Ok(runs_cloudflared(&exec_start(connection, &unit_path(unit)).await?))
}

fn runs_cloudflared(exec_start: &ExecStart) -> bool {
    let programs = exec_start.commands().iter().filter_map(|argv| argv.first());
    programs.into_iter().any(|program| program.rsplit('/').next() == Some("cloudflared"))
}
