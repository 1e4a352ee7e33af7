//! The host around us.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::calendar::Windows;
use crate::client::host;
use crate::client::systemd::Systemd;
use crate::clock;
use crate::warden::evidence::{Blind, HostSight, Seen};

/// A package manager that has been at work for longer waits for somebody, and a tunnel need not wait with it.
const UPGRADE_AT_MOST: Duration = Duration::from_secs(30 * 60);

/// Looks at the host.
pub struct HostSense {
    systemd: Arc<Systemd>,
    windows: Windows,
    upgrading_since: Option<Instant>,
}

impl HostSense {
    pub fn new(systemd: Arc<Systemd>, windows: Windows) -> Self {
        Self { systemd, windows, upgrading_since: None }
    }

    /// Looks once. `trouble`: something is wrong, so that it matters whether the clock is right.
    pub async fn look(&mut self, trouble: bool) -> Seen<HostSight> {
        let route = host::default_route().map_err(|_| Blind::Forbidden)?;
        // A bus that does not answer is the unit sense's to report.
        let shutting_down = self.systemd.shutting_down().await.unwrap_or(false);
        let upgrading = host::package_manager_at_work() || self.systemd.installing().await.unwrap_or(false);
        let unsynchronised = match trouble {
            true => self.systemd.clock_synchronised().await.ok() == Some(false),
            false => false,
        };
        let now = clock::now();
        let opens = self.windows.shut_until(now.wall);
        Ok(HostSight {
            route,
            shutting_down,
            upgrading: self.believed(upgrading),
            unsynchronised,
            window_shut_until: opens.map(|opens| now.boot + opens.saturating_sub(now.wall)),
        })
    }

    fn believed(&mut self, upgrading: bool) -> bool {
        if !upgrading {
            self.upgrading_since = None;
            return false;
        }
        self.upgrading_since.get_or_insert_with(Instant::now).elapsed() < UPGRADE_AT_MOST
    }
}
