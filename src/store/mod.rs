//! What survives us: the state file, the journal's cursor and the incident log.
//!
//! The types here are what is on disk, made of texts and whole numbers and with a version. They
//! know nothing of the core's types, so that those can change without changing what was written.

mod atomic;
mod incidents;
mod state;

use std::io;
use std::path::{Path, PathBuf};

pub use atomic::{Stored, write_or_fallback};
pub use incidents::{IncidentLog, IncidentRecord, Read, Step};
#[cfg(fuzzing)]
pub use state::fuzz_state;
pub use state::{
    Charge, InFlight, Latch, Life, Memory, OpenIncident, State, Tunnel, read_cursor, write_cursor,
};

/// Why something could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: no space left, or the quota is used up", path.display())]
    Full {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: the file system is read-only", path.display())]
    ReadOnly {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: cannot be {verb}", path.display())]
    Io {
        path: PathBuf,
        verb: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{}: cannot be put into its written form", path.display())]
    Encode {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    fn io(path: &Path, verb: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        let kind = source.kind();
        if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded {
            Self::Full { path, source }
        } else if kind == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly { path, source }
        } else {
            Self::Io { path, verb, source }
        }
    }

    /// Whether another file system may take what this one would not.
    pub fn elsewhere_may_work(&self) -> bool {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } => true,
            Self::Io { .. } | Self::Encode { .. } => false,
        }
    }
}
