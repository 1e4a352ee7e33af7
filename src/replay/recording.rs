//! A recorded incident: `journal.export` and `observed.tsv` of one folder, told to the judge in their order.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::export::{Entry, entries};
use super::observed::{Row, rows};
use super::transcript::{Change, Transcript};
use super::{ReplayError, past::line};
use crate::client::answer::of_code;
use crate::sense::public::said;
use crate::warden::event::{Command, Event};
use crate::warden::evidence::{
    Active, Answer, Blind, Control, Counters, EdgeSight, Exchange, Family, Finding, HostFinding, Invocation,
    Link, Load, NameSight, Reach, Ready, ReadySight, Setup, Transport, UnitSight,
};
use crate::warden::machine::{Memory, Warden};
use crate::warden::policy::Policy;
use crate::warden::remedy::Outcome;
use crate::warden::time::Now;

pub(super) const UNIT: &str = "cloudflared.service";
const NAME: &str = "app.example.com";
/// Recordings begin long after a boot.
const BOOT: f64 = 100_000.0;
/// A look at everything this often, also while a row stands; nothing is looked at between.
const LOOK_EVERY: f64 = 5.0;
/// A row says what had changed by then, at most a second before: what stands now may be found a second later.
const ROW_EVERY: f64 = 1.0;
const LONG_BEFORE: f64 = 3600.0;
const STEP: f64 = 0.25;
/// No journal is as old (2001); a time that seems to be is not told in microseconds.
const MICROSECONDS_SINCE: Duration = Duration::from_secs(1_000_000_000);

/// Judges the recording in `folder`.
///
/// # Errors
/// A file is missing or is not what it should be.
pub fn recording(folder: &Path) -> Result<Transcript, ReplayError> {
    let rows = rows(&folder.join("observed.tsv"))?;
    let path = folder.join("journal.export");
    let bytes = std::fs::read(&path).map_err(|source| ReplayError::Read { path: path.clone(), source })?;
    let (mut entries, torn) = entries(&bytes);
    entries.sort_by_key(time);
    let times: Vec<_> = entries.iter().filter_map(time).collect();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(ReplayError::Unusable { path, what: "no rows".into() });
    };
    let (Some(oldest), Some(newest)) = (times.first(), times.last()) else {
        let what = "no entry with a time in it; make it with `journalctl -o export`".into();
        return Err(ReplayError::Unusable { path, what });
    };
    if *oldest < MICROSECONDS_SINCE {
        let what = "a __REALTIME_TIMESTAMP lies before 2001; it is told in microseconds since 1970".into();
        return Err(ReplayError::Unusable { path, what });
    }
    if last.wall < *oldest {
        let what = "every entry is newer than the last row of observed.tsv; both have to be of the same time";
        return Err(ReplayError::Unusable { path, what: what.into() });
    }
    let wall_offset = first.wall.as_secs_f64() - first.at;
    // From where it is torn nobody knows what the journal said.
    let mut readable_until = torn.then_some(newest.as_secs_f64() - wall_offset);
    let mut world = World::new(wall_offset, lives(&entries));
    world.tell(Event::Tunnel { unit: UNIT.into(), names: vec![NAME.into()] }, 0.0);
    let setup = Setup { private_network: Some(false), ..Setup::default() };
    world.observed(Finding::Setup(setup), 0.0);
    world.observed(Finding::Journal(Ok(())), 0.0);

    let timed = |entry: &Entry| -> Option<(f64, Entry)> {
        Some((time(entry)?.as_secs_f64() - wall_offset, entry.clone()))
    };
    let mut lines = entries.iter().filter_map(timed).peekable();
    let (mut at, mut next, mut looked) = (0.0_f64, 0, -LOOK_EVERY * 2.0);
    // The last row stands until the recording ends.
    while at <= last.at + 2.0 {
        while let Some((when, entry)) = lines.next_if(|(when, _)| *when <= at) {
            if let Some(line) = line(world.now(when.max(0.0)), &entry) {
                world.observed(Finding::Log(line), at);
            }
        }
        if readable_until.take_if(|until| *until < at).is_some() {
            world.observed(Finding::Journal(Err(Blind::Garbled)), at);
        }
        let before = next;
        while rows.get(next).is_some_and(|row| row.at <= at) {
            next += 1;
        }
        world.row = next.checked_sub(1).and_then(|place| rows.get(place));
        if before < next || LOOK_EVERY <= at - looked {
            looked = at;
            world.look(at);
        }
        if let Some((_, unit)) = world.last_look.take_if(|(answered, _)| *answered <= at) {
            world.look(at);
            world.tell(Event::Looked { unit }, at);
        }
        world.tell(Event::Woke, at);
        at += STEP;
    }
    Ok(world.transcript)
}

/// When it was written, Unix time.
fn time(entry: &Entry) -> Option<Duration> {
    entry.get("__REALTIME_TIMESTAMP")?.parse().ok().map(Duration::from_micros)
}

