//! What is judged at once, and what waits for the next look.

use super::super::evidence::{
    Blind, Exchange, Invocation, LogLine, NameSight, ReadySight, Sense, Transport, TunnelSight,
};
use super::super::history::{InFlight, KnownLife};
use super::super::route::RouteSight;
use super::super::track::Origin;
use super::*;

#[test]
fn a_line_that_can_change_the_verdict_is_judged_at_once_and_a_frequent_one_waits() {
    let now = Now { boot: Duration::from_secs(100), wall: Duration::from_secs(100) };
    let mut tunnel = Tunnel::new("cloudflared.service".into(), History::default(), now);
    let mut judged = |line| tunnel.fold(now, Finding::Log(LogLine { line, at: now.boot, invocation: None }));
    let refused = Line::Refused { unauthorized: true, text: String::new() };
    for line in [Line::Registered(Some(Transport::Http2)), refused, Line::StopJob, Line::EndedByItself] {
        assert!(judged(line.clone()), "{line:?}");
    }
    let failed = Line::DialFailed { transport: None, to: None, untrusted: false };
    for line in [Line::Attempt, failed, Line::Lost, Line::OriginDown, Line::Other] {
        assert!(!judged(line.clone()), "{line:?}");
    }
}

#[test]
fn a_line_is_late_if_it_was_written_while_we_watched_and_came_long_after() {
    let at = |seconds| Duration::from_secs(seconds);
    let late = |written, came| {
        let mut tunnel =
            Tunnel::new("a.service".into(), History::default(), Now { boot: at(100), wall: at(100) });
        let line = LogLine { line: Line::Other, at: at(written), invocation: None };
        tunnel.fold(Now { boot: at(came), wall: at(came) }, Finding::Log(line));
        tunnel.evidence.log.late
    };
    assert_eq!(late(100, 105), None);
    assert_eq!(late(100, 106), Some(at(106)));
    assert_eq!(late(99, 106), None, "what was written before we came is history");
}

fn unit(active: Active) -> UnitSight {
    UnitSight {
        active,
        sub: String::new(),
        main_pid: 7,
        invocation: Some(Invocation(1)),
        was_active: true,
        ..UnitSight::stock()
    }
}

#[test]
fn what_systemd_and_the_journal_say_again_is_judged_by_nobody() {
    let now = Now { boot: Duration::from_secs(100), wall: Duration::from_secs(100) };
    let mut tunnel = Tunnel::new("cloudflared.service".into(), History::default(), now);
    let running = unit(Active::Active);
    for (news, finding) in [
        (true, Finding::Unit(Ok(running.clone()))),
        (false, Finding::Unit(Ok(running.clone()))),
        (true, Finding::Unit(Ok(UnitSight { main_pid: 8, ..running.clone() }))),
        (true, Finding::Unit(Err(Blind::TimedOut))),
        (false, Finding::Unit(Err(Blind::TimedOut))),
        (true, Finding::Unit(Ok(running))),
        (true, Finding::Unit(Ok(unit(Active::Failed)))),
        // Looks that find it down are counted.
        (true, Finding::Unit(Ok(unit(Active::Failed)))),
        (true, Finding::Journal(Ok(()))),
        (false, Finding::Journal(Ok(()))),
        (true, Finding::Journal(Err(Blind::Forbidden))),
        (false, Finding::Journal(Err(Blind::Forbidden))),
    ] {
        assert_eq!(tunnel.fold(now, finding.clone()), news, "{finding:?}");
    }
}

