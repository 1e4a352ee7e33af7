//! The last guard: rails that the rules never need while they are right.

use tunnelwarden::warden::cause::Cause;
use tunnelwarden::warden::rails::{Case, Hold, objections};

use super::*;

/// No rule that names a cause with a remedy holds beside live connections, but for the two that are about them. If one ever
/// did, nothing would be ended all the same.
#[test]
fn whatever_is_concluded_live_connections_are_not_ended() {
    let boot = Duration::from_secs(100_000);
    let now = Now { boot, wall: Duration::from_secs(1_800_000_000) };
    let held_by = |connections, cause: Cause, remedy| {
        let mut warden = Warden::new(Policy::shipped(), Memory::default());
        let _ = warden.handle(Event::Tunnel { unit: UNIT.into(), names: Vec::new() }, now);
        for event in hanging(UNIT, boot) {
            let _ = warden.handle(event, now);
        }
        let ready = Ready::Connections(connections);
        let sight = ReadySight { ready, connector: None, port_of_this_life: true, counters: None };
        let finding = Finding::Ready(Ok(sight));
        let _ = warden.handle(Event::Observed { unit: UNIT.into(), finding }, now);
        let facts = warden.facts(UNIT, now).unwrap();
        let history = History::default();
        let case = Case {
            unit: UNIT,
            facts: &facts,
            cause,
            remedy,
            history: &history,
            host_charges: &[],
            memory_lost: None,
            paused: None,
            look_again: None,
        };
        objections(&case).iter().any(|held| held.hold == Hold::LiveConnections)
    };
    let mut guarded = 0;
    for cause in Cause::all() {
        let Some(remedy) = cause.remedy() else { continue };
        // What it is about is a connector that is connected.
        let about_them = matches!(cause, Cause::ConnectorPhantom | Cause::IngressEmpty);
        // A unit that cannot fall back is held by another name.
        if cause != Cause::QuicBlocked {
            assert_eq!(held_by(4, cause, remedy), !about_them, "{cause:?}");
            guarded += usize::from(!about_them);
        }
        assert!(!held_by(0, cause, remedy), "{cause:?} without any");
    }
    assert!(5 <= guarded, "of {guarded} causes");
}
