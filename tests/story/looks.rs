//! What the senses see of the world, all at once.

use std::time::Duration;

use tunnelwarden::warden::event::Event;
use tunnelwarden::warden::evidence::{
    Answer, Blind, Counters, EdgeSight, Exchange, Family, Finding, HostFinding, Line, Link, NameSight,
    ReadySight, Transport,
};
use tunnelwarden::warden::route::{Route, RouteSight};

use super::{CURRENT, NAMES, World};

impl World {
    /// Everything is looked at once.
    pub(super) fn look(&mut self) {
        self.looked = self.at;
        self.requests +=
            u64::from(self.rising || self.failing || self.names[..self.watched].contains(&Answer::Served));
        self.counters.request_errors += u64::from(self.failing);
        let unit = self.unit_blind.map_or_else(|| Ok(self.unit.clone()), Err);
        self.observed(Finding::Unit(unit));
        self.observed(Finding::Files(self.files.clone()));
        let link = |transport, family, reach| Link { region: "region1".into(), transport, family, reach };
        let mut links =
            vec![link(Transport::Http2, Family::V4, self.tcp), link(Transport::Quic, Family::V4, self.quic)];
        links.extend(self.other_region.map(|reach| Link {
            region: "region2".into(),
            transport: Transport::Http2,
            family: Family::V4,
            reach,
        }));
        let both = [Transport::Http2, Transport::Quic];
        links.extend(self.six.into_iter().flat_map(|reach| both.map(|way| link(way, Family::V6, reach))));
        let edge = EdgeSight {
            resolved: self.resolved,
            links,
            first: self.first,
            addresses: vec![CURRENT],
            clock_suspect: self.dates,
        };
        if self.edge_asked {
            self.tell(Event::HostObserved(HostFinding::Edge(Ok(edge))));
        }
        if self.control_asked {
            self.tell(Event::HostObserved(HostFinding::Control(self.control)));
        }
        self.observed(Finding::Journal(self.journal));
        let host = if self.host_unseen { Err(Blind::Forbidden) } else { Ok(self.host) };
        self.tell(Event::HostObserved(HostFinding::Host(host)));
        for (hostname, answer) in NAMES.into_iter().zip(self.names).take(self.asked) {
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
            let (latency, colo, detail) = (Duration::from_millis(20), self.colo.clone(), String::new());
            let status = self.status.filter(|_| answer != Answer::Served).or(status);
            let exchange = Exchange::default();
            let sight = NameSight { answer, status, code, latency, colo, detail, exchange };
            self.observed(Finding::Name { hostname: hostname.into(), sight });
        }
        if !self.names_known {
            return self.look_at_the_connector();
        }
        self.observed(Finding::Route { hostname: NAMES[0].into(), seen: self.route.clone() });
        let edge = Ok(RouteSight { inside: Some(Route::Edge), ..RouteSight::default() });
        let seen = if self.other_leads_here { edge } else { self.route.clone() };
        for hostname in NAMES.into_iter().take(self.watched).skip(1) {
            self.observed(Finding::Route { hostname: hostname.into(), seen: seen.clone() });
        }
        for (hostname, seen) in NAMES.into_iter().zip(self.elsewhere.clone()).take(self.watched) {
            if let Some(seen) = seen {
                self.observed(Finding::Elsewhere { hostname: hostname.into(), seen });
            }
        }
        if let Some(said) = self.announced.clone() {
            self.tell(Event::HostObserved(HostFinding::Announced(said)));
        }
        self.look_at_the_connector();
    }

    fn look_at_the_connector(&mut self) {
        if self.trying {
            self.log(Line::Attempt);
        }
        if self.ready_blind {
            self.observed(Finding::Ready(Err(Blind::Forbidden)));
        } else if self.unit.main_pid != 0 && self.ready_asked {
            let received = &mut self.counters.quic_received;
            *received = received.map(|bytes| bytes + u64::from(self.arriving));
            let counters = Some(Counters { total_requests: self.requests, ..self.counters });
            let counters = counters.filter(|_| !self.counters_unread);
            let connector = self.unit.invocation.map(|life| life.to_string());
            let port_of_this_life = self.port_of_this_life;
            let sight = ReadySight { ready: self.ready, connector, port_of_this_life, counters };
            self.observed(Finding::Ready(Ok(sight)));
        }
    }
}
