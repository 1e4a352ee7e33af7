//! One line of the journal with the fields that matter.

use std::collections::VecDeque;
use std::sync::Arc;

use systemd::journal::{JournalEntryField, JournalRef};

use super::MESSAGE_LIMIT;
use crate::client::cloudflared_log::SystemdLine;

/// What PID 1 adds to its lines about a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FromSystemd {
    pub message_id: Option<String>,
    pub job_type: Option<String>,
    pub job_result: Option<String>,
    pub unit_result: Option<String>,
    pub exit_code: Option<String>,
    pub exit_status: Option<String>,
    pub n_restarts: Option<u32>,
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub realtime_us: u64,
    /// The unit it is about.
    pub unit: Arc<str>,
    pub pid: u32,
    /// 32 hex digits, if known.
    pub invocation_id: Option<Arc<str>>,
    /// Made valid UTF-8, cut at [`MESSAGE_LIMIT`].
    pub message: String,
    /// Set if PID 1 speaks.
    pub systemd: Option<Box<FromSystemd>>,
    /// journald cut a very long line before this one: it begins in the middle, with words anybody may have chosen.
    pub mid_line: bool,
    /// Written before we began to follow.
    pub history: bool,
    /// Written before this host was last booted.
    pub earlier_boot: bool,
}

impl Entry {
    /// What PID 1 says, if it is it that speaks.
    pub fn by_systemd(&self) -> Option<SystemdLine<'_>> {
        let systemd = self.systemd.as_ref()?;
        Some(SystemdLine {
            message: &self.message,
            message_id: systemd.message_id.as_deref(),
            job_type: systemd.job_type.as_deref(),
            job_result: systemd.job_result.as_deref(),
            unit_result: systemd.unit_result.as_deref(),
            exit_code: systemd.exit_code.as_deref(),
            exit_status: systemd.exit_status.as_deref(),
            n_restarts: systemd.n_restarts,
        })
    }
}

/// The fields of an entry as they are collected.
#[derive(Default)]
pub(super) struct Fields {
    message: Option<String>,
    systemd_unit: Option<Arc<str>>,
    unit: Option<Arc<str>>,
    object_unit: Option<Arc<str>>,
    pid: Option<u32>,
    invocation: Option<Arc<str>>,
    about_invocation: Option<Arc<str>>,
    driver: bool,
    stream: Option<Arc<str>>,
    cut: bool,
    dropped: Option<u64>,
    systemd: Option<Box<FromSystemd>>,
}

/// Values of one field that come again with every line, kept so that they are not copied each time; the last first.
#[derive(Debug, Default)]
struct Recent(VecDeque<Arc<str>>);

impl Recent {
    const MOST: usize = 8;
    /// Nothing longer is believed to be a name or an id.
    const LONGEST: usize = 512;

    fn get(&mut self, value: &[u8]) -> Option<Arc<str>> {
        match self.0.iter().position(|known| known.as_bytes() == value) {
            Some(0) => (),
            Some(at) => self.0.swap(0, at),
            None => {
                let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= Self::LONGEST)?;
                self.0.truncate(Self::MOST - 1);
                self.0.push_front(text.into());
            }
        }
        self.0.front().map(Arc::clone)
    }
}

/// What is remembered from entry to entry.
#[derive(Debug, Default)]
pub(super) struct Memory {
    units: Recent,
    invocations: Recent,
    streams: Recent,
    cut_lines: CutLines,
}

impl Memory {
    /// The reader jumped: what was open before is not continued here.
    pub(super) fn forget_cut_lines(&mut self) {
        self.cut_lines = CutLines::default();
    }
}

/// Everything [`Fields::take`] knows, for the slow way.
const WANTED: &[&str] = &[
    "MESSAGE",
    "_SYSTEMD_UNIT",
    "UNIT",
    "OBJECT_SYSTEMD_UNIT",
    "_PID",
    "_SYSTEMD_INVOCATION_ID",
    "INVOCATION_ID",
    "_TRANSPORT",
    "_STREAM_ID",
    "_LINE_BREAK",
    "N_DROPPED",
    "MESSAGE_ID",
    "JOB_TYPE",
    "JOB_RESULT",
    "UNIT_RESULT",
    "EXIT_CODE",
    "EXIT_STATUS",
    "N_RESTARTS",
];

/// What an entry turned out to be.
pub(super) enum Read {
    Line(Entry),
    Gap {
        unit: Arc<str>,
        suppressed: u64,
    },
    /// Nothing to tell (a unit we do not know, no message).
    Nothing,
}

/// Which streams are in the middle of a line that journald cut.
#[derive(Debug, Default)]
struct CutLines(Vec<Arc<str>>);

impl CutLines {
    /// More open streams than this are not remembered.
    const MOST: usize = 64;

