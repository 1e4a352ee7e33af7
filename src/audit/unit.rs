//! The unit that runs cloudflared against what cloudflared needs of systemd: time to fall back, a way to come back, and no
//! token for everyone to read.

mod life;
mod running;
mod standing;

use super::drop_in::DropIn;
use super::service::{Exposure, Secret, Service};
use super::{Audit, Finding, Findings, Place, Severity};
use crate::client::unit_file;

const SECOND: u64 = 1_000_000;

/// What was found, and the one drop-in that mends it.
#[derive(Clone, Debug)]
pub struct Checked {
    pub findings: Vec<Finding>,
    pub drop_in: DropIn,
}

/// Looks a unit through.
pub fn check(service: &Service) -> Checked {
    let mut look = Look { service, findings: Findings::of(Audit::Unit), drop_in: DropIn::default() };
    look.tokens();
    look.kind();
    look.start_timeout();
    look.restarts();
    look.stop();
    look.order();
    look.user();
    look.updates();
    look.retries();
    look.update();
    look.standing();
    look.unread();
    let Look { findings, drop_in, .. } = look;
    Checked { findings: findings.sorted(), drop_in }
}

/// What the exposure of a secret is, for a person. The drop-in is offered beside it.
pub(super) fn exposed(audit: Audit, how: Exposure, place: Place) -> Finding {
    let (rule, what) = match how {
        Exposure::CommandLine(Secret::Token) => {
            ("token-exposed", "The tunnel's token is on the command line of cloudflared.")
        }
        Exposure::CommandLine(Secret::Credentials) => {
            ("token-exposed", "The tunnel's credentials are on the command line of cloudflared.")
        }
        Exposure::Environment(Secret::Token) => {
            ("token-exposed", "The tunnel's token is in `Environment=` of the unit.")
        }
        Exposure::Environment(Secret::Credentials) => {
            ("token-exposed", "The tunnel's credentials are in `Environment=` of the unit.")
        }
        Exposure::SetCredential => {
            ("token-exposed", "A credential of the tunnel is in `SetCredential=` of the unit.")
        }
        Exposure::Leftover(Secret::Token) => {
            ("token-left", "A token still stands in this file, though it is no longer in force.")
        }
        Exposure::Leftover(Secret::Credentials) => {
            ("token-left", "The tunnel's credentials still stand in this file, though no longer in force.")
        }
    };
    let why = match how {
        Exposure::CommandLine(_) => {
            "Every user of the host reads it with `systemctl cat` and `ps`, and the journal keeps it with every line that cloudflared writes."
        }
        Exposure::Environment(_) | Exposure::SetCredential => {
            "Every user of the host reads it with `systemctl cat` or over D-Bus."
        }
        Exposure::Leftover(_) => "Every user of the host reads it with `systemctl cat`.",
    };
    let fix = match how {
        Exposure::CommandLine(Secret::Token)
        | Exposure::Environment(Secret::Token)
        | Exposure::SetCredential => format!(
            "Rotate the token, give the new one by the drop-in below, and then take the old one out of {} too: a drop-in does not hide what stands there.",
            place.file
        ),
        Exposure::CommandLine(Secret::Credentials) | Exposure::Environment(Secret::Credentials) => format!(
            "Rotate the secret, give the tunnel's new token by the drop-in below (it has the same in it), and then take the old one out of {} too: a drop-in does not hide what stands there.",
            place.file
        ),
        Exposure::Leftover(_) => {
            format!("Take it out of {}, and rotate it if that was not done since.", place.file)
        }
    };
    Finding {
        audit,
        severity: Severity::Error,
        rule,
        what: what.into(),
        why: why.into(),
        fix,
        place: Some(place),
    }
}

struct Look<'a> {
    service: &'a Service,
    findings: Findings,
    drop_in: DropIn,
}

impl Look<'_> {
    fn tokens(&mut self) {
        for (how, place) in self.service.exposures() {
            self.findings.all.push(exposed(Audit::Unit, how, place));
            if !matches!(how, Exposure::Leftover(_)) {
                self.drop_in.give_token(self.service);
            }
        }
    }

    fn kind(&mut self) {
        let kind =
            self.service.word("Service", "Type", |state| &state.kind).unwrap_or_else(|| "simple".into());
        if matches!(kind.as_str(), "notify" | "notify-reload") {
            return;
        }
        self.drop_in.service("Type=notify");
        self.findings.add(
            Severity::Warning,
            "not-notify",
            self.service.place("Service", "Type"),
            format!("The unit is of `Type={}`, and cloudflared tells systemd when its first connection is up.", short(&kind)),
            "systemd calls it started whether it is connected or not, so no start ever fails and nothing that waits for the tunnel waits.",
            "Write in [Service]:\nType=notify",
        );
    }

    fn order(&mut self) {
        let online = "network-online.target";
        let after = match &self.service.state {
            Some(state) => state.after.iter().any(|unit| unit == online),
            None => self
                .service
                .all("Unit", "After")
                .iter()
                .any(|line| line.value.split_whitespace().any(|unit| unit == online)),
        };
        if !after {
            self.drop_in.unit("Wants=network-online.target");
            self.drop_in.unit("After=network-online.target");
            self.findings.add(
                Severity::Note,
                "starts-early",
                self.service.place("Unit", "After"),
                "At boot cloudflared is started before the network is up.",
                "The first starts fail on names that do not resolve yet; units installed before 2024.3.0 are so.",
                "Write in [Unit]:\nWants=network-online.target\nAfter=network-online.target",
            );
        }
    }

    fn user(&mut self) {
        if self.service.user().is_none() {
            self.findings.add(
                Severity::Note,
                "runs-as-root",
                self.service.place("Service", "User"),
                "cloudflared runs as root and needs no right of root's.",
                "Whoever breaks into it from the network has the host.",
                "Once the token comes as a credential, and no file of root's is read, write in [Service]:\nDynamicUser=yes",
            );
        }
    }

    /// Values that systemd passes over with a line in the journal.
    fn unread(&mut self) {
        let spans =
            ["TimeoutStartSec", "TimeoutStopSec", "TimeoutSec", "RestartSec", "StartLimitIntervalSec"];
        let wrong: Vec<_> = self
            .service
            .settings
            .iter()
            .filter(|setting| {
                spans.contains(&setting.key.as_str())
                    && !setting.value.is_empty()
                    && unit_file::span(&setting.value).is_none()
            })
            .map(|setting| {
                (
                    setting.key.clone(),
                    Place { file: setting.file.display().to_string(), line: Some(setting.line) },
                )
            })
            .collect();
        for (key, place) in wrong {
            self.findings.add(
                Severity::Warning,
                "no-span",
                place,
                format!("The value of `{key}=` is no span of time, so systemd passes over it."),
                "Its default holds in place of what was meant.",
                format!("Write a number with a unit:\n{key}=15s"),
            );
        }
        if self.service.command().is_empty() {
            self.findings.add(
                Severity::Error,
                "no-command",
                self.service.own_place(),
                "The unit starts nothing.",
                "There is no tunnel from it.",
                "Write in [Service]:\nExecStart=/usr/bin/cloudflared --no-autoupdate tunnel run",
            );
        }
    }
}

fn seconds(us: u64) -> String {
    if us == u64::MAX {
        "any time".into()
    } else if us.is_multiple_of(SECOND) {
        format!("{} s", us / SECOND)
    } else {
        format!("{} ms", us / 1000)
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}
