//! The journal: each line's meaning, in the warden's words. Unmatched lines are counted, never judged.

use std::time::Duration;

use crate::client::cloudflared_log::{
    DialFailure, Meaning, SystemdMeaning, Transport as LogTransport, meaning, parse, systemd_meaning,
};
use crate::warden::evidence::{Invocation, Line, LogLine, Transport};
use crate::warden::time::Now;

/// Where and when an entry was written; all that the meaning needs besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Unix time.
    pub wall: Duration,
    pub invocation: &'a str,
}

impl Place<'_> {
    fn line(&self, now: Now, line: Line) -> LogLine {
        let invocation = u128::from_str_radix(self.invocation, 16).ok().map(Invocation);
        LogLine { line, at: now.boot_of(self.wall), invocation }
    }
}

/// What cloudflared's own line says, with the word under which it is counted and the meaning itself.
pub fn cloudflared(now: Now, place: Place<'_>, message: &str) -> (LogLine, Meaning) {
    let meaning = meaning(&parse(message));
    (place.line(now, line(&meaning)), meaning)
}

/// What a line of systemd about the unit says, with the word under which it is counted.
pub fn systemd(
    now: Now,
    place: Place<'_>,
    line: &crate::client::cloudflared_log::SystemdLine<'_>,
) -> (LogLine, &'static str) {
    let meaning = systemd_meaning(line);
    let said = match &meaning {
        SystemdMeaning::Stopping { job_type } | SystemdMeaning::Stopped { job_type } if job_type == "stop" => Line::StopJob,
        SystemdMeaning::Starting { .. } | SystemdMeaning::Started { .. } => Line::StartJob,
        SystemdMeaning::MainExited { .. }
        | SystemdMeaning::Failed { .. }
        | SystemdMeaning::Deactivated
        | SystemdMeaning::StartLimitHit
        | SystemdMeaning::StartFailed { .. } => Line::EndedByItself,
        SystemdMeaning::Stopping { .. }
        | SystemdMeaning::Stopped { .. }
        | SystemdMeaning::Reloading
        | SystemdMeaning::Reloaded
        | SystemdMeaning::Skipped
        | SystemdMeaning::RestartScheduled { .. }
        | SystemdMeaning::StartTimedOut
        | SystemdMeaning::StopTimedOut
        | SystemdMeaning::SpawnFailed
        | SystemdMeaning::OutOfMemory
        | SystemdMeaning::SignalSent { .. }
        | SystemdMeaning::Noise
        | SystemdMeaning::Unknown => Line::Other,
    };
    (place.line(now, said), meaning.label())
}

fn transport(transport: LogTransport) -> Transport {
    match transport {
        LogTransport::Quic => Transport::Quic,
        LogTransport::Http2 => Transport::Http2,
    }
}

fn line(meaning: &Meaning) -> Line {
    match meaning {
        Meaning::InitialProtocol(of) => Line::InitialTransport(transport(*of)),
        Meaning::Attempt { .. } | Meaning::Registering { .. } => Line::Attempt,
        Meaning::Registered { transport: of, .. } => Line::Registered(of.map(transport)),
        Meaning::LostConnection { .. } => Line::Lost,
        Meaning::DialFailed { failure: DialFailure::Clock, .. } => {
            Line::ClockWrong("a certificate is not valid at the local time".into())
        }
        Meaning::DialFailed { transport: of, .. } => Line::DialFailed(Some(transport(*of))),
        Meaning::FallbackToHttp2 => Line::FellBack,
        Meaning::Refused { unauthorized, text, .. } => Line::Refused { unauthorized: *unauthorized, text: text.clone() },
        Meaning::ControlStreamFailed { .. } => Line::RefusedUnnamed,
        Meaning::EdgeDuplicate { .. } => {
            Line::Refused { unauthorized: false, text: "the edge holds a connection of the same kind already".into() }
        }
        Meaning::ConfigError(text) | Meaning::UsageError(text) | Meaning::MetricsPortTaken(text) => {
            Line::ConfigInvalid(text.clone())
        }
        Meaning::CredentialsError(text) => Line::CredentialsUnusable(text.clone()),
        Meaning::NoIngress => Line::NoIngress,
        Meaning::OriginError => Line::OriginDown,
        Meaning::GracefulShutdown => Line::GracefulStop,
        Meaning::Starting { .. }
        | Meaning::Version(_)
        | Meaning::Settings(_)
        | Meaning::ConnectorId(_)
        | Meaning::MetricsServer(_)
        | Meaning::Unregistered { .. }
        | Meaning::Retrying { .. }
        | Meaning::Terminated { .. }
        | Meaning::FallbackToQuic
        | Meaning::AddressesExhausted
        | Meaning::DnsFailed { .. }
        | Meaning::ConfigUpdated { .. }
        | Meaning::ConfigRefused { .. }
        | Meaning::RequestEnded
        | Meaning::FatalShutdown { .. }
        | Meaning::ServerStopped
        | Meaning::Precheck(_)
        | Meaning::PrecheckDone { .. }
        | Meaning::EventDropped
        | Meaning::Crashed
        | Meaning::Companion
        | Meaning::Noise
        | Meaning::Unknown => Line::Other,
    }
}
