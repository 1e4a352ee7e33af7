//! The world of a story as it is, and what the warden did in it.

mod commands;
mod expectations;
mod looks;
mod turns;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tunnelwarden::warden::announcement::Announcement;
use tunnelwarden::warden::event::Event;
use tunnelwarden::warden::evidence::{
    Active, Answer, Blind, Control, Counters, Elsewhere, Family, FilesSight, Finding, HostSight, Invocation,
    Line, LogLine, Reach, Ready, Setup, Transport, TunnelSight, UnitSight,
};
use tunnelwarden::warden::history::Histories;
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::policy::{KnockOut, Policy};
use tunnelwarden::warden::remedy::Outcome;
use tunnelwarden::warden::route::{Route, RouteSight};
use tunnelwarden::warden::time::Now;

const UNIT: &str = "cloudflared.service";
/// The public names; a story has the first two of them, unless it speaks of the third.
const NAMES: [&str; 3] = ["api.example.com", "app.example.com", "web.example.com"];
/// Where the edge is.
const CURRENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 41, 192, 7));
const STEP: Duration = Duration::from_millis(500);

/// The world as it is, and what the warden did in it.
pub(crate) struct World {
    warden: Warden,
    knocked_out: Option<KnockOut>,
    /// Age of this boot when the story begins.
    base: Duration,
    at: Duration,
    looked: Duration,
    looks_every: Duration,
    /// How far the wall clock is off.
    wall_off: Duration,
    host: HostSight,
    host_unseen: bool,
    journal: Result<(), Blind>,
    setup: Setup,
    status: Option<u16>,
    counters: Counters,
    dates: bool,
    look_finds_tcp: Option<Reach>,
    control_asked: bool,
    /// How many of the names are there, and how many of them are looked at.
    watched: usize,
    asked: usize,
    edge_asked: bool,
    /// A last look ends, and that is said; and what it saw is, too.
    looks_end: bool,
    looks_see: bool,
    /// The public names are known at all.
    names_known: bool,
    ready_asked: bool,
    /// cloudflared's port cannot be looked at.
    ready_blind: bool,
    /// Its counters cannot be read.
    counters_unread: bool,
    /// What keeps us from asking systemd.
    unit_blind: Option<Blind>,
    /// And from asking it in a last look.
    last_looks_blind: bool,
    unit: UnitSight,
    ready: Ready,
    /// The port was named by this life, or matched to it.
    port_of_this_life: bool,
    /// cloudflared dials again and again.
    trying: bool,
    names: [Answer; NAMES.len()],
    /// Where the names lead.
    route: Result<RouteSight, Blind>,
    /// Whatever the first name does.
    other_leads_here: bool,
    /// What a prober elsewhere sees of each name, if one is asked.
    elsewhere: [Option<Result<Elsewhere, Blind>>; NAMES.len()],
    /// What Cloudflare's status page says, if one is asked.
    announced: Option<Result<Vec<Announcement>, Blind>>,
    /// The location that answers for the names.
    colo: Option<String>,
    /// Bytes come by QUIC.
    arriving: bool,
    tcp: Reach,
    quic: Reach,
    /// The edge by IPv6, on a host that has it too.
    six: Option<Reach>,
    /// The family that the resolver puts first.
    first: Family,
    /// The other region by TCP, if it differs.
    other_region: Option<Reach>,
    resolved: bool,
    control: Result<Control, Blind>,
    requests: u64,
    rising: bool,
    /// Requests reach the connector, and by its own count their origin does not answer.
    failing: bool,
    files: FilesSight,
    cures: bool,
    answers: bool,
    /// systemd refuses what is ordered.
    fails: bool,
    /// What it is told to restart does not stop.
    hangs: bool,
    done: Option<(Duration, Outcome)>,
    acts: Vec<String>,
    /// The holds that were told of, and in which words.
    holds_told: Vec<(&'static str, String)>,
    /// Everything that was said, of the tunnel or of the host.
    said: Vec<String>,
    /// What was said of senses: `journal-blind`, `journal-sees`.
    senses_told: Vec<String>,
    /// It asked to look often.
    hurried: bool,
    /// What it has written down; all that is left when it crashes.
    disk: Histories,
    written: usize,
    closed_as: Option<&'static str>,
    /// What was concluded while the process was stopped for our own remedy.
    stopped_as: Option<&'static str>,
    /// Why a person's wish was not granted.
    refused: Vec<&'static str>,
    refused_because: String,
    closed: Vec<&'static str>,
    opened: usize,
    escalated: usize,
}

/// Stories begin long after a boot, unless they say otherwise.
const LONG_AFTER_BOOT: Duration = Duration::from_secs(100_000);

impl World {
    pub(crate) fn new(knocked_out: Option<KnockOut>) -> Self {
        let unit = UnitSight {
            active: Active::Active,
            sub: "running".into(),
            main_pid: 100,
            invocation: Some(Invocation(1)),
            since: LONG_AFTER_BOOT,
            started: Some(LONG_AFTER_BOOT),
            was_active: true,
            ..UnitSight::stock()
        };
        let mut world = Self {
            warden: Warden::new(Policy { knocked_out, ..Policy::shipped() }, Memory::default()),
            knocked_out,
            base: LONG_AFTER_BOOT,
            at: Duration::ZERO,
            wall_off: Duration::ZERO,
            host: HostSight { route: true, ..HostSight::default() },
            host_unseen: false,
            journal: Ok(()),
            setup: Setup {
                transport: Some(Transport::Http2),
                private_network: Some(false),
                ..Setup::default()
            },
            status: None,
            counters: Counters::default(),
            dates: false,
            look_finds_tcp: None,
            control_asked: true,
            watched: 2,
            asked: 2,
            edge_asked: true,
            looks_end: true,
            looks_see: true,
            names_known: true,
            ready_asked: true,
            ready_blind: false,
            counters_unread: false,
            unit_blind: None,
            last_looks_blind: false,
            looked: Duration::ZERO,
            looks_every: Duration::from_secs(5),
            unit,
            ready: Ready::Connections(4),
            port_of_this_life: true,
            trying: false,
            names: [Answer::Served; NAMES.len()],
            route: Ok(RouteSight { inside: Some(Route::Edge), ..RouteSight::default() }),
            other_leads_here: false,
            elsewhere: [const { None }; NAMES.len()],
            announced: None,
            colo: None,
            arriving: true,
            tcp: Reach::Reachable,
            quic: Reach::Reachable,
            six: None,
            first: Family::V4,
            other_region: None,
            resolved: true,
            control: Ok(Control::Answered),
            requests: 0,
            rising: false,
            failing: false,
            files: FilesSight::default(),
            cures: true,
            answers: true,
            fails: false,
            hangs: false,
            done: None,
            acts: Vec::new(),
            holds_told: Vec::new(),
            said: Vec::new(),
            senses_told: Vec::new(),
            hurried: false,
            disk: Histories::default(),
            written: 0,
            refused: Vec::new(),
            refused_because: String::new(),
            closed_as: None,
            stopped_as: None,
            closed: Vec::new(),
            opened: 0,
            escalated: 0,
        };
        world.appear();
        world
    }

