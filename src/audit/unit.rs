//! The unit that runs cloudflared against what cloudflared needs of systemd: time to fall back, a way to come back, and no
//! token for everyone to read.

mod running;

use super::drop_in::DropIn;
use super::service::{Exposure, Service, is_yes};
use super::{Audit, Finding, Place, Severity};
use crate::client::unit_file;

/// Nine failed QUIC dials take 111 to 235 s; only then is http2 tried.
const FALLBACK: u64 = 240 * SECOND;
const SECOND: u64 = 1_000_000;
/// cloudflared's own time for requests in flight, where it is not set.
const GRACE: u64 = 30 * SECOND;
/// systemd's defaults.
const DEFAULT_START: u64 = 90 * SECOND;
const DEFAULT_RESTART: u64 = SECOND / 10;
const DEFAULT_INTERVAL: u64 = 10 * SECOND;
const DEFAULT_BURST: u32 = 5;

/// What was found, and the one drop-in that mends it.
#[derive(Clone, Debug)]
pub struct Checked {
    pub findings: Vec<Finding>,
    pub drop_in: DropIn,
}

/// Looks a unit through.
pub fn check(service: &Service) -> Checked {
    let mut look = Look { service, findings: Vec::new(), drop_in: DropIn::default() };
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
    let Look { mut findings, drop_in, .. } = look;
    findings.sort_by(Finding::order);
    Checked { findings, drop_in }
}

