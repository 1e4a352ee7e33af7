//! Whom an event judges, and when each tunnel is judged next.

use super::*;

/// Another tunnel's lines come so fast that its events alone keep the judge busy.
#[test]
fn what_one_tunnel_says_puts_off_no_judgement_of_another() {
    let (ill, loud) = ("cloudflared.service", "cloudflared@loud.service");
    let at = |boot| Now { boot, wall: Duration::from_secs(1_800_000_000) + boot };
    let mut boot = Duration::from_secs(100_000);
    let mut warden = Warden::new(Policy::shipped(), Memory::default());
    for unit in [ill, loud] {
        let _ = warden.handle(Event::Tunnel { unit: unit.into(), names: Vec::new() }, at(boot));
        for event in hanging(unit, boot) {
            let _ = warden.handle(event, at(boot));
        }
    }
    let due = warden.next_wakeup(at(boot));
    assert!(due <= boot + Duration::from_secs(1), "trouble is looked after each second");
    while boot + Duration::from_millis(200) < due {
        boot += Duration::from_millis(100);
        let entry = LogLine { line: Line::Registered(None), at: boot, invocation: None };
        let _ = warden.handle(Event::Observed { unit: loud.into(), finding: Finding::Log(entry) }, at(boot));
        assert_eq!(warden.next_wakeup(at(boot)), due, "put off by another's line");
    }
}

/// Of many tunnels each is looked after in its own time, and one that is gone wakes nobody.
#[test]
fn waking_for_one_tunnel_judges_no_other() {
    let (first, second) = ("cloudflared.service", "cloudflared@second.service");
    let at = |millis| {
        let boot = Duration::from_secs(100_000) + Duration::from_millis(millis);
        Now { boot, wall: Duration::from_secs(1_800_000_000) + boot }
    };
    let mut warden = Warden::new(Policy::shipped(), Memory::default());
    let ill = |warden: &mut Warden, unit: &str, millis| {
        let _ = warden.handle(Event::Tunnel { unit: unit.into(), names: Vec::new() }, at(millis));
        for event in hanging(unit, at(millis).boot) {
            let _ = warden.handle(event, at(millis));
        }
    };
    ill(&mut warden, first, 0);
    ill(&mut warden, second, 400);
    let next = |warden: &Warden, now| (warden.next_wakeup(at(now)) - at(0).boot).as_millis();
    assert_eq!(next(&warden, 400), 1_000);
    // What is heard of the first puts its own time off.
    let entry = LogLine { line: Line::Registered(None), at: at(500).boot, invocation: None };
    let _ = warden.handle(Event::Observed { unit: first.into(), finding: Finding::Log(entry) }, at(500));
    assert_eq!(next(&warden, 500), 1_400);
    // What is new about the host concerns them all, what is known of it nobody.
    let control = |seen| Event::HostObserved(HostFinding::Control(Ok(seen)));
    let _ = warden.handle(control(Control::Answered), at(500));
    assert_eq!(next(&warden, 500), 1_400);
    let _ = warden.handle(control(Control::Failing), at(500));
    assert_eq!(next(&warden, 500), 1_500);
    let _ = warden.handle(control(Control::Answered), at(500));
    ill(&mut warden, second, 600);
    let mut now = 600;
    let mut woken = |warden: &mut Warden, times: usize| -> Vec<u64> {
        let wakes = (0..times).map(|_| {
            let wake = warden.next_wakeup(at(now)) - at(0).boot;
            now = u64::try_from(wake.as_millis()).unwrap();
            let _ = warden.handle(Event::Woke, at(now));
            now
        });
        wakes.collect()
    };
    assert_eq!(woken(&mut warden, 5), [1_500, 1_600, 2_500, 2_600, 3_500]);
    let _ = warden.handle(Event::Gone { unit: first.into() }, at(3_550));
    assert_eq!(woken(&mut warden, 3), [3_600, 4_600, 5_600]);
}

/// A thousand names that are well are no thousand judgements; the first look that says otherwise is one. So it is with
/// `/ready`.
#[test]
fn a_name_known_to_be_good_is_judged_by_what_is_new() {
    let at = |boot| Now { boot, wall: Duration::from_secs(1_800_000_000) + boot };
    let mut boot = Duration::from_secs(100_000);
    let mut warden = Warden::new(Policy::shipped(), Memory::default());
    let hostname = "app.example.com";
    let _ = warden.handle(Event::Tunnel { unit: UNIT.into(), names: vec![hostname.into()] }, at(boot));
    for event in hanging(UNIT, boot) {
        let _ = warden.handle(event, at(boot));
    }
    let observed = |finding| Event::Observed { unit: UNIT.into(), finding };
    let looked = |answer| {
        let (status, code, colo, latency, detail) = (None, None, None, Duration::ZERO, String::new());
        let sight = NameSight { answer, status, code, latency, colo, detail, exchange: Exchange::default() };
        observed(Finding::Name { hostname: hostname.into(), sight })
    };
    let read = |held| {
        let ready = Ready::Connections(held);
        let sight = ReadySight { ready, connector: None, port_of_this_life: true, counters: None };
        observed(Finding::Ready(Ok(sight)))
    };
    let _ = warden.handle(read(4), at(boot));
    let mut due = Vec::new();
    for _ in 0..6 {
        boot += Duration::from_secs(1);
        let _ = warden.handle(looked(Answer::Served), at(boot));
        due.push(warden.next_wakeup(at(boot)));
    }
    // Two to know it, and the third proves it.
    assert!(due[0] < due[1] && due[1] < due[2], "{due:?}");
    assert_eq!(due[2..], [due[2]; 4], "one more good look was judged");
    // Until what is good is proven, with names and without.
    for _ in 0..70 {
        boot += Duration::from_secs(1);
        let _ = warden.handle(looked(Answer::Served), at(boot));
        let _ = warden.handle(Event::Woke, at(boot));
    }
    let due = warden.next_wakeup(at(boot));
    let _ = warden.handle(read(4), at(boot));
    assert_eq!(warden.next_wakeup(at(boot)), due, "as many connections as before were judged");
    boot += Duration::from_secs(1);
    let _ = warden.handle(read(3), at(boot));
    assert_eq!(
        warden.next_wakeup(at(boot)),
        boot + Duration::from_secs(10),
        "a lost connection was not judged"
    );
    boot += Duration::from_secs(1);
    let _ = warden.handle(looked(Answer::TunnelError), at(boot));
    assert_eq!(warden.next_wakeup(at(boot)), boot + Duration::from_secs(1), "a 1033 was not judged");
    let _ = warden.handle(looked(Answer::Served), at(boot));
    assert_eq!(warden.next_wakeup(at(boot)), boot + Duration::from_secs(10), "its return was not judged");
}
