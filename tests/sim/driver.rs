//! tunnelwarden in a world: its senses at their pace, its orders carried out, every rule checked after each step.

use std::time::Duration;

use serde_json::json;
use tunnelwarden::warden::diagnosis::Health;
use tunnelwarden::warden::evidence::{
    Answer, Blind, Control, Counters, EdgeSight, Exchange, FilesSight, Finding, HostFinding, HostSight, Line,
    Link, LogLine, NameSight, Ready, ReadySight, Setup, Transport,
};
use tunnelwarden::warden::history::Histories;
use tunnelwarden::warden::machine::{Command, Event, Memory, Warden};
use tunnelwarden::warden::operator::{Pause, Request};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::remedy::{Failure, Outcome, Remedy};
use tunnelwarden::warden::time::Now;
use tunnelwarden::warden::tunnel::Phase;

use crate::incidents::{Cure, Faults, Incident};
use crate::world::{BOOT, NEVER, Turn, World, edge_address};

const UNIT: &str = "cloudflared.service";
const NAME: &str = "app.example.com";

/// The loop wakes at least once a second while anything is under way.
const LATE: Duration = Duration::from_secs(2);

/// After so much calm nothing more is to come.
const CALM_FOR: f64 = 90.0;

/// What came of it.
#[derive(Default)]
pub(crate) struct Course {
    pub(crate) acts: Vec<(f64, Remedy, bool)>,
    pub(crate) down: f64,
    pub(crate) useless: u32,
    pub(crate) harmful: u32,
    pub(crate) violations: Vec<String>,
    pub(crate) handles: u64,
    pub(crate) timeline: Vec<String>,
    /// Each event as it was given, and what was ordered: a file for `tests/scenarios`.
    pub(crate) events: Vec<String>,
}

struct Run<'a> {
    world: World,
    incident: &'a Incident,
    faults: Faults,
    warden: Warden,
    policy: Policy,
    /// What the state file holds, and what went to the runtime directory instead because the disk was full.
    kept: Histories,
    kept_elsewhere: Option<Histories>,
    /// Neither place took the last writing.
    unkept: bool,
    hurry: bool,
    wall_off: f64,
    look_at: f64,
    acting_until: Option<f64>,
    refused_at: f64,
    name_at: f64,
    ready_at: f64,
    edge_at: f64,
    wake_at: f64,
    back_at: f64,
    dials: u32,
    blocked_since: f64,
    course: Course,
    talk: bool,
    /// What is ordered now a person asked for.
    asking: bool,
}

/// How long a person's pause lasts.
const PAUSE: f64 = 300.0;

/// Plays one incident.
pub(crate) fn play(world: World, incident: &Incident, faults: Faults, policy: &Policy, talk: bool) -> Course {
    let lost = faults.memory_lost.then(|| "broken".to_owned());
    let mut run = Run {
        world,
        incident,
        faults,
        warden: Warden::new(policy.clone(), Memory::default()),
        policy: policy.clone(),
        kept: Histories::default(),
        kept_elsewhere: None,
        unkept: false,
        hurry: false,
        wall_off: 0.0,
        look_at: NEVER,
        acting_until: None,
        refused_at: NEVER,
        name_at: 1.0,
        ready_at: 0.5,
        edge_at: 0.2,
        wake_at: 1.0,
        back_at: NEVER,
        dials: 0,
        blocked_since: NEVER,
        course: Course::default(),
        talk,
        asking: false,
    };
    run.begin(Memory { lost, ..Memory::default() });
    run.live();
    run.course
}

