//! What is no recording, and what a cell or a journal leaves open.

use super::*;

#[test]
fn a_journal_without_a_single_entry_is_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "seconds\ttime\n0\t2026-11-23T10:00:00Z\n";
    std::fs::write(folder.path().join("observed.tsv"), rows).unwrap();
    for journal in
        ["", "{\"__REALTIME_TIMESTAMP\":\"1795428000000000\",\"MESSAGE\":\"x\"}\n", "MESSAGE=x\n\n"]
    {
        std::fs::write(folder.path().join("journal.export"), journal).unwrap();
        let error = recording(folder.path()).unwrap_err().to_string();
        assert!(
            error
                .ends_with("journal.export: no entry with a time in it; make it with `journalctl -o export`"),
            "{error}"
        );
    }
    let entry = "__REALTIME_TIMESTAMP=1795428000000000\nMESSAGE=x\n\n";
    std::fs::write(folder.path().join("journal.export"), entry).unwrap();
    assert!(recording(folder.path()).is_ok());
    for (stamp, said) in [
        ("1795428000", "a __REALTIME_TIMESTAMP lies before 2001; it is told in microseconds since 1970"),
        (
            "1795514400000000",
            "every entry is newer than the last row of observed.tsv; both have to be of the same time",
        ),
    ] {
        let entry = format!("__REALTIME_TIMESTAMP={stamp}\nMESSAGE=x\n\n");
        std::fs::write(folder.path().join("journal.export"), entry).unwrap();
        let error = recording(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(said), "{error}");
    }
}

/// A process that fell asleep is restarted, unless the journal is cut off before: what it said since nobody knows.
#[test]
fn what_a_torn_journal_leaves_out_is_no_silence() {
    let folder = tempfile::tempdir().unwrap();
    let row = |second: u32, cells: &str| {
        format!(
            "{second}\t2026-11-23T10:{:02}:{:02}Z\t{cells}\tactive/running success 0 7 0\tok\tok\tok\tok\n",
            second / 60,
            second % 60
        )
    };
    let mut rows = "seconds\ttime\tpublic\tready\tunit\tdial_tcp\tdial_quic\tdns\tcontrol\n".to_owned();
    for second in (0..240).step_by(5) {
        rows += &row(second, if second < 60 { "200\t200/4" } else { "530/1033\t503/0" });
    }
    std::fs::write(folder.path().join("observed.tsv"), rows).unwrap();
    let acts = |journal: &str| {
        std::fs::write(folder.path().join("journal.export"), journal).unwrap();
        let transcript = recording(folder.path()).unwrap();
        transcript.changes.iter().filter(|(_, change)| matches!(change, Change::Ordered { .. })).count()
    };
    // Once, half a minute after 2026-11-23T10:00:00Z.
    let whole = "__REALTIME_TIMESTAMP=1795428030000000\nMESSAGE=x\n\n";
    assert_eq!(acts(whole), 1);
    assert_eq!(acts(&format!("{whole}__REALTIME_TIMESTAMP=17954280")), 0);
}

#[test]
fn a_cell_that_says_nothing_is_nothing_seen() {
    for cell in ["0", "000", "99", "600", "7/1033", "soon"] {
        assert_eq!(name_sight(cell).answer, Answer::Blind, "{cell}");
    }
    let row =
        |column: &str, cell: &str| Row { cells: [(column.into(), cell.into())].into(), ..Row::default() };
    assert!(edge(&row("dial_tcp", "yes")).is_err());
    assert!(control(&row("control", "OK")).is_err());
    assert_eq!(control(&row("control", "unreachable")), Ok(Control::Failing));
}
