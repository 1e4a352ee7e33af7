//! The thread that owns the journal.

mod history;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use systemd::id128::Id128;
use systemd::journal::{Journal, JournalWaitResult, OpenDirectoryOptions, OpenOptions};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::history::End;
pub(super) use self::history::past;
use super::entry::{Entry, Memory, Read, read};
use super::{BATCH_ENTRIES, Blind, Command, JournalEvent, MESSAGE_LIMIT, Options, access};

/// Message bytes in one event.
const BATCH_BYTES: usize = 256 * 1024;
/// A cursor at least this often in a backlog.
const CURSOR_LINES: usize = 1_000;
/// A cursor at most this often while only others write; also how long one sleep may last.
const IDLE: Duration = Duration::from_secs(30);
/// Pause before a journal that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Why reading stops: nobody listens or commands any more, or there is nothing to be read.
enum Stop {
    Unheard,
    Blind(Blind),
}

impl From<systemd::Error> for Stop {
    fn from(error: systemd::Error) -> Self {
        Self::Blind(Blind::Failed(error.to_string()))
    }
}

/// The thread's whole life.
pub(super) fn run(
    options: Options,
    inbox: &std_mpsc::Receiver<Command>,
    wake: &OwnedFd,
    tx: &mpsc::Sender<JournalEvent>,
) {
    let Options { units, cursor, history, directory } = options;
    let boot = this_boot(directory.as_deref());
    let mut place = Place { units, cursor, history, past_told: false, boot };
    let mut told = None;
    loop {
        let result = open(directory.as_deref()).and_then(|journal| {
            told = None;
            Reader {
                journal,
                place: &mut place,
                inbox,
                wake,
                tx,
                memory: Memory::default(),
                in_this_boot: false,
            }
            .live()
        });
        let Err(Stop::Blind(blind)) = result else { return };
        if told.as_ref() != Some(&blind) {
            if tx.blocking_send(JournalEvent::Blind(blind.clone())).is_err() {
                return;
            }
            told = Some(blind);
        }
        sleep(None, wake, RETRY);
        if take_commands(inbox, &mut place.units).is_err() {
            return;
        }
    }
}

/// What outlives a handle.
struct Place {
    units: Vec<String>,
    cursor: Option<String>,
    history: usize,
    /// Told once in our life; what a new handle would tell again is known.
    past_told: bool,
    boot: Option<Id128>,
}

/// By which id the journal knows this boot: that of the line with which systemd began to start us. In a container the kernel's
/// own word is another where the service has a `/proc` of its own. Unknown where nobody started us: then no line is an earlier
/// boot's.
fn this_boot(directory: Option<&std::path::Path>) -> Option<Id128> {
    let invocation = std::env::var("INVOCATION_ID").ok().filter(|id| id.len() == 32)?;
    let mut journal = open(directory).ok()?;
    journal.match_add("INVOCATION_ID", invocation).ok()?;
    journal.seek_tail().ok()?;
    let found = 0 < journal.previous().ok()?;
    found.then(|| journal.monotonic_timestamp().ok()).flatten().map(|(_, boot)| boot)
}

fn open(directory: Option<&std::path::Path>) -> Result<Journal, Stop> {
    let mut journal = match directory {
        Some(directory) => {
            access::check_directory(directory).map_err(Stop::Blind)?;
            let path = directory.to_string_lossy().into_owned();
            OpenDirectoryOptions::default().open_directory(path)?
        }
        None => {
            // Not `system(true)`: lines of a unit that runs as an ordinary user are in that user's file.
            access::check().map_err(Stop::Blind)?;
            OpenOptions::default().local_only(true).open()?
        }
    };
    journal.set_data_threshold(MESSAGE_LIMIT + "MESSAGE=".len() + 1)?;
    Ok(journal)
}

/// Takes what was commanded; `Err` if the other side is gone.
fn take_commands(inbox: &std_mpsc::Receiver<Command>, units: &mut Vec<String>) -> Result<bool, Stop> {
    let mut changed = false;
    loop {
        match inbox.try_recv() {
            Ok(Command::Units(wanted)) => {
                changed |= *units != wanted;
                *units = wanted;
            }
            Err(std_mpsc::TryRecvError::Empty) => return Ok(changed),
            Err(std_mpsc::TryRecvError::Disconnected) => return Err(Stop::Unheard),
        }
    }
}

