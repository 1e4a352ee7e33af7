//! The machine: `handle(event, now)` is its only door. What it wants done comes out as commands.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::event::{Command, Event};
use super::evidence::{HostEvidence, HostFinding};
use super::explain::span;
use super::facts::{Facts, Shaken};
use super::history::{Charge, DAY, Histories, History};
use super::judgement::{Around, judge};
use super::looks::Looks;
use super::note::HostHappening;
use super::operator::{self, Pause, Request};
use super::order::{VERIFY_FOR, order_remedy, remedy_done};
use super::policy::Policy;
use super::rails::{Case, Held, objections};
use super::time::Now;
use super::track::EdgeTrack;
use super::tunnel::{Phase, Tunnel};

/// The judge of this host's tunnels.
#[derive(Clone, Debug)]
pub struct Warden {
    policy: Policy,
    tunnels: BTreeMap<String, Tunnel>,
    /// Histories of units that are not watched at present.
    aside: Histories,
    host: HostEvidence,
    edge_track: EdgeTrack,
    /// What was paid for on this host, at least in the last hour, as the histories have it.
    charges: Vec<Charge>,
    memory_lost: Option<String>,
    paused: Option<Pause>,
    /// Finished decision cycles.
    cycles: u64,
    /// When the first of the tunnels is to be judged anew. All of them would have to be asked for it at each event.
    soonest: Option<Duration>,
    /// The clocks at the last event, and when we said we would be woken at the latest.
    last: Option<(Now, Duration)>,
    shaken: Option<Shaken>,
}

/// What the state file gave back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    pub histories: Histories,
    /// Why it was lost, if it was.
    pub lost: Option<String>,
    pub paused: Option<Pause>,
}

/// Woken this much later than asked for: what was seen before says nothing about now.
const STOOD_STILL: Duration = Duration::from_secs(10);
/// Slewing moves a clock by less than this between two wake-ups.
const CLOCK_JUMP: Duration = Duration::from_secs(5);
/// The pace of the clock checks where nothing is watched.
const NO_TUNNEL: Duration = Duration::from_secs(10);
/// The longest that a remedy and its proof take; what is older when we come back was proven by nobody.
const IN_FLIGHT_FOR: Duration = Duration::from_secs(900);
const SOONEST: Duration = Duration::from_millis(20);

impl Warden {
    /// A warden with what was remembered.
    pub fn new(policy: Policy, memory: Memory) -> Self {
        let Memory { histories, lost, paused } = memory;
        Self {
            policy,
            tunnels: BTreeMap::new(),
            charges: histories.values().flat_map(|history| &history.charges).copied().collect(),
            aside: histories,
            host: HostEvidence::default(),
            edge_track: EdgeTrack::default(),
            memory_lost: lost,
            paused,
            cycles: 0,
            soonest: None,
            last: None,
            shaken: None,
        }
    }

