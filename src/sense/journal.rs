//! The journal: each line's meaning, in the warden's words. Unmatched lines are counted, never judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::client::cloudflared_log::{
    DialFailure, Meaning, SystemdLine, SystemdMeaning, Transport as LogTransport, meaning, parse,
    systemd_meaning,
};
use crate::client::journal::{self, Entry, JournalEvent};
use crate::warden::event::Event;
use crate::warden::evidence::{Blind, Finding, Invocation, Line, LogLine, Transport};
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
pub fn systemd(now: Now, place: Place<'_>, line: &SystemdLine<'_>) -> (LogLine, &'static str) {
    let meaning = systemd_meaning(line);
    let said = match &meaning {
        SystemdMeaning::Stopping { job_type } | SystemdMeaning::Stopped { job_type }
            if job_type == "stop" =>
        {
            Line::StopJob
        }
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
        Meaning::Settings(settings) => match settings.protocol.as_deref().and_then(Transport::of_setting) {
            Some(transport) => Line::SetTransport(transport),
            None => Line::Other,
        },
        Meaning::InitialProtocol(of) => Line::InitialTransport(transport(*of)),
        Meaning::Attempt { .. } | Meaning::Registering { .. } => Line::Attempt,
        Meaning::Registered { transport: of, .. } => Line::Registered(of.map(transport)),
        Meaning::LostConnection { .. } => Line::Lost,
        Meaning::DialFailed { failure: DialFailure::Clock, .. } => {
            Line::ClockWrong("a certificate is not valid at the local time".into())
        }
        Meaning::DialFailed { transport: of, ip, failure, .. } => Line::DialFailed {
            transport: Some(transport(*of)),
            to: *ip,
            untrusted: *failure == DialFailure::Certificate,
        },
        Meaning::FallbackToHttp2 => Line::FellBack,
        Meaning::Refused { unauthorized, text, .. } => {
            Line::Refused { unauthorized: *unauthorized, text: text.clone() }
        }
        Meaning::ControlStreamFailed { .. } => Line::RefusedUnnamed,
        Meaning::EdgeDuplicate { .. } => Line::Refused {
            unauthorized: false,
            text: "the edge holds a connection of the same kind already".into(),
        },
        Meaning::ConfigError(text) | Meaning::UsageError(text) | Meaning::MetricsPortTaken(text) => {
            Line::ConfigInvalid(text.clone())
        }
        Meaning::CredentialsError(text) => Line::CredentialsUnusable(text.clone()),
        Meaning::NoIngress => Line::NoIngress,
        Meaning::ConfigUpdated { .. } => Line::IngressCame,
        Meaning::OriginError => Line::OriginDown,
        Meaning::GracefulShutdown => Line::GracefulStop,
        Meaning::Starting { .. }
        | Meaning::Version(_)
        | Meaning::ConnectorId(_)
        | Meaning::MetricsServer(_)
        | Meaning::Unregistered { .. }
        | Meaning::Retrying { .. }
        | Meaning::Terminated { .. }
        | Meaning::FallbackToQuic
        | Meaning::AddressesExhausted
        | Meaning::DnsFailed { .. }
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

/// What the journal tells other senses of the present life of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub invocation: Option<String>,
    /// Where `/ready` and `/metrics` are, as `host:port`.
    pub metrics: Option<String>,
    pub connector: Option<String>,
    /// What is set for it, as it says itself: its `edge-ip-version`, `edge-bind-address` and `ha-connections`.
    pub edge_ip_version: Option<String>,
    pub edge_bind_address: Option<String>,
    pub ha_connections: Option<i64>,
    pub tunnel_id: Option<String>,
    pub version: Option<String>,
}

impl Told {
    fn hear(&mut self, invocation: Option<&str>, meaning: &Meaning) -> bool {
        let before = self.clone();
        if invocation.is_some() && self.invocation.as_deref() != invocation {
            let tunnel_id = self.tunnel_id.take();
            *self = Self { invocation: invocation.map(str::to_owned), tunnel_id, ..Self::default() };
        }
        if let Meaning::Settings(set) = meaning {
            // Flags are told of before the environment, and count before it.
            self.edge_ip_version = self.edge_ip_version.take().or_else(|| set.edge_ip_version.clone());
            self.edge_bind_address = self.edge_bind_address.take().or_else(|| set.edge_bind_address.clone());
            self.ha_connections = self.ha_connections.or(set.ha_connections);
        }
        if let Meaning::Starting { tunnel_id: Some(id) } = meaning {
            self.tunnel_id = Some(id.clone());
        } else if let Meaning::Version(version) = meaning {
            self.version = Some(version.clone());
        } else if let Meaning::ConnectorId(id) = meaning {
            self.connector = Some(id.clone());
        } else if let Meaning::MetricsServer(address) = meaning {
            self.metrics = Some(address.clone());
        }
        *self != before
    }
}

/// Counts a line of a unit under the word for its meaning; `true`: it is history, and may have been counted by those before us.
pub type Count = Box<dyn Fn(&str, &'static str, bool) + Send + Sync>;

/// Where the journal sense keeps its place, and whom it tells.
pub struct Listeners {
    pub events: mpsc::Sender<Event>,
    pub told: BTreeMap<String, watch::Sender<Told>>,
    pub units: Vec<String>,
    pub count: Count,
    /// Keeps the place in the journal. It may wait for a disk.
    pub keep: Box<dyn Fn(&str) + Send + Sync>,
}

/// The cursor is written down at most this often; after a crash a few lines are read twice, which changes nothing.
const CURSOR_EVERY: Duration = Duration::from_secs(30);

/// Carries what the journal says until nobody listens.
pub async fn listen(mut journal: mpsc::Receiver<JournalEvent>, listeners: Listeners) {
    let listeners = Arc::new(listeners);
    let mut saved: Option<(Instant, JoinHandle<()>)> = None;
    let units = listeners.units.clone();
    while let Some(event) = journal.recv().await {
        let findings = match event {
            JournalEvent::Lines(entries) => listeners.hear_all(&entries),
            JournalEvent::Cursor(cursor) => {
                // On a thread of its own, since a disk may stall; then the last one is still at it.
                if saved.as_ref().is_none_or(|(at, last)| CURSOR_EVERY <= at.elapsed() && last.is_finished())
                {
                    let keeper = Arc::clone(&listeners);
                    saved = Some((Instant::now(), spawn_blocking(move || (keeper.keep)(&cursor))));
                }
                Vec::new()
            }
            JournalEvent::CaughtUp | JournalEvent::Sees => all(&units, &Finding::Journal(Ok(()))),
            JournalEvent::Gap { unit, suppressed } => {
                tracing::warn!(unit_name = %unit, "the journal lost {suppressed} lines of {unit}");
                vec![(unit.to_string(), Finding::JournalGap)]
            }
            JournalEvent::CursorLost => all(&units, &Finding::JournalGap),
            JournalEvent::Blind(why) => all(&units, &Finding::Journal(Err(blind(&why)))),
        };
        for (unit, finding) in findings {
            if listeners.events.send(Event::Observed { unit, finding }).await.is_err() {
                return;
            }
        }
    }
}

fn all(units: &[String], finding: &Finding) -> Vec<(String, Finding)> {
    units.iter().map(|unit| (unit.clone(), finding.clone())).collect()
}

impl Listeners {
    /// The findings of a batch. Of a flood of like lines only the last of each kind goes on: it is the newest time
    /// that counts.
    fn hear_all(&self, entries: &[Entry]) -> Vec<(String, Finding)> {
        let now = crate::clock::now();
        let mut heard: Vec<(String, LogLine)> = Vec::new();
        for entry in entries {
            let Some(line) = self.hear(now, entry) else { continue };
            let same = heard.last().is_some_and(|(unit, last)| {
                **unit == *entry.unit
                    && std::mem::discriminant(&last.line) == std::mem::discriminant(&line.line)
            });
            if same {
                heard.pop();
            }
            heard.push((entry.unit.to_string(), line));
        }
        heard.into_iter().map(|(unit, line)| (unit, Finding::Log(line))).collect()
    }

    fn hear(&self, now: Now, entry: &Entry) -> Option<LogLine> {
        if !self.units.iter().any(|unit| **unit == *entry.unit) {
            return None;
        }
        let wall = Duration::from_micros(entry.realtime_us);
        let place = Place { wall, invocation: entry.invocation_id.as_deref().unwrap_or("") };
        let (line, label) = match entry.by_systemd() {
            Some(said) => systemd(now, place, &said),
            // A line that begins in the middle of another carries words that anybody may have chosen.
            None if entry.mid_line => return None,
            None => {
                let (line, meaning) = cloudflared(now, place, &entry.message);
                if let Some(told) = self.told.get(&*entry.unit) {
                    told.send_if_modified(|told| told.hear(entry.invocation_id.as_deref(), &meaning));
                }
                (line, meaning.label())
            }
        };
        (self.count)(&entry.unit, label, entry.history);
        // Everything began anew with this boot; what holds over it will be said again.
        (line.line != Line::Other && !entry.earlier_boot).then_some(line)
    }
}

fn blind(why: &journal::Blind) -> Blind {
    match why {
        journal::Blind::NoPermission => Blind::Forbidden,
        journal::Blind::NoJournal => Blind::NotFound,
        journal::Blind::Failed(_) => Blind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_line_of_an_earlier_boot_tells_whose_tunnel_it_was_and_nothing_else() {
        let (events, _heard) = mpsc::channel(1);
        let (tell, told) = watch::channel(Told::default());
        let unit = "cloudflared.service";
        let listeners = Listeners {
            events,
            told: [(unit.to_owned(), tell)].into(),
            units: vec![unit.into()],
            count: Box::new(|_, _, _| ()),
            keep: Box::new(|_| ()),
        };
        let id = "11111111-2222-4333-8444-555555555555";
        let lines = [
            format!("2026-11-29T10:00:00Z INF Starting tunnel tunnelID={id}"),
            "error parsing YAML in config file at /etc/cloudflared/config.yml: yaml: line 9".to_owned(),
        ];
        let entry = |message: &String, earlier_boot| Entry {
            unit: unit.into(),
            message: message.clone(),
            earlier_boot,
            ..Entry::default()
        };
        let all = |earlier| listeners.hear_all(&lines.each_ref().map(|line| entry(line, earlier)));
        assert_eq!(all(true), []);
        assert_eq!(told.borrow().tunnel_id.as_deref(), Some(id));
        let heard = all(false);
        let [(_, Finding::Log(LogLine { line: Line::ConfigInvalid(_), .. }))] = heard.as_slice() else {
            panic!("{heard:?}");
        };
    }

    /// A disk that stalls while the place is written down holds up neither what is heard nor anybody else on this thread.
    #[tokio::test]
    async fn a_disk_that_stalls_is_waited_for_by_nobody() {
        let (disk, stalled) = std::sync::mpsc::channel::<()>();
        let stalled = Mutex::new(stalled);
        let (events, mut heard) = mpsc::channel(8);
        let (journal, entries) = mpsc::channel(8);
        let listeners = Listeners {
            events,
            told: BTreeMap::new(),
            units: vec!["cloudflared.service".into()],
            count: Box::new(|_, _, _| ()),
            keep: Box::new(move |_| {
                drop(stalled.lock().map(|stalled| stalled.recv_timeout(Duration::from_secs(20))));
            }),
        };
        let began = Instant::now();
        let listening = tokio::spawn(listen(entries, listeners));
        for event in [JournalEvent::Cursor("s=1".into()), JournalEvent::CaughtUp] {
            journal.send(event).await.unwrap();
        }
        assert!(heard.recv().await.is_some());
        assert!(began.elapsed() < Duration::from_secs(10), "the disk was waited for");
        drop((disk, journal));
        listening.await.unwrap();
    }
}
