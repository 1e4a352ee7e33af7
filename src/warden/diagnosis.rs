//! Facts → verdict. The rules are a table; the first that holds, from the ground up, is the cause.

mod unit;

use core::net::IpAddr;
use std::time::Duration;

use super::cause::Cause;
use super::evidence::{Active, Answer, Control, Load, NameSight, NameTrack, Reach, Ready, Transport};
use super::facts::{Facts, SILENCE_AT_MOST};
use super::journal::WORDS_LATE;
use super::track::PROPAGATION;
pub use super::verdict::{Health, Verdict};
pub(super) use unit::on_purpose;
use unit::{
    operator_stopped, ours_stops, planned_restart, stopped_from_outside, unit_broken, unit_restarting,
};

struct Rule {
    cause: Cause,
    holds: fn(&Facts<'_>) -> bool,
}

const fn rule(cause: Cause, holds: fn(&Facts<'_>) -> bool) -> Rule {
    Rule { cause, holds }
}

const RULES: [Rule; 30] = [
    rule(Cause::Healthy, healthy),
    rule(Cause::UnitMissing, |f| f.unit.is_some_and(|u| u.load == Load::NotFound)),
    rule(Cause::UnitBroken, unit_broken),
    rule(Cause::OperatorStopped, operator_stopped),
    rule(Cause::StoppedFromOutside, stopped_from_outside),
    rule(Cause::PlannedRestart, planned_restart),
    rule(Cause::ConfigInvalid, config_invalid),
    rule(Cause::CredentialsUnusable, credentials_unusable),
    rule(Cause::HostOffline, |f| !f.through && host_offline(f)),
    rule(Cause::ClockWrong, |f| !f.through && clock_wrong(f)),
    rule(Cause::EdgeUnresponsive, |f| {
        !f.through && f.way_out() && f.edge.is_some_and(|edge| edge.unresponsive(f.families))
    }),
    rule(Cause::EdgeBlocked, |f| {
        let elsewhere = || stale_transport(f) || stale_addresses(f).is_some();
        !f.through && ((f.way_out() && f.edge_dead()) || (intercepted(f) && !elsewhere()))
    }),
    rule(Cause::QuicBlocked, |f| !f.through && quic_blocked(f)),
    rule(Cause::StaleTransport, |f| !f.through && (stale_transport(f) || stale_addresses(f).is_some())),
    rule(Cause::TransportBlocked, |f| !f.through && transport_blocked(f)),
    rule(Cause::TunnelDeleted, |f| !f.through && f.tunnel.is_some_and(|(_, tunnel)| tunnel.deleted)),
    rule(Cause::CredentialsRejected, credentials_rejected),
    rule(Cause::RegistrationRefused, registration_refused),
    rule(Cause::UnitRestarting, unit_restarting),
    rule(Cause::UnitFailed, |f| f.unit.is_some_and(|u| u.active == Active::Failed)),
    rule(Cause::ConnectorFrozen, frozen),
    rule(Cause::ConnectorAsleep, asleep),
    rule(Cause::Reconnecting, |f| {
        f.connections == Some(0) && f.unit.is_some_and(|u| u.active != Active::Inactive)
    }),
    rule(Cause::Misrouted, misrouted),
    rule(Cause::ConnectorPhantom, phantom),
    rule(Cause::IngressEmpty, ingress_empty),
    rule(Cause::OriginDown, |f| {
        f.connections != Some(0) && (f.origin_down() || f.tally.any(Answer::Unexpected))
    }),
    // What the names that do lead here say comes first.
    rule(Cause::Misrouted, |f| f.led_astray()),
    rule(Cause::PartlyConnected, partly),
    rule(Cause::EdgeIncident, edge_incident),
];

/// The verdict on one tunnel.
pub fn diagnose(facts: &Facts<'_>) -> Verdict {
    if facts.unit.is_none() {
        return Verdict::UNKNOWN;
    }
    let Some(rule) = RULES.iter().find(|rule| (rule.holds)(facts) && facts.policy.rule_stands(rule.cause))
    else {
        return Verdict::UNKNOWN;
    };
    if rule.cause.remedy().is_some() && facts.doubt().is_some() {
        return Verdict::UNKNOWN;
    }
    let served = facts.tally.any(Answer::Served);
    let health = if rule.cause == Cause::Healthy {
        Health::Healthy
    } else if served || rule.cause == Cause::PartlyConnected {
        Health::Degraded
    } else {
        Health::Down
    };
    Verdict { health, cause: Some(rule.cause) }
}

/// Attempts come 1 to 64 s apart.
const DIAL_RECENT: Duration = Duration::from_secs(150);
const REFUSAL_VALID: Duration = Duration::from_secs(420);
const REFUSAL_RECENT: Duration = Duration::from_secs(120);
const REFUSED_FOR_LONG: Duration = Duration::from_secs(300);
const PARTLY_FOR: Duration = Duration::from_secs(300);
const UNPROVEN_PHANTOM_FOR: Duration = Duration::from_secs(300);
/// Cloudflare's list of connections keeps a lost one for up to this long.
const RECORDS_LAG: Duration = Duration::from_secs(180);
/// After a record was mended, the edge may follow the old one for so long.
const MENDED_SETTLES: Duration = Duration::from_secs(180);
/// It reads its set-up, and looks up names, before it complains.
const BEGINS: Duration = Duration::from_secs(10);
/// Within this time an attempt comes to something.
const ATTEMPT_TAKES: Duration = Duration::from_secs(15);
const ATTEMPT_RECENT: Duration = Duration::from_secs(15);

fn healthy(f: &Facts<'_>) -> bool {
    let held = match f.connections {
        Some(0) => return false,
        Some(_) => true,
        None => false,
    };
    if partly(f) || f.looks.astray().next().is_some() {
        return false;
    }
    if f.names_known == 0 {
        return held;
    }
    let served = f.tally.all(Answer::Served);
    // Behind Access or a challenge nothing can be proven from outside; nothing speaks against it either.
    let unproven =
        !f.tally.any_conclusive() && f.looks.names.iter().any(|(_, _, s)| s.answer != Answer::Blind);
    // Where /ready cannot be read at all, what visitors get is the better witness.
    let silent = f.ready.is_some_and(|sight| sight.ready == Ready::Silent);
    let up_unread = f.connections.is_none() && !silent && f.unit.is_some_and(|u| u.up());
    (held && (served || unproven)) || (up_unread && served)
}

fn partly(f: &Facts<'_>) -> bool {
    connected(f) && f.age(f.track.partly_since).is_some_and(|age| PARTLY_FOR < age)
}

/// A text about the set-up counts for the process that could not start, until a registration or a newer file. The next one
/// says as much at once, or means something else.
fn setup_text(f: &Facts<'_>, told: Option<&(Duration, String)>) -> bool {
    let Some((at, _)) = told else { return false };
    let Some(unit) = f.unit else { return false };
    // Of these words, or of earlier ones that it now says again. Those of an end that just came are on their way.
    let ended_of_it = f.log.ended_of.is_some_and(|words| {
        let last = f.log.ended_by_itself.is_some_and(|ended| words.abs_diff(ended) < WORDS_LATE);
        last || f.within(f.log.ended_by_itself, WORDS_LATE)
    });
    // A simple unit is called running from its first moment on, and ends of the same.
    let begins = ended_of_it && f.life().is_some_and(|life| f.now.since(life.began) < BEGINS);
    let starts = if unit.up() { begins } else { unit.active == Active::Activating && !unit.restarting() };
    // One that began since and ended without a word ended of something else; systemd tells of the end before the journal does.
    let just_ended = ended_of_it && unit.result == "exit-code" && f.now.since(unit.since) < WORDS_LATE;
    let of_the_last = f.last_word(*at) && (starts || just_ended || f.said_in_this_life(*at));
    let connected_since = f.accepted().is_some_and(|accepted| *at < accepted);
    let ended = (!unit.up() || starts) && !ours_stops(f);
    of_the_last && !connected_since && !f.files_newer(*at) && ended && f.connections.unwrap_or(0) == 0
}

fn config_invalid(f: &Facts<'_>) -> bool {
    let told = f.log.config_invalid.as_ref();
    let last = told.map(|(at, _)| *at) >= f.log.credentials_unusable.as_ref().map(|(at, _)| *at);
    last && setup_text(f, told)
}

fn credentials_unusable(f: &Facts<'_>) -> bool {
    let usage = f.unit.is_some_and(|u| {
        !u.up() && u.result == "exit-code" && u.exit_status == Some(255) && !f.files_newer(u.since)
    });
    setup_text(f, f.log.credentials_unusable.as_ref()) || usage
}

fn host_offline(f: &Facts<'_>) -> bool {
    // A table that we do not read may hold the way: whoever is answered has one.
    let answered = f.way_out()
        || f.edge.is_some_and(|edge| edge.links.iter().any(|link| link.reach == Reach::Reachable));
    if f.host.is_some_and(|host| !host.route) && !answered {
        return true;
    }
    let control_gone = f.control == Some(Control::Failing) || f.control_blind;
    let resolver_dead = f.edge.is_some_and(|edge| !edge.resolved);
    let nothing_answers = f.edge_dead() && !f.way_out();
    control_gone && (resolver_dead || nothing_answers)
}

fn clock_wrong(f: &Facts<'_>) -> bool {
    let told = f.log.clock_wrong.as_ref().map(|(at, _)| *at).filter(|at| f.said_in_this_life(*at));
    let since = f.accepted().is_none_or(|accepted| told.is_some_and(|told| accepted < told));
    let seen = f.edge.is_some_and(|edge| edge.clock_suspect) && f.edge_dead();
    // It says so once an attempt. A dial of ours that came to work since then shows that the clock is right by now.
    let mended = f.dial_ok() && f.dial_ok_since() > told;
    (f.within(told, SILENCE_AT_MOST) && since && !mended && f.connections == Some(0)) || seen
}

/// Each attempt is shown another certificate than the edge's: something on the way breaks TLS open, and does so to the next
/// process, too. Our own dials do not look at the certificate.
pub(super) fn intercepted(f: &Facts<'_>) -> bool {
    let Some(told) = f.log.untrusted else { return false };
    let stands = f.log.attempt <= Some(told) || f.within(f.log.attempt, ATTEMPT_TAKES);
    !connected(f)
        && f.within(Some(told), SILENCE_AT_MOST)
        && f.last_word(told)
        && (f.said_in_this_life(told) || !f.unit.is_some_and(|u| u.up()))
        && stands
        && f.accepted().is_none_or(|accepted| accepted < told)
}

/// The edge answers by this transport, and not by the other one.
fn only_by(f: &Facts<'_>, transport: Transport) -> bool {
    let other = match transport {
        Transport::Quic => Transport::Http2,
        Transport::Http2 => Transport::Quic,
    };
    f.edge.is_some_and(|edge| edge.dead(other, f.families) && edge.reachable(transport, f.families))
}

fn quic_blocked(f: &Facts<'_>) -> bool {
    f.connections == Some(0)
        && f.unit.is_some_and(|u| u.active != Active::Inactive)
        && f.transport() == Transport::Quic
        && only_by(f, Transport::Http2)
}

fn transport_blocked(f: &Facts<'_>) -> bool {
    f.connections == Some(0)
        && f.unit.is_some_and(|u| u.active != Active::Inactive)
        && f.transport() == Transport::Http2
        && only_by(f, Transport::Quic)
}

fn stale_transport(f: &Facts<'_>) -> bool {
    let quic = || f.edge.is_some_and(|edge| edge.reachable(Transport::Quic, f.families));
    let blocked = transport_blocked(f) || (f.transport() == Transport::Http2 && intercepted(f) && quic());
    blocked && f.http2_by_chance() && f.running()
}

/// Where cloudflared dials in vain, if the edge's names no longer give that and what they give answers us. It resolves
/// them at its start and never again (cloudflared #1097, #1381).
pub(super) fn stale_addresses(f: &Facts<'_>) -> Option<IpAddr> {
    let edge = f.edge.filter(|edge| !f.own_edge && !edge.addresses.is_empty())?;
    let lately: Vec<_> =
        f.log.failed_dials.iter().filter(|(at, _)| f.within(Some(*at), DIAL_RECENT)).collect();
    let (_, last) = lately.first()?;
    let gone = 2 <= lately.len() && lately.iter().all(|(_, to)| !edge.addresses.contains(to));
    (gone && f.connections == Some(0) && f.running() && f.dial_ok()).then_some(*last)
}

fn refused_now(f: &Facts<'_>, at: Option<Duration>, valid: Duration) -> bool {
    f.within(at, valid) && f.accepted().is_none_or(|accepted| at.is_some_and(|at| accepted < at))
}

fn credentials_rejected(f: &Facts<'_>) -> bool {
    if connected(f) {
        return false;
    }
    let told = refused_now(f, f.log.unauthorized.as_ref().map(|(at, _)| *at), REFUSAL_VALID);
    // One refusal is none that lasts, however long ago it was.
    let last = f.track.refused_last;
    let counted = f.dial_ok()
        && f.age(f.track.refusals_since).is_some_and(|age| REFUSED_FOR_LONG <= age)
        && f.track.refusals_since < last
        && refused_now(f, last, REFUSAL_VALID);
    told || counted || (f.latched && f.connections == Some(0))
}

fn registration_refused(f: &Facts<'_>) -> bool {
    if connected(f) || !f.dial_ok() {
        return false;
    }
    // Whoever runs on and has not tried again since is refused still, as far as anybody knows.
    let lasts = |at: Option<Duration>| {
        refused_now(f, at, REFUSAL_RECENT)
            || (f.running() && f.log.attempt <= at && at.is_some_and(|at| f.said_in_this_life(at)))
    };
    let stands = |at| refused_now(f, at, REFUSAL_VALID) && lasts(at);
    let named = stands(f.log.refused.as_ref().map(|(at, _)| *at));
    // A graceful stop prints the same words.
    let stop = f.log.graceful_stop.filter(|stop| f.said_in_this_life(*stop));
    let stopping = match (stop, f.log.refused_unnamed) {
        (Some(stop), Some(refused)) => refused.abs_diff(stop) < Duration::from_secs(35) && stop <= refused,
        (None, _) | (_, None) => false,
    };
    let unnamed = stands(f.log.refused_unnamed) && !stopping;
    let counted = f.track.refusals_since.is_some() && refused_now(f, f.track.refused_last, REFUSAL_RECENT);
    named || unnamed || counted
}

fn frozen(f: &Facts<'_>) -> bool {
    let port_known = f.ready.is_some_and(|sight| sight.ready == Ready::Silent && sight.port_of_this_life);
    f.unit.is_some_and(|u| u.up()) && port_known && f.track.silent >= 3 && !f.through
}

fn asleep(f: &Facts<'_>) -> bool {
    let Some(zero) = f.zero_for() else { return false };
    let Some(dial) = f.dial_ok_for() else { return false };
    // A name that came back is newer than an R that was read before it did.
    let came_back = |(_, track, sight): &(&str, &NameTrack, &NameSight)| {
        sight.answer == Answer::Served && f.ready_at.is_some_and(|read| read < track.since)
    };
    if !f.running() || f.looks.names.iter().any(came_back) {
        return false;
    }
    let waited = zero.min(dial);
    let trying = f.within(f.log.attempt.max(f.log.registered), ATTEMPT_RECENT);
    f.patience() <= waited && (!trying || SILENCE_AT_MOST < waited)
}

/// R ≥ 1, as far as `/ready` can be believed.
fn connected(f: &Facts<'_>) -> bool {
    f.connections.is_some_and(|n| 0 < n)
}

fn misrouted(f: &Facts<'_>) -> bool {
    if f.led_astray() && f.tally.any(Answer::TunnelError) {
        return true;
    }
    // Beside a name that never worked, another that is lost is judged as if it were alone.
    let missing = if f.tally.any(Answer::TunnelError) { &f.looks.witnesses } else { &f.tally };
    // That has nothing to do with how long it is connected.
    if connected(f) && missing.any(Answer::DnsError) {
        return true;
    }
    if !connected(f) || f.registered_within(PROPAGATION) {
        return false;
    }
    let failing = || f.looks.conclusive().filter(|(_, _, sight)| sight.answer == Answer::TunnelError);
    // "Only some of them" means at the same time: a look at the others that is older proves nothing. One that cannot be
    // looked at for a moment is as it was last seen.
    let others_since = failing().map(|(_, track, _)| track.since).min();
    let others_served = others_since.is_some_and(|since| {
        let later = |at: &Duration| since < *at && f.now.since(*at) <= f.policy.name_age;
        let stands = |answer| matches!(answer, Answer::Served | Answer::Blind);
        f.looks
            .names
            .iter()
            .any(|(_, track, sight)| stands(sight.answer) && track.served.as_ref().is_some_and(later))
    });
    let twice = failing().any(|(_, track, _)| 2 <= track.streak);
    if twice && others_served {
        return true;
    }
    let never_through = f.life().is_some_and(|life| life.watched_whole && !life.through) && !f.quic_dead();
    let rising = f.track.requests_rising() == Some(true);
    others_since.is_some()
        && (never_through
            || rising
            || listed_live(f) == Some(true)
            || (f.comes_and_goes() && !bad_for_long(f)))
}

/// Cloudflare's records list live connections of this very connector; `None` if they were not read late enough to know
/// of this outage. They lag behind a loss by up to three minutes.
fn listed_live(f: &Facts<'_>) -> Option<bool> {
    let (at, tunnel) = f.tunnel?;
    let late_enough = f.track.names_bad_since.is_some_and(|since| since + RECORDS_LAG <= at);
    tunnel.live.filter(|_| late_enough).map(|live| 0 < live)
}

/// Cloudflare's records know that this connector has lost its connections. They may be as late to list a new process or
/// a new registration as they are to drop a lost one.
pub fn listed_lost(f: &Facts<'_>) -> bool {
    let registered = f.log.registered.max(f.track.connected_since);
    let newest = f.life().map(|life| life.began).max(registered);
    let read = f.tunnel.map(|(at, _)| at);
    let settled = newest.zip(read).is_some_and(|(newest, read)| newest + RECORDS_LAG <= read);
    settled && listed_live(f) == Some(false)
}

fn ingress_empty(f: &Facts<'_>) -> bool {
    let told = f.log.no_ingress.is_some_and(|at| f.said_in_this_life(at));
    let all_503 =
        || f.tally.any_conclusive() && f.looks.conclusive().all(|(_, _, sight)| sight.status == Some(503));
    connected(f) && told && all_503()
}

/// The same for so long that less else is needed to believe it.
fn bad_for_long(f: &Facts<'_>) -> bool {
    f.age(f.track.names_bad_since).is_some_and(|age| UNPROVEN_PHANTOM_FOR <= age)
}

fn phantom(f: &Facts<'_>) -> bool {
    let twice = f.looks.conclusive().all(|(_, track, _)| 2 <= track.streak);
    if !connected(f) || !f.looks.witnesses.all(Answer::TunnelError) || !twice || !f.dial_ok() {
        return false;
    }
    // Whoever is served elsewhere would lose that: then it takes as long as where the past is not known.
    let known = f.life().is_some_and(|life| life.through) && !f.served_elsewhere();
    (known || bad_for_long(f) || listed_lost(f) || f.quic_dead())
        && f.track.requests_rising() != Some(true)
        && !f.registered_within(PROPAGATION)
        && !f.within(f.track.astray, MENDED_SETTLES)
}

fn edge_incident(f: &Facts<'_>) -> bool {
    let errs = f.tally.any(Answer::EdgeError) || f.tally.any(Answer::OriginError);
    connected(f) && f.dial_ok() && (errs || f.served_elsewhere())
}