#[test]
fn calm_is_judged_anew_seldom_trouble_often_and_what_has_a_time_then() {
    let secs = Duration::from_secs;
    let half = Duration::from_millis(500);
    let now = Now { boot: secs(100), wall: secs(100) };
    let mut tunnel = Tunnel::new("cloudflared.service".into(), History::default(), now);
    assert_eq!(tunnel.next_judgement(now), secs(101));
    tunnel.verdict = Verdict { health: Health::Healthy, cause: Some(Cause::Healthy) };
    assert_eq!(tunnel.next_judgement(now), secs(110));
    for (until, then) in [(99, 110), (100, 110), (104, 104), (111, 110)] {
        tunnel.holds = vec![Held::until(Hold::Cooldown, secs(until))];
        assert_eq!(tunnel.next_judgement(now), secs(then), "held until {until}");
    }
    tunnel.holds.clear();
    // What is good is proven by then.
    for (good, then) in [(85, 110), (86, 101), (41, 101), (40, 110), (95, 110)] {
        tunnel.good_since = Some(secs(good));
        assert_eq!(tunnel.next_judgement(now), secs(then), "good since {good}");
    }
    tunnel.good_since = None;
    let (remedy, cause, since, give_up) =
        (Remedy::Restart, Cause::ConnectorPhantom, secs(90), secs(100) + half);
    let look = |asked| Phase::LastLook {
        remedy,
        cause,
        look_at: secs(100) + half / 2,
        asked,
        looked: false,
        give_up,
    };
    for (phase, then) in [
        (look(None), secs(100) + half / 2),
        (look(Some(secs(99))), give_up),
        (Phase::Acting { remedy, cause, since, give_up }, give_up),
        (Phase::Verifying { remedy, cause, since, give_up }, give_up),
        // Good, and given some time more for the proof: that is looked after as calm is.
        (Phase::Verifying { remedy, cause, since, give_up: secs(95) }, secs(110)),
    ] {
        tunnel.phase = phase.clone();
        assert_eq!(tunnel.next_judgement(now), then, "{phase:?}");
    }
}

#[test]
fn one_more_good_look_at_a_name_is_judged_unless_something_waits_for_it() {
    let now = Now { boot: Duration::from_secs(100), wall: Duration::from_secs(100) };
    let look = |tunnel: &mut Tunnel, answer| {
        let (latency, exchange) = (Duration::ZERO, Exchange::default());
        let (status, code, colo, detail) = (None, None, None, String::new());
        let sight = NameSight { answer, status, code, latency, colo, detail, exchange };
        tunnel.fold(now, Finding::Name { hostname: "app.example.com".into(), sight })
    };
    let calm = || {
        let mut tunnel = Tunnel::new("cloudflared.service".into(), History::default(), now);
        tunnel.verdict = Verdict { health: Health::Healthy, cause: Some(Cause::Healthy) };
        let _ = tunnel.fold(now, Finding::Unit(Ok(unit(Active::Active))));
        tunnel.track.life.as_mut().unwrap().through = true;
        for round in 1..=PROOF_ROUNDS {
            assert!(look(&mut tunnel, Answer::Served), "it is not known to be good before look {round}");
        }
        tunnel
    };
    let mut tunnel = calm();
    assert!(!look(&mut tunnel, Answer::Served));
    assert!(look(&mut tunnel, Answer::TunnelError), "and a bad one is news");
    assert!(look(&mut tunnel, Answer::Served), "and so is a good one after it");
    let waits: [fn(&mut Tunnel); 5] = [
        |tunnel| tunnel.verdict = Verdict::UNKNOWN,
        |tunnel| {
            let (remedy, cause, since, give_up) =
                (Remedy::Restart, Cause::ConnectorPhantom, Duration::ZERO, Duration::from_secs(200));
            tunnel.phase = Phase::Verifying { remedy, cause, since, give_up };
        },
        |tunnel| tunnel.track.names_bad_since = Some(Duration::from_secs(99)),
        |tunnel| tunnel.track.life.as_mut().unwrap().through = false,
        |tunnel| {
            tunnel.history.incident = Some(Incident {
                id: String::new(),
                began: Duration::ZERO,
                began_wall: Duration::ZERO,
                cause: Cause::ConnectorPhantom,
                steps: Vec::new(),
                cured: false,
                escalated: false,
                closed: None,
            });
        },
    ];
    for (place, wait) in waits.into_iter().enumerate() {
        let mut tunnel = calm();
        wait(&mut tunnel);
        assert!(look(&mut tunnel, Answer::Served), "what waits is number {place}");
    }
    let mut tunnel = calm();
    tunnel.track.life = None;
    assert!(!look(&mut tunnel, Answer::Served), "a process of which nothing is known waits for nothing");
}

