//! What one event costs, with ten tunnels in calm and in trouble, and what a tunnel keeps in memory at most.

use std::time::{Duration, Instant};

use tunnelwarden::warden::event::Event;
use tunnelwarden::warden::evidence::{
    Answer, Control, Counters, EdgeSight, Exchange, Family, Finding, HostFinding, Link, NameSight, Reach,
    Ready, ReadySight, Setup, Transport,
};
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::time::Now;

use crate::rng::Rng;
use crate::world::{BOOT, World};

const TUNNELS: u32 = 10;
const ROUNDS: u32 = 400;

/// Prints the mean over the kinds of events; of the rounds the median, because others work on the machine too.
pub(crate) fn measure() {
    for (name, answer) in [("calm", Answer::Served), ("all names 1033", Answer::TunnelError)] {
        let mut warden = Warden::new(Policy { observe_only: true, ..Policy::shipped() }, Memory::default());
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let at = Duration::from_secs_f64(BOOT + f64::from(round) * 5.0);
            let now = Now { boot: at, wall: Duration::from_secs(1_800_000_000) + at };
            let events = round_of(round, TUNNELS, answer);
            let count = events.len() as f64;
            let began = Instant::now();
            for event in events {
                drop(warden.handle(event, now));
            }
            rounds.push(began.elapsed().as_secs_f64() * 1e6 / count);
        }
        rounds.sort_by(f64::total_cmp);
        let each = rounds[rounds.len() / 2];
        println!(
            "{name}: {TUNNELS} tunnels, {each:.2} us for an event, {:.2} of the limit of 2 us",
            each / 2.0
        );
    }
}

const MANY: u32 = 200;
/// More than a timeline keeps.
const CHANGES: u32 = 220;
/// Rounds in which an answer stands, so that an incident opens.
const STANDS: u32 = 4;

/// Prints how much the process has grown by tunnels whose timelines, and all else that is kept, are full.
pub(crate) fn memory() {
    let Some(before) = resident() else { return println!("memory: /proc/self/statm cannot be read") };
    let mut warden = Warden::new(Policy { observe_only: true, ..Policy::shipped() }, Memory::default());
    for round in 0..CHANGES * STANDS {
        let at = Duration::from_secs_f64(BOOT + f64::from(round) * 5.0);
        let now = Now { boot: at, wall: Duration::from_secs(1_800_000_000) + at };
        // Another cause again and again, so that each is a line of the timeline.
        let answer = if (round / STANDS).is_multiple_of(2) { Answer::TunnelError } else { Answer::EdgeError };
        for event in round_of(round, MANY, answer) {
            drop(warden.handle(event, now));
        }
    }
    let steps = warden.tunnels().map(|tunnel| tunnel.history.incident.as_ref().map_or(0, |i| i.steps.len()));
    let (least, grown) = (steps.min().unwrap_or(0), resident().unwrap_or(before) - before);
    println!("memory: {} KiB a tunnel with a timeline of {least} lines", grown / u64::from(MANY) / 1024);
}

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

/// Every tunnel's unit, `/ready` and name; the edge and the control name once.
fn round_of(round: u32, tunnels: u32, answer: Answer) -> Vec<Event> {
    let sight = World::new(Rng::new(1)).unit;
    let mut events = Vec::new();
    let link =
        |transport| Link { region: "region1".into(), transport, family: Family::V4, reach: Reach::Reachable };
    let links = vec![link(Transport::Http2), link(Transport::Quic)];
    let edge =
        EdgeSight { resolved: true, links, first: Family::V4, addresses: Vec::new(), clock_suspect: false };
    events.push(Event::HostObserved(HostFinding::Edge(Ok(edge))));
    events.push(Event::HostObserved(HostFinding::Control(Ok(Control::Answered))));
    events.push(Event::Woke);
    for number in 0..tunnels {
        let unit = format!("cloudflared@{number}.service");
        let hostname = format!("app{number}.example.com");
        let observed = |finding| Event::Observed { unit: unit.clone(), finding };
        if round == 0 {
            events.push(Event::Tunnel { unit: unit.clone(), names: vec![hostname.clone()] });
            let setup =
                Setup { transport: Some(Transport::Http2), private_network: Some(false), ..Setup::default() };
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
