//! `state.toml`: what the warden must know again after a restart, a crash or a reboot.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::atomic::{self, Durable, Stored, neighbour, read_bounded, write_or_fallback};

const VERSION: i64 = 1;
/// Hundreds of times what a busy host has.
const LONGEST: u64 = 4 << 20;
const LONGEST_CURSOR: u64 = 4096;

/// Missing memory and broken memory are different facts.
#[derive(Debug, PartialEq)]
pub enum Memory {
    /// There never was one.
    Fresh,
    Kept(Box<State>),
    /// There was one, and it cannot be believed: watch, and restart nothing.
    Lost {
        /// Names the file, and the line where there is one.
        reason: String,
        /// A copy for someone to look at; only the last one is kept.
        kept_aside: Option<PathBuf>,
    },
}

/// Everything in `state.toml`. Times ending in `boot` are milliseconds since boot, suspend included,
/// in the boot named beside them; those ending in `wall` are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub boot_id: String,
    /// When this was written.
    pub boot: u64,
    pub wall: u64,
    /// No remedies until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until_wall: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<String>,
    /// Why memory before this was lost, until somebody has accepted that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_lost: Option<String>,
    /// By name of the unit.
    #[serde(default)]
    pub tunnel: BTreeMap<String, Tunnel>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// Which of the cooldowns comes next.
    pub cooldown_step: u64,
    pub not_cured: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latch: Option<Latch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<OpenIncident>,
    #[serde(default)]
    pub charges: Vec<Charge>,
    /// By `InvocationID`.
    #[serde(default)]
    pub through: BTreeMap<String, Life>,
}

/// A remedy that was paid for. Of one from before this boot `wall` alone counts, and `boot_id` is `earlier`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    pub remedy: String,
    pub boot: u64,
    pub wall: u64,
    pub boot_id: String,
}

/// What is known of one life of the unit.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    pub watched_whole_life: bool,
    /// A public answer came through while it ran.
    pub was_through: bool,
}

/// Credentials were refused, and are not tried again as they are.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Latch {
    /// Newest change of the files at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_mtime_wall: Option<u64>,
    pub wall: u64,
    /// The one try after a newer file was used.
    #[serde(default)]
    pub tried: bool,
}

/// A remedy that was ordered and not yet heard of.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InFlight {
    pub remedy: String,
    /// The life that it was to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation_before: Option<String>,
    pub boot: u64,
    pub wall: u64,
    pub boot_id: String,
}

/// An incident that was not over.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OpenIncident {
    pub id: String,
    pub cause: String,
    pub opened_boot: u64,
    pub opened_wall: u64,
    pub boot_id: String,
    #[serde(default)]
    pub steps: Vec<super::Step>,
}

/// The file: the version comes first, so that a later form is known before it is understood.
#[derive(Serialize)]
struct Versioned<'a> {
    version: i64,
    #[serde(flatten)]
    state: &'a State,
}

impl State {
    /// What is remembered. A file that cannot be believed is copied to `<name>.broken-1`, so that a
    /// person can look at it, and stays where it is until something is written: else our next start
    /// would take it for missing and forget that memory was lost. This never fails, since not to know
    /// is an answer.
    pub fn read(path: &Path) -> Memory {
        let bytes = match read_bounded(path, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Memory::Fresh,
            Err(error) => return lost(path, &format!("cannot be read: {error}")),
        };
        match parse(&bytes) {
            Ok(state) => Memory::Kept(Box::new(state)),
            Err(Unbelievable { line, says }) => {
                let line = line.map_or(String::new(), |line| format!("line {line}: "));
                lost(path, &format!("{line}{says}"))
            }
        }
    }