/// Sleeps until the journal changes, somebody wakes us, or `limit` is over.
fn sleep(journal: Option<BorrowedFd<'_>>, wake: &OwnedFd, limit: Duration) {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
    if let Some(journal) = &journal {
        fds.push(PollFd::new(journal, PollFlags::IN));
    }
    // An interrupted sleep is only a short one.
    let _ = poll(&mut fds, Some(&limit));
    let _ = rustix::io::read(wake, &mut [0; 8]);
}

/// One handle, from opening to failure.
struct Reader<'a> {
    journal: Journal,
    place: &'a mut Place,
    inbox: &'a std_mpsc::Receiver<Command>,
    wake: &'a OwnedFd,
    tx: &'a mpsc::Sender<JournalEvent>,
    memory: Memory,
    /// What is followed has reached this boot.
    in_this_boot: bool,
}

impl Reader<'_> {
    fn live(mut self) -> Result<(), Stop> {
        // Before anything is read: what is written from here on is noticed.
        let fd = self.journal.fd()?;
        self.send(JournalEvent::Sees)?;
        let mut skip = match self.place.cursor.clone() {
            Some(cursor) => self.take_up(cursor)?,
            None => {
                let units = self.place.units.clone();
                self.begin(&units)?
            }
        };
        self.place.past_told = true;
        self.drain(&mut skip)?;
        self.caught_up()?;
        let mut last_cursor = Instant::now();
        let mut foreign = false;
        loop {
            #[expect(
                unsafe_code,
                reason = "libsystemd's descriptor lives as long as self.journal, which is not dropped here"
            )]
            let journal = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
            sleep(Some(journal), self.wake, IDLE);
            let mut units = self.place.units.clone();
            if take_commands(self.inbox, &mut units)? {
                self.change_units(units, &mut skip)?;
            }
            // Whatever it says (appended, or files came and went), next() goes on from where we are.
            foreign |= !matches!(self.journal.process()?, JournalWaitResult::Nop);
            if self.drain(&mut skip)? {
                self.caught_up()?;
                (last_cursor, foreign) = (Instant::now(), false);
            } else if foreign && last_cursor.elapsed() >= IDLE {
                self.pass_foreign(&mut skip)?;
                (last_cursor, foreign) = (Instant::now(), false);
            }
        }
    }

    fn send(&self, event: JournalEvent) -> Result<(), Stop> {
        self.tx.blocking_send(event).map_err(|_| Stop::Unheard)
    }

    fn caught_up(&mut self) -> Result<(), Stop> {
        if let Some(cursor) = self.place.cursor.clone() {
            self.send(JournalEvent::Cursor(cursor))?;
        }
        self.send(JournalEvent::CaughtUp)
    }

    /// Goes to a cursor. The entry under it was handled before: if it is the first to come it must be skipped.
    fn resume(&mut self, cursor: String) -> Result<Option<String>, Stop> {
        self.match_units()?;
        let oldest = self.journal.cutoff_realtime_usec().ok().flatten().map_or(0, |(oldest, _)| oldest);
        let lost = realtime_of(&cursor).is_none_or(|at| at < oldest);
        if lost {
            self.send(JournalEvent::CursorLost)?;
        }
        if lost || self.journal.seek_cursor(cursor.as_str()).is_err() {
            self.journal.seek_head()?;
            return Ok(None);
        }
        Ok(Some(cursor))
    }

    /// Reads all there is; true if there was anything.
    fn drain(&mut self, skip: &mut Option<String>) -> Result<bool, Stop> {
        let mut batch = Batch::default();
        let mut lines = 0;
        let mut any = false;
        while self.journal.next()? > 0 {
            if let Some(cursor) = skip.take()
                && self.journal.test_cursor(cursor.as_str())?
            {
                continue;
            }
            any = true;
            self.take_entry(&mut batch, false)?;
            lines += 1;
            if lines % CURSOR_LINES == 0 {
                let cursor = self.journal.cursor()?;
                self.flush(&mut batch)?;
                self.send(JournalEvent::Cursor(cursor.clone()))?;
                self.place.cursor = Some(cursor);
            }
        }
        if any {
            // At the end the handle still stands on the last entry.
            self.place.cursor = self.journal.cursor().ok().or(self.place.cursor.take());
        }
        self.flush(&mut batch)?;
        Ok(any)
    }

    fn take_entry(&mut self, batch: &mut Batch, history: bool) -> Result<(), Stop> {
        match read(&mut self.journal, &mut self.memory)? {
            Read::Line(mut entry) => {
                entry.history = history;
                entry.earlier_boot = self.earlier_boot(history);
                batch.bytes += entry.message.len();
                batch.entries.push(entry);
                if batch.entries.len() >= BATCH_ENTRIES || batch.bytes >= BATCH_BYTES {
                    self.flush(batch)?;
                }
                Ok(())
            }
            // What was lost before we came, or in an earlier boot, says nothing of now.
            Read::Gap { .. } if history || self.earlier_boot(history) => Ok(()),
            Read::Gap { unit, suppressed } => {
                self.flush(batch)?;
                self.send(JournalEvent::Gap { unit, suppressed })
            }
            Read::Nothing => Ok(()),
        }
    }

    /// The current entry was written before this host was last booted.
    fn earlier_boot(&mut self, history: bool) -> bool {
        let Some(ours) = self.place.boot.filter(|_| history || !self.in_this_boot) else { return false };
        let earlier = self.journal.monotonic_timestamp().is_ok_and(|(_, boot)| boot != ours);
        // What is written from there on is not asked for its boot.
        self.in_this_boot |= !history && !earlier;
        earlier
    }

    fn flush(&self, batch: &mut Batch) -> Result<(), Stop> {
        let Batch { entries, bytes: _ } = std::mem::take(batch);
        match entries.is_empty() {
            true => Ok(()),
            false => self.send(JournalEvent::Lines(entries)),
        }
    }

    /// New units are told their past, then all are followed from where we are.
    fn change_units(&mut self, units: Vec<String>, skip: &mut Option<String>) -> Result<(), Stop> {
        // Nothing of the old set may be left behind.
        self.drain(skip)?;
        let new: Vec<String> =
            units.iter().filter(|unit| !self.place.units.contains(unit)).cloned().collect();
        self.place.units = units;
        *skip = match self.place.cursor.clone() {
            None => {
                let units = self.place.units.clone();
                self.begin(&units)?
            }
            Some(cursor) => {
                self.resume(cursor.clone())?;
                let realtime_us = realtime_of(&cursor).unwrap_or(u64::MAX);
                let end = End { cursor: cursor.clone(), realtime_us };
                for unit in &new {
                    self.tell_past(unit, &end)?;
                }
                self.resume(cursor)?
            }
        };
        Ok(())
    }

    /// Only others wrote: moves our cursor to the end of the journal, so that a later start need not search all that
    /// again. Reads from our last entry once more, so nothing written meanwhile is missed.
    fn pass_foreign(&mut self, skip: &mut Option<String>) -> Result<(), Stop> {
        self.journal.match_flush()?;
        self.journal.seek_tail()?;
        let end = match self.journal.previous()? {
            0 => None,
            _ => Some(self.journal.cursor()?),
        };
        *skip = match self.place.cursor.clone() {
            Some(cursor) => self.resume(cursor)?,
            None => {
                self.match_units()?;
                self.journal.seek_head()?;
                None
            }
        };
        let any = self.drain(skip)?;
        match (any, end) {
            (true, _) => self.caught_up(),
            (false, Some(end)) => {
                self.place.cursor = Some(end.clone());
                *skip = self.resume(end.clone())?;
                self.send(JournalEvent::Cursor(end))
            }
            (false, None) => Ok(()),
        }
    }

    fn match_units(&mut self) -> Result<(), Stop> {
        add_matches(&mut self.journal, &self.place.units)
    }
}

/// Lines on their way.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
}

/// The wall time in a cursor (`t=` in hex), µs.
fn realtime_of(cursor: &str) -> Option<u64> {
    let fields: BTreeMap<&str, &str> = cursor.split(';').filter_map(|field| field.split_once('=')).collect();
    u64::from_str_radix(fields.get("t")?, 16).ok()
}

/// The unit's own lines, or PID 1 about it, or journald about it. Values of one field are alternatives. Each further
/// term costs time at every entry, so that it is journald who speaks is looked at when the entry is read.
fn add_matches<S: AsRef<str>>(journal: &mut Journal, units: &[S]) -> Result<(), Stop> {
    journal.match_flush()?;
    if units.is_empty() {
        // No match at all would be everything.
        journal.match_add("_SYSTEMD_UNIT", "")?;
        return Ok(());
    }
    for unit in units {
        journal.match_add("_SYSTEMD_UNIT", unit.as_ref())?;
    }
    journal.match_or()?;
    journal.match_add("_PID", "1")?;
    for unit in units {
        journal.match_add("UNIT", unit.as_ref())?;
    }
    journal.match_or()?;
    for unit in units {
        journal.match_add("OBJECT_SYSTEMD_UNIT", unit.as_ref())?;
    }
    Ok(())
}
