//! How the process that runs will behave: how long it sleeps between attempts, and whether it is the one that is installed.

use super::Look;
use crate::audit::Severity;

/// cloudflared's own; its waits double so many times.
const RETRIES: u32 = 5;
/// Beyond this a wait lasts ten minutes and more.
const RETRIES_AT_MOST: u32 = 6;

impl Look<'_> {
    /// The wait between attempts may last ten seconds, doubled this many times.
    pub(super) fn retries(&mut self) {
        let service = self.service;
        let Some(retries) = service.launch().retries.or(service.retries).filter(|n| RETRIES_AT_MOST < *n)
        else {
            return;
        };
        let wait = 1_u64.checked_shl(retries).map(|times| times.saturating_mul(10));
        let wait = match wait {
            Some(seconds) if seconds < 48 * 3600 => format!("up to {} min", seconds / 60),
            Some(_) | None => "for days".to_owned(),
        };
        self.findings.add(
            Severity::Warning,
            "retries-many",
            service.place("Service", "ExecStart"),
            format!("With {retries} retries cloudflared may sleep {wait} between two attempts to connect."),
            "It says nothing meanwhile, and does not notice that the network is back.",
            format!(
                "Leave it at cloudflared's own {RETRIES}: take --retries, TUNNEL_RETRIES or `retries:` away."
            ),
        );
    }

    /// A package replaces the program and leaves the process.
    pub(super) fn update(&mut self) {
        let service = self.service;
        if !service.newer_program {
            return;
        }
        let version = service.cloudflared.map(|version| format!(" ({version})")).unwrap_or_default();
        let uptime = "Restart it when an interruption is allowed; tunnelwarden does not do it for this.";
        self.findings.add(
            Severity::Note,
            "update-waits",
            service.place("Service", "ExecStart"),
            format!("cloudflared on disk{version} is newer than the running process."),
            "What an update mends is mended only in the process that the next start brings.",
            format!("{uptime} Run:\nsudo systemctl restart {}", service.name),
        );
    }
}
