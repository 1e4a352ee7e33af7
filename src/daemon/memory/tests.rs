use super::*;
use crate::warden::history::{DAY, HOUR};
use crate::warden::policy::Policy;

fn places(folder: &Path) -> Places {
    Places {
        state: folder.join("state.toml"),
        cursor: folder.join("cursor"),
        incidents: folder.join("incidents.jsonl"),
        fallback: folder.join("run"),
    }
}

#[test]
fn a_charge_survives_our_restart_exactly_and_a_reboot_by_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let now = Now { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_800_000_000) };
    let keeper = Keeper::new(places.clone(), "boot-a".into());
    let mut history = History::default();
    history.charge(now, Remedy::Restart, Some(Invocation(7)), &Policy::shipped());
    let life = |number, watched_whole| KnownLife {
        invocation: Invocation(number),
        watched_whole,
        through: !watched_whole,
    };
    history.lives = vec![life(7, false), life(u128::MAX, true)];
    history.latch =
        Some(Latch { at: now.boot, files: Some(Duration::from_secs(1_799_999_000)), tried: true });
    history.not_cured = 1;
    let step = |what: &str| Step { wall: now.wall, what: what.into(), detail: "why".into() };
    history.incident = Some(Incident {
        id: "cloudflared-1".into(),
        began: now.boot,
        began_wall: now.wall,
        cause: Cause::ConnectorPhantom,
        steps: ["opened", "relapsed", "escalated", "Cured"].map(step).into(),
        cured: true,
        escalated: true,
        closed: None,
    });
    let histories: Histories = [("cloudflared.service".to_owned(), history.clone())].into();
    keeper.write(&keeper.state(&histories, None, now)).unwrap();
    let later = Now { boot: now.boot + Duration::from_secs(60), wall: now.wall + Duration::from_secs(90) };
    let read = keeper.read(later).histories["cloudflared.service"].clone();
    // What is known by the wall clock alone moves with it.
    let latch = read.latch.map(|latch| Latch { at: now.boot, ..latch });
    assert_eq!(History { latch, ..read }, history);
    let rebooted = Now { boot: Duration::from_secs(30), wall: now.wall + Duration::from_secs(50) };
    let memory = Keeper::new(places, "boot-b".into()).read(rebooted);
    let last = memory.histories["cloudflared.service"].last().unwrap();
    assert_eq!(last.age(rebooted), Duration::from_secs(50));
    assert!(memory.lost.is_none());
}

/// What is remembered of a unit that was restarted three times at `when`, after what `boots` did with it.
fn after(folder: &Path, when: Now, boots: &[(&str, Now)]) -> History {
    let mut history = History::default();
    for _ in 0..3 {
        history.charge(when, Remedy::Restart, None, &Policy::shipped());
    }
    let unit = "cloudflared.service";
    let mut histories: Histories = [(unit.to_owned(), history)].into();
    let keeper = Keeper::new(places(folder), "boot-a".into());
    keeper.write(&keeper.state(&histories, None, when)).unwrap();
    for (boot, now) in boots {
        let keeper = Keeper::new(places(folder), (*boot).into());
        histories = keeper.read(*now).histories;
        keeper.write(&keeper.state(&histories, None, *now)).unwrap();
    }
    histories[unit].clone()
}

const BEFORE: Now = Now { boot: Duration::from_secs(100_000), wall: Duration::from_secs(1_800_000_000) };

/// Shortly after a boot that came so long after that.
fn booted(later: Duration) -> Now {
    Now { boot: Duration::from_secs(30), wall: BEFORE.wall + later }
}

#[test]
fn what_an_earlier_boot_paid_for_is_no_younger_for_a_reboot() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::shipped();
    let next = booted(20 * HOUR);
    let history = after(folder.path(), BEFORE, &[("boot-b", next)]);
    assert_eq!((history.spent(next, HOUR), history.spent(next, DAY)), (0, 3));
    assert_eq!(history.full_until(next, HOUR, policy.per_hour), None, "the hour is long over");
    assert_eq!(history.cooldown_until(next, &policy), None, "and so is the cooldown");
    let third = booted(40 * HOUR);
    let history = after(folder.path(), BEFORE, &[("boot-b", next), ("boot-c", third)]);
    assert_eq!(history.spent(third, DAY), 0, "a host that is booted each night forgets, too");

    let minute = Duration::from_secs(60);
    let soon = booted(20 * minute);
    let history = after(folder.path(), BEFORE, &[("boot-b", soon)]);
    let room = soon.boot + 40 * minute;
    assert_eq!(history.full_until(soon, HOUR, policy.per_hour), Some(room), "the rest of its hour");
    let at = |boot| Now { boot, wall: soon.wall + boot - soon.boot };
    assert_eq!(history.spent(at(room - minute), HOUR), 3);
    assert_eq!(history.spent(at(room), HOUR), 0);
}

