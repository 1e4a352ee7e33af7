//! Whether the unit stands as it is written, and who changes the program under it.

use super::Look;
use crate::audit::service::is_yes;
use crate::audit::{Place, Severity};

impl Look<'_> {
    pub(super) fn updates(&mut self) {
        let argv = self.service.command();
        let disabled = argv.iter().any(|word| {
            word.trim_start_matches('-') == "no-autoupdate" || word.ends_with("no-autoupdate=true")
        });
        let environment = self.service.environment();
        let disabled = disabled
            || self.service.no_autoupdate
            || environment.iter().any(|pair| pair.strip_prefix("NO_AUTOUPDATE=").is_some_and(is_yes))
            // Over D-Bus only its own variables are kept.
            || self.service.all("Service", "Environment").iter().any(|line| line.value.contains("NO_AUTOUPDATE=true"));
        if !disabled && !argv.is_empty() {
            self.drop_in.service("Environment=NO_AUTOUPDATE=true");
            self.findings.add(
                Severity::Note,
                "updates-itself",
                self.service.place("Service", "ExecStart"),
                "cloudflared may replace itself and restart whenever a release comes out.",
                "The tunnel drops at a time of Cloudflare's choice, and every replica at the same.",
                "Write in [Service]:\nEnvironment=NO_AUTOUPDATE=true",
            );
        }
        let Some((load, active, file)) = &self.service.update_timer else { return };
        if load != "loaded" {
            return;
        }
        let place = Place { file: "cloudflared-update.timer".into(), line: None };
        if active == "active" && file != "enabled" {
            self.findings.add(
                Severity::Warning,
                "update-timer-half",
                place,
                "The timer that updates cloudflared runs now and is not enabled.",
                "Updates stop at the next reboot without a word; cloudflared's own installer leaves it so.",
                "Decide for one:\nsudo systemctl enable cloudflared-update.timer           # update and restart daily\nsudo systemctl disable --now cloudflared-update.timer    # leave updates to the package manager",
            );
        } else if active == "active" {
            self.findings.add(
                Severity::Note,
                "update-timer",
                place,
                "A timer updates cloudflared every day and restarts it when there was something new.",
                "All hosts of a tunnel that were installed alike do it at the same minute of the night.",
                "Spread it, or leave updates to the package manager:\nsudo systemctl edit cloudflared-update.timer    # and write there:\n[Timer]\nRandomizedDelaySec=4h",
            );
        }
    }

    /// How the unit stands with systemd.
    pub(super) fn standing(&mut self) {
        let Some(state) = &self.service.state else { return };
        let place = self.service.own_place();
        let name = &self.service.name;
        let (need_reload, enabled) = (state.need_daemon_reload, state.unit_file_state.clone());
        if need_reload {
            self.findings.add(
                Severity::Warning,
                "needs-reload",
                place.clone(),
                "The unit's files have changed, and systemd still has the old ones in force.",
                "The next restart does something else than the files say.",
                "Run:\nsudo systemctl daemon-reload",
            );
        }
        if matches!(enabled.as_str(), "disabled" | "masked" | "masked-runtime") {
            self.findings.add(
                Severity::Warning,
                "not-enabled",
                place,
                format!("The unit is {enabled}."),
                "After the next reboot there is no tunnel.",
                format!("Run:\nsudo systemctl enable {name}"),
            );
        }
    }
}