impl Run<'_> {
    fn live(&mut self) {
        let mut turns = self.incident.turns.iter().copied().peekable();
        let (mut crash, mut jump) =
            (self.faults.crash_at.unwrap_or(NEVER), self.faults.clock_jump_at.unwrap_or(NEVER));
        if let Some(at) = self.faults.full.and_then(|full| full.crash_at) {
            crash = at;
        }
        let mut calm_since = NEVER;
        let (mut ask, mut pause) =
            (self.faults.asked_at.unwrap_or(NEVER), self.faults.paused_at.unwrap_or(NEVER));
        let mut now = 0.0;
        while now < self.incident.until {
            let turn_at = turns.peek().map_or(NEVER, |(at, _)| *at);
            let eyes = if self.back_at == NEVER {
                self.name_at
                    .min(self.ready_at)
                    .min(self.edge_at)
                    .min(self.wake_at)
                    .min(self.look_at)
                    .min(self.refused_at)
            } else {
                self.back_at
            };
            let persons = ask.min(pause);
            let next = turn_at.min(self.world.next()).min(eyes).min(crash).min(jump).min(persons);
            let next = next.min(self.incident.until);
            if !self.world.served() {
                self.course.down += next - now;
            }
            now = next;
            let mut changed = self.world.pass(now);
            while let Some((_, turn)) = turns.next_if(|(at, _)| *at <= now) {
                self.say(&format!("world: {turn:?}"));
                self.world.turn(turn);
                changed |= !matches!(turn, Turn::Origin(_) | Turn::Dns(_));
                if turn == Turn::Reboot {
                    self.back_at = now + 10.0;
                    // The runtime directory is gone with the boot.
                    self.kept_elsewhere = None;
                }
            }
            let could = self.world.could_come_up();
            self.blocked_since = if could { NEVER } else { self.blocked_since.min(now) };
            if crash <= now {
                crash = NEVER;
                self.say("our daemon dies");
                self.back_at = now + 2.0;
            }
            if jump <= now {
                jump = NEVER;
                self.wall_off += 3_600.0;
                self.say("the wall clock jumps by an hour");
            }
            if self.back_at <= now {
                self.back_at = NEVER;
                self.come_back();
            }
            if pause <= now {
                pause = NEVER;
                let until = self.now().boot + Duration::from_secs_f64(PAUSE);
                if self.back_at == NEVER {
                    self.say("a person pauses us");
                    self.tell(Event::Paused(Pause { until, reason: "work".into() }));
                }
            }
            if ask <= now {
                ask = NEVER;
                self.person_asks();
            }
            if self.back_at == NEVER {
                self.eyes(now, changed);
            } else {
                self.world.said.clear();
                self.world.job_done_at = None;
            }
            let to_come = turns.peek().is_some() || crash.min(jump).min(ask).min(pause) < NEVER;
            calm_since = if to_come || !self.calm() { NEVER } else { calm_since.min(now) };
            if calm_since + CALM_FOR <= now {
                break;
            }
        }
        self.check_end();
    }

    /// Nothing is under way, in the world or with us.
    fn calm(&self) -> bool {
        let healthy = self.warden.tunnels().all(|tunnel| {
            tunnel.verdict.health == Health::Healthy && matches!(tunnel.phase, Phase::Watching)
        });
        healthy && self.back_at == NEVER && self.world.served() && self.world.next() == NEVER
    }

    fn person_asks(&mut self) {
        if self.back_at != NEVER {
            return;
        }
        let (unit, reason, by) = (UNIT.into(), "new binary".into(), "uid 0".into());
        let request = Request { unit, reason, by, force: false };
        let refused: Vec<_> =
            self.warden.refusal(&request, self.now()).iter().map(|held| held.hold.name()).collect();
        self.say(&format!("a person asks for a restart; objections: {refused:?}"));
        let before = self.course.acts.len();
        self.asking = true;
        self.tell(Event::Requested(request));
        self.asking = false;
        if refused.is_empty() != (before < self.course.acts.len()) {
            self.violate("a person was told one thing, and another was done");
        }
    }

    fn come_back(&mut self) {
        self.say("our daemon is back");
        let paused = self.warden.paused().cloned();
        let histories = self.kept_elsewhere.as_ref().unwrap_or(&self.kept).clone();
        let memory = Memory { histories, paused, ..Memory::default() };
        (self.hurry, self.look_at, self.acting_until, self.refused_at) = (false, NEVER, None, NEVER);
        self.begin(memory);
        (self.name_at, self.ready_at, self.edge_at) = (self.world.now, self.world.now, self.world.now);
    }

    fn begin(&mut self, memory: Memory) {
        if self.talk {
            self.course.events.push(json!({ "begin": memory }).to_string());
        }
        self.warden = Warden::new(self.policy.clone(), memory);
        self.appear();
    }

    fn appear(&mut self) {
        self.tell(Event::Tunnel { unit: UNIT.into(), names: vec![NAME.into()] });
        let forced = if self.world.quic { Transport::Quic } else { Transport::Http2 };
        self.observed(Finding::Setup(Setup {
            transport: Some(forced),
            private_network: Some(false),
            other_edge: false,
        }));
        self.observed(Finding::Journal(Ok(())));
        let host = HostSight { route: true, ..HostSight::default() };
        self.sensed(Event::HostObserved(HostFinding::Host(Ok(host))));
        self.see_unit();
    }

    fn eyes(&mut self, now: f64, changed: bool) {
        for line in std::mem::take(&mut self.world.said) {
            self.log(line);
        }
        if changed {
            self.see_unit();
        }
        if self.world.job_done_at.take().is_some() && self.acting_until.take().is_some() {
            self.see_unit();
            self.tell(Event::RemedyDone { unit: UNIT.into(), outcome: Outcome::Done });
        }
        if self.refused_at <= now {
            self.refused_at = NEVER;
            let outcome = Outcome::Failed { kind: Failure::NotRemembered, detail: String::new() };
            self.tell(Event::RemedyDone { unit: UNIT.into(), outcome });
        }
        if self.look_at <= now {
            self.look_at = NEVER;
            self.see_all();
            self.tell(Event::Looked { unit: UNIT.into() });
        }
        let jitter = 0.95 + 0.1 * ((now * 1e6) as u64 % 101) as f64 / 101.0;
        if self.name_at <= now {
            self.name_at = now + if self.hurry { 5.0 } else { self.world.probed_every } * jitter;
            self.see_name();
        }
        if self.ready_at <= now {
            self.ready_at = now + 5.0 * jitter;
            self.see_unit();
            self.see_ready();
        }
        if self.edge_at <= now {
            // What was seen a moment ago may have changed the pace.
            self.edge_at = now + if self.hurry { 5.0 } else { 60.0 } * jitter;
            self.see_edge();
        }
        if self.wake_at <= now {
            self.tell(Event::Woke);
        }
    }

    fn see_all(&mut self) {
        self.see_unit();
        self.see_edge();
        self.see_ready();
        self.see_name();
    }

    fn blind(&mut self) -> bool {
        let part = self.faults.blind;
        part != 0.0 && self.world.rng.chance(part)
    }

    fn see_unit(&mut self) {
        let sight = self.world.unit.clone();
        self.observed(Finding::Unit(Ok(sight)));
    }

    fn see_name(&mut self) {
        let (answer, status, code) =
            if self.blind() { (Answer::Blind, None, None) } else { self.world.answer() };
        let latency = Duration::from_millis(20);
        let (detail, exchange) = (String::new(), Exchange::default());
        let sight = NameSight { answer, status, code, latency, colo: None, detail, exchange };
        self.observed(Finding::Name { hostname: NAME.into(), sight });
        for line in std::mem::take(&mut self.world.said) {
            self.log(line);
        }
    }

    fn see_ready(&mut self) {
        if self.world.unit.main_pid == 0 {
            return;
        }
        if self.blind() {
            return self.observed(Finding::Ready(Err(Blind::TimedOut)));
        }
        let ready = self.world.ready();
        let counters = matches!(ready, Ready::Connections(_)).then_some(Counters {
            total_requests: self.world.requests,
            register_fail: self.world.refused,
            ..Counters::default()
        });
        let connector = self.world.unit.invocation.map(|life| life.to_string());
        self.observed(Finding::Ready(Ok(ReadySight { ready, connector, port_of_this_life: true, counters })));
    }

    fn see_edge(&mut self) {
        self.dials += 1;
        let world = &self.world;
        let control = if !world.link || !world.dns { Control::Failing } else { Control::Answered };
        let link = |transport, way| Link { region: "region1".into(), transport, reach: world.reach(way) };
        let links = vec![link(Transport::Http2, world.tcp), link(Transport::Quic, world.udp)];
        let resolved = world.dns && world.link;
        let addresses = if resolved { vec![edge_address(world.addresses)] } else { Vec::new() };
        let sight = EdgeSight { resolved, links, addresses, clock_suspect: false };
        let host = HostSight { route: world.link, upgrading: world.upgrading, ..HostSight::default() };
        let changed = world.files_changed.map(|at| Duration::from_secs_f64(1.8e9 + at));
        let blind = self.blind();
        self.observed(Finding::Files(FilesSight { unusable: None, changed }));
        self.sensed(Event::HostObserved(HostFinding::Host(Ok(host))));
        self.sensed(Event::HostObserved(HostFinding::Control(if blind {
            Err(Blind::TimedOut)
        } else {
            Ok(control)
        })));
        self.sensed(Event::HostObserved(HostFinding::Edge(if blind {
            Err(Blind::TimedOut)
        } else {
            Ok(sight)
        })));
    }

    fn log(&mut self, line: Line) {
        let at = self.now().boot;
        let invocation = self.world.unit.invocation;
        self.observed(Finding::Log(LogLine { line, at, invocation }));
    }

    fn observed(&mut self, finding: Finding) {
        self.sensed(Event::Observed { unit: UNIT.into(), finding });
    }

    /// What a sense has to say, if it arrives.
    fn sensed(&mut self, event: Event) {
        if self.faults.lost == 0.0 || !self.world.rng.chance(self.faults.lost) {
            self.tell(event);
        }
    }

    fn persist(&mut self) {
        let now = self.world.now;
        let full = self.faults.full.filter(|full| full.from <= now && now < full.to);
        self.unkept = full.is_some_and(|full| !full.elsewhere);
        match full {
            Some(full) if full.elsewhere => self.kept_elsewhere = Some(self.warden.histories()),
            Some(_) => (),
            None => (self.kept, self.kept_elsewhere) = (self.warden.histories(), None),
        }
    }

    fn now(&self) -> Now {
        let boot = Duration::from_secs_f64(BOOT + self.world.now);
        Now { boot, wall: Duration::from_secs_f64(1.8e9 + self.world.now + self.wall_off) }
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        let before = self.talk.then(|| self.verdict());
        if self.talk {
            self.course.events.push(json!({ "now": now, "event": event }).to_string());
        }
        let commands = self.warden.handle(event, now);
        self.course.handles += 1;
        let wakeup = self.warden.next_wakeup(now);
        if wakeup <= now.boot {
            self.violate("a wake-up in the past");
        }
        self.wake_at = (wakeup.as_secs_f64() - BOOT).max(self.world.now + 0.001);
        if let Some(before) = before
            && before != self.verdict()
        {
            let verdict = self.verdict();
            self.say(&format!("verdict: {verdict}"));
        }
        for command in commands {
            match command {
                Command::Hurry { hurry, .. } => {
                    self.hurry = hurry;
                    if hurry {
                        (self.name_at, self.edge_at) = (self.world.now, self.world.now);
                    }
                }
                Command::Look { .. } => self.look_at = self.world.now + 0.3,
                Command::Persist => self.persist(),
                Command::Apply { remedy, .. } => self.apply(remedy),
                Command::Tell(note) => {
                    if self.talk {
                        self.say(&format!("told: {:?}", note.happening));
                    }
                }
                Command::Record { .. } | Command::Announce { .. } => (),
            }
        }
    }

    fn apply(&mut self, remedy: Remedy) {
        self.say(&format!("ordered: {}", remedy.name()));
        if self.talk {
            self.course.events.push(json!({ "ordered": remedy }).to_string());
        }
        let now = self.world.now;
        if self.unkept {
            // The hands do nothing that would be forgotten.
            self.say("the charge cannot be written: nothing is done");
            self.refused_at = now + 0.01;
            return;
        }
        self.check_act(remedy);
        let carries = self.world.carries() && self.world.held > 0;
        let could = self.world.could_come_up();
        if self.asking {
            // A person answers for it.
        } else if carries || self.world.operator_stopped {
            self.course.harmful += 1;
        } else if !could || self.incident.cure == Cure::Never {
            self.course.useless += 1;
        }
        self.course.acts.push((now, remedy, could));
        self.acting_until = Some(now);
        match remedy {
            Remedy::Restart => self.world.restart(false),
            Remedy::SwiftRestart => self.world.restart(true),
            Remedy::Start | Remedy::ResetAndStart => self.world.start_order(),
        }
        self.see_unit();
    }

    fn check_act(&mut self, remedy: Remedy) {
        let now = self.world.now;
        if self.faults.memory_lost {
            self.violate("acted although its memory was lost");
        }
        let kept = self.kept_elsewhere.as_ref().unwrap_or(&self.kept);
        if !kept.values().any(|history| history.in_flight.is_some_and(|flight| flight.at == self.now().boot))
        {
            self.violate("acted before the charge was kept");
        }
        if self.acting_until.is_some() {
            self.violate("two remedies at once");
        }
        let hour = self.course.acts.iter().filter(|(at, _, _)| now - at < 3_600.0).count();
        if 3 <= hour {
            self.violate("above the budget of an hour");
        }
        let pause = [0.0, 300.0, 600.0, 1_200.0][self.course.acts.len().min(3)];
        if self.course.acts.last().is_some_and(|(at, _, _)| now < at + pause) {
            self.violate("within the cooldown");
        }
        if self.asking {
            return;
        }
        if self.warden.paused().is_some_and(|pause| self.now().boot < pause.until) {
            self.violate("acted while paused");
        }
        if self.world.upgrading {
            self.violate("acted during an upgrade");
        }
        if self.world.operator_stopped {
            self.violate("acted against an operator");
        }
        if self.incident.hopeless_from + 30.0 <= now && now < self.incident.hopeless_until {
            self.violate(&format!("{} for what no restart can mend", remedy.name()));
        }
        if self.world.comes_and_goes() && self.faults.none() && self.incident.cure == Cure::Never {
            self.violate(&format!("{} for another connector's fault", remedy.name()));
        }
        if self.blocked_since + 15.0 <= now && 0 < self.dials && self.faults.none() {
            self.violate("ordered a process that could not come up");
        }
        // Of its share beside an ill replica only the counters tell, if they arrive.
        let told = self.faults.none() || !self.world.beside_ill_replica();
        if told && self.world.carries() && self.world.held > 0 {
            self.violate("ended live connections");
        }
        if self.incident.cure == Cure::Healthy {
            self.violate("acted in a healthy world");
        }
    }

    fn check_end(&mut self) {
        let Cure::Within(bound) = self.incident.cure else { return self.check_phase() };
        // An act that came within its bound, or nothing to cure any more.
        let deadline = self.incident.curable_from + f64::from(bound);
        let acted = self.course.acts.iter().any(|(at, _, could)| *could && *at <= deadline);
        let alone = self.course.acts.is_empty() && self.world.served();
        if self.faults.none() && !acted && !alone {
            let held: Vec<_> = self
                .warden
                .tunnels()
                .flat_map(|tunnel| tunnel.holds.iter().map(|held| held.hold.name()))
                .collect();
            let acts: Vec<_> = self.course.acts.iter().map(|(at, _, _)| *at).collect();
            let verdict = self.verdict();
            self.violate(&format!(
                "not treated by {deadline:.1} s: acts {acts:?}, {verdict}, held by {held:?}"
            ));
        }
        self.check_phase();
    }

    fn check_phase(&mut self) {
        let now = self.now().boot;
        let late = self.warden.tunnels().any(|tunnel| match tunnel.phase {
            Phase::Watching => false,
            Phase::LastLook { give_up, .. } | Phase::Acting { give_up, .. } => give_up + LATE < now,
            // A cure that has begun to show may be watched for a minute more.
            Phase::Verifying { give_up, .. } => give_up + LATE + Duration::from_secs(60) < now,
        });
        if late {
            self.violate("a phase that does not end");
        }
    }

    fn verdict(&self) -> String {
        let tunnel = self.warden.tunnels().next();
        tunnel.map_or_else(String::new, |tunnel| {
            format!(
                "{} {}",
                tunnel.verdict.health.name(),
                tunnel.verdict.cause.map_or("", |cause| cause.name())
            )
        })
    }

    fn say(&mut self, what: &str) {
        if self.talk {
            self.course.timeline.push(format!("{:>8.2} s  {what}", self.world.now));
        }
    }

    fn violate(&mut self, what: &str) {
        self.say(&format!("VIOLATION: {what}"));
        self.course.violations.push(what.to_owned());
    }
}
