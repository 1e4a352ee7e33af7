//! The judge on what is past: a recorded incident, or this host's own journal, at machine speed.

pub mod export;
pub mod observed;
mod past;
mod recording;
mod transcript;

use std::path::PathBuf;

pub use past::{MISSING, past};
pub use recording::recording;
pub use transcript::{Change, Transcript};

/// Why nothing could be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}:{line}: {what}", path.display())]
    Malformed { path: PathBuf, line: usize, what: String },
    #[error("{}: {what}", path.display())]
    Unusable { path: PathBuf, what: String },
    #[error("the journal cannot be read: {0}")]
    Journal(String),
    #[error(
        "the journal has no line of {unit} in that time; `systemctl list-units 'cloudflared*'` shows how units are called, \
         `journalctl --list-boots` how far back it goes"
    )]
    Nothing { unit: String },
}
