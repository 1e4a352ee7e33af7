//! Rails that count what was tried before: by the unit, in this incident, in the last hour and day.

use super::super::cause::Cause;
use super::super::history::{DAY, HOUR, full_until};
use super::super::remedy::Remedy;
use super::{Case, Held, Hold};

const NOT_CURED_AT_MOST: u32 = 2;

pub(super) fn unit_limit_near(case: &Case<'_>) -> Option<Held> {
    let f = case.facts;
    // A reset forgets the unit's own count.
    if case.remedy == Remedy::ResetAndStart {
        return None;
    }
    let (burst, interval) = f.unit?.start_rate?;
    let ages = f.track.starts.iter().map(|at| f.now.since(*at));
    let until = full_until(ages, f.now, interval, burst.saturating_sub(1).max(1))?;
    Some(Held::until(Hold::UnitLimitNear, until))
}

pub(super) fn not_cured(case: &Case<'_>) -> Option<Held> {
    // Rules that one restart did not bring are none that another one would.
    let tried = || case.history.incident.as_ref().is_some_and(|incident| incident.open() && incident.tried());
    let once = case.cause == Cause::IngressEmpty && tried();
    if case.history.not_cured < NOT_CURED_AT_MOST && !once {
        return None;
    }
    let until = case.history.last()?.aged(case.facts.now, case.facts.policy.half_open);
    (case.facts.now.boot < until).then(|| Held::until(Hold::NotCured, until))
}

pub(super) fn cooldown(case: &Case<'_>) -> Option<Held> {
    let until = case.history.cooldown_until(case.facts.now, case.facts.policy)?;
    Some(Held::until(Hold::Cooldown, until))
}

pub(super) fn budget_spent(case: &Case<'_>) -> Option<Held> {
    let (now, policy) = (case.facts.now, case.facts.policy);
    let hour = case.history.full_until(now, HOUR, policy.per_hour);
    // Full for the day: one half-open try each `half_open`, never halted for ever.
    let day = case.history.full_until(now, DAY, policy.per_day).and_then(|full| {
        let open = case.history.last().map(|last| last.aged(now, policy.half_open))?;
        (now.boot < open).then_some(open.min(full))
    });
    let host =
        full_until(case.host_charges.iter().map(|charge| charge.age(now)), now, HOUR, policy.per_hour_host);
    let until = [hour, day, host].into_iter().flatten().max()?;
    Some(Held::until(Hold::BudgetSpent, until))
}
