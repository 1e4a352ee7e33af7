//! The senses of the driver's warden: at their pace, now and then blind or unheard.

use std::time::Duration;

use tunnelwarden::warden::event::Event;
use tunnelwarden::warden::evidence::{
    Answer, Blind, Control, EdgeSight, Exchange, Family, FilesSight, Finding, HostFinding, HostSight, Line,
    Link, LogLine, NameSight, Transport,
};
use tunnelwarden::warden::remedy::{Failure, Outcome};

use super::{NAME, Run, UNIT};
use crate::world::{NEVER, edge_address};

impl Run<'_> {
    pub(super) fn eyes(&mut self, now: f64, changed: bool) {
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

    pub(super) fn see_unit(&mut self) {
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
        let Some(sight) = self.world.ready_sight() else { return };
        let seen = if self.blind() { Err(Blind::TimedOut) } else { Ok(sight) };
        self.observed(Finding::Ready(seen));
    }

    fn see_edge(&mut self) {
        self.dials += 1;
        let world = &self.world;
        let control = if !world.link || !world.dns { Control::Failing } else { Control::Answered };
        let link = |transport, way| Link {
            region: "region1".into(),
            transport,
            family: Family::V4,
            reach: world.reach(way),
        };
        let links = vec![link(Transport::Http2, world.tcp), link(Transport::Quic, world.udp)];
        let resolved = world.dns && world.link;
        let addresses = if resolved { vec![edge_address(world.addresses)] } else { Vec::new() };
        let sight = EdgeSight { resolved, links, first: Family::V4, addresses, clock_suspect: false };
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

    pub(super) fn observed(&mut self, finding: Finding) {
        self.sensed(Event::Observed { unit: UNIT.into(), finding });
    }

    /// What a sense has to say, if it arrives.
    pub(super) fn sensed(&mut self, event: Event) {
        if self.faults.lost == 0.0 || !self.world.rng.chance(self.faults.lost) {
            self.tell(event);
        }
    }
}