#[test]
fn a_blind_look_is_not_a_sight() {
    let at = |seconds| Now { boot: Duration::from_secs(seconds), wall: Duration::from_secs(seconds) };
    let mut tunnel = Tunnel::new("cloudflared.service".into(), History::default(), at(1));
    let name = |answer| {
        let (latency, exchange) = (Duration::ZERO, Exchange::default());
        let (status, code, colo, detail) = (None, None, None, String::new());
        let sight = NameSight { answer, status, code, latency, colo, detail, exchange };
        Finding::Name { hostname: "app.example.com".into(), sight }
    };
    let route = |seen| Finding::Route { hostname: "app.example.com".into(), seen };
    let ready = Ready::Connections(3);
    let ready = ReadySight { ready, connector: None, port_of_this_life: true, counters: None };
    let senses = [Sense::Unit, Sense::Journal, Sense::Ready, Sense::Public, Sense::Dns, Sense::Tunnel];
    assert_eq!(senses.map(|sense| tunnel.seen_at(sense)), [None; 6]);
    assert_eq!(tunnel.connections(), None);
    for (second, finding) in [
        (10, Finding::Unit(Ok(unit(Active::Active)))),
        (11, Finding::Journal(Ok(()))),
        (12, Finding::Ready(Ok(ready))),
        (13, name(Answer::TunnelError)),
        (14, route(Ok(RouteSight::default()))),
        (15, Finding::Tunnel(Ok(TunnelSight::default()))),
    ] {
        let _ = tunnel.fold(at(second), finding);
    }
    assert_eq!(tunnel.connections(), Some(3));
    for finding in [
        Finding::Unit(Err(Blind::TimedOut)),
        Finding::Journal(Err(Blind::Forbidden)),
        Finding::Ready(Err(Blind::TimedOut)),
        name(Answer::Blind),
        route(Err(Blind::TimedOut)),
        Finding::Tunnel(Err(Blind::Unreachable)),
    ] {
        let _ = tunnel.fold(at(20), finding);
    }
    let seen = [10, 11, 12, 13, 14, 15].map(|second| Some(Duration::from_secs(second)));
    assert_eq!(senses.map(|sense| tunnel.seen_at(sense)), seen);
    assert_eq!(tunnel.connections(), None);
    let _ = tunnel.fold(at(30), name(Answer::Cached));
    assert_eq!(tunnel.seen_at(Sense::Public), Some(Duration::from_secs(30)));
    let _ = tunnel.fold(
        at(31),
        Finding::Ready(Ok(ReadySight {
            ready: Ready::Silent,
            connector: None,
            port_of_this_life: true,
            counters: None,
        })),
    );
    assert_eq!(tunnel.connections(), None, "silence is no number");
}

#[test]
fn only_a_life_that_is_not_remembered_was_begun_by_the_remedy_under_way() {
    let now = Now { boot: Duration::from_secs(100), wall: Duration::from_secs(100) };
    let begun = |lives: &[u128]| {
        let lives = lives.iter().map(|life| KnownLife {
            invocation: Invocation(*life),
            watched_whole: true,
            through: true,
        });
        let before = Some(Invocation(9));
        let in_flight = Some(InFlight { remedy: Remedy::Restart, at: now.boot, before });
        let history = History { lives: lives.collect(), in_flight, ..History::default() };
        let mut tunnel = Tunnel::new("cloudflared.service".into(), history, now);
        tunnel.fold(now, Finding::Unit(Ok(unit(Active::Active))));
        tunnel.track.life.unwrap().origin
    };
    assert_eq!(begun(&[9]), Origin::Ours);
    assert_eq!(begun(&[9, 1]), Origin::Before);
}
