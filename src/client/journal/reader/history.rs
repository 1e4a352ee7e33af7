//! What was written before we came: told to us as history, or read whole.

use std::time::Duration;

use systemd::journal::Journal;

use super::super::Blind;
use super::super::entry::{Entry, Memory, Read, read};
use super::{Batch, Reader, Stop, add_matches, open, realtime_of};

/// The first lines of a running process, read at our start whatever else it wrote since.
const STARTUP_LINES: usize = 100;

/// Where a past ends.
pub(super) struct End {
    pub(super) cursor: String,
    pub(super) realtime_us: u64,
}

/// Reads what the journal holds about `unit` since `since` (Unix time), oldest first.
pub(in super::super) fn past(
    unit: &str,
    since: Duration,
    directory: Option<&std::path::Path>,
    mut each: impl FnMut(&Entry),
) -> Result<(), Blind> {
    let mut read_all = || -> Result<(), Stop> {
        let mut journal = open(directory)?;
        add_matches(&mut journal, &[unit])?;
        journal.seek_realtime_usec(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))?;
        let mut memory = Memory::default();
        while journal.next()? > 0 {
            if let Read::Line(entry) = read(&mut journal, &mut memory)? {
                each(&entry);
            }
        }
        Ok(())
    };
    match read_all() {
        Ok(()) | Err(Stop::Unheard) => Ok(()),
        Err(Stop::Blind(blind)) => Err(blind),
    }
}

impl Reader<'_> {
    /// Our start with a cursor of the one before us. What the running process said of itself lies before it, and only
    /// that one heard it: its port, its transport, its last registration.
    pub(super) fn take_up(&mut self, cursor: String) -> Result<Option<String>, Stop> {
        if !self.place.past_told
            && let Some(realtime_us) = realtime_of(&cursor)
        {
            let end = End { cursor: cursor.clone(), realtime_us };
            for unit in &self.place.units.clone() {
                self.tell_past(unit, &end)?;
            }
            self.memory.forget_cut_lines();
        }
        self.resume(cursor)
    }

    /// First start: remembers the end, tells each unit's past up to it, and goes on from there.
    pub(super) fn begin(&mut self, units: &[String]) -> Result<Option<String>, Stop> {
        self.match_units()?;
        self.journal.seek_tail()?;
        let end = match self.journal.previous()? {
            // seek_tail + next would lose the first line that matches.
            0 => None,
            _ => Some(End { cursor: self.journal.cursor()?, realtime_us: self.journal.timestamp_usec()? }),
        };
        let Some(end) = end else {
            self.journal.seek_head()?;
            return Ok(None);
        };
        for unit in units {
            self.tell_past(unit, &end)?;
        }
        self.memory.forget_cut_lines();
        self.place.cursor = Some(end.cursor.clone());
        self.resume(end.cursor)
    }

    /// The first lines of the unit's present process and its last `history` lines, up to `end`.
    pub(super) fn tell_past(&mut self, unit: &str, end: &End) -> Result<(), Stop> {
        let mut batch = Batch::default();
        add_matches(&mut self.journal, std::slice::from_ref(&unit))?;
        if self.journal.seek_cursor(end.cursor.as_str()).is_err() {
            // Not a cursor: `resume` says so.
            return Ok(());
        }
        let mut invocation = None;
        let mut from = None;
        for _ in 0..self.place.history {
            if self.journal.previous()? == 0 {
                break;
            }
            from = Some(self.journal.timestamp_usec()?);
            if invocation.is_none() {
                invocation = field(&mut self.journal, "_SYSTEMD_INVOCATION_ID")?;
            }
        }
        let Some(from_us) = from else { return Ok(()) };
        let first = self.journal.cursor()?;
        if let Some(invocation) = invocation.filter(|id| id.len() == 32) {
            self.journal.match_flush()?.match_add("_SYSTEMD_INVOCATION_ID", invocation)?;
            self.journal.seek_head()?;
            for _ in 0..STARTUP_LINES {
                if self.journal.next()? == 0
                    || self.journal.timestamp_usec()? > from_us
                    || self.journal.test_cursor(first.as_str())?
                {
                    break;
                }
                self.take_entry(&mut batch, true)?;
            }
        }
        add_matches(&mut self.journal, std::slice::from_ref(&unit))?;
        self.journal.seek_cursor(first.as_str())?;
        while self.journal.next()? > 0 && self.journal.timestamp_usec()? <= end.realtime_us {
            self.take_entry(&mut batch, true)?;
            if self.journal.test_cursor(end.cursor.as_str())? {
                break;
            }
        }
        self.flush(&mut batch)
    }
}

fn field(journal: &mut Journal, name: &str) -> Result<Option<String>, Stop> {
    let value = journal.get_data(name)?.and_then(|field| field.value().map(<[u8]>::to_vec));
    Ok(value.and_then(|value| String::from_utf8(value).ok()))
}
