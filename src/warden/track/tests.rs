//! What is known by watching: whose life a process is, silence, counts.

use super::super::evidence::{Active, EdgeSight, Family, Link, Reach, Transport};
use super::*;

fn secs(at: u64) -> Duration {
    Duration::from_secs(at)
}

fn now(at: u64) -> Now {
    Now { boot: secs(at), wall: secs(at) }
}

fn unit(life: u128, main_pid: u32, n_restarts: u32) -> UnitSight {
    UnitSight {
        active: Active::Active,
        sub: "running".into(),
        main_pid,
        invocation: Some(Invocation(life)),
        n_restarts,
        since: secs(500),
        started: Some(secs(400)),
        was_active: true,
        ..UnitSight::stock()
    }
}

fn origin(before: &UnitSight, after: &UnitSight, ours: bool) -> Origin {
    let mut track = Track::default();
    track.unit(now(500), None, before, false, None);
    assert_eq!(track.life.unwrap().origin, Origin::Before);
    track.unit(now(510), Some(before), after, ours, None);
    track.life.unwrap().origin
}

#[test]
fn a_new_life_is_ours_or_systemds_or_another_persons() {
    let waits = UnitSight { active: Active::Activating, sub: "auto-restart".into(), ..unit(1, 0, 1) };
    assert_eq!(origin(&unit(1, 7, 0), &unit(2, 8, 0), false), Origin::Other);
    assert_eq!(origin(&unit(1, 7, 0), &unit(2, 8, 1), true), Origin::Ours);
    assert_eq!(origin(&waits, &unit(2, 8, 1), false), Origin::Systemd);
    assert_eq!(origin(&UnitSight { n_restarts: 0, ..waits }, &unit(2, 8, 0), false), Origin::Systemd);
    assert_eq!(origin(&unit(1, 7, 1), &unit(2, 8, 2), false), Origin::Systemd);
    // systemd counted its restart before it had a process; somebody who starts by hand sets the count back.
    assert_eq!(origin(&unit(1, 0, 1), &unit(2, 8, 1), false), Origin::Systemd);
    assert_eq!(origin(&unit(1, 0, 1), &unit(2, 8, 0), false), Origin::Other);
    assert_eq!(origin(&unit(1, 7, 1), &unit(2, 8, 1), false), Origin::Other);
    assert_eq!(origin(&unit(1, 7, 1), &unit(1, 7, 2), false), Origin::Before, "it is the same life");
    // systemd could not be asked in between.
    let mut track = Track::default();
    track.unit(now(500), None, &unit(1, 7, 0), false, None);
    track.unit(now(510), None, &unit(2, 8, 1), false, None);
    assert_eq!(track.life.unwrap().origin, Origin::Other);
}

#[test]
fn a_life_was_watched_whole_if_we_came_before_it_or_just_after() {
    let whole = |at, known| {
        let mut track = Track::default();
        track.unit(now(at), None, &unit(1, 7, 0), false, known);
        let life = track.life.unwrap();
        assert_eq!(life.began, secs(400));
        (life.watched_whole, life.through)
    };
    assert_eq!(whole(419, None), (true, false));
    assert_eq!(whole(420, None), (false, false));
    assert_eq!(whole(900, Some((true, true))), (true, true));
    let mut track = Track::default();
    track.unit(now(900), None, &unit(1, 7, 0), false, None);
    let next = |id, started| UnitSight { started: Some(secs(started)), ..unit(id, 8, 0) };
    track.unit(now(910), Some(&unit(1, 7, 0)), &next(2, 905), false, None);
    assert!(track.life.unwrap().watched_whole);
    // systemd could not be asked for a while.
    track.unit(now(999), Some(&next(2, 905)), &next(3, 930), false, None);
    assert!(!track.life.unwrap().watched_whole);
}

#[test]
fn starts_are_kept_in_number() {
    let mut track = Track::default();
    for life in 1..40_u32 {
        let started = Some(secs(u64::from(life)));
        let sight = UnitSight { started, ..unit(u128::from(life), life, 0) };
        track.unit(now(500), None, &sight, false, None);
    }
    assert_eq!(track.starts, (24..40).map(secs).collect::<Vec<_>>());
}

fn ready(ready: Ready, counters: Option<Counters>) -> ReadySight {
    ReadySight { ready, connector: Some("a".into()), port_of_this_life: true, counters }
}

#[test]
fn what_one_process_said_is_not_said_of_the_next() {
    let mut track = Track::default();
    track.unit(now(500), None, &unit(1, 7, 0), false, None);
    let counted = Counters { quic_received: Some(1), ..Counters::default() };
    let refused = Counters { register_fail: 1, request_errors: 1, ..counted };
    track.ready(now(501), &ready(Ready::Silent, None), FULL);
    track.ready(now(502), &ready(Ready::Silent, Some(counted)), FULL);
    track.ready(now(503), &ready(Ready::Silent, Some(refused)), FULL);
    assert_eq!((track.silent_since, track.silent), (Some(secs(501)), 3));
    assert_eq!((track.refusals_since, track.requests_failed), (Some(secs(503)), Some(secs(503))));
    let connected = Track {
        connected_since: Some(secs(501)),
        partly_since: Some(secs(501)),
        life: track.life,
        ..Track::default()
    };
    for mut track in [track, connected] {
        track.unit(now(510), None, &unit(2, 8, 0), false, None);
        assert_eq!((track.silent_since, track.silent), (None, 0));
        assert_eq!((track.connected_since, track.partly_since), (None, None));
        assert!(track.baseline.is_none() && track.counters.is_none() && track.received.is_none());
        assert_eq!(track.refusals_since, None);
    }
}