    /// Takes in one event and says what is to be done, in this order.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Command> {
        let mut out = Vec::new();
        let lost_footing = self.check_footing(now);
        self.end_pause(now, &mut out);
        let taken = self.take(event, now, &mut out);
        let concerned = if lost_footing { Concerned::All } else { taken };
        self.charges.retain(|charge| charge.age(now) < DAY);
        let Self { policy, tunnels, host, edge_track, charges, memory_lost, paused, shaken, soonest, .. } =
            self;
        let mut judge_one = |tunnel: &mut Tunnel| {
            let around = Around {
                policy,
                host,
                edge_track,
                host_charges: charges,
                memory_lost: memory_lost.as_deref(),
                paused: paused.as_ref(),
                shaken: *shaken,
            };
            let paid = tunnel.history.last();
            judge(tunnel, &around, now, &mut out);
            // The next tunnel judged at this moment finds the host's budget as this one left it.
            charges.extend(tunnel.history.last().filter(|last| paid != Some(*last)));
        };
        match concerned {
            Concerned::Nobody => (),
            Concerned::One(unit) => {
                if let Some(tunnel) = tunnels.get_mut(&unit) {
                    let before = tunnel.wake;
                    judge_one(tunnel);
                    *soonest = match *soonest {
                        Some(first) if first < before => Some(first.min(tunnel.wake)),
                        Some(_) | None => first_wake(tunnels),
                    };
                }
            }
            Concerned::Due => {
                tunnels.values_mut().filter(|tunnel| tunnel.wake <= now.boot).for_each(judge_one);
                *soonest = first_wake(tunnels);
            }
            Concerned::All => {
                tunnels.values_mut().for_each(judge_one);
                *soonest = first_wake(tunnels);
            }
        }
        self.cycles += 1;
        self.last = Some((now, self.next_wakeup(now)));
        out
    }

    /// Notices that we were not woken when we should have been, and that the wall clock was set: true if so.
    fn check_footing(&mut self, now: Now) -> bool {
        let Some((before, wakeup)) = self.last else { return false };
        let late = now.boot.saturating_sub(wakeup);
        let (passed, shown) = (now.boot.saturating_sub(before.boot), now.wall.abs_diff(before.wall));
        let jump = if before.wall <= now.wall { shown.abs_diff(passed) } else { shown + passed };
        if STOOD_STILL < late {
            self.shaken = Some(Shaken::StoodStill { at: now.boot, lasted: passed });
            // Nobody was patient meanwhile.
            self.edge_track.begin_anew(now);
            self.tunnels.values_mut().for_each(|tunnel| tunnel.track.begin_anew(now));
        } else if CLOCK_JUMP < jump {
            self.shaken = Some(Shaken::ClockJumped { at: now.boot, by: jump });
        } else {
            return false;
        }
        true
    }

    /// When to wake us if nothing happens before (time since boot); never in the past. What happens to one tunnel puts off
    /// no other's.
    pub fn next_wakeup(&self, now: Now) -> Duration {
        self.soonest.unwrap_or(now.boot + NO_TUNNEL).max(now.boot + SOONEST)
    }

    pub fn tunnels(&self) -> impl Iterator<Item = &Tunnel> {
        self.tunnels.values()
    }

    pub fn host(&self) -> &HostEvidence {
        &self.host
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub fn memory_lost(&self) -> Option<&str> {
        self.memory_lost.as_deref()
    }

    pub fn paused(&self) -> Option<&Pause> {
        self.paused.as_ref()
    }

    /// Why a restart that a person asks for would not be ordered now; nothing means that it would.
    pub fn refusal(&self, request: &Request, now: Now) -> Vec<Held> {
        let Some(tunnel) = self.tunnels.get(&request.unit) else { return Vec::new() };
        let looks = Looks::of(&tunnel.evidence, &self.policy, now);
        let facts = tunnel.facts(looks, now, &self.policy, &self.host, &self.edge_track, self.shaken);
        let case = Case {
            unit: &tunnel.unit,
            facts: &facts,
            cause: Cause::PlannedRestart,
            remedy: operator::remedy_for(&facts),
            history: &tunnel.history,
            host_charges: &self.charges,
            memory_lost: self.memory_lost.as_deref(),
            paused: self.paused.as_ref(),
            look_again: None,
        };
        let rails = objections(&case).into_iter().filter(|held| operator::binds(held.hold, request.force));
        operator::busy(tunnel).into_iter().chain(rails).collect()
    }

    fn end_pause(&mut self, now: Now, out: &mut Vec<Command>) {
        if self.paused.as_ref().is_some_and(|pause| pause.until <= now.boot) {
            self.paused = None;
            let text = "The pause is over, remedies are possible again.".into();
            operator::announce(HostHappening::Resumed, text, out);
        }
    }

    fn request(&mut self, request: &Request, now: Now, out: &mut Vec<Command>) {
        if !self.refusal(request, now).is_empty() {
            return;
        }
        let Self { policy, tunnels, host, edge_track, charges, shaken, .. } = self;
        let Some(tunnel) = tunnels.get_mut(&request.unit) else { return };
        let looks = Looks::of(&tunnel.evidence, policy, now);
        let facts = tunnel.facts(looks, now, policy, host, edge_track, *shaken);
        let remedy = operator::remedy_for(&facts);
        let (stop, start) = facts.unit.map(|unit| (unit.stop_limit, unit.start_limit)).unwrap_or_default();
        let before = facts.unit.and_then(|unit| unit.invocation);
        let deadline = remedy.deadline(stop, start);
        operator::note_request(tunnel, request, now, out);
        order_remedy(tunnel, policy, (remedy, Cause::PlannedRestart), deadline, before, now, out);
        charges.extend(tunnel.history.last());
    }

    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// What must survive us.
    pub fn histories(&self) -> Histories {
        let mut all = self.aside.clone();
        all.extend(self.tunnels.iter().map(|(unit, tunnel)| (unit.clone(), tunnel.history.clone())));
        all
    }

    /// The same for another warden in this process.
    pub fn memory(&self) -> Memory {
        let (lost, paused) = (self.memory_lost.clone(), self.paused.clone());
        Memory { histories: self.histories(), lost, paused }
    }

    /// The facts of one tunnel as they are now.
    pub fn facts(&self, unit: &str, now: Now) -> Option<Facts<'_>> {
        let tunnel = self.tunnels.get(unit)?;
        let looks = Looks::of(&tunnel.evidence, &self.policy, now);
        Some(tunnel.facts(looks, now, &self.policy, &self.host, &self.edge_track, self.shaken))
    }

    fn take(&mut self, event: Event, now: Now, out: &mut Vec<Command>) -> Concerned {
        match event {
            Event::Tunnel { unit, names } => {
                self.appear(unit.clone(), &names, now);
                return Concerned::One(unit);
            }
            Event::Gone { unit } => {
                if let Some(tunnel) = self.tunnels.remove(&unit) {
                    self.aside.insert(unit, tunnel.history);
                }
                self.soonest = first_wake(&self.tunnels);
                return Concerned::Nobody;
            }
            Event::Observed { unit, finding } => {
                let telling = self.tunnels.get_mut(&unit).is_some_and(|tunnel| tunnel.fold(now, finding));
                return if telling { Concerned::One(unit) } else { Concerned::Nobody };
            }
            Event::HostObserved(finding) => {
                if let HostFinding::Edge(Ok(sight)) = &finding {
                    self.edge_track.put(now, sight);
                }
                let known = self.host.repeats(now, &finding, self.policy.edge_age);
                self.host.put(now, finding);
                if known {
                    return Concerned::Nobody;
                }
            }
            Event::Looked { unit } => {
                if let Some(Phase::LastLook { looked, .. }) =
                    self.tunnels.get_mut(&unit).map(|t| &mut t.phase)
                {
                    *looked = true;
                }
                return Concerned::One(unit);
            }
            Event::RemedyDone { unit, outcome } => {
                if let Some(tunnel) = self.tunnels.get_mut(&unit) {
                    remedy_done(tunnel, outcome, now, out);
                }
                return Concerned::One(unit);
            }
            Event::Policy(policy) => self.policy = *policy,
            Event::MemoryAccepted => self.memory_lost = None,
            Event::Paused(pause) => {
                let left = span(pause.until.saturating_sub(now.boot));
                let text = format!("Paused for {left}, {}. Nothing is restarted until then.", pause.reason);
                self.paused = Some(pause);
                operator::announce(HostHappening::Paused, text, out);
            }
            Event::Resumed { by } => {
                if self.paused.take().is_some() {
                    let text = format!("The pause was ended by {by}, remedies are possible again.");
                    operator::announce(HostHappening::Resumed, text, out);
                }
            }
            Event::Requested(request) => {
                self.request(&request, now, out);
                return Concerned::One(request.unit);
            }
            Event::Woke => return Concerned::Due,
        }
        Concerned::All
    }

    fn appear(&mut self, unit: String, names: &[String], now: Now) {
        let aside = &mut self.aside;
        let tunnel = self.tunnels.entry(unit.clone()).or_insert_with(|| {
            let history = aside.remove(&unit).unwrap_or_default();
            let mut tunnel = Tunnel::new(unit, history, now);
            // Its effect is nothing to be seen any more.
            tunnel.history.in_flight =
                tunnel.history.in_flight.filter(|flight| now.since(flight.at) < IN_FLIGHT_FOR);
            // We were ended in the middle of a remedy: it is paid for, and only its effect is to be seen.
            if let Some(flight) = tunnel.history.in_flight {
                let (cause, since) = (open_cause(&tunnel.history), now.boot);
                let give_up = now.boot + VERIFY_FOR;
                tunnel.phase = Phase::Verifying { remedy: flight.remedy, cause, since, give_up };
            }
            tunnel
        });
        tunnel.watch_names(names);
    }
}

/// When the first of them is to be judged anew.
fn first_wake(tunnels: &BTreeMap<String, Tunnel>) -> Option<Duration> {
    tunnels.values().map(|tunnel| tunnel.wake).min()
}

/// Whom an event concerns.
enum Concerned {
    Nobody,
    One(String),
    /// Those whose time has come.
    Due,
    All,
}

fn open_cause(history: &History) -> Cause {
    history.incident.as_ref().map_or(Cause::Reconnecting, |incident| incident.cause)
}
