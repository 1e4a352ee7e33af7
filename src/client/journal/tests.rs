use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;

fn options(units: &[&str]) -> Options {
    let units = units.iter().map(|unit| (*unit).to_owned()).collect();
    Options { units, cursor: None, history: 200, directory: None }
}

#[tokio::test]
async fn a_journal_that_is_not_there_is_blind_and_the_thread_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&["cloudflared.service"]);
    options.directory = Some(directory.path().into());
    let (handle, mut events) = follow(options).unwrap();
    let first = timeout(Duration::from_secs(5), events.recv()).await.unwrap();
    assert_eq!(first, Some(JournalEvent::Blind(Blind::NoJournal)));
    drop(handle);
    assert_eq!(timeout(Duration::from_secs(5), events.recv()).await.unwrap(), None);
}

fn say(what: std::fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "{what}").unwrap();
}

/// By hand, in a system with a real journal; `TUNNELWARDEN_UNIT`, `TUNNELWARDEN_WAIT` s, `TUNNELWARDEN_CURSOR`,
/// `TUNNELWARDEN_QUIET` = only counts.
#[tokio::test]
#[ignore = "needs a real journal"]
async fn real_journal() {
    let of = |name: &str| std::env::var(name).ok();
    let unit = of("TUNNELWARDEN_UNIT").unwrap_or_else(|| "cloudflared.service".into());
    let mut options = options(&[&unit]);
    options.cursor = of("TUNNELWARDEN_CURSOR");
    let quiet = of("TUNNELWARDEN_QUIET").is_some();
    let wait = of("TUNNELWARDEN_WAIT").and_then(|wait| wait.parse().ok()).unwrap_or(3);
    let began = Instant::now();
    let deadline = began + Duration::from_secs(wait);
    let (handle, mut events) = follow(options).unwrap();
    let (mut lines, mut history) = (0, 0);
    while let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.recv()).await {
        match event {
            JournalEvent::Lines(entries) => {
                lines += entries.len();
                history += entries.iter().filter(|entry| entry.history).count();
                for entry in entries.iter().filter(|_| !quiet) {
                    say(format_args!(
                        "line {} {:?} {} {:.80} {:?}",
                        entry.pid, entry.history, entry.mid_line, entry.message, entry.systemd
                    ));
                }
            }
            JournalEvent::CaughtUp => {
                say(format_args!("caught up: {lines} lines, {history} of them old, {:?}", began.elapsed()));
            }
            JournalEvent::Cursor(cursor) if quiet => drop(cursor),
            other @ (JournalEvent::Cursor(_)
            | JournalEvent::Gap { .. }
            | JournalEvent::CursorLost
            | JournalEvent::Blind(_)
            | JournalEvent::Sees) => say(format_args!("{other:?}")),
        }
    }
    drop(handle);
}
