//! The journal of the units we watch, followed without losing a line.
//!
//! libsystemd's handle belongs to one thread for life; this module is that thread, a way to tell it things, and a
//! bounded channel out of it. A slow receiver slows the reader, nothing piles up.
//!
//! What is matched for each unit: its own lines (`_SYSTEMD_UNIT`), what PID 1 says about it (`_PID=1` and `UNIT`), and
//! journald's word that it suppressed lines of it. `_CMDLINE` (tokens in old installations) is never copied.

mod access;
mod entry;
mod reader;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread;

use tokio::sync::mpsc;

pub use entry::{Entry, FromSystemd};

/// Events waiting for the receiver; each holds at most [`BATCH_ENTRIES`] lines.
const CHANNEL: usize = 2;
/// Lines in one event.
pub const BATCH_ENTRIES: usize = 1_000;
/// A message is cut here, in bytes.
pub const MESSAGE_LIMIT: usize = 16 * 1024;

/// What to follow.
#[derive(Debug, Clone)]
pub struct Options {
    pub units: Vec<String>,
    /// Where we were before; `None` = first start.
    pub cursor: Option<String>,
    /// At first start: how many old lines to read for each unit.
    pub history: usize,
    /// Read this directory in place of the system's journal.
    pub directory: Option<std::path::PathBuf>,
}

/// Why nothing can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blind {
    /// The journal's files are there and we may not read them (group systemd-journal).
    NoPermission,
    /// There are no files at all.
    NoJournal,
    /// libsystemd failed.
    Failed(String),
}

/// What the journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEvent {
    /// One or more lines in order.
    Lines(Vec<Entry>),
    /// Everything up to here was sent; save it to go on from here. Comes at every catching-up, each 1000 lines of a backlog,
    /// and now and then while only others write.
    Cursor(String),
    /// All that was written is read. Comes after every burst.
    CaughtUp,
    /// journald threw away `suppressed` lines of `unit` (rate limit): silence of the unit proves nothing now.
    Gap { unit: Arc<str>, suppressed: u64 },
    /// The cursor we had is gone (vacuumed): lines may be missing between it and what follows.
    CursorLost,
    /// Nothing can be read for now; tried again by itself.
    Blind(Blind),
    /// Reading works (again).
    Sees,
}

/// Talks to the reading thread; dropping it ends the thread.
#[derive(Debug)]
pub struct JournalHandle {
    commands: std_mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
}

enum Command {
    Units(Vec<String>),
}

impl JournalHandle {
    /// Follows these units from now on. Lines of new ones are read from where the reader is, with their history.
    pub fn set_units(&self, units: Vec<String>) {
        if self.commands.send(Command::Units(units)).is_ok() {
            wake(&self.wake);
        }
    }
}

impl Drop for JournalHandle {
    fn drop(&mut self) {
        let (closed, _) = std_mpsc::channel();
        self.commands = closed;
        wake(&self.wake);
    }
}

fn wake(fd: &OwnedFd) {
    // The only failure is a full counter, and then the thread wakes anyway.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// Starts the reading thread.
///
/// # Errors
/// If there is no thread or file descriptor left. Trouble with the journal itself is an event, [`JournalEvent::Blind`].
pub fn follow(options: Options) -> io::Result<(JournalHandle, mpsc::Receiver<JournalEvent>)> {
    use rustix::event::{EventfdFlags, eventfd};

    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (commands, inbox) = std_mpsc::channel();
    let (tx, rx) = mpsc::channel(CHANNEL);
    let woken = Arc::clone(&wake);
    thread::Builder::new().name("journal".into()).spawn(move || reader::run(options, &inbox, &woken, &tx))?;
    Ok((JournalHandle { commands, wake }, rx))
}

/// Goes once through what this host's journal holds about `unit` since `since` (Unix time), oldest first.
///
/// # Errors
/// Why the journal cannot be read, in words.
pub fn past(unit: &str, since: std::time::Duration, each: impl FnMut(&Entry)) -> Result<(), String> {
    reader::past(unit, since, None, each).map_err(|blind| match blind {
        Blind::NoPermission => "no permission: join the group systemd-journal or be root".to_owned(),
        Blind::NoJournal => "this host keeps no journal".to_owned(),
        Blind::Failed(why) => why,
    })
}

#[cfg(test)]
mod tests;
