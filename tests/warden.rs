//! Whatever comes in, in whatever order: the judge does not panic, never wakes in the past, and never breaks a rail.

use std::time::Duration;

use proptest::prelude::*;
use tunnelwarden::warden::event::{Command, Event};
use tunnelwarden::warden::evidence::{
    Active, Answer, Blind, Control, Counters, EdgeSight, Exchange, Family, FilesSight, Finding, HostFinding,
    HostSight, Invocation, Job, Line, Link, Load, LogLine, NameSight, Reach, Ready, ReadySight, Setup,
    Transport, TunnelSight, UnitSight,
};
use tunnelwarden::warden::facts::Shaken;
use tunnelwarden::warden::history::{History, Paid};
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::remedy::Outcome;
use tunnelwarden::warden::time::Now;

#[path = "warden/guard.rs"]
mod guard;
#[path = "warden/pace.rs"]
mod pace;

const UNIT: &str = "cloudflared.service";

fn seconds() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), (0_u64..200_000).prop_map(Duration::from_secs), Just(Duration::MAX / 4)]
}

fn unit() -> impl Strategy<Value = UnitSight> {
    let active = prop::sample::select(vec![
        Active::Active,
        Active::Activating,
        Active::Deactivating,
        Active::Inactive,
        Active::Failed,
        Active::Other,
    ]);
    let load = prop::sample::select(vec![Load::Loaded, Load::NotFound, Load::Masked, Load::Broken]);
    let job = prop::option::of(prop::sample::select(vec![Job::Start, Job::Stop, Job::Restart, Job::Other]));
    (
        active,
        load,
        job,
        any::<(bool, bool, bool)>(),
        0_u128..4,
        0_u32..3,
        seconds(),
        prop::option::of(seconds()),
    )
        .prop_map(|(active, load, job, flags, life, main_pid, since, limit)| UnitSight {
            load,
            disabled: flags.0,
            active,
            sub: if flags.2 { "auto-restart".into() } else { "running".into() },
            result: if flags.1 { "exit-code".into() } else { "success".into() },
            exit_status: Some(255),
            main_pid,
            invocation: (life != 0).then_some(Invocation(life)),
            n_restarts: main_pid,
            job,
            frozen: flags.0 && flags.1,
            since,
            started: Some(since),
            was_active: flags.1,
            start_limit: limit,
            stop_limit: limit,
            start_rate: Some((main_pid, since)),
            newer_program: false,
        })
}

fn line() -> impl Strategy<Value = Line> {
    prop::sample::select(vec![
        Line::Registered(Some(Transport::Quic)),
        Line::Registered(None),
        Line::Attempt,
        Line::DialFailed { transport: Some(Transport::Http2), to: None, untrusted: false },
        Line::Lost,
        Line::Refused { unauthorized: true, text: "Unauthorized".into() },
        Line::Refused { unauthorized: false, text: String::new() },
        Line::RefusedUnnamed,
        Line::FellBack,
        Line::ConfigInvalid("x".into()),
        Line::CredentialsUnusable("x".into()),
        Line::ClockWrong("x".into()),
        Line::OriginDown,
        Line::NoIngress,
        Line::GracefulStop,
        Line::StopJob,
        Line::StartJob,
        Line::EndedByItself,
    ])
}

fn reach() -> impl Strategy<Value = Reach> {
    prop::sample::select(vec![
        Reach::Reachable,
        Reach::Refused,
        Reach::TimedOut,
        Reach::Silent,
        Reach::BrokenOff,
    ])
}

