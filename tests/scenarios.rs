//! Stories in text, played against the warden in virtual time. See the files in `tests/scenarios`: a line is a time, and what
//! becomes of the world then, or what is expected of the warden by then.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tunnelwarden::warden::cause::Cause;
use tunnelwarden::warden::evidence::{
    Active, Answer, Blind, Control, Counters, EdgeSight, Elsewhere, Exchange, FilesSight, Finding,
    HostFinding, HostSight, Invocation, Job, Line, Link, Load, LogLine, NameSight, Reach, Ready, ReadySight,
    Setup, Transport, TunnelSight, UnitSight,
};
use tunnelwarden::warden::machine::{Command, Event, Memory, Warden};
use tunnelwarden::warden::note::Happening;
use tunnelwarden::warden::operator::{Pause, Request};
use tunnelwarden::warden::policy::{KnockOut, Policy};
use tunnelwarden::warden::rails::Hold;
use tunnelwarden::warden::remedy::Outcome;
use tunnelwarden::warden::route::{Kept, Route, RouteSight};
use tunnelwarden::warden::time::Now;

const UNIT: &str = "cloudflared.service";
const NAMES: [&str; 2] = ["api.example.com", "app.example.com"];
/// Where the edge is.
const CURRENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 41, 192, 7));
const STEP: Duration = Duration::from_millis(500);
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// The world as it is, and what the warden did in it.
struct World {
    warden: Warden,
    knocked_out: Option<KnockOut>,
    /// Age of this boot when the story begins.
    base: Duration,
    at: Duration,
    looked: Duration,
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
    unit: UnitSight,
    ready: Ready,
    names: [Answer; 2],
    /// Where the names lead.
    route: Result<RouteSight, Blind>,
    /// Whatever the first name does.
    other_leads_here: bool,
    /// What a prober elsewhere sees of the names, if one is asked.
    elsewhere: Option<Result<Elsewhere, Blind>>,
    tcp: Reach,
    quic: Reach,
    resolved: bool,
    control: Control,
    requests: u64,
    rising: bool,
    files: FilesSight,
    cures: bool,
    answers: bool,
    done: Option<(Duration, Outcome)>,
    acts: Vec<String>,
    holds_told: Vec<&'static str>,
    closed_as: Option<&'static str>,
    /// Why a person's wish was not granted.
    refused: Vec<&'static str>,
    closed: Vec<&'static str>,
    opened: usize,
    escalated: usize,
}

/// Stories begin long after a boot, unless they say otherwise.
const LONG_AFTER_BOOT: Duration = Duration::from_secs(100_000);

