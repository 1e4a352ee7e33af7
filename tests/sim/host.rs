//! Several tunnels on one host: what befalls each is its own affair, the budget and the daemon they share.

use std::time::Duration;

use tunnelwarden::warden::event::{Command, Event};
use tunnelwarden::warden::evidence::{
    Control, EdgeSight, Family, Finding, HostFinding, HostSight, Link, LogLine, NameSight, Reach, Setup,
    Transport,
};
use tunnelwarden::warden::history::Histories;
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::remedy::{Outcome, Remedy};
use tunnelwarden::warden::time::Now;

use crate::driver::Course;
use crate::incidents::{Cure, Incident, of_kind};
use crate::rng::Rng;
use crate::world::{BOOT, NEVER, Turn, World, edge_address};

/// What concerns one tunnel alone: routes forgotten, peers dead, a frozen or killed process, an operator, an origin.
const OF_ITS_OWN: [usize; 12] = [0, 1, 2, 6, 8, 9, 10, 11, 15, 16, 17, 29];
const HOUR: f64 = 3_600.0;
const PER_HOUR: usize = 3;
const PER_HOUR_HOST: usize = 6;

/// One tunnel of the host.
struct Seat {
    unit: String,
    name: String,
    world: World,
    incident: Incident,
    turned: usize,
    hurry: bool,
    name_at: f64,
    ready_at: f64,
    look_at: f64,
    acting: bool,
    acts: Vec<f64>,
}

struct Host {
    now: f64,
    warden: Warden,
    policy: Policy,
    kept: Histories,
    seats: Vec<Seat>,
    edge_at: f64,
    wake_at: f64,
    course: Course,
    talk: bool,
}

/// Plays what befalls all the tunnels of a host at about the same time.
pub(crate) fn play(seed: u64, policy: &Policy, talk: bool) -> Course {
    let mut rng = Rng::new(seed);
    // A storm: the edge forgets them all, again and again.
    let storm = rng.chance(0.5);
    let seats = (0..2 + rng.below(8)).map(|number| Seat::new(number, rng.bits(), storm)).collect();
    let crash_at = if rng.chance(0.3) { rng.between(60.0, 1_000.0) } else { NEVER };
    let mut host = Host {
        now: 0.0,
        warden: Warden::new(policy.clone(), Memory::default()),
        policy: policy.clone(),
        kept: Histories::default(),
        seats,
        edge_at: 0.2,
        wake_at: 1.0,
        course: Course::default(),
        talk,
    };
    host.begin();
    host.live(crash_at);
    host.check_end(crash_at);
    host.course
}

impl Seat {
    fn new(number: usize, seed: u64, storm: bool) -> Self {
        let mut world = World::new(Rng::new(seed));
        let kind = if storm { 1 } else { OF_ITS_OWN[world.rng.below(OF_ITS_OWN.len())] };
        let mut incident = of_kind(kind, &mut world);
        if storm {
            let every = world.rng.between(340.0, 700.0);
            let again = (1..6).map(|n| (incident.curable_from + f64::from(n) * every, Turn::Forget));
            incident.turns.extend(again);
            incident.until += 5.0 * every;
        }
        let name_at = world.rng.between(0.0, 15.0);
        Self {
            unit: format!("cloudflared@{number}.service"),
            name: format!("app{number}.example.com"),
            world,
            incident,
            turned: 0,
            hurry: false,
            name_at,
            ready_at: name_at / 3.0,
            look_at: NEVER,
            acting: false,
            acts: Vec::new(),
        }
    }

    fn next(&self) -> f64 {
        let turn = self.incident.turns.get(self.turned).map_or(NEVER, |(at, _)| *at);
        turn.min(self.world.next()).min(self.name_at).min(self.ready_at).min(self.look_at)
    }

    /// True if the unit has changed.
    fn pass(&mut self, now: f64) -> bool {
        let mut changed = self.world.pass(now);
        while let Some((_, turn)) = self.incident.turns.get(self.turned).filter(|(at, _)| *at <= now) {
            self.world.turn(*turn);
            self.turned += 1;
            changed = true;
        }
        changed
    }

    fn unit(&self) -> Finding {
        Finding::Unit(Ok(self.world.unit.clone()))
    }

    fn answer(&mut self) -> Finding {
        let (answer, status, code) = self.world.answer();
        let latency = Duration::from_millis(20);
        let sight = NameSight {
            answer,
            status,
            code,
            latency,
            colo: None,
            detail: String::new(),
            exchange: Default::default(),
        };
        Finding::Name { hostname: self.name.clone(), sight }
    }
}

