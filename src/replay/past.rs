//! This host's own journal, judged again. Only the unit and its words come back; the rest the past cannot give.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ReplayError;
use super::export::Entry;
use super::transcript::{Change, Transcript};
use crate::client::calendar::Windows;
use crate::client::cloudflared_log::{Meaning, SystemdLine, SystemdMeaning, meaning, parse, systemd_meaning};
use crate::client::journal::{self, Entry as JournalEntry};
use crate::sense::journal::{Place, cloudflared, systemd};
use crate::warden::event::{Command, Event};
use crate::warden::evidence::{
    Active, Control, EdgeSight, Family, Finding, HostFinding, HostSight, Invocation, Link, LogLine, Reach,
    Ready, ReadySight, Setup, Transport, UnitSight,
};
use crate::warden::machine::{Memory, Warden};
use crate::warden::policy::Policy;
use crate::warden::remedy::Outcome;
use crate::warden::time::Now;

/// What a replay of the journal has to do without, for people.
pub const MISSING: &str = "The journal keeps what cloudflared and systemd said, and nothing else. Public names, the control \
name, /ready and our own dial to the edge are not in it: phantoms, frozen processes, misrouted names and a blocked edge \
cannot be found again. Connections are counted from cloudflared's own lines, and the edge is taken as reachable unless \
cloudflared had just failed to dial it.";

/// The meaning of an exported entry.
pub(super) fn line(now: Now, entry: &Entry) -> Option<LogLine> {
    let field = |name: &str| entry.get(name).map(String::as_str);
    let wall = Duration::from_micros(field("__REALTIME_TIMESTAMP")?.parse().ok()?);
    let message = field("MESSAGE")?;
    if field("_PID") == Some("1") {
        let place = Place { wall, invocation: field("INVOCATION_ID").unwrap_or("") };
        let said = SystemdLine {
            message,
            message_id: field("MESSAGE_ID"),
            job_type: field("JOB_TYPE"),
            job_result: field("JOB_RESULT"),
            unit_result: field("UNIT_RESULT"),
            exit_code: field("EXIT_CODE"),
            exit_status: field("EXIT_STATUS"),
            n_restarts: field("N_RESTARTS").and_then(|n| n.parse().ok()),
        };
        return Some(systemd(now, place, &said).0);
    }
    let place = Place { wall, invocation: field("_SYSTEMD_INVOCATION_ID").unwrap_or("") };
    Some(cloudflared(now, place, message).0)
}

/// Judges what the journal of this host says of `unit` since `since` (Unix time) under `policy`, with remedies as `windows`
/// allow them.
///
/// # Errors
/// The journal cannot be read, or says nothing of it.
pub fn past(
    unit: &str,
    since: Duration,
    policy: Policy,
    windows: Windows,
) -> Result<Transcript, ReplayError> {
    judged(unit, since, (policy, windows), |each| journal::past(unit, since, each))
}

fn judged(
    unit: &str,
    since: Duration,
    rules: (Policy, Windows),
    read: impl FnOnce(&mut dyn FnMut(&JournalEntry)) -> Result<(), String>,
) -> Result<Transcript, ReplayError> {
    let mut past: Option<Past> = None;
    let mut rules = Some(rules);
    read(&mut |entry| {
        if let Some((policy, windows)) = rules.take() {
            past = Some(Past::new(unit, wall(entry), since, policy, windows));
        }
        if let Some(past) = &mut past {
            past.hear(entry);
        }
    })
    .map_err(ReplayError::Journal)?;
    past.map(|past| past.transcript).ok_or_else(|| ReplayError::Nothing { unit: unit.to_owned() })
}

fn wall(entry: &JournalEntry) -> Duration {
    Duration::from_micros(entry.realtime_us)
}

/// How far apart the judge looks at a past in which nothing is written.
const QUIET: Duration = Duration::from_secs(5);
/// After this much silence nothing changes by itself any more.
const QUIET_FOR: Duration = Duration::from_secs(900);
/// A failed dial of cloudflared's speaks for the network for this long.
const DIAL_FAILED: Duration = Duration::from_secs(20);
/// The past lies this long after its boot, as the judge counts.
const BOOT: Duration = Duration::from_secs(100_000);

