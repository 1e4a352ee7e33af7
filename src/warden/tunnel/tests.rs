//! What is judged at once, and what waits for the next look.

use super::super::evidence::{LogLine, Transport};
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
    let failed = Line::DialFailed { transport: None, to: None };
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