impl Host {
    fn begin(&mut self) {
        let memory = Memory { histories: self.kept.clone(), ..Memory::default() };
        self.warden = Warden::new(self.policy.clone(), memory);
        for number in 0..self.seats.len() {
            let seat = &mut self.seats[number];
            (seat.hurry, seat.look_at, seat.acting) = (false, NEVER, false);
            let transport = if seat.world.quic { Transport::Quic } else { Transport::Http2 };
            let (unit, names, seen) = (seat.unit.clone(), vec![seat.name.clone()], seat.unit());
            self.tell(Event::Tunnel { unit, names });
            let setup =
                Setup { transport: Some(transport), private_network: Some(false), ..Setup::default() };
            self.observed(number, Finding::Setup(setup));
            self.observed(number, Finding::Journal(Ok(())));
            self.observed(number, seen);
        }
    }

    fn live(&mut self, mut crash_at: f64) {
        let until = self.seats.iter().map(|seat| seat.incident.until).fold(0.0, f64::max);
        while self.now < until {
            let seats = self.seats.iter().map(Seat::next).fold(NEVER, f64::min);
            let next = seats.min(self.edge_at).min(self.wake_at).min(crash_at).min(until);
            for seat in self.seats.iter().filter(|seat| !seat.world.served()) {
                self.course.down += (next - self.now).min(seat.incident.until);
            }
            self.now = next;
            if crash_at <= next {
                crash_at = NEVER;
                self.say("our daemon dies, and is back");
                self.begin();
            }
            for number in 0..self.seats.len() {
                self.look(number);
            }
            if self.edge_at <= next {
                let hurry = self.seats.iter().any(|seat| seat.hurry);
                self.edge_at = next + if hurry { 5.0 } else { 60.0 };
                self.see_edge();
            }
            if self.wake_at <= next {
                self.tell(Event::Woke);
            }
        }
    }

    fn look(&mut self, number: usize) {
        let now = self.now;
        if self.seats[number].pass(now) {
            self.observed(number, self.seats[number].unit());
        }
        self.hear(number);
        let seat = &mut self.seats[number];
        if seat.world.job_done_at.take().is_some() && std::mem::take(&mut seat.acting) {
            let unit = seat.unit.clone();
            self.observed(number, self.seats[number].unit());
            self.tell(Event::RemedyDone { unit, outcome: Outcome::Done });
        }
        if self.seats[number].look_at <= now {
            let seat = &mut self.seats[number];
            (seat.look_at, seat.name_at, seat.ready_at) = (NEVER, now, now);
            self.see_edge();
            self.see(number);
            self.tell(Event::Looked { unit: self.seats[number].unit.clone() });
        } else {
            self.see(number);
        }
    }

    /// What is due to be seen of one tunnel.
    fn see(&mut self, number: usize) {
        let now = self.now;
        if self.seats[number].ready_at <= now {
            self.seats[number].ready_at = now + 5.0;
            self.observed(number, self.seats[number].unit());
            if let Some(ready) = self.seats[number].world.ready_sight() {
                self.observed(number, Finding::Ready(Ok(ready)));
            }
        }
        if self.seats[number].name_at <= now {
            let seat = &mut self.seats[number];
            seat.name_at = now + if seat.hurry { 5.0 } else { 15.0 };
            let answer = seat.answer();
            self.observed(number, answer);
            self.hear(number);
        }
    }

    fn hear(&mut self, number: usize) {
        let invocation = self.seats[number].world.unit.invocation;
        for line in std::mem::take(&mut self.seats[number].world.said) {
            let at = self.now().boot;
            self.observed(number, Finding::Log(LogLine { line, at, invocation }));
        }
    }

    fn see_edge(&mut self) {
        let link = |transport| Link {
            region: "region1".into(),
            transport,
            family: Family::V4,
            reach: Reach::Reachable,
        };
        let links = vec![link(Transport::Http2), link(Transport::Quic)];
        let edge = EdgeSight {
            resolved: true,
            links,
            first: Family::V4,
            addresses: vec![edge_address(0)],
            clock_suspect: false,
        };
        let host = HostSight { route: true, ..HostSight::default() };
        self.tell(Event::HostObserved(HostFinding::Host(Ok(host))));
        self.tell(Event::HostObserved(HostFinding::Control(Ok(Control::Answered))));
        self.tell(Event::HostObserved(HostFinding::Edge(Ok(edge))));
    }

    fn observed(&mut self, number: usize, finding: Finding) {
        self.tell(Event::Observed { unit: self.seats[number].unit.clone(), finding });
    }

