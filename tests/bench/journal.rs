//! Reads a backlog as the daemon does: `journal UNIT CURSOR [DIRECTORY]` prints entries and seconds.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement")]

use std::time::Instant;

use tunnelwarden::client::journal::{JournalEvent, Options, follow};

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (Some(unit), Some(cursor)) = (args.next(), args.next()) else {
        println!("usage: journal UNIT CURSOR [DIRECTORY]");
        std::process::exit(64);
    };
    let directory = args.next().map(Into::into);
    let began = Instant::now();
    let options = Options { units: vec![unit], cursor: Some(cursor), history: 0, directory };
    let (handle, mut events) = follow(options).expect("the reader starts");
    let mut entries = 0;
    while let Some(event) = events.blocking_recv() {
        match event {
            JournalEvent::Lines(lines) => entries += lines.len(),
            JournalEvent::CaughtUp => break,
            JournalEvent::Blind(why) => panic!("cannot read the journal: {why:?}"),
            JournalEvent::Cursor(_)
            | JournalEvent::Gap { .. }
            | JournalEvent::CursorLost
            | JournalEvent::Sees => (),
        }
    }
    println!("{} {:.6}", entries + 1, began.elapsed().as_secs_f64());
    drop(handle);
}