/// What the exposure of a token is, for a person. The drop-in is offered beside it.
pub(super) fn exposed(audit: Audit, how: Exposure, place: Place) -> Finding {
    let (rule, what) = match how {
        Exposure::CommandLine => {
            ("token-exposed", "The tunnel's token is on the command line of cloudflared.")
        }
        Exposure::Environment => ("token-exposed", "The tunnel's token is in `Environment=` of the unit."),
        Exposure::SetCredential => {
            ("token-exposed", "A credential of the tunnel is in `SetCredential=` of the unit.")
        }
        Exposure::Leftover => {
            ("token-left", "A token still stands in this file, though it is no longer in force.")
        }
    };
    let why = match how {
        Exposure::CommandLine => {
            "Every user of the host reads it with `systemctl cat` and `ps`, and the journal keeps it with every line that cloudflared writes."
        }
        Exposure::Environment | Exposure::SetCredential => {
            "Every user of the host reads it with `systemctl cat` or over D-Bus."
        }
        Exposure::Leftover => "Every user of the host reads it with `systemctl cat`.",
    };
    let fix = match how {
        Exposure::CommandLine | Exposure::Environment | Exposure::SetCredential => format!(
            "Rotate the token, give the new one by the drop-in below, and then take the old one out of {} too: a drop-in does not hide what stands there.",
            place.file
        ),
        Exposure::Leftover => {
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
    findings: Vec<Finding>,
    drop_in: DropIn,
}

impl Look<'_> {
    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        place: Place,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding {
            audit: Audit::Unit,
            severity,
            rule,
            place: Some(place),
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
        });
    }

    fn tokens(&mut self) {
        for (how, place) in self.service.exposures() {
            self.findings.push(exposed(Audit::Unit, how, place));
            if how != Exposure::Leftover {
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
        self.add(
            Severity::Warning,
            "not-notify",
            self.service.place("Service", "Type"),
            format!("The unit is of `Type={}`, and cloudflared tells systemd when its first connection is up.", short(&kind)),
            "systemd calls it started whether it is connected or not, so no start ever fails and nothing that waits for the tunnel waits.",
            "Write in [Service]:\nType=notify",
        );
    }

    fn start_timeout(&mut self) {
        let service = self.service;
        let protocol = service.launch().protocol.or_else(|| service.protocol.clone());
        let falls_back = protocol.as_deref().is_none_or(|protocol| protocol == "auto");
        let keys = ["TimeoutStartSec", "TimeoutSec"];
        let timeout = service.span("Service", &keys, |state| state.timeout_start_us).unwrap_or(DEFAULT_START);
        // Zero in a file stands for no limit.
        if timeout == 0 || timeout == u64::MAX || FALLBACK <= timeout || !falls_back {
            return;
        }
        let notify = service
            .word("Service", "Type", |state| &state.kind)
            .is_some_and(|kind| kind.starts_with("notify"));
        if !notify && !self.findings.iter().any(|finding| finding.rule == "not-notify") {
            return;
        }
        self.drop_in.service("TimeoutStartSec=5min");
        let place = keys
            .iter()
            .find_map(|key| service.last("Service", key))
            .map_or_else(|| service.own_place(), |written| written.place);
        self.add(
            Severity::Warning,
            "start-timeout-short",
            place,
            format!("systemd ends a start of cloudflared after {}, and its fallback from QUIC to http2 takes up to 235 s.", seconds(timeout)),
            "Where UDP port 7844 is shut the unit is ended before it ever tries http2, and goes round for ever: the tunnel never comes up.",
            "Give it the time, or where UDP is known to be shut say so at once. Write in [Service]:\nTimeoutStartSec=5min\n# or: Environment=TUNNEL_TRANSPORT_PROTOCOL=http2",
        );
    }

    fn restarts(&mut self) {
        let service = self.service;
        let policy =
            service.word("Service", "Restart", |state| &state.restart).unwrap_or_else(|| "no".into());
        let comes_back = matches!(policy.as_str(), "always" | "on-failure");
        if !comes_back {
            self.drop_in.service("Restart=on-failure");
            self.add(
                Severity::Error,
                "no-restart",
                service.place("Service", "Restart"),
                format!("With `Restart={}` cloudflared stays down when it exits with an error.", short(&policy)),
                "It does so for a name server that is slow at boot; the tunnel is then down until somebody looks.",
                "Write in [Service]:\nRestart=on-failure\nRestartSec=5s",
            );
        }
        let wait =
            service.span("Service", &["RestartSec"], |state| state.restart_us).unwrap_or(DEFAULT_RESTART);
        let keys = ["StartLimitIntervalSec", "StartLimitInterval"];
        let unit = service.span("Unit", &keys, |state| state.start_limit_interval_us);
        let interval = unit
            .or_else(|| service.span("Service", &keys, |state| state.start_limit_interval_us))
            .unwrap_or(DEFAULT_INTERVAL);
        let burst = match &service.state {
            Some(state) => state.start_limit_burst,
            None => {
                let written = service
                    .last("Unit", "StartLimitBurst")
                    .or_else(|| service.last("Service", "StartLimitBurst"));
                written.and_then(|written| written.value.parse().ok()).unwrap_or(DEFAULT_BURST)
            }
        };
        // A cloudflared that cannot resolve the edge's names exits within moments.
        let round = wait + SECOND / 5;
        let limited = 0 < interval && 0 < burst && round.saturating_mul(u64::from(burst)) < interval;
        if limited {
            self.drop_in.service("RestartSec=5s");
            if 5 * SECOND * u64::from(burst) < interval {
                self.drop_in.unit("StartLimitIntervalSec=10s");
                self.drop_in.unit("StartLimitBurst=5");
            }
            let place = if service.last("Unit", keys[0]).is_some() {
                service.place("Unit", keys[0])
            } else {
                service.place("Service", "RestartSec")
            };
            self.add(
                Severity::Warning,
                "start-limit",
                place,
                format!(
                    "After {burst} failed starts within {} systemd gives up, and this unit starts again every {}.",
                    seconds(interval),
                    seconds(wait)
                ),
                "A short trouble with the network or the resolver is enough; then the unit stays failed until somebody resets it.",
                "Wait longer between starts than the limit counts. Write in [Service] and [Unit]:\nRestartSec=5s\nStartLimitIntervalSec=10s",
            );
        }
    }

    fn stop(&mut self) {
        let service = self.service;
        let signal = match &service.state {
            Some(state) => match state.kill_signal {
                15 => "SIGTERM".to_owned(),
                2 => "SIGINT".to_owned(),
                other => format!("signal {other}"),
            },
            None => service
                .last("Service", "KillSignal")
                .map_or_else(|| "SIGTERM".to_owned(), |written| written.value.to_owned()),
        };
        if !matches!(signal.trim_start_matches("SIG"), "TERM" | "INT" | "15" | "2") {
            self.drop_in.service("KillSignal=SIGTERM");
            self.add(
                Severity::Warning,
                "kill-signal",
                service.place("Service", "KillSignal"),
                format!(
                    "systemd stops cloudflared with {}, which it does not take as a wish to end in peace.",
                    short(&signal)
                ),
                "Requests in flight are cut at every restart.",
                "Write in [Service]:\nKillSignal=SIGTERM",
            );
        }
        let grace = service.launch().grace_period.as_deref().and_then(unit_file::span).unwrap_or(GRACE);
        let keys = ["TimeoutStopSec", "TimeoutSec"];
        let stop = service.span("Service", &keys, |state| state.timeout_stop_us).unwrap_or(DEFAULT_START);
        if 0 < stop && stop < grace + 2 * SECOND {
            let wanted = format!("TimeoutStopSec={}", seconds(grace + 15 * SECOND).replace(' ', ""));
            self.drop_in.service(&wanted);
            let place = keys
                .iter()
                .find_map(|key| service.last("Service", key))
                .map_or_else(|| service.own_place(), |written| written.place);
            self.add(
                Severity::Warning,
                "stop-timeout-short",
                place,
                format!(
                    "systemd kills cloudflared {} after the stop, and its grace period is {}.",
                    seconds(stop),
                    seconds(grace)
                ),
                "Requests in flight are cut, and the stop counts as a failure.",
                format!("Write in [Service]:\n{wanted}"),
            );
        }
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
            self.add(
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
            self.add(
                Severity::Note,
                "runs-as-root",
                self.service.place("Service", "User"),
                "cloudflared runs as root and needs no right of root's.",
                "Whoever breaks into it from the network has the host.",
                "Once the token comes as a credential, and no file of root's is read, write in [Service]:\nDynamicUser=yes",
            );
        }
    }

    fn updates(&mut self) {
        let argv = self.service.command();
        let disabled = argv.iter().any(|word| {
            word.trim_start_matches('-') == "no-autoupdate" || word.ends_with("no-autoupdate=true")
        });
        let environment = self.service.environment();
        let disabled = disabled
            || environment.iter().any(|pair| pair.strip_prefix("NO_AUTOUPDATE=").is_some_and(is_yes))
            // Over D-Bus only its own variables are kept.
            || self.service.all("Service", "Environment").iter().any(|line| line.value.contains("NO_AUTOUPDATE=true"));
        if !disabled && !argv.is_empty() {
            self.drop_in.service("Environment=NO_AUTOUPDATE=true");
            self.add(
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
            self.add(
                Severity::Warning,
                "update-timer-half",
                place,
                "The timer that updates cloudflared runs now and is not enabled.",
                "Updates stop at the next reboot without a word; cloudflared's own installer leaves it so.",
                "Decide for one:\nsudo systemctl enable cloudflared-update.timer           # update and restart daily\nsudo systemctl disable --now cloudflared-update.timer    # leave updates to the package manager",
            );
        } else if active == "active" {
            self.add(
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
    fn standing(&mut self) {
        let Some(state) = &self.service.state else { return };
        let place = self.service.own_place();
        let name = &self.service.name;
        let (need_reload, enabled) = (state.need_daemon_reload, state.unit_file_state.clone());
        if need_reload {
            self.add(
                Severity::Warning,
                "needs-reload",
                place.clone(),
                "The unit's files have changed, and systemd still has the old ones in force.",
                "The next restart does something else than the files say.",
                "Run:\nsudo systemctl daemon-reload",
            );
        }
        if matches!(enabled.as_str(), "disabled" | "masked" | "masked-runtime") {
            self.add(
                Severity::Warning,
                "not-enabled",
                place,
                format!("The unit is {enabled}."),
                "After the next reboot there is no tunnel.",
                format!("Run:\nsudo systemctl enable {name}"),
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
            self.add(
                Severity::Warning,
                "no-span",
                place,
                format!("The value of `{key}=` is no span of time, so systemd passes over it."),
                "Its default holds in place of what was meant.",
                format!("Write a number with a unit:\n{key}=15s"),
            );
        }
        if self.service.command().is_empty() {
            self.add(
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