/// The unit as its journal tells it.
struct Past {
    name: String,
    windows: Windows,
    warden: Warden,
    transcript: Transcript,
    since: Duration,
    now: Duration,
    unit: UnitSight,
    held: BTreeSet<u32>,
    knows_connections: bool,
    dial_failed: Option<(Transport, Duration)>,
    verdict: String,
}

impl Past {
    fn new(name: &str, first: Duration, since: Duration, policy: Policy, windows: Windows) -> Self {
        let unit =
            UnitSight { active: Active::Other, sub: "not known".into(), since: BOOT, ..UnitSight::stock() };
        let mut past = Self {
            name: name.to_owned(),
            windows,
            warden: Warden::new(policy, Memory::default()),
            transcript: Transcript::default(),
            since,
            now: first,
            unit,
            held: BTreeSet::new(),
            knows_connections: false,
            dial_failed: None,
            verdict: String::new(),
        };
        past.tell(Event::Tunnel { unit: name.to_owned(), names: Vec::new() });
        past.observed(Finding::Setup(Setup { transport: None, private_network: None, ..Setup::default() }));
        past.observed(Finding::Journal(Ok(())));
        past
    }

    fn clock(&self) -> Now {
        Now { boot: BOOT + self.now.saturating_sub(self.since), wall: self.now }
    }

    fn hear(&mut self, entry: &JournalEntry) {
        self.pass_to(wall(entry));
        let now = self.clock();
        let place = Place { wall: self.now, invocation: entry.invocation_id.as_deref().unwrap_or("") };
        let said = match entry.by_systemd() {
            Some(said) => {
                self.unit_said(&systemd_meaning(&said), place.invocation);
                systemd(now, place, &said).0
            }
            None if entry.mid_line => return,
            None => {
                self.connector_said(&meaning(&parse(&entry.message)), entry);
                cloudflared(now, place, &entry.message).0
            }
        };
        self.observed(Finding::Log(said));
        self.look();
    }

    fn state(&mut self, active: Active, sub: &str) {
        if self.unit.active != active || self.unit.sub != sub {
            (self.unit.active, self.unit.since) = (active, self.clock().boot);
            sub.clone_into(&mut self.unit.sub);
        }
    }

    fn unit_said(&mut self, said: &SystemdMeaning, invocation: &str) {
        match said {
            SystemdMeaning::Starting { .. } => {
                self.unit.invocation = u128::from_str_radix(invocation, 16).ok().map(Invocation);
                self.unit.started = Some(self.clock().boot);
                self.unit.result = "success".into();
                self.held.clear();
                self.state(Active::Activating, "start");
            }
            SystemdMeaning::Started { .. } => {
                self.unit.was_active = true;
                self.state(Active::Active, "running");
            }
            SystemdMeaning::Stopping { .. } => self.state(Active::Deactivating, "stop-sigterm"),
            SystemdMeaning::Stopped { .. } | SystemdMeaning::Deactivated => {
                self.gone();
                self.state(Active::Inactive, "dead");
            }
            SystemdMeaning::Failed { result, .. } => {
                self.gone();
                self.unit.result.clone_from(result);
                self.state(Active::Failed, "failed");
            }
            SystemdMeaning::RestartScheduled { counter } => {
                self.unit.n_restarts = counter.unwrap_or(self.unit.n_restarts + 1);
                self.state(Active::Activating, "auto-restart");
            }
            SystemdMeaning::MainExited { .. } => self.gone(),
            SystemdMeaning::StartLimitHit
            | SystemdMeaning::StartFailed { .. }
            | SystemdMeaning::Reloading
            | SystemdMeaning::Reloaded
            | SystemdMeaning::Skipped
            | SystemdMeaning::StartTimedOut
            | SystemdMeaning::StopTimedOut
            | SystemdMeaning::SpawnFailed
            | SystemdMeaning::OutOfMemory
            | SystemdMeaning::SignalSent { .. }
            | SystemdMeaning::Noise
            | SystemdMeaning::Unknown => (),
        }
    }

