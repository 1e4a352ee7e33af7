//! Rules about the unit: what systemd says of it, and whose doing that is.

use std::time::Duration;

use super::super::evidence::{Active, Answer, Job, Load, UnitSight};
use super::super::facts::Facts;
use super::super::track::{Origin, PROPAGATION};

const PLANNED_GRACE: Duration = Duration::from_secs(90);

pub(super) fn unit_broken(f: &Facts<'_>) -> bool {
    // systemd.exec(5): 200 to 243 are systemd's own, given when it could not even execute the program.
    f.unit.is_some_and(|u| {
        u.load == Load::Broken
            || (!u.up()
                && u.result == "exit-code"
                && u.exit_status.is_some_and(|status| (200..=243).contains(&status)))
    })
}

pub(super) fn operator_stopped(f: &Facts<'_>) -> bool {
    let Some(unit) = f.unit else { return false };
    if unit.frozen {
        return true;
    }
    match unit.active {
        Active::Deactivating => unit.job == Some(Job::Stop) || (unit.job.is_none() && stop_asked(f)),
        Active::Failed | Active::Inactive if about_to_start(unit) => false,
        Active::Failed => on_purpose(f) || !f.journal_readable,
        Active::Inactive => on_purpose(f) || !ended_by_itself(f),
        Active::Active | Active::Activating | Active::Other => false,
    }
}

/// systemd was asked to stop it, and not to start it since.
fn stop_asked(f: &Facts<'_>) -> bool {
    f.log.stop_job.is_some_and(|stop| f.log.start_job.is_none_or(|start| start < stop))
}

/// That it does not run is somebody's wish, and not only taken for one because the past is not known.
pub(in super::super) fn on_purpose(f: &Facts<'_>) -> bool {
    stop_asked(f) || f.unit.is_some_and(|unit| unit.frozen || unit.disabled || unit.load == Load::Masked)
}

/// It waits for its turn: at a boot, for the network.
fn about_to_start(unit: &UnitSight) -> bool {
    matches!(unit.job, Some(Job::Start | Job::Restart))
}

/// The journal shows that the last life ended with nobody asking for it.
fn ended_by_itself(f: &Facts<'_>) -> bool {
    let Some(ended) = f.log.ended_by_itself else { return false };
    f.journal_readable
        && f.log.start_job.is_none_or(|start| start <= ended)
        && f.log.gap.is_none_or(|gap| gap < ended.saturating_sub(Duration::from_secs(60)))
}

pub(super) fn stopped_from_outside(f: &Facts<'_>) -> bool {
    let ended = |u: &UnitSight| u.active == Active::Inactive && u.result == "success" && u.was_active;
    f.unit.is_some_and(|u| ended(u) && !about_to_start(u)) && ended_by_itself(f)
}

pub(super) fn planned_restart(f: &Facts<'_>) -> bool {
    let Some(unit) = f.unit else { return false };
    if unit.restarting() || matches!(unit.active, Active::Inactive | Active::Failed) {
        return false;
    }
    // Once it is connected, what is wrong is no longer the restart, but that names may still be on their way.
    let begins = |began| {
        let connected = f.accepted().is_some_and(|at| began <= at);
        let on_its_way = f.registered_within(PROPAGATION) && f.connections.is_some_and(|held| 0 < held);
        !connected || (on_its_way && f.looks.witnesses.all(Answer::TunnelError))
    };
    let another = f.life().is_some_and(|life| {
        life.origin == Origin::Other && f.now.since(life.began) < PLANNED_GRACE && begins(life.began)
    });
    let restarting =
        unit.active == Active::Deactivating && matches!(unit.job, Some(Job::Restart | Job::Start));
    let under_way = restarting && !f.ours_at_work;
    another || under_way
}

/// What runs is stopped for a remedy of ours.
pub(super) fn ours_stops(f: &Facts<'_>) -> bool {
    f.ours_at_work && f.unit.is_some_and(|u| u.active == Active::Deactivating)
}

pub(super) fn unit_restarting(f: &Facts<'_>) -> bool {
    let comes = |u: &UnitSight| match u.active {
        Active::Activating => u.restarting() || u.start_limit.is_some(),
        Active::Inactive | Active::Failed => about_to_start(u),
        Active::Active | Active::Deactivating | Active::Other => false,
    };
    ours_stops(f) || f.unit.is_some_and(comes)
}