#[test]
fn silence_ends_with_any_word_and_fewer_connections_with_all_or_none() {
    for word in [Ready::Connections(0), Ready::Connections(4), Ready::Refused] {
        let mut track = Track::default();
        track.ready(now(1), &ready(Ready::Silent, None), FULL);
        track.ready(now(2), &ready(word, None), FULL);
        assert_eq!((track.silent_since, track.silent), (None, 0), "{word:?}");
        track.ready(now(3), &ready(Ready::Silent, None), FULL);
        assert_eq!((track.silent_since, track.silent), (Some(secs(3)), 1));
    }
    for word in [Ready::Connections(0), Ready::Connections(4)] {
        let mut track = Track::default();
        track.ready(now(1), &ready(Ready::Connections(3), None), FULL);
        track.ready(now(2), &ready(Ready::Connections(1), None), FULL);
        assert_eq!(track.partly_since, Some(secs(1)));
        track.ready(now(3), &ready(word, None), FULL);
        assert_eq!(track.partly_since, None, "{word:?}");
    }
    let mut track = Track::default();
    track.ready(now(1), &ready(Ready::Connections(0), None), FULL);
    track.ready(now(2), &ready(Ready::Connections(0), None), FULL);
    assert_eq!((track.zero_since, track.zero_looks), (Some(secs(1)), 2));
    track.ready(now(3), &ready(Ready::Connections(1), None), FULL);
    assert_eq!((track.zero_since, track.zero_looks), (None, 0));
}

#[test]
fn counters_are_compared_within_one_process_and_one_trouble() {
    let mut track = Track::default();
    let counted = |total_requests, request_errors| {
        Some(Counters { total_requests, request_errors, ..Counters::default() })
    };
    track.ready(now(1), &ready(Ready::Connections(4), counted(1, 0)), FULL);
    track.ready(now(2), &ready(Ready::Connections(4), counted(5, 0)), FULL);
    assert_eq!(track.requests_rising(), Some(false), "visitors of a good time are no proof in a bad one");
    track.names_bad_since = Some(secs(3));
    track.ready(now(4), &ready(Ready::Connections(4), counted(7, 0)), FULL);
    assert_eq!(track.requests_rising(), Some(false), "the last good ones are none either");
    track.ready(now(5), &ready(Ready::Connections(4), counted(7, 0)), FULL);
    assert_eq!(track.requests_rising(), Some(false));
    track.ready(now(6), &ready(Ready::Connections(4), counted(8, 0)), FULL);
    assert_eq!((track.requests_rising(), track.requests_failed), (Some(true), None));
    // Another process answers at that port; it has counted more.
    let other = ReadySight { connector: Some("b".into()), ..ready(Ready::Connections(4), counted(90, 9)) };
    track.ready(now(7), &other, FULL);
    assert_eq!((track.requests_rising(), track.requests_failed), (Some(false), None));
}

fn dialled(links: &[(Transport, Family, Reach)]) -> EdgeSight {
    let link = |(transport, family, reach): &(Transport, Family, Reach)| Link {
        region: "region1".into(),
        transport: *transport,
        family: *family,
        reach: *reach,
    };
    let (links, addresses) = (links.iter().map(link).collect(), Vec::new());
    EdgeSight { resolved: true, links, first: Family::V6, addresses, clock_suspect: false }
}

#[test]
fn each_transport_has_its_own_record() {
    let (ok, silent) = (Reach::Reachable, Reach::TimedOut);
    for family in [Family::V4, Family::V6] {
        for (one, other) in [(Transport::Quic, Transport::Http2), (Transport::Http2, Transport::Quic)] {
            let mut track = EdgeTrack::default();
            track.put(now(1), &dialled(&[(one, family, ok)]));
            track.put(now(2), &dialled(&[(one, family, ok)]));
            track.put(now(3), &dialled(&[(other, family, silent)]));
            assert_eq!((track.ok_since(one, family), track.failed(one, family)), (Some(secs(1)), None));
            assert_eq!((track.ok_since(other, family), track.failed(other, family)), (None, Some(secs(3))));
            track.put(now(4), &dialled(&[(one, family, silent)]));
            assert_eq!((track.ok_since(one, family), track.failed(one, family)), (None, Some(secs(4))));
        }
    }
}

#[test]
fn each_family_has_its_own_record() {
    let (way, ok, silent) = (Transport::Http2, Reach::Reachable, Reach::TimedOut);
    let mut track = EdgeTrack::default();
    track.put(now(1), &dialled(&[(way, Family::V6, ok)]));
    track.put(now(2), &dialled(&[(way, Family::V6, silent), (way, Family::V4, ok)]));
    assert_eq!((track.ok_since(way, Family::V4), track.failed(way, Family::V4)), (Some(secs(2)), None));
    assert_eq!((track.ok_since(way, Family::V6), track.failed(way, Family::V6)), (None, Some(secs(2))));
    // While IPv6 answers nobody looks at IPv4.
    track.put(now(3), &dialled(&[(way, Family::V6, ok)]));
    track.put(now(4), &dialled(&[(way, Family::V6, silent), (way, Family::V4, ok)]));
    assert_eq!(track.ok_since(way, Family::V4), Some(secs(4)));
}
