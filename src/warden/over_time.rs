//! What follows from what is seen over time: since when names are bad, whose life came through, the latch.

use std::time::Duration;

use super::evidence::{Answer, Evidence, NameSight, NameTrack};
use super::facts::{connections, origin_reported, unit};
use super::history::{History, KnownLife, Latch};
use super::looks::Looks;
use super::policy::Policy;
use super::time::Now;
use super::track::Track;

/// Takes in what `looks` say at this moment. True if something that must survive us has changed.
pub(super) fn follow(
    evidence: &Evidence,
    looks: &Looks<'_>,
    track: &mut Track,
    history: &mut History,
    policy: &Policy,
    now: Now,
) -> bool {
    let (unit, ready) = (unit(evidence, now), evidence.ready.fresh(now, policy.ready_age));
    let connections = connections(unit, ready, track);
    let unrouted = looks.tally.any(Answer::TunnelError);
    // Only that explains a 1033 which may linger when a record is mended.
    if unrouted && connections != Some(0) && looks.led_astray() {
        track.astray = Some(now.boot);
    }
    let reported = origin_reported(track, &evidence.log, now);
    let through = looks.tally.through(reported);
    if looks.tally.any_conclusive() {
        track.names_say(now);
    }
    if through {
        track.came_through(now, evidence.log.registered);
    } else if looks.tally.any_conclusive() {
        track.names_bad_since.get_or_insert(now.boot);
        track.unrouted |= unrouted;
    }
    match connections {
        Some(0) => track.zero_stands(now),
        Some(_) => {
            track.zero_since = None;
            track.zero_looks = 0;
        }
        None => (),
    }
    let mut dirty = false;
    if let Some(life) = &mut track.life {
        // A look from before it was connected shows what the last one served, or another connector; and the last one's
        // origin is not its own.
        let reported = reported && evidence.log.origin_down.max(track.requests_failed) >= Some(life.began);
        let own = |since: Duration| {
            let of_this_life = |(_, track, sight): &(&str, &NameTrack, &NameSight)| {
                sight.answer.through(reported) && track.seen_at.is_some_and(|at| since <= at)
            };
            looks.names.iter().any(of_this_life)
        };
        let connected = track.connected_since.filter(|_| connections.is_some_and(|n| 0 < n));
        life.through = life.through || connected.is_some_and(own);
        let (invocation, watched_whole, through) = (life.invocation, life.watched_whole, life.through);
        dirty |= history.remember(KnownLife { invocation, watched_whole, through });
    }
    dirty | follow_latch(evidence, track, history, now)
}

fn follow_latch(evidence: &Evidence, track: &Track, history: &mut History, now: Now) -> bool {
    let log = &evidence.log;
    let refused = log.unauthorized.as_ref().map(|(at, _)| *at);
    let registered = log.registered.max(track.accepted);
    let files = evidence.files.as_ref().and_then(|files| files.changed);
    match (history.latch, refused) {
        (Some(latch), _) if registered.is_some_and(|at| latch.at < at) => {
            history.latch = None;
            true
        }
        (None, Some(at)) if registered.is_none_or(|registered| registered < at) => {
            // An old refusal in the history of the journal speaks of the files as they were then.
            let files = files.filter(|changed| *changed <= now.wall_of(at));
            history.latch = Some(Latch { at, files, tried: false });
            true
        }
        (Some(_), _) | (None, _) => false,
    }
}
