//! How the unit is started, brought back and ended.

use super::{Look, SECOND, seconds, short};
use crate::audit::Severity;
use crate::client::unit_file;

/// Nine failed QUIC dials take 111 to 235 s; only then is http2 tried.
const FALLBACK: u64 = 240 * SECOND;
/// cloudflared's own time for requests in flight, where it is not set.
const GRACE: u64 = 30 * SECOND;
/// systemd's defaults.
const DEFAULT_START: u64 = 90 * SECOND;
const DEFAULT_RESTART: u64 = SECOND / 10;
const DEFAULT_INTERVAL: u64 = 10 * SECOND;
const DEFAULT_BURST: u32 = 5;

impl Look<'_> {
    pub(super) fn start_timeout(&mut self) {
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
        if !notify && !self.findings.all.iter().any(|finding| finding.rule == "not-notify") {
            return;
        }
        self.drop_in.service("TimeoutStartSec=5min");
        let place = keys
            .iter()
            .find_map(|key| service.last("Service", key))
            .map_or_else(|| service.own_place(), |written| written.place);
        self.findings.add(
            Severity::Warning,
            "start-timeout-short",
            place,
            format!("systemd ends a start of cloudflared after {}, and its fallback from QUIC to http2 takes up to 235 s.", seconds(timeout)),
            "Where UDP port 7844 is shut the unit is ended before it ever tries http2, and goes round for ever: the tunnel never comes up.",
            "Give it the time, or where UDP is known to be shut say so at once. Write in [Service]:\nTimeoutStartSec=5min\n# or: Environment=TUNNEL_TRANSPORT_PROTOCOL=http2",
        );
    }

    pub(super) fn restarts(&mut self) {
        let service = self.service;
        let policy =
            service.word("Service", "Restart", |state| &state.restart).unwrap_or_else(|| "no".into());
        let comes_back = matches!(policy.as_str(), "always" | "on-failure");
        if !comes_back {
            self.drop_in.service("Restart=on-failure");
            self.findings.add(
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
        let round = wait.saturating_add(SECOND / 5);
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
            self.findings.add(
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

    pub(super) fn stop(&mut self) {
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
            self.findings.add(
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
        let grace = service.launch().grace_period.or_else(|| service.grace_period.clone());
        let grace = grace.as_deref().and_then(unit_file::span).unwrap_or(GRACE);
        let keys = ["TimeoutStopSec", "TimeoutSec"];
        let stop = service.span("Service", &keys, |state| state.timeout_stop_us).unwrap_or(DEFAULT_START);
        if 0 < stop && stop < grace.saturating_add(2 * SECOND) {
            let wanted =
                format!("TimeoutStopSec={}", seconds(grace.saturating_add(15 * SECOND)).replace(' ', ""));
            self.drop_in.service(&wanted);
            let place = keys
                .iter()
                .find_map(|key| service.last("Service", key))
                .map_or_else(|| service.own_place(), |written| written.place);
            self.findings.add(
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
}