impl World {
    fn new(knocked_out: Option<KnockOut>) -> Self {
        let unit = UnitSight {
            load: Load::Loaded,
            disabled: false,
            active: Active::Active,
            sub: "running".into(),
            result: "success".into(),
            exit_status: None,
            main_pid: 100,
            invocation: Some(Invocation(1)),
            n_restarts: 0,
            job: None,
            frozen: false,
            since: LONG_AFTER_BOOT,
            started: Some(LONG_AFTER_BOOT),
            was_active: true,
            start_limit: Some(Duration::from_secs(15)),
            stop_limit: Some(Duration::from_secs(90)),
            start_rate: Some((5, Duration::from_secs(10))),
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
                other_edge: false,
            },
            status: None,
            counters: Counters::default(),
            dates: false,
            look_finds_tcp: None,
            control_asked: true,
            looked: Duration::ZERO,
            unit,
            ready: Ready::Connections(4),
            names: [Answer::Served; 2],
            route: Ok(RouteSight { inside: Some(Route::Edge), ..RouteSight::default() }),
            other_leads_here: false,
            elsewhere: None,
            tcp: Reach::Reachable,
            quic: Reach::Reachable,
            resolved: true,
            control: Control::Answered,
            requests: 0,
            rising: false,
            files: FilesSight::default(),
            cures: true,
            answers: true,
            done: None,
            acts: Vec::new(),
            holds_told: Vec::new(),
            refused: Vec::new(),
            closed_as: None,
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
        let names = NAMES.map(str::to_owned).to_vec();
        self.tell(Event::Tunnel { unit: UNIT.into(), names });
        self.observed(Finding::Setup(self.setup));
        self.observed(Finding::Journal(self.journal));
        self.look();
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

    fn tell(&mut self, event: Event) {
        let now = self.now();
        let commands = self.warden.handle(event, now);
        assert!(now.boot < self.warden.next_wakeup(now), "a wake-up in the past at {:?}", self.at);
        for command in commands {
            match command {
                Command::Look { unit, .. } => {
                    let tcp = self.tcp;
                    self.tcp = self.look_finds_tcp.take().unwrap_or(tcp);
                    self.look();
                    self.tcp = tcp;
                    self.tell(Event::Looked { unit });
                }
                Command::Apply { remedy, .. } => {
                    self.acts.push(remedy.name().to_owned());
                    self.unit.active = Active::Deactivating;
                    self.unit.job = Some(Job::Restart);
                    self.look();
                    let doing = self.warden.tunnels().next().unwrap().verdict.cause.map(|cause| cause.name());
                    assert_ne!(doing, Some("PlannedRestart"), "our own restart is taken for somebody else's");
                    self.unit.job = None;
                    self.restarted();
                    self.done = self.answers.then_some((self.at + Duration::from_secs(1), Outcome::Done));
                }
                Command::Tell(note) => match note.happening {
                    Happening::RemedyHeld { hold, .. } => self.holds_told.push(hold.name()),
                    Happening::IncidentClosed { closing, cause, .. } => {
                        self.closed.push(closing.name());
                        self.closed_as = Some(cause.name());
                    }
                    Happening::IncidentOpened { .. } => self.opened += 1,
                    Happening::Escalated { .. } => self.escalated += 1,
                    Happening::CauseChanged { .. }
                    | Happening::RemedyOrdered { .. }
                    | Happening::RemedyFinished { .. }
                    | Happening::SenseBlind { .. }
                    | Happening::SenseSees { .. } => (),
                },
                Command::Hurry { .. }
                | Command::Persist
                | Command::Record { .. }
                | Command::Announce { .. } => (),
            }
        }
    }

    /// A new process; if restarts cure here, with it the world is whole again.
    fn restarted(&mut self) {
        self.new_life();
        if self.cures {
            self.ready = Ready::Connections(4);
            self.names = [Answer::Served; 2];
            self.log(Line::Registered(Some(Transport::Http2)));
        }
    }

    fn new_life(&mut self) {
        let next = self.unit.invocation.map_or(1, |life| life.0 + 1);
        self.unit.invocation = Some(Invocation(next));
        self.unit.main_pid += 1;
        self.unit.active = Active::Active;
        self.unit.sub = "running".into();
        self.unit.result = "success".into();
        self.unit.since = self.boot();
        self.unit.started = Some(self.boot());
        self.requests = 0;
        self.log(Line::StartJob);
    }

    fn down(&mut self, active: Active, sub: &str, result: &str) {
        self.unit.active = active;
        (self.unit.sub, self.unit.result) = (sub.into(), result.into());
        self.unit.main_pid = 0;
        self.unit.since = self.boot();
    }

    fn api(&mut self, sight: TunnelSight) {
        self.observed(Finding::Tunnel(Ok(sight)));
    }

    fn look(&mut self) {
        self.looked = self.at;
        self.requests += u64::from(self.rising || self.names.contains(&Answer::Served));
        self.observed(Finding::Unit(Ok(self.unit.clone())));
        self.observed(Finding::Files(self.files.clone()));
        let link = |transport, reach| Link { region: "region1".into(), transport, reach };
        let links = vec![link(Transport::Http2, self.tcp), link(Transport::Quic, self.quic)];
        let edge =
            EdgeSight { resolved: self.resolved, links, addresses: vec![CURRENT], clock_suspect: self.dates };
        self.tell(Event::HostObserved(HostFinding::Edge(Ok(edge))));
        if self.control_asked {
            self.tell(Event::HostObserved(HostFinding::Control(Ok(self.control))));
        }
        self.observed(Finding::Journal(self.journal));
        let host = if self.host_unseen { Err(Blind::Forbidden) } else { Ok(self.host) };
        self.tell(Event::HostObserved(HostFinding::Host(host)));
        for (hostname, answer) in NAMES.into_iter().zip(self.names) {
            let (status, code) = match answer {
                Answer::Served => (Some(200), None),
                Answer::TunnelError => (Some(530), Some(1033)),
                Answer::OriginError => (Some(502), None),
                Answer::DnsError
                | Answer::EdgeError
                | Answer::Access
                | Answer::Challenge
                | Answer::Cached
                | Answer::Unexpected
                | Answer::Blind => (None, None),
            };
            let (latency, colo, detail) = (Duration::from_millis(20), None, String::new());
            let status = self.status.filter(|_| answer != Answer::Served).or(status);
            let exchange = Exchange::default();
            let sight = NameSight { answer, status, code, latency, colo, detail, exchange };
            self.observed(Finding::Name { hostname: hostname.into(), sight });
        }
        self.observed(Finding::Route { hostname: NAMES[0].into(), seen: self.route.clone() });
        let edge = Ok(RouteSight { inside: Some(Route::Edge), ..RouteSight::default() });
        let seen = if self.other_leads_here { edge } else { self.route.clone() };
        self.observed(Finding::Route { hostname: NAMES[1].into(), seen });
        if let Some(seen) = self.elsewhere.clone() {
            for hostname in NAMES {
                self.observed(Finding::Elsewhere { hostname: hostname.into(), seen: seen.clone() });
            }
        }
        if self.unit.main_pid != 0 {
            let counters = Some(Counters { total_requests: self.requests, ..self.counters });
            let connector = self.unit.invocation.map(|life| life.to_string());
            let sight = ReadySight { ready: self.ready, connector, port_of_this_life: true, counters };
            self.observed(Finding::Ready(Ok(sight)));
        }
    }

    fn leads(&self) -> RouteSight {
        self.route.clone().unwrap_or_default()
    }

    fn pass_until(&mut self, until: Duration) {
        while self.at < until {
            self.at = (self.at + STEP).min(until);
            if let Some((when, outcome)) = self.done.clone().filter(|(when, _)| *when <= self.at) {
                self.done = None;
                self.at = self.at.max(when);
                self.tell(Event::RemedyDone { unit: UNIT.into(), outcome });
            }
            if LOOKS_EVERY <= self.at - self.looked {
                self.look();
            }
            self.tell(Event::Woke);
        }
    }

    /// What becomes of the world.
    fn set(&mut self, words: &[&str]) {
        let reach = |word: &str| match word {
            "ok" => Reach::Reachable,
            "refused" => Reach::Refused,
            "silent" => Reach::Silent,
            _ => Reach::TimedOut,
        };
        let answer = |word: &str| match word {
            "served" => Answer::Served,
            "1033" => Answer::TunnelError,
            "502" | "503" => Answer::OriginError,
            "520" => Answer::EdgeError,
            "1016" => Answer::DnsError,
            "access" => Answer::Access,
            "unexpected" => Answer::Unexpected,
            "blind" => Answer::Blind,
            other => panic!("no answer {other}"),
        };
        match words {
            ["names", word] => self.names = [answer(word); 2],
            ["names", word, "after", "requests"] => {
                // Visitors were served between our last sample of the counters and the outage.
                self.requests += 7;
                self.names = [answer(word); 2];
            }
            ["dns", "inside", word] => {
                self.route = inside(word).map(|inside| RouteSight { inside: Some(inside), ..self.leads() })
            }
            ["dns", "outside", word] => {
                self.route = inside(word).map(|outside| RouteSight { outside: Some(outside), ..self.leads() })
            }
            ["other", "name", "leads", "here"] => self.other_leads_here = true,
            ["other", "name", word] => self.names[1] = answer(word),
            ["record", word] => {
                let id = "11111111-947b-4bf6-acad-100a73de4e0d";
                let kept = match *word {
                    "ours" => Kept::Ours,
                    "other" => Kept::OtherTunnel(id.into()),
                    "direct" => Kept::Elsewhere("A 192.0.2.1".into()),
                    other => panic!("no record {other}"),
                };
                self.route = Ok(RouteSight { kept: Some(kept), ..self.leads() });
            }
            ["observer", word] => {
                self.elsewhere = Some(match *word {
                    "blind" => Err(Blind::Unreachable),
                    word => {
                        let (served, status) =
                            (word == "served", Some(if word == "served" { 200 } else { 530 }));
                        Ok(Elsewhere { by: "blackbox.example.net".into(), served, status })
                    }
                });
            }
            ["name", word] => self.names[0] = answer(word),
            ["ready", "silent"] => self.ready = Ready::Silent,
            ["ready", "refused"] => self.ready = Ready::Refused,
            ["ready", n] => self.ready = Ready::Connections(n.parse().unwrap()),
            ["tcp", word] => self.tcp = reach(word),
            ["quic", word] => self.quic = reach(word),
            ["dns", word] => self.resolved = *word == "ok",
            ["control", "unasked"] => self.control_asked = false,
            ["look", "finds", "tcp", word] => self.look_finds_tcp = Some(reach(word)),
            ["control", word] => {
                self.control = if *word == "ok" { Control::Answered } else { Control::Failing }
            }
            ["route", word] => self.host.route = *word == "yes",
            ["host", "booted"] => {
                // A story of its own: nothing was seen in this boot before.
                self.base = Duration::from_secs(5);
                (self.unit.since, self.unit.started) = (self.base, Some(self.base));
                self.warden = Warden::new(self.policy(), Memory::default());
                self.appear();
            }
            ["host", "upgrading"] => self.host.upgrading = true,
            ["host", "not", "seen"] => self.host_unseen = true,
            ["window", "configured"] => {
                let policy = Policy { windows: true, ..self.policy() };
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["host", "shutting", "down"] => self.host.shutting_down = true,
            ["window", "shut", "for", span] => {
                self.host.window_shut_until = Some(self.boot() + seconds(span));
            }
            ["paused", "for", span] => {
                let until = self.boot() + seconds(span);
                let paused = Some(Pause { until, reason: "maintenance".into() });
                let histories = self.warden.histories();
                self.warden = Warden::new(self.policy(), Memory { histories, lost: None, paused });
                self.appear();
            }
            ["operator", "pauses", "for", span] => {
                let until = self.boot() + seconds(span);
                self.tell(Event::Paused(Pause { until, reason: "by uid 0: work".into() }));
            }
            ["operator", "resumes"] => self.tell(Event::Resumed { by: "uid 0".into() }),
            ["operator", verb @ ("asks" | "forces"), ..] => {
                let (unit, reason, by) = (UNIT.into(), "new binary".into(), "uid 0".into());
                let request = Request { unit, reason, by, force: *verb == "forces" };
                let refusal = self.warden.refusal(&request, self.now());
                self.refused = refusal.iter().map(|held| held.hold.name()).collect();
                self.tell(Event::Requested(request));
            }
            ["journal", "blind"] => self.journal = Err(Blind::Forbidden),
            ["journal", "readable"] => self.journal = Ok(()),
            ["journal", "gap"] => self.observed(Finding::JournalGap),
            ["journal", "late"] => {
                let at = self.boot() - Duration::from_secs(20);
                let entry = LogLine { line: Line::Other, at, invocation: self.unit.invocation };
                self.observed(Finding::Log(entry));
            }
            ["clock", "jumps", span] => self.wall_off += seconds(span),
            ["host", "sleeps", span] => self.at += seconds(span),
            ["transport", word] => {
                self.setup.transport = match *word {
                    "auto" => None,
                    "quic" => Some(Transport::Quic),
                    _ => Some(Transport::Http2),
                };
                self.observed(Finding::Setup(self.setup));
            }
            ["unit", "may", "start", "for", "ever"] => self.unit.start_limit = None,
            ["unit", "may", "start", "for", span] => self.unit.start_limit = Some(seconds(span)),
            ["start", "limit", n] => self.unit.start_rate = Some((n.parse().unwrap(), seconds("1h"))),
            ["certificates", "refused"] => self.dates = true,
            ["status", n] => self.status = Some(n.parse().unwrap()),
            ["registrations", "refused", n] => self.counters.register_fail += n.parse::<u64>().unwrap(),
            ["api", "deleted"] => self.api(TunnelSight { deleted: true, ..TunnelSight::default() }),
            ["api", "live", n] => self.api(TunnelSight { live: n.parse().ok(), ..TunnelSight::default() }),
            ["api", "rules"] => {
                let since = self.boot() - Duration::from_secs(300);
                self.api(TunnelSight { remote_rules_since: Some(since), ..TunnelSight::default() });
            }
            ["unit", "missing"] => self.unit.load = Load::NotFound,
            ["unit", "broken"] => self.unit.load = Load::Broken,
            ["unit", "frozen"] => self.unit.frozen = true,
            ["unit", "restarting"] => self.down(Active::Activating, "auto-restart", "exit-code"),
            ["unit", "exits", status] => {
                self.unit.exit_status = status.parse().ok();
                self.down(Active::Activating, "auto-restart", "exit-code");
                self.log(Line::EndedByItself);
            }
            ["unit", "ends"] => {
                self.down(Active::Inactive, "dead", "success");
                self.log(Line::EndedByItself);
            }
            ["requests", word] => self.rising = *word == "rising",
            ["restarts", word] => self.cures = *word == "cure",
            ["systemd", word] => self.answers = *word == "answers",
            ["unit", "failed"] => {
                self.unit.active = Active::Failed;
                self.unit.sub = "failed".into();
                self.unit.result = "signal".into();
                self.unit.main_pid = 0;
                self.unit.since = self.boot();
                self.log(Line::EndedByItself);
            }
            ["unit", "stopped"] => {
                self.log(Line::StopJob);
                self.unit.active = Active::Inactive;
                self.unit.sub = "dead".into();
                self.unit.main_pid = 0;
                self.unit.since = self.boot();
            }
            ["unit", "restarted"] => self.new_life(),
            ["job", "start"] => self.unit.job = Some(Job::Start),
            ["job", "stop"] => self.unit.job = Some(Job::Stop),
            ["unit", "starting"] => {
                self.unit.active = Active::Activating;
                self.unit.sub = "start".into();
                self.unit.job = Some(Job::Start);
                self.unit.since = self.boot();
            }
            ["job", "none"] => self.unit.job = None,
            ["credentials", "gone"] => {
                self.files.unusable = Some("/etc/cloudflared/x.json does not exist".into())
            }
            ["credentials", "newer"] => {
                self.files = FilesSight { unusable: None, changed: Some(self.now().wall) };
            }
            ["log", "unauthorized"] => {
                let text = "Unauthorized: Invalid tunnel secret".into();
                self.log(Line::Refused { unauthorized: true, text });
            }
            ["log", "refused"] => {
                self.log(Line::Refused { unauthorized: false, text: "server busy".into() });
            }
            ["log", "config-invalid"] => self.log(Line::ConfigInvalid("no last rule".into())),
            ["log", "credentials-unusable"] => self.log(Line::CredentialsUnusable("no token".into())),
            ["log", "clock-wrong"] => self.log(Line::ClockWrong("not yet valid".into())),
            ["log", "no-ingress"] => self.log(Line::NoIngress),
            ["log", "fell-back"] => self.log(Line::FellBack),
            ["log", "registered", word] => {
                let transport = if *word == "quic" { Transport::Quic } else { Transport::Http2 };
                self.log(Line::Registered(Some(transport)));
            }
            ["log", "origin-down"] => self.log(Line::OriginDown),
            ["log", "dial", "failed", to] => {
                let to = Some(to.parse().unwrap());
                self.log(Line::DialFailed { transport: Some(Transport::Http2), to });
            }
            ["log", "attempt"] => self.log(Line::Attempt),
            ["private", "network"] => {
                self.setup.private_network = Some(true);
                self.observed(Finding::Setup(self.setup));
            }
            ["edge", "of", "its", "own"] => {
                self.setup.other_edge = true;
                self.observed(Finding::Setup(self.setup));
            }
            ["policy", "start_stopped"] => {
                let policy = Policy { start_stopped: true, ..self.policy() };
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["policy", "rounds", n] => {
                let policy = Policy { rounds: n.parse().unwrap(), ..self.policy() };
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["policy", "per_day", n] => {
                let policy = Policy { per_day: n.parse().unwrap(), ..self.policy() };
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["mode", "observe"] => {
                let policy = Policy { observe_only: true, ..self.policy() };
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["memory", "lost"] => {
                let lost = Some("state.toml is broken".into());
                self.warden = Warden::new(self.policy(), Memory { lost, ..Memory::default() });
                self.appear();
            }
            ["warden", "crashes"] => {
                // What was on disk is all that is left.
                let memory = Memory { histories: self.warden.histories(), ..Memory::default() };
                self.warden = Warden::new(self.policy(), memory);
                self.appear();
            }
            other => panic!("no such thing in the world: {other:?}"),
        }
        self.look();
    }

    /// What is expected by now; `Err` says what was found instead.
    fn check(&mut self, words: &[&str]) -> Result<(), String> {
        let tunnel = self.warden.tunnels().next().unwrap();
        let cause = tunnel.verdict.cause.map_or("Unknown", |cause| cause.name());
        let holds: Vec<_> = tunnel.holds.iter().map(|held| held.hold.name()).collect();
        let found = match words {
            ["cause", wanted] if cause == *wanted => return Ok(()),
            ["health", wanted] if tunnel.verdict.health.name() == *wanted => return Ok(()),
            ["hold", wanted] if holds.contains(wanted) => return Ok(()),
            ["hold", wanted, "until", span]
                if tunnel.holds.iter().any(|held| {
                    let until = held.until.map(|until| until.saturating_sub(self.base));
                    held.hold.name() == *wanted
                        && until.is_some_and(|until| until.abs_diff(seconds(span)) < STEP * 6)
                }) =>
            {
                return Ok(());
            }
            ["no", "hold", wanted] if !holds.contains(wanted) => return Ok(()),
            ["unknown"] if cause == "Unknown" => return Ok(()),
            ["says", wanted @ ..] if tunnel.explanation.contains(&wanted.join(" ")) => return Ok(()),
            ["acts"] if self.acts.is_empty() => return Ok(()),
            ["acts", wanted @ ..] if self.acts == *wanted => return Ok(()),
            ["closed", wanted] if self.closed.last() == Some(wanted) => return Ok(()),
            ["closed", wanted, "as", cause]
                if self.closed.last() == Some(wanted) && self.closed_as == Some(*cause) =>
            {
                return Ok(());
            }
            ["opened", n] if self.opened == n.parse::<usize>().unwrap() => return Ok(()),
            ["escalated", n] if self.escalated == n.parse::<usize>().unwrap() => return Ok(()),
            ["refused", wanted @ ..] if self.refused == *wanted => return Ok(()),
            ["told", wanted] if self.holds_told.contains(wanted) => return Ok(()),
            _ => (cause, holds, &self.acts, &self.closed, self.opened, self.escalated, &tunnel.explanation),
        };
        Err(format!("cause, holds, acts, closed, opened, escalated, explanation: {found:?}"))
    }
}

/// What a resolver says of the names.
fn inside(word: &str) -> Result<Route, Blind> {
    Ok(match word {
        "edge" => Route::Edge,
        "missing" => Route::Missing,
        "grey" => Route::Grey("62da6c19-947b-4bf6-acad-100a73de4e0d.cfargotunnel.com".into()),
        "elsewhere" => Route::Elsewhere(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        "private" => Route::Elsewhere(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))),
        "silent" => return Err(Blind::TimedOut),
        other => panic!("no route {other}"),
    })
}

fn seconds(word: &str) -> Duration {
    let digits = word.trim_end_matches(char::is_alphabetic);
    let unit = match &word[digits.len()..] {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => panic!("no unit of time {other:?}"),
    };
    Duration::from_secs_f64(digits.parse::<f64>().unwrap() * unit)
}

fn play(path: &Path, knocked_out: Option<KnockOut>) -> Result<(), String> {
    let mut world = World::new(knocked_out);
    for (number, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some((time, rest)) = line.split_once(char::is_whitespace) else { continue };
        world.pass_until(seconds(time));
        let words: Vec<_> = rest.split_whitespace().collect();
        match words.as_slice() {
            ["=>", expected @ ..] => {
                let place = format!("{}:{}", path.display(), number + 1);
                world.check(expected).map_err(|found| format!("{place}: {rest}\n  found {found}"))?;
            }
            words => world.set(words),
        }
    }
    Ok(())
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut stories: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    stories.sort();
    stories
}

#[test]
fn every_story_goes_as_it_is_told() {
    let stories = stories();
    assert!(60 <= stories.len(), "stories are missing");
    let wrong: Vec<_> = stories.iter().filter_map(|story| play(story, None).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Holds that no sense of ours can bring about yet: there is no fleet.
const LATER: [Hold; 1] = [Hold::FleetSlot];

#[test]
fn every_cause_and_every_hold_occurs_in_a_story() {
    let text: String = stories().iter().map(|story| std::fs::read_to_string(story).unwrap()).collect();
    let told = |wanted: &str| text.lines().any(|line| line.trim_end().ends_with(wanted));
    let causes = Cause::all().filter(|cause| !told(&format!("=> cause {}", cause.name()))).map(Cause::name);
    let holds = Hold::ALL.iter().filter(|hold| {
        !LATER.contains(hold)
            && !told(&format!("=> hold {}", hold.name()))
            && !told(&format!("=> told {}", hold.name()))
    });
    let missing: Vec<_> = causes.chain(holds.map(|hold| hold.name())).collect();
    assert!(missing.is_empty(), "no story has {missing:?}");
}

/// Without any one rule or rail, some story has to go wrong: else nothing would notice its loss.
#[test]
fn every_rule_and_every_rail_is_missed_when_it_is_gone() {
    let stories = stories();
    let rules = Cause::all().map(KnockOut::Rule);
    let rails = Hold::ALL.into_iter().filter(|hold| !LATER.contains(hold)).map(KnockOut::Rail);
    let unmissed: Vec<_> = rules
        .chain(rails)
        .filter(|gone| {
            let name = match gone {
                KnockOut::Rule(cause) => cause.name(),
                KnockOut::Rail(hold) => hold.name(),
            };
            // Those that name it first: one that fails is enough.
            let (likely, others): (Vec<_>, Vec<_>) =
                stories.iter().partition(|story| std::fs::read_to_string(story).unwrap().contains(name));
            likely.iter().chain(&others).all(|story| play(story, Some(*gone)).is_ok())
        })
        .collect();
    assert!(unmissed.is_empty(), "nobody misses {unmissed:?}");
}
