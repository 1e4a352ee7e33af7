//! Workflows of GitHub Actions, as far as secrets pass through them, with the line of everything.
//!
//! Nothing here is printed by `Debug`: a workflow may hold what it should not.

mod form;
mod node;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use form::Form;
use node::Node;
pub use node::Text;

/// GitHub takes no workflow near this size.
const FILE_LIMIT: u64 = 1024 * 1024;

/// GitHub runs 256 of a matrix at most, and nobody writes as many by hand.
const MOST_JOBS: usize = 1000;

/// A workflow that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no regular file: name a workflow such as .github/workflows/provision.yml", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is longer than 1 MiB, which no workflow is: name the workflow itself", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: this is not UTF-8 text: save the file as UTF-8, or name the workflow itself", path.display())]
    NotText { path: PathBuf, line: u64 },
    /// Line and column count from 1; 0 where the parser knows no place.
    #[error("{}:{line}:{column}: {message}: {remedy}", path.display())]
    Yaml { path: PathBuf, line: u64, column: u64, message: String, remedy: &'static str },
    /// YAML, and no workflow.
    #[error("{}:{line}: {what}: {remedy}", path.display())]
    Form { path: PathBuf, line: u64, what: String, remedy: &'static str },
}

/// A key with its value.
pub type Variable = (Text, Text);

/// What `permissions:` grants.
#[derive(Clone, PartialEq, Eq)]
pub enum Grants {
    /// `read-all`, `write-all`, or what else stands there as a single word.
    Word(String),
    /// A scope with `read`, `write` or `none`. What is not named is not granted.
    Each(Vec<Variable>),
}

/// A `permissions:` key. One in a job replaces that of the workflow as a whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Permissions {
    pub line: u64,
    pub grants: Grants,
}

/// The text of a `run:` key.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    pub text: String,
    /// Where YAML places it, which is at its first word.
    pub at: u64,
    /// Of its first line.
    pub line: u64,
    /// Its lines are those of the file; otherwise (folded, quoted) all count as the first.
    pub literal: bool,
}

impl Script {
    /// The line in the file of a line of the text, which counts from 0.
    pub fn line_of(&self, line: usize) -> u64 {
        if self.literal { self.line + line as u64 } else { self.line }
    }
}

/// A step of a job.
pub struct Step {
    pub line: u64,
    pub uses: Option<Text>,
    pub with: Vec<Variable>,
    /// Inputs among these that actions run, or put on a command line, by their names.
    pub inputs: Vec<(String, Script)>,
    pub env: Vec<Variable>,
    pub run: Option<Script>,
    pub shell: Option<String>,
}

/// A job.
pub struct Job {
    pub id: Text,
    /// Ids of the jobs that must have ended before.
    pub needs: Vec<String>,
    pub permissions: Option<Permissions>,
    /// Has an `environment:`.
    pub has_environment: bool,
    pub has_concurrency: bool,
    pub env: Vec<Variable>,
    /// Of the job's container and its services.
    pub images: Vec<Text>,
    /// A reusable workflow that is called in place of steps.
    pub uses: Option<Text>,
    pub shell: Option<String>,
    pub steps: Vec<Step>,
    /// Every key and value in it, in the order of the file.
    pub texts: Vec<Text>,
}

/// A workflow.
pub struct Workflow {
    pub name: Option<Text>,
    pub permissions: Option<Permissions>,
    pub has_concurrency: bool,
    pub env: Vec<Variable>,
    /// What `run:` is run with by default.
    pub shell: Option<String>,
    pub jobs: Vec<Job>,
}

/// Reads a workflow.
///
/// # Errors
/// The file cannot be read or is no workflow; with file, line and what to do.
pub fn read(path: &Path) -> Result<Workflow, WorkflowError> {
    let failed = |source| WorkflowError::Read { path: path.into(), source };
    // A device or a pipe would be read for ever.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(WorkflowError::NotAFile { path: path.into() });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(failed)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if FILE_LIMIT < bytes.len() as u64 {
        return Err(WorkflowError::TooLarge { path: path.into() });
    }
    let not_text = |good: usize| {
        let line = 1 + bytes[..good].iter().filter(|byte| **byte == b'\n').count() as u64;
        WorkflowError::NotText { path: path.into(), line }
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(error.valid_up_to()))?;
    if let Some(nul) = text.find('\0') {
        return Err(not_text(nul));
    }
    parse(path, text)
}

/// Reads the text of a workflow; `path` is for errors.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<Workflow, WorkflowError> {
    let form = Form { path, lines: text.lines().collect() };
    if text.trim().is_empty() {
        return Err(form.wrong(1, "the file is empty", JOBS));
    }
    let root: Node = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location();
        let (message, remedy) = told(&error.without_snippet().to_string());
        WorkflowError::Yaml {
            path: path.into(),
            line: place.map_or(1, |place| place.line()),
            column: place.map_or(1, |place| place.column()),
            message,
            remedy,
        }
    })?;
    form.workflow(&root)
}

const JOBS: &str = "a workflow has `on:` and, under `jobs:`, at least one job with `steps:`";

/// The parser's words as far as they help a person here, and what to do.
fn told(message: &str) -> (String, &'static str) {
    let lower = message.to_ascii_lowercase();
    if lower.contains("budget") || lower.contains("alias") && lower.contains("limit") {
        ("this grows to more than any workflow needs".into(), "write it out, without anchors in anchors")
    } else if lower.contains("recursion limit") {
        ("this is nested too deep".into(), "write it with fewer levels")
    } else if lower.contains("duplicate") {
        (clause(message), "GitHub refuses a key that stands twice; remove one")
    } else if lower.contains("merge") {
        (clause(message), "GitHub knows anchors and aliases, but no merge keys; write the keys out")
    } else {
        (clause(message), "mend the YAML here; GitHub does not take it either")
    }
}

/// Its first clause: the place is said before it, and advice for programmers is none for operators.
fn clause(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or_default();
    let line = line.split(", set ").next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(160).collect()
}

/// A large workflow has some thousand nodes. The excerpt stays out of errors, since a file may hold a token.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 32,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
    }
}

#[cfg(test)]
mod tests;
