//! The world as it is: cloudflared, systemd, edge and network, after the measured timings of the real ones. Times are seconds.

mod cloudflared;
mod systemd;
mod turn;

use std::net::{IpAddr, Ipv4Addr};

use tunnelwarden::warden::evidence::{
    Active, Answer, Counters, Invocation, Line, Reach, Ready, ReadySight, UnitSight,
};

use crate::rng::Rng;
pub(crate) use turn::Turn;

pub(crate) const BOOT: f64 = 100_000.0;
pub(crate) const NEVER: f64 = f64::INFINITY;
/// `/ready` and its counters are read at this pace.
const SEEN_WITHIN: f64 = 5.0;

/// A way through the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    Refused,
    Lost,
    /// Connects and never answers.
    Mute,
}

/// What the edge says to a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Unauthorized,
    Busy,
}

/// What is to come after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Rest,
    Start,
    AutoRestart,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: f64,
    /// The period of the probes of public names in calm, in seconds.
    pub(crate) probed_every: f64,
    pub(crate) quic: bool,
    pub(crate) endless: bool,
    pub(crate) restarts: bool,
    pub(crate) tcp: Way,
    pub(crate) udp: Way,
    pub(crate) dns: bool,
    pub(crate) link: bool,
    pub(crate) door: Door,
    pub(crate) origin: bool,
    pub(crate) misrouted: bool,
    pub(crate) edge_errs: bool,
    pub(crate) config_ok: bool,
    pub(crate) replica: bool,
    /// The part of the requests that end at an ill replica; 0 while it is well.
    replica_takes: f64,
    /// Requests of visitors a second, and the part of the next one that has come.
    visitors: f64,
    visitor: f64,
    requested_at: f64,
    /// Probes ended now here, now there: how often they came back, and with which one it was plain.
    erred: bool,
    came_back: u32,
    registered_at: f64,
    pub(crate) operator_stopped: bool,
    /// Somebody wants it to be down, whatever was done to it since.
    pub(super) down_by_wish: bool,
    pub(crate) unit: UnitSight,
    pub(crate) frozen: bool,
    /// What cloudflared believes.
    pub(crate) held: u8,
    /// What the edge knows.
    pub(crate) routed: bool,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) said: Vec<Line>,
    pub(crate) job_done_at: Option<f64>,
    pub(crate) starts: Vec<f64>,
    pub(crate) upgrading: bool,
    pub(crate) files_changed: Option<f64>,
    /// Generations of the edge's addresses and secret, and what process and file hold of them.
    pub(crate) addresses: u8,
    known_addresses: u8,
    secret: u8,
    file_secret: u8,
    process_secret: u8,
    peers_dead: bool,
    sleeping: bool,
    tries: u32,
    attempt_at: f64,
    /// A dial is under way to which nobody answers.
    dialling: bool,
    /// When that was, in seconds.
    dial_began: f64,
    /// The last packet of this dial went out before the way was open.
    dial_lost: bool,
    notice_at: f64,
    edge_notice_at: f64,
    end_at: f64,
    start_limit_at: f64,
    auto_restart_at: f64,
    after: After,
    quic_worked: bool,
    lives: u128,
    /// The id that the process of this life goes by.
    connector: String,
}

fn boot(at: f64) -> std::time::Duration {
    std::time::Duration::from_secs_f64(BOOT + at)
}

/// Where the edge is after so many changes.
pub(crate) fn edge_address(generation: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 41, 192, generation))
}

impl World {
    pub(crate) fn new(mut rng: Rng) -> Self {
        let (quic, endless) = (rng.chance(0.5), rng.chance(0.25));
        let visitors = if rng.chance(0.5) { rng.between(0.01, 2.0) } else { 0.0 };
        let secs = std::time::Duration::from_secs;
        let unit = UnitSight {
            active: Active::Active,
            sub: "running".into(),
            main_pid: 100,
            invocation: Some(Invocation(1)),
            since: boot(-7_200.0),
            started: Some(boot(-7_200.0)),
            was_active: true,
            start_limit: if endless { None } else { Some(secs(15)) },
            ..UnitSight::stock()
        };
        Self {
            rng,
            now: 0.0,
            probed_every: 15.0,
            quic,
            endless,
            restarts: true,
            tcp: Way::Open,
            udp: Way::Open,
            dns: true,
            link: true,
            door: Door::Open,
            origin: true,
            misrouted: false,
            edge_errs: false,
            config_ok: true,
            replica: false,
            replica_takes: 0.0,
            visitors,
            visitor: 0.0,
            requested_at: -NEVER,
            erred: false,
            came_back: 0,
            registered_at: -NEVER,
            operator_stopped: false,
            down_by_wish: false,
            unit,
            frozen: false,
            held: 4,
            routed: true,
            requests: 0,
            refused: 0,
            said: Vec::new(),
            job_done_at: None,
            starts: Vec::new(),
            upgrading: false,
            files_changed: None,
            addresses: 0,
            known_addresses: 0,
            secret: 0,
            file_secret: 0,
            process_secret: 0,
            peers_dead: false,
            sleeping: false,
            tries: 0,
            attempt_at: NEVER,
            dialling: false,
            dial_began: 0.0,
            dial_lost: false,
            notice_at: NEVER,
            edge_notice_at: NEVER,
            end_at: NEVER,
            start_limit_at: NEVER,
            auto_restart_at: NEVER,
            after: After::Rest,
            quic_worked: quic,
            lives: 1,
            connector: Invocation(1).to_string(),
        }
    }

