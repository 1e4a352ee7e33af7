//! tunnelwarden in a world: its senses at their pace, its orders carried out, every rule checked after each step.

mod rules;
mod senses;

use std::time::Duration;

use serde_json::json;
use tunnelwarden::warden::diagnosis::Health;
use tunnelwarden::warden::event::{Command, Event};
use tunnelwarden::warden::evidence::{Finding, HostFinding, HostSight, Setup, Transport};
use tunnelwarden::warden::history::Histories;
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::operator::{Pause, Request};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::remedy::Remedy;
use tunnelwarden::warden::time::Now;
use tunnelwarden::warden::tunnel::Phase;

use crate::incidents::{Cure, Faults, Incident};
use crate::world::{BOOT, NEVER, Turn, World};

const UNIT: &str = "cloudflared.service";
const NAME: &str = "app.example.com";

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
            if self.world.down() {
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
            ..Setup::default()
        }));
        self.observed(Finding::Journal(Ok(())));
        let host = HostSight { route: true, ..HostSight::default() };
        self.sensed(Event::HostObserved(HostFinding::Host(Ok(host))));
        self.see_unit();
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
