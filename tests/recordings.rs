//! Recorded incidents of the real cloudflared, judged by the core at machine speed. Each folder of `tests/recordings` (and
//! of the folder that TUNNELWARDEN_RECORDINGS names, if set) has to come out as its `truth.toml` says.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tunnelwarden::client::cloudflared_log::SystemdLine;
use tunnelwarden::sense::journal::{Place, cloudflared, systemd};
use tunnelwarden::warden::evidence::{
    Active, Answer, Blind, Control, Counters, EdgeSight, Finding, HostFinding, Invocation, Link, Load,
    LogLine, NameSight, Reach, Ready, ReadySight, Setup, Transport, UnitSight,
};
use tunnelwarden::warden::machine::{Command, Event, Memory, Warden};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::remedy::Outcome;
use tunnelwarden::warden::time::Now;

const UNIT: &str = "cloudflared.service";
const NAME: &str = "app.example.com";
/// The recordings begin long after a boot.
const BOOT: f64 = 100_000.0;

/// One look at everything.
struct Row {
    at: f64,
    wall: Duration,
    cells: BTreeMap<String, String>,
}

impl Row {
    fn cell(&self, name: &str) -> &str {
        self.cells.get(name).map_or("", String::as_str)
    }
}

struct Truth {
    causes: Vec<Vec<String>>,
    acts: (usize, usize),
    not_before: f64,
    until: f64,
    protocol: String,
}

/// What the judge made of it.
#[derive(Default)]
struct Judged {
    causes: Vec<String>,
    acts: Vec<(f64, String)>,
}

fn rows(folder: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(folder.join("observed.tsv")).unwrap();
    let mut lines = text.lines();
    let head: Vec<_> = lines.next().unwrap().split('\t').map(str::to_owned).collect();
    let row = |line: &str| {
        let cells: BTreeMap<_, _> = head.iter().cloned().zip(line.split('\t').map(str::to_owned)).collect();
        let time: jiff::Timestamp = cells["time"].parse().unwrap();
        let wall = Duration::from_millis(time.as_millisecond().try_into().unwrap());
        Row { at: cells["seconds"].parse().unwrap(), wall, cells }
    };
    lines.map(row).collect()
}

/// The entries of a `journalctl -o export`, as fields.
fn journal(folder: &Path) -> Vec<BTreeMap<String, String>> {
    let bytes = std::fs::read(folder.join("journal.export")).unwrap();
    let (mut entries, mut entry, mut rest) = (Vec::new(), BTreeMap::new(), &bytes[..]);
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[(end + 1).min(rest.len())..];
        if line.is_empty() {
            if !entry.is_empty() {
                entries.push(std::mem::take(&mut entry));
            }
        } else if let Some((key, value)) = line.split_once('=') {
            entry.insert(key.to_owned(), value.to_owned());
        } else {
            // Binary form: a length, the bytes, a newline.
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            entry.insert(line, String::from_utf8_lossy(&rest[8..8 + length]).into_owned());
            rest = &rest[8 + length + 1..];
        }
    }
    if !entry.is_empty() {
        entries.push(entry);
    }
    entries
}

fn truth(folder: &Path) -> Truth {
    let table: toml::Table = std::fs::read_to_string(folder.join("truth.toml")).unwrap().parse().unwrap();
    let names = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let number = |key: &str, otherwise: f64| match table.get(key) {
        Some(toml::Value::Integer(n)) => *n as f64,
        Some(toml::Value::Float(n)) => *n,
        _ => otherwise,
    };
    Truth {
        causes: table["causes"].as_array().unwrap().iter().map(names).collect(),
        acts: (number("acts_min", 0.0) as usize, number("acts_max", 0.0) as usize),
        not_before: number("acts_not_before_s", 0.0),
        until: number("judged_until_s", f64::MAX),
        protocol: table.get("protocol").and_then(|p| p.as_str()).unwrap_or("").to_owned(),
    }
}

/// The world as the rows tell it, with what only shows over time.
struct World {
    warden: Warden,
    judged: Judged,
    by_pid: BTreeMap<u32, Invocation>,
    state: (String, f64),
    main: (u32, f64),
    invocation: Option<Invocation>,
    was_active: bool,
    wall_offset: f64,
}

fn boot(at: f64) -> Duration {
    Duration::from_secs_f64(BOOT + at)
}

impl World {
    fn now(&self, at: f64) -> Now {
        Now { boot: boot(at), wall: Duration::from_secs_f64(self.wall_offset + at) }
    }