    /// Whether this entry begins in the middle; remembers whether the next one will.
    fn pass(&mut self, stream: Option<&Arc<str>>, cut: bool) -> bool {
        let Some(stream) = stream else { return false };
        let at = self.0.iter().position(|known| known == stream);
        match (at, cut) {
            (Some(at), false) => {
                self.0.swap_remove(at);
            }
            (None, true) if self.0.len() < Self::MOST => self.0.push(Arc::clone(stream)),
            (Some(_) | None, _) => {}
        }
        at.is_some()
    }
}

/// Reads the current entry. All fields are gone through once: faster than asking for each.
pub(super) fn read(journal: &mut JournalRef, memory: &mut Memory) -> systemd::Result<Read> {
    let mut fields = Fields::default();
    journal.restart_data();
    loop {
        match journal.enumerate_data() {
            Ok(Some(field)) => fields.take(&field, memory),
            Ok(None) => break,
            // One field that cannot be read (damaged, too big, compressed in a way this libsystemd does not know) would
            // stop the enumeration for good: take what can be had one by one.
            Err(_) => {
                fields = Fields::default();
                for name in WANTED {
                    if let Ok(Some(field)) = journal.get_data(*name) {
                        fields.take(&field, memory);
                    }
                }
                break;
            }
        }
    }
    let realtime_us = journal.timestamp_usec()?;
    Ok(fields.into_read(realtime_us, &mut memory.cut_lines))
}

impl Fields {
    #[inline]
    fn take(&mut self, field: &JournalEntryField<'_>, memory: &mut Memory) {
        // Most of an entry's twenty fields tell who wrote it, in names that we do not read.
        if let [b'_', b'A' | b'B' | b'C' | b'E' | b'G' | b'H' | b'M' | b'R' | b'U', ..] | [b'P' | b'S', ..] =
            field.data()
        {
            return;
        }
        let Some(value) = field.value() else { return };
        match field.name() {
            b"MESSAGE" => self.message = Some(message(value)),
            b"_SYSTEMD_UNIT" => self.systemd_unit = memory.units.get(value),
            b"UNIT" => self.unit = memory.units.get(value),
            b"OBJECT_SYSTEMD_UNIT" => self.object_unit = memory.units.get(value),
            b"_PID" => self.pid = number(value),
            b"_SYSTEMD_INVOCATION_ID" => self.invocation = memory.invocations.get(value),
            b"INVOCATION_ID" => self.about_invocation = memory.invocations.get(value),
            b"_TRANSPORT" => self.driver = value == b"driver",
            b"_STREAM_ID" => self.stream = memory.streams.get(value),
            b"_LINE_BREAK" => self.cut = value == b"line-max",
            b"N_DROPPED" => self.dropped = number(value),
            b"MESSAGE_ID" => self.systemd().message_id = short(value),
            b"JOB_TYPE" => self.systemd().job_type = short(value),
            b"JOB_RESULT" => self.systemd().job_result = short(value),
            b"UNIT_RESULT" => self.systemd().unit_result = short(value),
            b"EXIT_CODE" => self.systemd().exit_code = short(value),
            b"EXIT_STATUS" => self.systemd().exit_status = short(value),
            b"N_RESTARTS" => self.systemd().n_restarts = number(value),
            _ => {}
        }
    }

    fn systemd(&mut self) -> &mut FromSystemd {
        self.systemd.get_or_insert_default()
    }

    fn into_read(self, realtime_us: u64, cut_lines: &mut CutLines) -> Read {
        if let Some(unit) = self.object_unit {
            let suppressed = self.dropped.or_else(|| suppressed(self.message.as_deref()?));
            return match suppressed.filter(|_| self.driver) {
                Some(suppressed) => Read::Gap { unit, suppressed },
                None => Read::Nothing,
            };
        }
        let from_systemd = self.pid == Some(1) && self.unit.is_some();
        // Anyone may write UNIT, INVOCATION_ID, MESSAGE_ID …; believe them from PID 1 only.
        let (unit, invocation_id, systemd) = if from_systemd {
            (self.unit, self.about_invocation, Some(self.systemd.unwrap_or_default()))
        } else {
            (self.systemd_unit, self.invocation, None)
        };
        let mid_line = cut_lines.pass(self.stream.as_ref(), self.cut);
        let (Some(unit), Some(message)) = (unit, self.message) else { return Read::Nothing };
        Read::Line(Entry {
            realtime_us,
            unit,
            pid: self.pid.unwrap_or_default(),
            invocation_id,
            message,
            systemd,
            mid_line,
            history: false,
            earlier_boot: false,
        })
    }
}

/// `Suppressed 17 messages from cloudflared.service`
fn suppressed(message: &str) -> Option<u64> {
    message.strip_prefix("Suppressed ")?.split(' ').next()?.parse().ok()
}

fn message(value: &[u8]) -> String {
    let cut = &value[..value.len().min(MESSAGE_LIMIT)];
    let mut text = match std::str::from_utf8(cut) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(cut).into_owned(),
    };
    if value.len() > MESSAGE_LIMIT {
        text.push('…');
    }
    text
}

/// Names and ids.
fn short(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    (text.len() <= Recent::LONGEST).then(|| text.to_owned())
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