    fn now(&self) -> Now {
        let boot = Duration::from_secs_f64(BOOT + self.now);
        Now { boot, wall: Duration::from_secs_f64(1.8e9 + self.now) }
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        let commands = self.warden.handle(event, now);
        self.course.handles += 1;
        let wakeup = self.warden.next_wakeup(now);
        if wakeup <= now.boot {
            self.violate("a wake-up in the past");
        }
        self.wake_at = (wakeup.as_secs_f64() - BOOT).max(self.now + 0.001);
        for command in commands {
            let seat = |unit: &str| self.seats.iter().position(|seat| seat.unit == unit);
            match command {
                Command::Hurry { unit, hurry } => {
                    let Some(number) = seat(&unit) else { continue };
                    self.seats[number].hurry = hurry;
                    if hurry {
                        (self.seats[number].name_at, self.edge_at) = (self.now, self.now);
                    }
                }
                Command::Look { unit, .. } => {
                    let Some(number) = seat(&unit) else { continue };
                    self.seats[number].look_at = self.now + 0.3;
                }
                Command::Persist => self.kept = self.warden.histories(),
                Command::Apply { unit, remedy, .. } => {
                    if let Some(number) = seat(&unit) {
                        self.apply(number, remedy);
                    }
                }
                Command::Tell(_) | Command::Record { .. } | Command::Announce { .. } => (),
            }
        }
    }

    fn apply(&mut self, number: usize, remedy: Remedy) {
        let unit = self.seats[number].unit.clone();
        self.say(&format!("{unit}: ordered: {}", remedy.name()));
        self.check_act(number);
        let (now, seat) = (self.now, &mut self.seats[number]);
        let could = seat.world.could_come_up();
        (seat.acting, seat.hurry) = (true, true);
        seat.acts.push(now);
        self.course.acts.push((now, remedy, could));
        match remedy {
            Remedy::Restart => seat.world.restart(false),
            Remedy::SwiftRestart => seat.world.restart(true),
            Remedy::Start | Remedy::ResetAndStart => seat.world.start_order(),
        }
        self.observed(number, self.seats[number].unit());
    }

    fn check_act(&mut self, number: usize) {
        let now = self.now;
        let lately = |acts: &mut dyn Iterator<Item = f64>| acts.filter(|at| now - at < HOUR).count();
        let seat = &self.seats[number];
        let charged = self
            .kept
            .get(&seat.unit)
            .is_some_and(|history| history.in_flight.is_some_and(|flight| flight.at == self.now().boot));
        let world = &seat.world;
        let pause = [0.0, 300.0, 600.0, 1_200.0][seat.acts.len().min(3)];
        let hopeless = seat.incident.hopeless_from + 30.0 <= now && now < seat.incident.hopeless_until;
        let wrong = [
            (!charged, "acted before the charge was kept"),
            (seat.acting, "two remedies at once"),
            (PER_HOUR <= lately(&mut seat.acts.iter().copied()), "above the budget of an hour"),
            (
                PER_HOUR_HOST <= lately(&mut self.course.acts.iter().map(|(at, _, _)| *at)),
                "above the host's budget of an hour",
            ),
            (seat.acts.last().is_some_and(|at| now < at + pause), "within the cooldown"),
            (world.operator_stopped, "acted against an operator"),
            (world.carries() && world.held > 0, "ended live connections"),
            (seat.incident.cure == Cure::Healthy, "acted in a healthy world"),
            (hopeless, "acted for what no restart can mend"),
        ];
        for (_, what) in wrong.into_iter().filter(|(broken, _)| *broken) {
            self.violate(what);
        }
    }

    /// Every curable outage was treated within its bound, or the host's budget was spent and said so.
    fn check_end(&mut self, crash_at: f64) {
        for number in 0..self.seats.len() {
            let seat = &self.seats[number];
            let Cure::Within(bound) = seat.incident.cure else { continue };
            let deadline = seat.incident.curable_from + f64::from(bound);
            let treated = seat.acts.iter().any(|at| *at <= deadline);
            let spent = self.course.acts.iter().filter(|(at, _, _)| *at <= deadline).count();
            if !treated && spent < PER_HOUR_HOST && deadline < crash_at {
                self.violate(&format!("not treated by {deadline:.1} s though the budget had room: {number}"));
            }
        }
    }

    fn say(&mut self, what: &str) {
        if self.talk {
            self.course.timeline.push(format!("{:>8.2} s  {what}", self.now));
        }
    }

    fn violate(&mut self, what: &str) {
        self.say(&format!("VIOLATION: {what}"));
        self.course.violations.push(what.to_owned());
    }
}