    fn tell(&mut self, event: Event, at: f64, row: Option<&Row>) {
        let now = self.now(at);
        let commands = self.warden.handle(event, now);
        let wakeup = self.warden.next_wakeup(now);
        assert!(now.boot < wakeup, "a wake-up in the past at {at} s");
        self.note();
        for command in commands {
            match command {
                Command::Look { unit, .. } => {
                    if let Some(row) = row {
                        self.look(row, at, false);
                    }
                    self.tell(Event::Looked { unit }, at, row);
                }
                Command::Apply { unit, remedy, .. } => {
                    let cause = self.judged.causes.last().cloned().unwrap_or_default();
                    self.judged.acts.push((at, format!("{}/{cause}", remedy.name())));
                    self.tell(Event::RemedyDone { unit, outcome: Outcome::Done }, at, row);
                }
                Command::Hurry { .. } | Command::Persist | Command::Tell(_) | Command::Record { .. } => (),
            }
        }
    }

    fn note(&mut self) {
        let Some(tunnel) = self.warden.tunnels().next() else { return };
        let cause = tunnel.verdict.cause.map_or("Unknown", |cause| cause.name());
        if self.judged.causes.last().is_none_or(|last| last != cause) {
            self.judged.causes.push(cause.to_owned());
        }
    }

    /// A row is a look at everything.
    fn look(&mut self, row: &Row, at: f64, act: bool) {
        let row_for_acts = act.then_some(row);
        let unit = self.unit(row, at);
        let observed = |finding| Event::Observed { unit: UNIT.into(), finding };
        self.tell(observed(Finding::Unit(Ok(unit))), at, None);
        let reach = |word: &str| match word {
            "ok" => Reach::Reachable,
            "refused" => Reach::Refused,
            "unreachable" => Reach::Unreachable,
            _ => Reach::TimedOut,
        };
        let links =
            [(Transport::Http2, "dial_tcp"), (Transport::Quic, "dial_quic")].map(|(transport, column)| {
                Link { region: "region1".into(), transport, reach: reach(row.cell(column)) }
            });
        let edge =
            EdgeSight { resolved: row.cell("dns") == "ok", links: links.to_vec(), clock_suspect: false };
        self.tell(Event::HostObserved(HostFinding::Edge(Ok(edge))), at, None);
        let control = match row.cell("control") {
            "ok" => Ok(Control::Answered),
            "blind" => Err(Blind::Unreachable),
            _ => Ok(Control::Failing),
        };
        self.tell(Event::HostObserved(HostFinding::Control(control)), at, None);
        let number = |column: &str| row.cell(column).parse::<u64>().ok();
        let counters = number("total_requests").map(|total_requests| Counters {
            total_requests,
            register_fail: number("register_fail").unwrap_or(0),
            ..Counters::default()
        });
        let sight = |ready| ReadySight { ready, connector: None, port_of_this_life: true, counters };
        let ready = match row.cell("ready").split_once('/') {
            Some((_, n)) => sight(Ready::Connections(n.parse().unwrap())),
            None if row.cell("ready") == "timeout" => sight(Ready::Silent),
            None => sight(Ready::Refused),
        };
        self.tell(observed(Finding::Ready(Ok(ready))), at, None);
        let sight = name_sight(row.cell("public"));
        self.tell(observed(Finding::Name { hostname: NAME.into(), sight }), at, row_for_acts);
    }

    fn unit(&mut self, row: &Row, at: f64) -> UnitSight {
        let words: Vec<_> = row.cell("unit").split(' ').collect();
        let (active, sub) = words[0].split_once('/').unwrap();
        let pid: u32 = words[3].parse().unwrap();
        if self.state.0 != words[0] {
            self.state = (words[0].to_owned(), at);
        }
        if pid != 0 && self.main.0 != pid {
            self.main = (pid, at);
            self.invocation = self.by_pid.get(&pid).copied().or(Some(Invocation(u128::from(pid))));
        }
        self.was_active |= active == "active";
        UnitSight {
            load: Load::Loaded,
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
            result: words[1].to_owned(),
            exit_status: (words[1] == "exit-code").then(|| words[4].parse().unwrap()),
            main_pid: pid,
            invocation: self.invocation,
            n_restarts: words[2].parse().unwrap(),
            job: None,
            frozen: false,
            since: boot(self.state.1),
            started: (self.main.0 != 0).then(|| boot(self.main.1)),
            was_active: self.was_active,
            start_limit: Some(Duration::from_secs_f64(row.cell("timeout_start_s").parse().unwrap_or(15.0))),
            stop_limit: Some(Duration::from_secs(90)),
            start_rate: Some((5, Duration::from_secs(10))),
        }
    }
}

fn name_sight(public: &str) -> NameSight {
    let (status, code) = public.split_once('/').unwrap_or((public, ""));
    let (status, code) = (status.parse::<u16>().ok(), code.parse().ok());
    let answer = match (status, code) {
        (Some(530), Some(1033)) => Answer::TunnelError,
        (Some(530), Some(1016)) => Answer::DnsError,
        (Some(502..=504), _) => Answer::OriginError,
        (Some(500..), _) => Answer::EdgeError,
        (Some(_), _) => Answer::Served,
        (None, _) => Answer::Blind,
    };
    let detail = if status.is_none() { public.to_owned() } else { String::new() };
    NameSight { answer, status, code, latency: Duration::from_millis(20), colo: None, detail }
}