/// Which invocation each process belonged to.
fn lives(entries: &[Entry]) -> BTreeMap<u32, Invocation> {
    let life = |entry: &Entry| {
        let pid = entry.get("_PID")?.parse().ok()?;
        let life = u128::from_str_radix(entry.get("_SYSTEMD_INVOCATION_ID")?, 16).ok()?;
        Some((pid, Invocation(life)))
    };
    entries.iter().filter_map(life).collect()
}

/// The host as the rows tell it, with what only shows over time.
struct World<'a> {
    warden: Warden,
    /// The last row, which stands until the next.
    row: Option<&'a Row>,
    /// When a last look is answered, and of what unit it was.
    last_look: Option<(f64, String)>,
    transcript: Transcript,
    wall_offset: f64,
    lives: BTreeMap<u32, Invocation>,
    state: (String, f64),
    main: (u32, f64),
    invocation: Option<Invocation>,
    was_active: bool,
    /// A row was looked at.
    looked: bool,
    /// The process that a remedy would have ended.
    ended: Option<u32>,
    verdict: String,
    held: Vec<&'static str>,
}

fn boot(at: f64) -> Duration {
    Duration::from_secs_f64(BOOT + at)
}

fn second(boot: Duration) -> f64 {
    boot.as_secs_f64() - BOOT
}

impl World<'_> {
    fn new(wall_offset: f64, lives: BTreeMap<u32, Invocation>) -> Self {
        Self {
            warden: Warden::new(Policy::shipped(), Memory::default()),
            row: None,
            last_look: None,
            transcript: Transcript::default(),
            wall_offset,
            lives,
            state: (String::new(), 0.0),
            main: (0, 0.0),
            invocation: None,
            was_active: false,
            looked: false,
            ended: None,
            verdict: String::new(),
            held: Vec::new(),
        }
    }

    fn now(&self, at: f64) -> Now {
        Now { boot: boot(at), wall: Duration::from_secs_f64((self.wall_offset + at).max(0.0)) }
    }

    fn observed(&mut self, finding: Finding, at: f64) {
        self.tell(Event::Observed { unit: UNIT.into(), finding }, at);
    }

    /// Tells the judge, and does what it orders as far as a recording can.
    fn tell(&mut self, event: Event, at: f64) {
        let commands = self.warden.handle(event, self.now(at));
        self.note(at);
        for command in commands {
            match command {
                Command::Look { unit, .. } => self.last_look = Some((at + ROW_EVERY, unit)),
                Command::Apply { unit, remedy, .. } => {
                    let cause = self.warden.tunnels().find_map(|tunnel| tunnel.verdict.cause);
                    // The recording goes on as if nothing had been ordered: what is ordered of the same process once more
                    // would not have been.
                    if let Some(cause) = cause
                        && self.ended.replace(self.main.0) != Some(self.main.0)
                    {
                        self.transcript.changes.push((at, Change::Ordered { remedy, cause }));
                    }
                    self.tell(Event::RemedyDone { unit, outcome: Outcome::Done }, at);
                }
                Command::Tell(note) => self.transcript.take(at, &note),
                Command::Hurry { .. }
                | Command::Persist
                | Command::Record { .. }
                | Command::Announce { .. } => (),
            }
        }
    }

    fn note(&mut self, at: f64) {
        let Some(tunnel) = self.warden.tunnels().next() else { return };
        let verdict = tunnel.verdict;
        let word = format!("{}/{}", verdict.health.name(), verdict.cause.map_or("", |cause| cause.name()));
        if self.verdict != word {
            self.verdict = word;
            let explanation = tunnel.last_words().to_owned();
            self.transcript.changes.push((at, Change::Verdict { verdict, explanation }));
        }
        let held: Vec<_> = tunnel.holds.iter().map(|held| held.hold.name()).collect();
        for new in tunnel.holds.iter().filter(|new| !self.held.contains(&new.hold.name())) {
            let until_s = new.until.map(second);
            let change = Change::Held { hold: new.hold, until_s, detail: new.detail.to_string() };
            self.transcript.changes.push((at, change));
        }
        self.held = held;
    }

    /// A row is a look at everything.
    fn look(&mut self, at: f64) {
        let Some(row) = self.row else { return };
        let unit = self.unit(row, at);
        self.observed(Finding::Unit(unit), at);
        self.tell(Event::HostObserved(HostFinding::Edge(edge(row))), at);
        self.tell(Event::HostObserved(HostFinding::Control(control(row))), at);
        self.observed(Finding::Ready(ready(row)), at);
        let sight = name_sight(row.cell("public").unwrap_or("not looked at"));
        self.observed(Finding::Name { hostname: NAME.into(), sight }, at);
    }

    /// `active/sub result n_restarts main_pid exit_status`
    fn unit(&mut self, row: &Row, at: f64) -> Result<UnitSight, Blind> {
        let words: Vec<_> = row.cell("unit").ok_or(Blind::NotFound)?.split(' ').collect();
        let word = |place: usize| words.get(place).copied().unwrap_or("");
        let (state, result, n_restarts, main_pid, exit_status) =
            (word(0), word(1), word(2), word(3), word(4));
        let (active, sub) = state.split_once('/').ok_or(Blind::Garbled)?;
        let pid: u32 = main_pid.parse().unwrap_or(0);
        if self.state.0 != state {
            self.state = (state.to_owned(), at);
        }
        if pid != 0 && self.main.0 != pid {
            // One that is up in the first row was there before the recording began.
            let before = active == "active" && !self.looked;
            self.main = (pid, if before { at - LONG_BEFORE } else { at });
            self.invocation = self.lives.get(&pid).copied().or(Some(Invocation(u128::from(pid))));
        }
        self.looked = true;
        self.was_active |= active == "active";
        let start_limit = match row.cell("timeout_start_s") {
            Some("infinity") => None,
            // The stock unit's.
            _ => Some(Duration::from_secs_f64(
                row.number("timeout_start_s").filter(|limit| (0.0..1e9).contains(limit)).unwrap_or(15.0),
            )),
        };
        Ok(UnitSight {
            load: if active == "not-found" { Load::NotFound } else { Load::Loaded },
            disabled: false,
            active: match active {
                "active" => Active::Active,
                "activating" => Active::Activating,
                "deactivating" => Active::Deactivating,
                "inactive" => Active::Inactive,
                "failed" => Active::Failed,
                _ => Active::Other,
            },
            sub: sub.to_owned(),
            result: result.to_owned(),
            exit_status: (result == "exit-code").then(|| exit_status.parse().ok()).flatten(),
            main_pid: pid,
            invocation: self.invocation,
            n_restarts: n_restarts.parse().unwrap_or(0),
            job: None,
            frozen: false,
            since: boot(self.state.1),
            started: (self.main.0 != 0).then(|| boot(self.main.1)),
            was_active: self.was_active,
            start_limit,
            stop_limit: Some(Duration::from_secs(90)),
            start_rate: Some((5, Duration::from_secs(10))),
            newer_program: false,
        })
    }
}