#[test]
fn a_clock_that_boots_in_the_past_makes_nothing_older_nor_young_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let past = Now { boot: Duration::from_secs(30), wall: BEFORE.wall - 300 * DAY };
    let history = after(folder.path(), BEFORE, &[("boot-b", past)]);
    assert_eq!(history.spent(past, HOUR), 3, "as if it were just now");
    let unset = Now { boot: HOUR, wall: past.wall + HOUR };
    assert_eq!(history.spent(unset, HOUR), 0, "it is older than this boot all the same");
    let set = Now { boot: Duration::from_secs(90), wall: BEFORE.wall + 40 * HOUR };
    assert_eq!(history.spent(set, DAY), 0, "once the clock is set it is as old as it is");
    let third = booted(41 * HOUR);
    let history = after(folder.path(), BEFORE, &[("boot-b", past), ("boot-c", third)]);
    assert_eq!(history.spent(third, DAY), 0, "what was written meanwhile did not change it");
}

#[test]
fn a_pause_lasts_as_long_as_it_was_ordered_whatever_the_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let pause = Pause { until: BEFORE.boot + 2 * HOUR, reason: "work".into() };
    let keeper = Keeper::new(places(folder.path()), "boot-a".into());
    keeper.write(&keeper.state(&Histories::new(), Some(&pause), BEFORE)).unwrap();
    let until = |boot: &str, now| {
        Keeper::new(places(folder.path()), boot.into()).read(now).paused.map(|pause| pause.until)
    };
    let half_an_hour = HOUR / 2;
    let next = booted(half_an_hour);
    assert_eq!(until("boot-b", next), Some(next.boot + HOUR + half_an_hour), "what is left of it");
    let past = Now { boot: Duration::from_secs(30), wall: BEFORE.wall - 300 * DAY };
    assert_eq!(until("boot-b", past), Some(past.boot + 2 * HOUR), "no more than was left");
    for wall in [BEFORE.wall - 300 * DAY, BEFORE.wall + 300 * DAY] {
        let set = Now { boot: BEFORE.boot + half_an_hour, wall };
        assert_eq!(until("boot-a", set), Some(pause.until), "the clock was set in the same boot");
    }
}

#[test]
fn a_life_that_went_on_without_us_was_not_watched_whole() {
    let folder = tempfile::tempdir().unwrap();
    let life = |number, through| KnownLife { invocation: Invocation(number), watched_whole: true, through };
    let history = History { lives: vec![life(1, false), life(2, true)], ..History::default() };
    let histories: Histories = [("cloudflared.service".to_owned(), history)].into();
    let keeper = Keeper::new(places(folder.path()), "boot-a".into());
    keeper.write(&keeper.state(&histories, None, BEFORE)).unwrap();
    let whole = |boot: &str, now| {
        let read = Keeper::new(places(folder.path()), boot.into()).read(now);
        let lives = read.histories["cloudflared.service"].lives.clone();
        [1, 2].map(|number| lives.iter().any(|l| l.invocation == Invocation(number) && l.watched_whole))
    };
    let after = |span| Now { boot: BEFORE.boot + span, wall: BEFORE.wall + span };
    assert_eq!(whole("boot-a", after(Duration::from_secs(20))), [true, true], "an upgrade of ours");
    assert_eq!(whole("boot-a", after(HOUR)), [false, true], "it may have been through meanwhile");
    assert_eq!(whole("boot-b", booted(HOUR)), [false, true]);
}

#[test]
fn a_broken_file_is_a_loss_until_it_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.toml"), "version = 1\nboot").unwrap();
    let keeper = Keeper::new(places(folder.path()), "boot-a".into());
    let now = Now { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_800_000_000) };
    assert!(keeper.read(now).lost.is_some());
    keeper.write(&keeper.state(&Histories::new(), None, now)).unwrap();
    assert!(keeper.read(now).lost.is_some(), "still lost at the next start");
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(keeper.peek(now).is_ok(), "what is there now can be read");
    std::fs::write(folder.path().join("state.toml"), "version = 1\nboot").unwrap();
    assert!(keeper.peek(now).unwrap_err().contains("state.toml"));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        before,
        "somebody who looks changes nothing"
    );
    keeper.write(&keeper.state(&Histories::new(), None, now)).unwrap();
    std::fs::remove_file(folder.path().join("state.toml.broken-1")).unwrap();
    assert!(keeper.loss_accepted());
    assert!(keeper.read(now).lost.is_none());
}
