//! What one event costs, with ten tunnels in calm and in trouble.

use std::time::{Duration, Instant};

use tunnelwarden::warden::evidence::{
    Answer, Control, Counters, EdgeSight, Exchange, Finding, HostFinding, Link, NameSight, Reach, Ready,
    ReadySight, Setup, Transport,
};
use tunnelwarden::warden::machine::{Event, Memory, Warden};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::time::Now;

use crate::rng::Rng;
use crate::world::{BOOT, World};

const TUNNELS: u32 = 10;
const ROUNDS: u32 = 400;

/// Prints the mean of every kind of event.
pub(crate) fn measure() {
    for (name, answer) in [("calm", Answer::Served), ("all names 1033", Answer::TunnelError)] {
        let mut warden = Warden::new(Policy { observe_only: true, ..Policy::shipped() }, Memory::default());
        let (mut spent, mut events) = (Duration::ZERO, 0_u32);
        for round in 0..ROUNDS {
            let at = Duration::from_secs_f64(BOOT + f64::from(round) * 5.0);
            let now = Now { boot: at, wall: Duration::from_secs(1_800_000_000) + at };
            for event in round_of(round, answer) {
                let began = Instant::now();
                let commands = warden.handle(event, now);
                spent += began.elapsed();
                drop(commands);
                events += 1;
            }
        }
        let each = spent.as_secs_f64() * 1e6 / f64::from(events);
        println!(
            "{name}: {TUNNELS} tunnels, {events} events, {each:.2} us each, {:.2} of the limit of 2 us",
            each / 2.0
        );
    }
}

/// Every tunnel's unit, `/ready` and name; the edge and the control name once.
fn round_of(round: u32, answer: Answer) -> Vec<Event> {
    let sight = World::new(Rng::new(1)).unit;
    let mut events = Vec::new();
    let link = |transport| Link { region: "region1".into(), transport, reach: Reach::Reachable };
    let links = vec![link(Transport::Http2), link(Transport::Quic)];
    let edge = EdgeSight { resolved: true, links, addresses: Vec::new(), clock_suspect: false };
    events.push(Event::HostObserved(HostFinding::Edge(Ok(edge))));
    events.push(Event::HostObserved(HostFinding::Control(Ok(Control::Answered))));
    events.push(Event::Woke);
    for number in 0..TUNNELS {
        let unit = format!("cloudflared@{number}.service");
        let hostname = format!("app{number}.example.com");
        let observed = |finding| Event::Observed { unit: unit.clone(), finding };
        if round == 0 {
            events.push(Event::Tunnel { unit: unit.clone(), names: vec![hostname.clone()] });
            let setup =
                Setup { transport: Some(Transport::Http2), private_network: Some(false), other_edge: false };
            events.push(observed(Finding::Setup(setup)));
            events.push(observed(Finding::Journal(Ok(()))));
        }
        events.push(observed(Finding::Unit(Ok(sight.clone()))));
        let counters = Some(Counters::default());
        let ready = Ready::Connections(4);
        let ready = ReadySight { ready, connector: None, port_of_this_life: true, counters };
        events.push(observed(Finding::Ready(Ok(ready))));
        let (status, code) =
            if answer == Answer::Served { (Some(200), None) } else { (Some(530), Some(1033)) };
        let latency = Duration::from_millis(20);
        let (detail, exchange) = (String::new(), Exchange::default());
        let sight = NameSight { answer, status, code, latency, colo: None, detail, exchange };
        events.push(observed(Finding::Name { hostname, sight }));
    }
    events
}
