//! What would be concluded if everything stayed as it is: the same judge, run ahead on what is known now.

use std::time::Duration;

use super::cause::Cause;
use super::diagnosis::Verdict;
use super::event::Event;
use super::evidence::{Finding, HostEvidence, HostFinding};
use super::machine::Warden;
use super::time::Now;
use super::tunnel::Tunnel;

/// A cause that only time can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    pub cause: Cause,
    /// For so long everything must stay as it is.
    pub after: Duration,
}

/// As often as a tunnel in trouble is looked at.
const STEP: Duration = Duration::from_secs(5);
/// The judge waits for nothing longer: cloudflared's own silence.
const HORIZON: Duration = Duration::from_secs(480);

impl Warden {
    /// What the judge will come to about this unit if every sense goes on to see what it saw last, and the journal says
    /// nothing new. `None`: there is a conclusion already, or none would come.
    pub fn outlook(&self, unit: &str, now: Now) -> Option<Outlook> {
        let tunnel = self.tunnels().find(|tunnel| tunnel.unit == unit)?;
        if !undecided(tunnel.verdict) {
            return None;
        }
        let around = of_host(self.host()).into_iter().map(Event::HostObserved);
        let seen =
            of_tunnel(tunnel).into_iter().map(|finding| Event::Observed { unit: unit.to_owned(), finding });
        let again: Vec<Event> = around.chain(seen).collect();
        let mut ahead = self.clone();
        let mut found: Option<Outlook> = None;
        let mut after = STEP;
        while after <= HORIZON {
            let then = Now { boot: now.boot + after, wall: now.wall + after };
            for event in &again {
                // What it would have done is nobody's order.
                drop(ahead.handle(event.clone(), then));
            }
            let verdict = ahead.tunnels().find(|tunnel| tunnel.unit == unit)?.verdict;
            found = match (verdict.cause.filter(|_| !undecided(verdict)), found) {
                (Some(cause), Some(before)) if before.cause == cause => Some(before),
                (Some(cause), _) => Some(Outlook { cause, after }),
                (None, _) => None,
            };
            after += STEP;
        }
        found
    }
}

/// More may come of this by waiting alone.
fn undecided(verdict: Verdict) -> bool {
    matches!(verdict.cause, None | Some(Cause::Reconnecting))
}

fn of_host(host: &HostEvidence) -> Vec<HostFinding> {
    let HostEvidence { control, edge, host, announced } = host;
    let control = control.latest.map(|(_, seen)| HostFinding::Control(seen));
    let edge = edge.latest.clone().map(|(_, seen)| HostFinding::Edge(seen));
    let host = host.latest.map(|(_, seen)| HostFinding::Host(seen));
    let announced = announced.latest.clone().map(|(_, seen)| HostFinding::Announced(seen));
    [control, edge, host, announced].into_iter().flatten().collect()
}

/// Of the journal nothing is said again: its lines have their own times.
fn of_tunnel(tunnel: &Tunnel) -> Vec<Finding> {
    let evidence = &tunnel.evidence;
    let unit = evidence.unit.latest.clone().map(|(_, seen)| Finding::Unit(seen));
    let ready = evidence.ready.latest.clone().map(|(_, seen)| Finding::Ready(seen));
    let records = evidence.tunnel.latest.map(|(_, seen)| Finding::Tunnel(seen));
    let names = evidence.names.iter().filter_map(|(name, track)| {
        let (_, sight) = track.latest.clone()?;
        Some(Finding::Name { hostname: name.clone(), sight })
    });
    let routes = evidence.routes.iter().filter_map(|(name, track)| {
        let seen = match track.blind {
            Some(blind) => Err(blind),
            None => Ok(track.sight.clone()?.1),
        };
        Some(Finding::Route { hostname: name.clone(), seen })
    });
    let elsewhere = evidence.elsewhere.iter().filter_map(|(name, slot)| {
        Some(Finding::Elsewhere { hostname: name.clone(), seen: slot.latest.clone()?.1 })
    });
    let single = [unit, ready, records].into_iter().flatten();
    single.chain(names).chain(routes).chain(elsewhere).collect()
}