    fn gone(&mut self) {
        self.unit.main_pid = 0;
        self.held.clear();
    }

    fn connector_said(&mut self, said: &Meaning, entry: &JournalEntry) {
        self.unit.main_pid = entry.pid;
        if self.unit.invocation.is_none() {
            let id = entry.invocation_id.as_deref().unwrap_or("");
            self.unit.invocation = u128::from_str_radix(id, 16).ok().map(Invocation);
        }
        let index = |index: &Option<u8>| u32::from(index.unwrap_or(0));
        if let Meaning::Registered { conn_index, .. } = said {
            self.held.insert(index(conn_index));
            self.knows_connections = true;
            self.dial_failed = None;
            // READY=1 follows the first registration.
            if matches!(self.unit.active, Active::Other | Active::Activating) {
                self.unit.was_active = true;
                self.state(Active::Active, "running");
            }
        } else if let Meaning::LostConnection { conn_index, .. }
        | Meaning::Unregistered { conn_index }
        | Meaning::Terminated { conn_index, .. }
        | Meaning::Retrying { conn_index, .. } = said
        {
            self.held.remove(&index(conn_index));
        } else if let Meaning::DialFailed { transport, .. } = said {
            let transport = match transport {
                crate::client::cloudflared_log::Transport::Quic => Transport::Quic,
                crate::client::cloudflared_log::Transport::Http2 => Transport::Http2,
            };
            self.dial_failed = Some((transport, self.now));
        }
    }

    /// Time passes in which nothing is written: the judge looks every few seconds until nothing more can come of it.
    fn pass_to(&mut self, then: Duration) {
        let quiet_until = then.min(self.now + QUIET_FOR);
        while self.now + QUIET < quiet_until {
            self.now += QUIET;
            self.look();
        }
        self.now = self.now.max(then);
    }

    fn look(&mut self) {
        if self.unit.active == Active::Other {
            return;
        }
        self.observed(Finding::Unit(Ok(self.unit.clone())));
        if self.unit.up() && self.knows_connections {
            let held = u8::try_from(self.held.len()).unwrap_or(u8::MAX);
            let ready = Ready::Connections(held);
            let sight = ReadySight { ready, connector: None, port_of_this_life: false, counters: None };
            self.observed(Finding::Ready(Ok(sight)));
        }
        let failing = |transport| {
            self.dial_failed
                .is_some_and(|(of, at)| of == transport && self.now.saturating_sub(at) < DIAL_FAILED)
        };
        let links = [Transport::Http2, Transport::Quic].map(|transport| {
            let reach = if failing(transport) { Reach::TimedOut } else { Reach::Reachable };
            Link { region: "region1".into(), transport, family: Family::V4, reach }
        });
        let (links, addresses) = (links.to_vec(), Vec::new());
        let sight = EdgeSight { resolved: true, links, first: Family::V4, addresses, clock_suspect: false };
        self.tell(Event::HostObserved(HostFinding::Edge(Ok(sight))));
        self.tell(Event::HostObserved(HostFinding::Control(Ok(Control::Answered))));
        if !self.windows.is_empty() {
            self.tell(Event::HostObserved(HostFinding::Host(Ok(self.host()))));
        }
        self.tell(Event::Woke);
    }

    /// Of the host only the calendar is known.
    fn host(&self) -> HostSight {
        let (now, opens) = (self.clock(), self.windows.shut_until(self.now));
        HostSight {
            route: true,
            shutting_down: false,
            upgrading: false,
            unsynchronised: false,
            window_shut_until: opens.map(|opens| now.boot + opens.saturating_sub(now.wall)),
        }
    }

    fn observed(&mut self, finding: Finding) {
        self.tell(Event::Observed { unit: self.name.clone(), finding });
    }