    fn way(&self) -> Way {
        match (self.link, self.quic) {
            (false, _) => Way::Lost,
            (true, true) => self.udp,
            (true, false) => self.tcp,
        }
    }

    /// A new process would be connected soon.
    pub(crate) fn could_come_up(&self) -> bool {
        self.way() == Way::Open
            && self.dns
            && self.door == Door::Open
            && self.config_ok
            && self.file_secret == self.secret
    }

    /// Visitors get their answer from the origin.
    pub(crate) fn served(&self) -> bool {
        ((self.routed && !self.frozen) || self.covered()) && self.origin && !self.misrouted && !self.edge_errs
    }

    /// Visitors get nothing, and nobody wanted that.
    pub(crate) fn down(&self) -> bool {
        !self.served() && !self.down_by_wish
    }

    /// This connector carries visitors.
    pub(crate) fn carries(&self) -> bool {
        // Beside an ill replica its share may be nobody; that can be seen by its counter alone.
        let asked = self.replica_takes == 0.0 || self.now - self.requested_at < SEEN_WITHIN;
        self.routed && !self.misrouted && !self.frozen && asked
    }

    pub(crate) fn beside_ill_replica(&self) -> bool {
        self.replica_takes != 0.0
    }

    /// An ill replica has given itself away.
    pub(crate) fn comes_and_goes(&self) -> bool {
        2 <= self.came_back
    }

    /// A replica that is well serves whatever this connector does.
    fn covered(&self) -> bool {
        self.replica && self.replica_takes == 0.0
    }

    pub(crate) fn next(&self) -> f64 {
        let job = self.job_done_at.unwrap_or(NEVER);
        [
            self.attempt_at,
            self.notice_at,
            self.edge_notice_at,
            self.end_at,
            self.start_limit_at,
            self.auto_restart_at,
            job,
        ]
        .into_iter()
        .fold(NEVER, f64::min)
    }

    /// What is due at `now` happens. True if the unit has changed.
    pub(crate) fn pass(&mut self, now: f64) -> bool {
        if self.routed && !self.misrouted && !self.frozen {
            self.visitor += self.visitors * (1.0 - self.replica_takes) * (now - self.now);
            self.asked(self.visitor as u64);
            self.visitor = self.visitor.fract();
        }
        self.now = now;
        let state = |unit: &UnitSight| (unit.active, unit.main_pid, unit.job, unit.since);
        let before = state(&self.unit);
        if self.edge_notice_at <= now {
            self.edge_notice_at = NEVER;
            self.routed = false;
        }
        if self.notice_at <= now {
            self.notice_at = NEVER;
            self.lose();
        }
        if self.attempt_at <= now {
            self.attempt_at = NEVER;
            self.attempt();
        }
        if self.start_limit_at <= now {
            self.start_limit_at = NEVER;
            self.said.push(Line::EndedByItself);
            self.ended("timeout");
        }
        if self.end_at <= now {
            self.end_at = NEVER;
            let result = self.unit.result.clone();
            self.ended(&result);
        }
        if self.auto_restart_at <= now {
            self.auto_restart_at = NEVER;
            self.unit.n_restarts += 1;
            self.start();
        }
        before != state(&self.unit)
    }

    fn asked(&mut self, requests: u64) {
        self.requests += requests;
        if 0 < requests {
            self.requested_at = self.now;
        }
    }

    /// What a probe of a public name finds from this host.
    pub(crate) fn answer(&mut self) -> (Answer, Option<u16>, Option<u16>) {
        if !self.link || !self.dns {
            return (Answer::Blind, None, None);
        }
        if self.edge_errs {
            return (Answer::EdgeError, Some(520), None);
        }
        let elsewhere = self.replica_takes != 0.0 && self.rng.chance(self.replica_takes);
        self.erred |= elsewhere && self.held > 0 && self.registered_at + 65.0 <= self.now;
        if self.misrouted || elsewhere || !(self.routed || self.covered()) {
            return (Answer::TunnelError, Some(530), Some(1033));
        }
        if self.frozen && !self.covered() {
            return (Answer::Blind, None, None);
        }
        self.asked(u64::from(self.routed));
        if std::mem::take(&mut self.erred) && self.held > 0 {
            self.came_back += 1;
        }
        if self.origin {
            (Answer::Served, Some(200), None)
        } else {
            self.said.push(Line::OriginDown);
            (Answer::OriginError, Some(502), None)
        }
    }

    pub(crate) fn ready(&self) -> Ready {
        match (self.unit.main_pid, self.frozen) {
            (0, _) => Ready::Refused,
            (_, true) => Ready::Silent,
            (_, false) if self.unit.active == Active::Deactivating => Ready::Connections(0),
            (_, false) => Ready::Connections(self.held),
        }
    }

    /// What a look at /ready and the counters sees; nothing without a process.
    pub(crate) fn ready_sight(&self) -> Option<ReadySight> {
        if self.unit.main_pid == 0 {
            return None;
        }
        let ready = self.ready();
        let counters = matches!(ready, Ready::Connections(_)).then_some(Counters {
            total_requests: self.requests,
            register_fail: self.refused,
            ..Counters::default()
        });
        let connector = Some(self.connector.clone());
        Some(ReadySight { ready, connector, port_of_this_life: true, counters })
    }

    pub(crate) fn reach(&self, way: Way) -> Reach {
        match (self.link, way) {
            (false, _) => Reach::Unreachable,
            (true, Way::Open) => Reach::Reachable,
            (true, Way::Refused) => Reach::Refused,
            (true, Way::Lost) => Reach::TimedOut,
            (true, Way::Mute) => Reach::Silent,
        }
    }
}
