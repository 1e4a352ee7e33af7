//! What an operator orders: a pause, its end, a restart. A restart asked for by a person needs no suspicion, but it
//! passes every rail that guards the unit, the budget and the host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::course::open_for;
use super::event::Command;
use super::evidence::Active;
use super::facts::Facts;
use super::note::HostHappening;
use super::rails::{Held, Hold};
use super::remedy::Remedy;
use super::time::Now;
use super::tunnel::{Phase, Tunnel};

/// No remedy until then. Always with an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Time since boot.
    pub until: Duration,
    /// In the operator's words.
    pub reason: String,
}

/// An operator's wish to have a unit restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub unit: String,
    /// In the operator's words.
    pub reason: String,
    /// Who asked, as the bus knows them.
    pub by: String,
    /// Past cooldown and budget; what guards the unit and the host still binds, and it is paid for all the same.
    #[serde(default)]
    pub force: bool,
}

/// The remedy that "restart" means for a unit in this state.
pub(super) fn remedy_for(facts: &Facts<'_>) -> Remedy {
    match facts.unit.map(|unit| unit.active) {
        Some(Active::Failed) => Remedy::ResetAndStart,
        Some(Active::Inactive) => Remedy::Start,
        Some(_) | None => Remedy::Restart,
    }
}

/// Which holds also bind a person. The others guard against acting on a wrong or hasty conclusion, and here nobody
/// concludes: somebody knows. With force the numbers that hold us back from doing too much do not bind either; whether a new
/// process would come up is no matter of numbers.
pub(super) fn binds(hold: Hold, force: bool) -> bool {
    match hold {
        Hold::Cooldown | Hold::BudgetSpent => !force,
        Hold::MemoryLost
        | Hold::ObserveOnly
        | Hold::OperatorIntent
        | Hold::JobQueued
        | Hold::Upgrading
        | Hold::ShuttingDown
        | Hold::CredentialsLatched
        | Hold::StartWouldFail
        | Hold::UnitLimitNear
        | Hold::FleetSlot => true,
        Hold::Paused
        | Hold::OutsideWindow
        | Hold::BootGrace
        | Hold::StartGrace
        | Hold::NotSustained
        | Hold::Patience
        | Hold::LiveConnections
        | Hold::NotCured
        | Hold::SelfDoubt
        | Hold::CloudflareIncident
        | Hold::LastLook => false,
    }
}

/// Why not now, beside the rails.
pub(super) fn busy(tunnel: &Tunnel) -> Option<Held> {
    let until = match tunnel.phase {
        Phase::Watching | Phase::LastLook { .. } => return None,
        Phase::Acting { give_up, .. } | Phase::Verifying { give_up, .. } => give_up,
    };
    let detail = "a remedy of ours is under way".into();
    Some(Held { hold: Hold::JobQueued, until: Some(until), detail })
}

/// Writes down who asked, and why; opens an incident for it if none is open.
pub(super) fn note_request(tunnel: &mut Tunnel, request: &Request, now: Now, out: &mut Vec<Command>) {
    let force = if request.force { ", past cooldown and budget" } else { "" };
    let text = format!("A restart was asked for by {}{force}: {}", request.by, request.reason);
    open_for(tunnel, Cause::PlannedRestart, &text, now, out);
    if let Some(incident) = &mut tunnel.history.incident {
        incident.note(now.wall, "requested", text.clone());
    }
    tunnel.explain(text, now);
}

/// Says that remedies are off, or on again.
pub(super) fn announce(what: HostHappening, text: String, out: &mut Vec<Command>) {
    out.push(Command::Persist);
    out.push(Command::Announce { what, text });
}