    fn tell(&mut self, event: Event) {
        let commands = self.warden.handle(event, self.clock());
        let at = self.now.saturating_sub(self.since).as_secs_f64();
        if let Some(tunnel) = self.warden.tunnels().next() {
            let word = format!("{:?}", tunnel.verdict);
            if self.verdict != word {
                self.verdict = word;
                let (verdict, explanation) = (tunnel.verdict, tunnel.last_words().to_owned());
                self.transcript.changes.push((at, Change::Verdict { verdict, explanation }));
            }
        }
        for command in commands {
            match command {
                Command::Look { unit, .. } => {
                    self.look();
                    self.tell(Event::Looked { unit });
                }
                Command::Apply { unit, remedy, .. } => {
                    let cause = self.warden.tunnels().find_map(|tunnel| tunnel.verdict.cause);
                    if let Some(cause) = cause {
                        self.transcript.changes.push((at, Change::Ordered { remedy, cause }));
                    }
                    self.tell(Event::RemedyDone { unit, outcome: Outcome::Done });
                }
                Command::Tell(note) => self.transcript.take(at, &note),
                Command::Hurry { .. }
                | Command::Persist
                | Command::Record { .. }
                | Command::Announce { .. } => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::calendar::Span;
    use crate::client::journal::FromSystemd;

    const UNIT: &str = "cloudflared.service";
    /// A Monday, 10:00 UTC.
    const BEGAN: u64 = 1_795_428_000;

    /// Systemd starts the unit and gives it up two minutes later; an hour later it is started by hand.
    fn given_up() -> Vec<JournalEntry> {
        let (starting, started) = ("7d4958e842da4a758f6c1cdc7b36dcc5", "39f53479d3a045ac8e11786248231fbf");
        let said =
            [(0, starting), (1, started), (120, "d9b373ed55a64feb8242e02dbe79a49c"), (3_720, starting)];
        let entry = |(second, id): (u64, &str)| JournalEntry {
            realtime_us: (BEGAN + second) * 1_000_000,
            unit: UNIT.into(),
            pid: 1,
            invocation_id: Some("00000000000000000000000000000001".into()),
            systemd: Some(Box::new(FromSystemd {
                message_id: Some(id.into()),
                unit_result: Some("exit-code".into()),
                ..FromSystemd::default()
            })),
            ..JournalEntry::default()
        };
        said.into_iter().map(entry).collect()
    }

    fn ordered(policy: Policy, windows: Windows) -> Vec<f64> {
        let past = judged(UNIT, Duration::from_secs(BEGAN), (policy, windows), |each| {
            given_up().iter().for_each(each);
            Ok(())
        });
        past.unwrap().acts().map(|(at, _, _)| at).collect()
    }

    #[test]
    fn the_past_is_judged_by_what_holds_here() {
        let span = |text| vec![Span::parse(text).unwrap()];
        let all = ordered(Policy::shipped(), Windows::default());
        assert!(all.first().is_some_and(|at| (120.0..140.0).contains(at)), "{all:?}");
        let observed = Policy { observe_only: true, ..Policy::shipped() };
        assert!(ordered(observed, Windows::default()).is_empty());
        let windows = Policy { windows: true, ..Policy::shipped() };
        let forbid = Windows { forbid: span("Mon 09:00..12:00 UTC"), ..Windows::default() };
        assert!(ordered(windows.clone(), forbid).is_empty(), "the window is shut");
        let allow = Windows { allow: span("10:05..12:00 UTC"), ..Windows::default() };
        let waited = ordered(windows, allow);
        assert!(waited.first().is_some_and(|at| (300.0..320.0).contains(at)), "until it opens: {waited:?}");
    }

    #[test]
    fn a_journal_that_says_nothing_of_the_unit_is_no_calm_past() {
        let rules = (Policy::shipped(), Windows::default());
        let error = judged("typo.service", Duration::ZERO, rules, |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("the journal has no line of typo.service in that time"), "{error}");
    }
}