    fn policy(&self) -> Policy {
        Policy { knocked_out: self.knocked_out, ..Policy::shipped() }
    }

    fn appear(&mut self) {
        self.hurried = false;
        self.name_them();
        self.observed(Finding::Setup(self.setup));
        self.observed(Finding::Journal(self.journal));
        self.look();
    }

    /// The names that are to be watched.
    fn name_them(&mut self) {
        let names = NAMES.into_iter().take(self.watched).map(str::to_owned).collect();
        self.tell(Event::Tunnel { unit: UNIT.into(), names });
    }

    fn now(&self) -> Now {
        Now { boot: self.boot(), wall: Duration::from_secs(1_800_000_000) + self.at + self.wall_off }
    }

    fn boot(&self) -> Duration {
        self.base + self.at
    }

    fn observed(&mut self, finding: Finding) {
        self.tell(Event::Observed { unit: UNIT.into(), finding });
    }

    fn log(&mut self, line: Line) {
        let entry = LogLine { line, at: self.boot(), invocation: self.unit.invocation };
        self.observed(Finding::Log(entry));
    }

    fn api(&mut self, sight: TunnelSight) {
        self.observed(Finding::Tunnel(Ok(sight)));
    }

    /// A line of the timeline has these words.
    fn notes(&self, words: &str) -> bool {
        let incident = self.warden.tunnels().next().and_then(|tunnel| tunnel.history.incident.as_ref());
        incident.is_some_and(|incident| incident.steps.iter().any(|step| step.detail.contains(words)))
    }

    /// Lines of this kind in the timeline.
    fn steps(&self, what: &str) -> usize {
        let incident = self.warden.tunnels().next().and_then(|tunnel| tunnel.history.incident.as_ref());
        incident.map_or(0, |incident| incident.steps.iter().filter(|step| step.what == what).count())
    }

    fn leads(&self) -> RouteSight {
        self.route.clone().unwrap_or_default()
    }

    pub(crate) fn pass_until(&mut self, until: Duration) {
        while self.at < until {
            self.at = (self.at + STEP).min(until);
            if let Some((when, outcome)) = self.done.clone().filter(|(when, _)| *when <= self.at) {
                self.done = None;
                self.at = self.at.max(when);
                self.tell(Event::RemedyDone { unit: UNIT.into(), outcome });
            }
            if self.looks_every <= self.at - self.looked {
                self.look();
            }
            self.tell(Event::Woke);
        }
    }
}

/// A length of time as stories write it: `90s`, `2m`, `1.5h`.
pub(crate) fn seconds(word: &str) -> Duration {
    let digits = word.trim_end_matches(char::is_alphabetic);
    let unit = match &word[digits.len()..] {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => panic!("no unit of time {other:?}"),
    };
    Duration::from_secs_f64(digits.parse::<f64>().unwrap() * unit)
}
