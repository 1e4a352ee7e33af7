//! What becomes of the world by what the warden orders and says.

use std::time::Duration;

use tunnelwarden::warden::event::{Command, Event};
use tunnelwarden::warden::evidence::{Active, Answer, Blind, Invocation, Job, Line, Ready, Transport};
use tunnelwarden::warden::note::Happening;
use tunnelwarden::warden::remedy::{Failure, Outcome};

use super::World;

impl World {
    pub(super) fn tell(&mut self, event: Event) {
        let now = self.now();
        let commands = self.warden.handle(event, now);
        assert!(now.boot < self.warden.next_wakeup(now), "a wake-up in the past at {:?}", self.at);
        for command in commands {
            match command {
                Command::Look { .. } if !self.looks_end => (),
                Command::Look { unit, .. } => {
                    let tcp = self.tcp;
                    self.tcp = self.look_finds_tcp.take().unwrap_or(tcp);
                    if self.looks_see {
                        let blind = self.unit_blind;
                        self.unit_blind = if self.last_looks_blind { Some(Blind::TimedOut) } else { blind };
                        self.look();
                        self.unit_blind = blind;
                    }
                    self.tcp = tcp;
                    self.tell(Event::Looked { unit });
                }
                Command::Apply { remedy, .. } => {
                    self.acts.push(remedy.name().to_owned());
                    if self.fails {
                        let (kind, detail) = (Failure::JobFailed, "canceled".into());
                        self.done =
                            Some((self.at + Duration::from_secs(1), Outcome::Failed { kind, detail }));
                        continue;
                    }
                    if self.unit.main_pid != 0 {
                        self.stops();
                    }
                    if self.hangs {
                        self.unit.job = Some(Job::Restart);
                        continue;
                    }
                    self.restarted();
                    self.done = self.answers.then_some((self.at + Duration::from_secs(1), Outcome::Done));
                }
                Command::Tell(note) => {
                    self.said.push(note.text.clone());
                    match note.happening {
                        Happening::RemedyHeld { hold, .. } => self.holds_told.push((hold.name(), note.text)),
                        Happening::IncidentClosed { closing, cause, .. } => {
                            self.closed.push(closing.name());
                            self.closed_as = Some(cause.name());
                        }
                        Happening::IncidentOpened { .. } => self.opened += 1,
                        Happening::Escalated { .. } => self.escalated += 1,
                        Happening::CauseChanged { .. }
                        | Happening::RemedyOrdered { .. }
                        | Happening::RemedyFinished { .. } => (),
                        Happening::SenseBlind { sense } => {
                            self.senses_told.push(format!("{}-blind", sense.word()));
                        }
                        Happening::SenseSees { sense } => {
                            self.senses_told.push(format!("{}-sees", sense.word()));
                        }
                    }
                }
                Command::Hurry { hurry, .. } => {
                    assert_ne!(self.hurried, hurry, "the same pace is asked for twice at {:?}", self.at);
                    self.hurried = hurry;
                }
                Command::Persist => {
                    self.disk = self.warden.histories();
                    self.written += 1;
                }
                Command::Announce { text, .. } => self.said.push(text),
                Command::Record { .. } => (),
            }
        }
    }

    /// What runs is stopped first, and that is seen.
    fn stops(&mut self) {
        self.unit.active = Active::Deactivating;
        self.unit.job = Some(Job::Restart);
        self.look();
        let doing = self.warden.tunnels().next().unwrap().verdict.cause.map(|cause| cause.name());
        assert_ne!(doing, Some("PlannedRestart"), "our own restart is taken for somebody else's");
        self.stopped_as = doing;
        self.unit.job = None;
    }

    /// A new process; if restarts cure here, with it the world is whole again.
    pub(super) fn restarted(&mut self) {
        self.new_life();
        if self.cures {
            self.ready = Ready::Connections(4);
            // What the edge itself errs for, no connector mends.
            let mended = |answer| !matches!(answer, Answer::DnsError | Answer::EdgeError);
            self.names = self.names.map(|answer| if mended(answer) { Answer::Served } else { answer });
            self.log(Line::Registered(Some(Transport::Http2)));
        }
    }

    pub(super) fn new_life(&mut self) {
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

    pub(super) fn down(&mut self, active: Active, sub: &str, result: &str) {
        self.unit.active = active;
        (self.unit.sub, self.unit.result) = (sub.into(), result.into());
        self.unit.main_pid = 0;
        self.unit.since = self.boot();
    }
}