fn finding() -> impl Strategy<Value = Finding> {
    let answer = prop::sample::select(Answer::ALL.to_vec());
    let name = (answer, 0_u8..2, prop::option::of(any::<u16>())).prop_map(|(answer, name, status)| {
        let (code, latency, colo, detail) = (status, Duration::MAX, None, String::new());
        Finding::Name {
            hostname: format!("{name}.example.com"),
            sight: NameSight { answer, status, code, latency, colo, detail, exchange: Exchange::default() },
        }
    });
    let ready =
        prop_oneof![any::<u8>().prop_map(Ready::Connections), Just(Ready::Refused), Just(Ready::Silent)];
    let ready = (ready, any::<bool>(), prop::option::of(any::<(u64, u64)>())).prop_map(
        |(ready, port_of_this_life, counted)| {
            let counters = counted.map(|(total_requests, register_fail)| Counters {
                total_requests,
                register_fail,
                ..Counters::default()
            });
            Finding::Ready(Ok(ReadySight { ready, connector: None, port_of_this_life, counters }))
        },
    );
    prop_oneof![
        4 => name,
        4 => ready,
        3 => unit().prop_map(|unit| Finding::Unit(Ok(unit))),
        1 => Just(Finding::Unit(Err(Blind::Unreachable))),
        3 => (line(), seconds()).prop_map(|(line, at)| Finding::Log(LogLine { line, at, invocation: Some(Invocation(1)) })),
        2 => Just(Finding::Journal(Ok(()))),
        1 => Just(Finding::Journal(Err(Blind::Forbidden))),
        1 => Just(Finding::JournalGap),
        1 => prop::option::of(seconds()).prop_map(|changed| Finding::Files(FilesSight { unusable: None, changed })),
        1 => any::<bool>().prop_map(|private| Finding::Setup(Setup { transport: None, private_network: Some(private), ..Setup::default() })),
        1 => (any::<bool>(), prop::option::of(any::<u32>()), prop::option::of(seconds())).prop_map(|(deleted, live, remote_rules_since)| {
            Finding::Tunnel(Ok(TunnelSight { deleted, live, remote_rules_since }))
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let edge =
        (any::<bool>(), reach(), reach(), any::<bool>()).prop_map(|(resolved, tcp, udp, clock_suspect)| {
            let link =
                |transport, reach| Link { region: "region1".into(), transport, family: Family::V4, reach };
            let links = vec![link(Transport::Http2, tcp), link(Transport::Quic, udp)];
            Event::HostObserved(HostFinding::Edge(Ok(EdgeSight {
                resolved,
                links,
                first: Family::V4,
                addresses: Vec::new(),
                clock_suspect,
            })))
        });
    let host = (any::<bool>(), prop::option::of(seconds())).prop_map(|(route, window_shut_until)| {
        HostSight { route, window_shut_until, ..HostSight::default() }
    });
    prop_oneof![
        12 => finding().prop_map(|finding| Event::Observed { unit: UNIT.into(), finding }),
        2 => edge,
        1 => Just(Event::HostObserved(HostFinding::Control(Ok(Control::Answered)))),
        1 => host.prop_map(|host| Event::HostObserved(HostFinding::Host(Ok(host)))),
        1 => Just(Event::Looked { unit: UNIT.into() }),
        1 => Just(Event::RemedyDone { unit: UNIT.into(), outcome: Outcome::Done }),
        2 => Just(Event::Woke),
        1 => Just(Event::Gone { unit: "other.service".into() }),
    ]
}

/// A connector that hangs, seen long enough for a restart: what the chance events are strewn into, so that remedies happen.
fn hanging(unit_name: &str, now: Duration) -> Vec<Event> {
    let observed = |finding| Event::Observed { unit: unit_name.into(), finding };
    let secs = Duration::from_secs;
    let unit = UnitSight {
        active: Active::Active,
        sub: "running".into(),
        main_pid: 7,
        invocation: Some(Invocation(1)),
        since: now.saturating_sub(secs(900)),
        started: Some(now.saturating_sub(secs(900))),
        was_active: true,
        ..UnitSight::stock()
    };
    let ready = ReadySight { ready: Ready::Silent, connector: None, port_of_this_life: true, counters: None };
    let link =
        |transport| Link { region: "region1".into(), transport, family: Family::V4, reach: Reach::Reachable };
    let links = vec![link(Transport::Http2), link(Transport::Quic)];
    vec![
        observed(Finding::Journal(Ok(()))),
        observed(Finding::Unit(Ok(unit))),
        Event::HostObserved(HostFinding::Control(Ok(Control::Answered))),
        Event::HostObserved(HostFinding::Edge(Ok(EdgeSight {
            resolved: true,
            links,
            first: Family::V4,
            addresses: Vec::new(),
            clock_suspect: false,
        }))),
        observed(Finding::Ready(Ok(ready))),
        Event::Looked { unit: unit_name.into() },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_a_rail(
        chance in prop::collection::vec((event(), 0_u64..9_000), 1..200),
        lost in any::<bool>(),
        observe_only in any::<bool>(),
    ) {
        let memory = Memory { lost: lost.then(|| "broken".into()), ..Memory::default() };
        let mut warden = Warden::new(Policy { observe_only, ..Policy::shipped() }, memory);
        let mut boot = Duration::from_secs(100_000);
        let mut acts: Vec<Duration> = Vec::new();
        let mut events = vec![(Event::Tunnel { unit: UNIT.into(), names: vec!["0.example.com".into()] }, 0)];
        for (place, (event, pause)) in chance.into_iter().enumerate() {
            events.push((event, pause));
            events.extend(hanging(UNIT, boot + Duration::from_secs(5 * place as u64)).into_iter().map(|event| (event, 700)));
        }
        for (event, pause) in events {
            boot += Duration::from_millis(pause);
            let now = Now { boot, wall: Duration::from_secs(1_800_000_000) + boot };
            let mut kept = false;
            for command in warden.handle(event, now) {
                kept |= command == Command::Persist;
                if let Command::Apply { .. } = command {
                    prop_assert!(kept, "acted before the charge was kept");
                    prop_assert!(!lost && !observe_only, "acted where only watching is allowed");
                    let hour = acts.iter().filter(|at| boot.saturating_sub(**at) < Duration::from_secs(3_600)).count();
                    prop_assert!(hour < 3, "above the budget");
                    acts.push(boot);
                }
            }
            prop_assert!(boot < warden.next_wakeup(now), "a wake-up in the past");
        }
    }
}

/// What is remembered after a reboot: charges by the wall clock, all else as old as the new boot.
fn over_a_reboot(history: &mut History, before: Now) {
    for charge in &mut history.charges {
        if let Paid::At(at) = charge.paid {
            charge.paid = Paid::EarlierBoot { wall: before.wall_of(at) };
        }
    }
    if let Some(flight) = &mut history.in_flight {
        flight.at = Duration::ZERO;
    }
    if let Some(incident) = &mut history.incident {
        incident.began = Duration::ZERO;
    }
}

proptest! {
    // Each plays some three hours of four tunnels.
    #![proptest_config(ProptestConfig { cases: 5, ..ProptestConfig::default() })]

    /// Four tunnels that nothing cures, on a host whose daemon may die and that may be booted at any moment: what is
    /// remembered is what was kept before each act, and nothing more.
    #[test]
    fn one_host_has_one_budget_whatever_becomes_of_its_daemon(
        crashes in prop::collection::vec(prop::option::weighted(0.03, 0_usize..4), 2_000),
    ) {
        let units = ["cloudflared.service", "cloudflared-a.service", "cloudflared-b.service", "cloudflared@c.service"];
        // Of one of them systemd takes no orders from us; that says nothing of the others.
        let forbidden = units[3];
        let powerless = [(forbidden.into(), "polkit says no".into())].into();
        let policy = Policy { cooldown: vec![Duration::from_secs(60)], powerless, ..Policy::shipped() };
        let appear = |warden: &mut Warden, now| {
            for unit in units {
                let _ = warden.handle(Event::Tunnel { unit: unit.into(), names: Vec::new() }, now);
            }
        };
        let (mut time, mut booted) = (Duration::from_secs(100_000), Duration::ZERO);
        let at = |time, booted| Now { boot: time - booted, wall: Duration::from_secs(1_800_000_000) + time };
        let mut warden = Warden::new(policy.clone(), Memory::default());
        appear(&mut warden, at(time, booted));
        let mut kept = warden.histories();
        let mut acts: Vec<(Duration, String)> = Vec::new();
        let lately = |acts: &[(Duration, String)], time: Duration, unit: Option<&str>| {
            let within = |at: Duration| time.saturating_sub(at) < Duration::from_secs(3_600);
            acts.iter().filter(|(at, of)| within(*at) && unit.is_none_or(|unit| unit == of)).count()
        };
        for crash in crashes {
            time += Duration::from_secs(5);
            if crash == Some(0) {
                let before = at(time, booted);
                kept.values_mut().for_each(|history| over_a_reboot(history, before));
                time += Duration::from_secs(20);
                booted = time;
            }
            if crash.is_some() {
                warden = Warden::new(policy.clone(), Memory { histories: kept.clone(), ..Memory::default() });
                appear(&mut warden, at(time, booted));
            }
            for unit in units {
                let woken = std::iter::once(Event::Woke);
                for event in woken.chain(hanging(unit, time - booted)) {
                    time += Duration::from_millis(30);
                    for command in warden.handle(event, at(time, booted)) {
                        match command {
                            Command::Persist => kept = warden.histories(),
                            Command::Apply { unit, .. } => {
                                prop_assert!(unit != forbidden, "acted on a unit that is only watched");
                                let charged = kept[&unit].last().map(|charge| charge.paid);
                                prop_assert_eq!(charged, Some(Paid::At(time - booted)), "not charged before the act");
                                prop_assert!(lately(&acts, time, Some(&unit)) < 3, "{unit}: above its hour");
                                prop_assert!(lately(&acts, time, None) < 6, "above the host's hour");
                                let of_unit = acts.iter().rev().find(|(_, of)| *of == unit);
                                prop_assert!(of_unit.is_none_or(|(at, _)| 60 <= (time - *at).as_secs()), "{unit}: within the cooldown");
                                acts.push((time, unit));
                            }
                            Command::Hurry { .. }
                            | Command::Look { .. }
                            | Command::Tell(_)
                            | Command::Announce { .. }
                            | Command::Record { .. } => {}
                        }
                    }
                }
            }
        }
        let spent = units.iter().filter(|unit| acts.iter().any(|(_, of)| of == *unit)).count();
        prop_assert!(6 <= acts.len() && 2 <= spent, "the budget was never tried: {acts:?}");
    }
}

/// Between two events of a loop that wakes in time the wall clock goes as the clock since boot does, or it was set.
#[test]
fn a_clock_that_is_set_by_more_than_five_seconds_is_noticed_both_ways() {
    let after = |passed: f64, wall: f64| {
        let now = |boot, wall| Now {
            boot: Duration::from_secs_f64(1000.0 + boot),
            wall: Duration::from_secs_f64(1_800_000_000.0 + wall),
        };
        let mut warden = Warden::new(Policy::shipped(), Memory::default());
        let _ = warden.handle(Event::Tunnel { unit: UNIT.into(), names: Vec::new() }, now(0.0, 0.0));
        let _ = warden.handle(Event::Woke, now(passed, wall));
        warden.facts(UNIT, now(passed, wall)).unwrap().shaken
    };
    for (passed, wall) in [(0.5, 0.5), (0.5, 5.25), (0.5, -4.25), (10.0, 5.5), (0.0, -5.0), (0.0, 5.0)] {
        assert_eq!(after(passed, wall), None, "{passed} {wall}");
    }
    for (passed, wall, by) in
        [(0.5, 6.0, 5.5), (0.5, -5.0, 5.5), (3.0, -2.5, 5.5), (10.0, 4.5, 5.5), (0.0, 3600.0, 3600.0)]
    {
        let by = Duration::from_secs_f64(by);
        let Some(Shaken::ClockJumped { by: noticed, .. }) = after(passed, wall) else {
            panic!("{passed} {wall}: not noticed");
        };
        assert_eq!(noticed, by, "{passed} {wall}");
    }
    // One second is when it is to be woken again; it may be ten seconds late.
    assert_eq!(after(11.0, 11.0), None);
    assert!(matches!(after(11.5, 11.5), Some(Shaken::StoodStill { .. })));
}
