use super::*;

/// Unix time of a moment in UTC.
fn utc(text: &str) -> Duration {
    let at: Timestamp = format!("{text}Z").parse().unwrap();
    Duration::from_secs(at.as_second().try_into().unwrap())
}

fn windows(forbid: &[&str], allow: &[&str]) -> Windows {
    let spans = |texts: &[&str]| texts.iter().map(|text| Span::parse(text).unwrap()).collect();
    Windows { forbid: spans(forbid), allow: spans(allow) }
}

/// (forbid, allow, now, open again); times in UTC. 2026-11-28 is a Saturday.
type Case = (&'static [&'static str], &'static [&'static str], &'static str, Option<&'static str>);

const CASES: &[Case] = &[
    (&[], &[], "2026-11-28T12:00:00", None),
    (&["Mon..Fri 08:00..18:00"], &[], "2026-11-28T12:00:00", None),
    (&["Mon..Fri 08:00..18:00"], &[], "2026-11-27T07:59:59", None),
    (&["Mon..Fri 08:00..18:00"], &[], "2026-11-27T08:00:00", Some("2026-11-27T18:00:00")),
    (&["Mon..Fri 08:00..18:00"], &[], "2026-11-27T18:00:00", None),
    (&["sat,SUNDAY"], &[], "2026-11-28T12:00:00", Some("2026-11-30T00:00:00")),
    (&["Fri..Mon"], &[], "2026-11-28T12:00:00", Some("2026-12-01T00:00:00")),
    // Over midnight: the night that began on Friday belongs to Friday.
    (&["Fri 22:00..06:00"], &[], "2026-11-28T05:00:00", Some("2026-11-28T06:00:00")),
    (&["Fri 22:00..06:00"], &[], "2026-11-28T23:00:00", None),
    (&["22:00..24:00"], &[], "2026-11-28T23:00:00", Some("2026-11-29T00:00:00")),
    (&["2026-11-20..2026-12-01"], &[], "2026-11-28T12:00:00", Some("2026-12-02T00:00:00")),
    (&["2026-11-28"], &[], "2026-11-28T12:00:00", Some("2026-11-29T00:00:00")),
    (&["2025-11-28"], &[], "2026-11-28T12:00:00", None),
    (&["*-12-24..*-01-02"], &[], "2026-12-31T12:00:00", Some("2027-01-03T00:00:00")),
    (&["*-12-24..*-01-02"], &[], "2026-11-28T12:00:00", None),
    // What ends where the next begins is one.
    (&["08:00..12:00", "12:00..13:30"], &[], "2026-11-28T09:00:00", Some("2026-11-28T13:30:00")),
    (&[], &["Sat,Sun"], "2026-11-28T12:00:00", None),
    (&[], &["Sat,Sun"], "2026-11-27T12:00:00", Some("2026-11-28T00:00:00")),
    (&["Sat 00:00..10:00"], &["Sat,Sun"], "2026-11-27T12:00:00", Some("2026-11-28T10:00:00")),
    (&[], &["02:00..04:00 Europe/Berlin"], "2026-11-28T12:00:00", Some("2026-11-29T01:00:00")),
    // The hour that is skipped in spring: it opens when the clocks have passed it.
    (&[], &["02:30..04:00 Europe/Berlin"], "2026-03-28T12:00:00", Some("2026-03-29T01:30:00")),
    // Never open.
    (&["00:00..24:00"], &[], "2026-11-28T12:00:00", Some("2026-12-30T12:00:00")),
    (&[], &["2020-01-01"], "2026-11-28T12:00:00", Some("2026-12-30T12:00:00")),
];

#[test]
fn windows_open_when_their_spans_say_so() {
    for (forbid, allow, now, open) in CASES {
        let found = windows(forbid, allow).shut_in(utc(now), &TimeZone::UTC);
        assert_eq!(found, open.map(utc), "forbid {forbid:?} allow {allow:?} at {now}");
    }
}

#[test]
fn what_is_no_span_says_what_to_write() {
    for (text, says) in [
        ("", "is empty"),
        ("Mon; rm -rf", "\"Mon;\""),
        ("Mon..Fri 08:00", "a moment; a span has an end"),
        ("8..18", "\"8..18\""),
        ("Mon 25:00..26:00", "no times of a day"),
        ("24:00..25:00", "no times of a day"),
        ("08:60..09:00", "no times of a day"),
        ("2026-13-01", "no date"),
        ("2026-02-30", "no date"),
        ("2027-01-01..2026-01-01", "no date"),
        ("*-01-01..2026-01-01", "no date"),
        ("08:00..09:00 Mars/Olympus", "\"Mars/Olympus\""),
        ("08:00..09:00 UTC UTC", "too many"),
        ("Fun", "\"Fun\""),
    ] {
        let error = Span::parse(text).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("Mon..Fri 08:00..18:00"), "{text:?}: {error}");
    }
    Span::parse(&"Mon,".repeat(100)).unwrap_err();
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC*", at in 0_u64..4_000_000_000) {
        if let Ok(span) = Span::parse(&text) {
            let windows = Windows { forbid: vec![span], allow: Vec::new() };
            let _ = windows.shut_in(Duration::from_secs(at), &TimeZone::UTC);
        }
    }

    /// Whatever is told as the end is open, or the horizon.
    #[test]
    fn the_end_is_open(from in 0_i64..24, to in 0_i64..24, day in 0_usize..7, at in 0_u64..4_000_000_000) {
        let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let windows = windows(&[&format!("{} {from:02}:00..{to:02}:00", days[day])], &[]);
        let now = Duration::from_secs(at);
        if let Some(end) = windows.shut_in(now, &TimeZone::UTC) {
            proptest::prop_assert!(now < end);
            proptest::prop_assert_eq!(windows.shut_in(end, &TimeZone::UTC), None);
        }
    }
}