fn line(now: Now, entry: &BTreeMap<String, String>) -> Option<LogLine> {
    let field = |name: &str| entry.get(name).map(String::as_str);
    let micros: u64 = field("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let wall = Duration::from_micros(micros);
    let message = field("MESSAGE")?;
    if field("_PID") == Some("1") {
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
        return Some(systemd(now, Place { wall, invocation: field("INVOCATION_ID").unwrap_or("") }, &said).0);
    }
    Some(
        cloudflared(now, Place { wall, invocation: field("_SYSTEMD_INVOCATION_ID").unwrap_or("") }, message)
            .0,
    )
}

fn judge(folder: &Path) -> Judged {
    let (rows, entries, truth) = (rows(folder), journal(folder), truth(folder));
    let mut by_pid = BTreeMap::new();
    for entry in &entries {
        let pid = entry.get("_PID").and_then(|pid| pid.parse().ok());
        let life = entry.get("_SYSTEMD_INVOCATION_ID").and_then(|id| u128::from_str_radix(id, 16).ok());
        if let (Some(pid), Some(life)) = (pid, life) {
            by_pid.insert(pid, Invocation(life));
        }
    }
    let wall_offset = rows[0].wall.as_secs_f64() - rows[0].at;
    let mut world = World {
        warden: Warden::new(Policy::shipped(), Memory::default()),
        judged: Judged::default(),
        by_pid,
        state: (String::new(), 0.0),
        main: (0, 0.0),
        invocation: None,
        was_active: false,
        wall_offset,
    };
    world.tell(Event::Tunnel { unit: UNIT.into(), names: vec![NAME.into()] }, 0.0, None);
    let forced = folder.file_name().is_some_and(|name| name.to_string_lossy().contains("http2"));
    let transport = (forced && truth.protocol == "http2").then_some(Transport::Http2);
    let setup = Setup { transport, private_network: Some(false) };
    world.tell(Event::Observed { unit: UNIT.into(), finding: Finding::Setup(setup) }, 0.0, None);
    world.tell(Event::Observed { unit: UNIT.into(), finding: Finding::Journal(Ok(())) }, 0.0, None);

    let mut lines = entries
        .iter()
        .filter_map(|entry| {
            let wall = Duration::from_micros(entry.get("__REALTIME_TIMESTAMP")?.parse().ok()?);
            Some((wall.as_secs_f64() - wall_offset, entry))
        })
        .peekable();
    let end = rows.last().unwrap().at;
    let (mut at, mut next_row, mut looked) = (0.0_f64, 0, -10.0_f64);
    // The last row stands until the recording ends.
    while at <= end + 2.0 && at < truth.until {
        while lines.peek().is_some_and(|(when, _)| *when <= at) {
            let (when, entry) = lines.next().unwrap();
            let when = when.max(0.0);
            if let Some(line) = line(world.now(when), entry) {
                world.tell(Event::Observed { unit: UNIT.into(), finding: Finding::Log(line) }, at, None);
            }
        }
        let mut fresh = false;
        while rows.get(next_row).is_some_and(|row| row.at <= at) {
            next_row += 1;
            fresh = true;
        }
        if next_row > 0 && (fresh || 5.0 <= at - looked) {
            looked = at;
            world.look(&rows[next_row - 1], at, true);
        }
        let row = next_row.checked_sub(1).map(|n| &rows[n]);
        world.tell(Event::Woke, at, row);
        at += 0.25;
    }
    world.judged
}

fn folders() -> Vec<PathBuf> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings"));
    let more = std::env::var_os("TUNNELWARDEN_RECORDINGS").map(PathBuf::from);
    let mut all: Vec<_> = [Some(own), more]
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.join("truth.toml").exists())
        .collect();
    all.sort();
    all
}

#[test]
fn every_recording_comes_out_as_its_truth_says() {
    let mut wrong = Vec::new();
    let folders = folders();
    assert!(10 <= folders.len(), "recordings are missing");
    for folder in &folders {
        let truth = truth(folder);
        let Judged { causes, acts } = judge(folder);
        let mut seen = causes.iter();
        let causes_fit = truth.causes.iter().all(|wanted| seen.any(|cause| wanted.contains(cause)));
        let acts_fit = (truth.acts.0..=truth.acts.1).contains(&acts.len())
            && acts.iter().all(|(at, _)| truth.not_before <= *at);
        if !(causes_fit && acts_fit) {
            let name = folder.file_name().unwrap().to_string_lossy();
            wrong.push(format!(
                "{name}: causes {causes:?}, wanted {:?}; acts {acts:?}, wanted {:?} not before {}",
                truth.causes, truth.acts, truth.not_before
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} recordings:\n{}", wrong.len(), folders.len(), wrong.join("\n"));
}
