//! The host around us.

use crate::client::host::default_route;
use crate::client::systemd::Systemd;
use crate::warden::evidence::{Blind, HostSight, Seen};

/// Looks once.
pub async fn look(systemd: &Systemd) -> Seen<HostSight> {
    let route = default_route().map_err(|_| Blind::Forbidden)?;
    // A bus that does not answer is the unit sense's to report.
    let shutting_down = systemd.shutting_down().await.unwrap_or(false);
    Ok(HostSight { route, shutting_down, ..HostSight::default() })
}