    /// What is remembered, for somebody who only looks: nothing is copied, and a file that cannot be read or believed is no
    /// memory.
    ///
    /// # Errors
    /// Why not, with the file's name.
    pub fn peek(path: &Path, fallback: &Path) -> Result<Option<Self>, String> {
        let one = |path: &Path| match read_bounded(path, LONGEST) {
            Ok(bytes) => {
                parse(&bytes).map(Some).map_err(|broken| format!("{}: {}", path.display(), broken.says))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        let other = one(&fallback.join(path.file_name().unwrap_or_default()));
        match (one(path)?, other) {
            (Some(kept), Ok(Some(other))) if other.is_older_than(&kept) => Ok(Some(kept)),
            (_, Ok(Some(other))) => Ok(Some(other)),
            // The folder under /run is the daemon's alone, and seldom holds anything.
            (kept, Ok(None) | Err(_)) => Ok(kept),
        }
    }

    /// Replaces the file at `path`, durably when this returns.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        atomic::replace(path, &self.encoded(path)?, Durable::Now)
    }

    /// As [`Self::write`], or into the folder `fallback` if the disk of `path` is full or read-only.
    pub fn write_or_fallback(&self, path: &Path, fallback: &Path) -> Result<Stored, StoreError> {
        write_or_fallback(path, fallback, &self.encoded(path)?)
    }

    /// What is remembered in `path`, or in `fallback` if something had to be kept there and is newer.
    pub fn read_with_fallback(path: &Path, fallback: &Path) -> Memory {
        let fallback = Self::read(&fallback.join(path.file_name().unwrap_or_default()));
        match (Self::read(path), fallback) {
            (memory, Memory::Fresh) => memory,
            (Memory::Kept(kept), Memory::Kept(other)) if other.is_older_than(&kept) => Memory::Kept(kept),
            (_, memory @ (Memory::Kept(_) | Memory::Lost { .. })) => memory,
        }
    }

    /// What lies under `/run` is of this boot, so a state of another boot is older whatever its clock said.
    fn is_older_than(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id && self.boot < other.boot
    }

    fn encoded(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let text = toml::to_string(&Versioned { version: VERSION, state: self })
            .map_err(|source| StoreError::Encode { path: path.to_owned(), source: Box::new(source) })?;
        // The last line tells a whole file from one cut off between two entries.
        Ok(format!("{text}{END}\n").into_bytes())
    }
}

const END: &str = "# end";

struct Unbelievable {
    line: Option<usize>,
    says: String,
}

fn parse(bytes: &[u8]) -> Result<State, Unbelievable> {
    let line_of = |at: usize| Some(1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count());
    let text = std::str::from_utf8(bytes).map_err(|error| Unbelievable {
        line: line_of(error.valid_up_to()),
        says: "is not UTF-8 text".to_owned(),
    })?;
    let broken = |error: &toml::de::Error| Unbelievable {
        line: error.span().and_then(|span| line_of(span.start)),
        says: error.message().to_owned(),
    };
    if text.is_empty() {
        return Err(Unbelievable { line: line_of(0), says: "is empty".to_owned() });
    }
    let mut table: toml::Table = toml::from_str(text).map_err(|error| broken(&error))?;
    match table.remove("version").and_then(|version| version.as_integer()) {
        Some(VERSION) => {}
        Some(other) => {
            let says = format!("is of version {other}; this tunnelwarden reads version {VERSION}");
            return Err(Unbelievable { line: line_of(0), says });
        }
        None => return Err(Unbelievable { line: line_of(0), says: "names no version".to_owned() }),
    }
    if text.lines().next_back() != Some(END) {
        return Err(Unbelievable {
            line: line_of(bytes.len().saturating_sub(1)),
            says: "is cut short".to_owned(),
        });
    }
    // Read from the text once more, because a table has forgotten its lines.
    toml::from_str::<Believed>(text).map(|believed| believed.into_state()).map_err(|error| broken(&error))
}

/// [`Versioned`] read back; spelled out, since `flatten` and strictness exclude each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Believed {
    #[serde(rename = "version")]
    _version: i64,
    boot_id: String,
    boot: u64,
    wall: u64,
    paused_until_wall: Option<u64>,
    paused_reason: Option<String>,
    memory_lost: Option<String>,
    #[serde(default)]
    tunnel: BTreeMap<String, Tunnel>,
}

impl Believed {
    fn into_state(self) -> State {
        let Self { _version, boot_id, boot, wall, paused_until_wall, paused_reason, memory_lost, tunnel } =
            self;
        State { boot_id, boot, wall, paused_until_wall, paused_reason, memory_lost, tunnel }
    }
}

fn lost(path: &Path, says: &str) -> Memory {
    let aside = neighbour(path, ".broken-1");
    let kept_aside = fs::copy(path, &aside).ok().map(|_bytes| aside);
    Memory::Lost { reason: format!("{}: {says}", path.display()), kept_aside }
}

/// Where the journal was read up to. Nothing is lost with it but time: an unreadable one counts as none.
pub fn read_cursor(path: &Path) -> Option<String> {
    let text = String::from_utf8(read_bounded(path, LONGEST_CURSOR).ok()?).ok()?;
    let cursor = text.strip_suffix('\n')?;
    (!cursor.is_empty() && cursor.bytes().all(|byte| byte.is_ascii_graphic())).then(|| cursor.to_owned())
}

/// Keeps a cursor, and does not wait for the disk: what a loss of power leaves of it is read as none.
pub fn write_cursor(path: &Path, cursor: &str) -> Result<(), StoreError> {
    atomic::replace(path, format!("{cursor}\n").as_bytes(), Durable::SomeTime)
}

/// For the fuzzer: reads `bytes` as a state file.
#[cfg(fuzzing)]
pub fn fuzz_state(bytes: &[u8]) {
    let _ = parse(bytes).map_err(|why| why.says);
}

#[cfg(test)]
mod tests;
