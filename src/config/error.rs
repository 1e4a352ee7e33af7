//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Everything that is wrong, in the order in which it was found; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", joined(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// One thing that is wrong. Nothing in here repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: {says}", path.display())]
    NotAConfigFile { path: PathBuf, says: &'static str },
    #[error("{place}: {says}{excerpt}")]
    Syntax { place: Place, says: String, excerpt: Excerpt },
    /// A key that does not exist, or a value that its key cannot have.
    #[error("{place}: {key} {says}{excerpt}")]
    Refused { place: Place, key: String, says: String, excerpt: Excerpt },
    #[error(
        "the layers of the configuration cannot be merged; this is a fault in tunnelwarden, please report it"
    )]
    Merge,
}

impl ConfigError {
    /// The line of its file, for putting those of one file in order.
    pub(super) fn line(&self) -> usize {
        match self {
            Self::Syntax { place: Place::File { line, .. }, .. }
            | Self::Refused { place: Place::File { line, .. }, .. } => *line,
            Self::Unreadable { .. }
            | Self::NotAConfigFile { .. }
            | Self::Syntax { .. }
            | Self::Refused { .. }
            | Self::Merge => 0,
        }
    }
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File { path: PathBuf, line: usize },
    Environment(String),
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::BuiltIn => f.write_str("built-in default"),
        }
    }
}

/// The line that an error is about, empty if there is none, already cleared of secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt(pub(super) String);

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// A list cannot have one cause, so each error is told with its own.
fn joined(errors: &[ConfigError]) -> String {
    let told = errors.iter().map(|error| match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    });
    told.collect::<Vec<_>>().join("\n")
}