/// Dials by both transports, as far as the recording knows.
fn edge(row: &Row) -> Result<EdgeSight, Blind> {
    let link = |transport, column| {
        let reach = match row.cell(column)? {
            "ok" => Reach::Reachable,
            "refused" => Reach::Refused,
            "unreachable" => Reach::Unreachable,
            "timeout" => Reach::TimedOut,
            // Whatever that is to say, it says nothing of the way.
            _ => return None,
        };
        Some(Link { region: "region1".into(), transport, family: Family::V4, reach })
    };
    let links: Vec<_> = [link(Transport::Http2, "dial_tcp"), link(Transport::Quic, "dial_quic")]
        .into_iter()
        .flatten()
        .collect();
    if links.is_empty() {
        return Err(Blind::NotFound);
    }
    let resolved = row.cell("dns").is_none_or(|dns| dns == "ok");
    Ok(EdgeSight { resolved, links, first: Family::V4, addresses: Vec::new(), clock_suspect: false })
}

fn control(row: &Row) -> Result<Control, Blind> {
    match row.cell("control") {
        None => Err(Blind::NotFound),
        Some("ok") => Ok(Control::Answered),
        Some("unreachable" | "timeout" | "refused" | "reset") => Ok(Control::Failing),
        Some("blind") => Err(Blind::Unreachable),
        Some(_) => Err(Blind::Garbled),
    }
}

/// `STATUS/CONNECTIONS`, `refused`, `timeout`, `reset`
fn ready(row: &Row) -> Result<ReadySight, Blind> {
    let (requests, refused) = (row.number("total_requests"), row.number("register_fail"));
    // Where only one of them was recorded, the other never rises.
    let counters = (requests.is_some() || refused.is_some()).then(|| Counters {
        total_requests: requests.unwrap_or(0),
        register_fail: refused.unwrap_or(0),
        ..Counters::default()
    });
    let cell = row.cell("ready").ok_or(Blind::NotFound)?;
    let ready = match (cell, cell.split_once('/')) {
        (_, Some((_, connections))) => Ready::Connections(connections.parse().map_err(|_| Blind::Garbled)?),
        ("timeout", None) => Ready::Silent,
        ("refused" | "reset", None) => Ready::Refused,
        (_, None) => return Err(Blind::Garbled),
    };
    Ok(ReadySight { ready, connector: None, port_of_this_life: true, counters })
}

/// `STATUS`, `STATUS/CODE`, or why there is none.
fn name_sight(public: &str) -> NameSight {
    let (status, code) = public.split_once('/').unwrap_or((public, ""));
    // Who had no answer at all may have written 0 or 000.
    let status = status.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let code = code.parse().ok();
    let answer = match (status, code) {
        (Some(status), Some(code)) => said(of_code(code, status)),
        (Some(502..=504), None) => Answer::OriginError,
        (Some(520..=530), None) => Answer::EdgeError,
        (Some(_), None) => Answer::Served,
        (None, _) => Answer::Blind,
    };
    let detail = if status.is_none() { public.to_owned() } else { String::new() };
    let (latency, exchange) = (Duration::from_millis(20), Exchange::default());
    NameSight { answer, status, code, latency, colo: None, detail, exchange }
}

#[cfg(test)]
mod tests;
