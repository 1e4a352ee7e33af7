//! Workflows of GitHub Actions, as far as secrets pass through them, with the line of everything.
//!
//! Nothing here is printed by `Debug`: a workflow may hold what it should not.

mod node;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use node::Text;
use node::{Node, Value};

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

/// Takes a tree for a workflow, strict only where a wrong form would be passed over in silence.
struct Form<'a> {
    path: &'a Path,
    lines: Vec<&'a str>,
}

impl Form<'_> {
    fn wrong(&self, line: u64, what: impl Into<String>, remedy: &'static str) -> WorkflowError {
        WorkflowError::Form { path: self.path.into(), line, what: what.into(), remedy }
    }

    fn workflow(&self, root: &Node) -> Result<Workflow, WorkflowError> {
        if !matches!(root.value, Value::Map(_)) {
            return Err(self.wrong(
                root.line.max(1),
                format!("the file is {}, not a map", root.kind()),
                JOBS,
            ));
        }
        let jobs = root.get("jobs").ok_or_else(|| self.wrong(1, "there is no `jobs:`", JOBS))?;
        if jobs.entries().is_empty() {
            let what = format!("`jobs:` is {}, not a map of jobs", jobs.kind());
            return Err(self.wrong(jobs.line.max(1), what, JOBS));
        }
        if MOST_JOBS < jobs.entries().len() {
            let what = format!("there are more than {MOST_JOBS} jobs");
            return Err(self.wrong(
                jobs.line.max(1),
                what,
                "no workflow has so many: name the workflow itself",
            ));
        }
        Ok(Workflow {
            name: root.get("name").and_then(Node::scalar),
            permissions: self.permissions(root)?,
            has_concurrency: is_set(root, "concurrency"),
            env: self.variables(root, "env")?,
            shell: shell(root),
            jobs: jobs.entries().iter().map(|(id, job)| self.job(id, job)).collect::<Result<_, _>>()?,
        })
    }

    fn job(&self, id: &Text, job: &Node) -> Result<Job, WorkflowError> {
        const FORM: &str = "a job is a map with `runs-on:` and `steps:`, or with `uses:`";
        if !matches!(job.value, Value::Map(_)) {
            return Err(self.wrong(
                id.line,
                format!("the job `{}` is {}", short(&id.text), job.kind()),
                FORM,
            ));
        }
        let steps = match job.get("steps") {
            None => Vec::new(),
            Some(Node { value: Value::List(steps), .. }) => {
                steps.iter().map(|step| self.step(step)).collect::<Result<_, _>>()?
            }
            Some(other) => {
                let what = format!("`steps:` of the job `{}` is {}", short(&id.text), other.kind());
                return Err(self.wrong(
                    other.line.max(id.line),
                    what,
                    "write a list: `- run: …` or `- uses: …`",
                ));
            }
        };
        let uses = job.get("uses").and_then(Node::scalar);
        if steps.is_empty() && uses.is_none() {
            let what = format!("the job `{}` has no steps", short(&id.text));
            return Err(self.wrong(id.line, what, FORM));
        }
        let container = job.get("container").into_iter();
        let services = job.get("services").into_iter().flat_map(Node::entries).map(|(_, service)| service);
        let images =
            container.chain(services).filter_map(|node| node.get("image").unwrap_or(node).scalar()).collect();
        let mut texts = vec![id.clone()];
        job.texts(&mut texts);
        Ok(Job {
            id: id.clone(),
            needs: job
                .get("needs")
                .map(Node::items)
                .unwrap_or_default()
                .into_iter()
                .filter_map(plain)
                .collect(),
            permissions: self.permissions(job)?,
            has_environment: is_set(job, "environment"),
            has_concurrency: is_set(job, "concurrency"),
            env: self.variables(job, "env")?,
            images,
            uses,
            shell: shell(job),
            steps,
            texts,
        })
    }

    fn step(&self, step: &Node) -> Result<Step, WorkflowError> {
        const FORM: &str = "a step is a map with `run:` or `uses:`";
        if !matches!(step.value, Value::Map(_)) {
            return Err(self.wrong(step.line, format!("this step is {}", step.kind()), FORM));
        }
        let run = match step.get("run") {
            None => None,
            Some(run) => match run.scalar() {
                Some(text) => Some(self.script(text)),
                None => {
                    return Err(self.wrong(
                        run.line,
                        format!("`run:` is {}", run.kind()),
                        "write `run: |`, and the commands below it",
                    ));
                }
            },
        };
        Ok(Step {
            line: step.line,
            uses: step.get("uses").and_then(Node::scalar),
            with: self.variables(step, "with")?,
            env: self.variables(step, "env")?,
            run,
            shell: step.get("shell").and_then(plain),
        })
    }

    /// Where the lines of a block stand in the file, found by comparing.
    fn script(&self, run: Text) -> Script {
        let wanted: Vec<&str> = run.text.trim_end().lines().map(str::trim).collect();
        // The parser gives the first line with a word in it.
        let blank = wanted.iter().take_while(|line| line.is_empty()).count();
        let from = usize::try_from(run.line).unwrap_or(1).saturating_sub(1 + blank);
        // The key, a comment or blank lines may stand before the first line.
        for start in from..self.lines.len().min(from + 16) {
            let here = self.lines[start..].iter().map(|line| line.trim());
            let same = here.take(wanted.len()).eq(wanted.iter().copied());
            if same && 1 < wanted.len() {
                return Script { at: run.line, line: start as u64 + 1, literal: true, text: run.text };
            }
            if wanted.len() == 1 && self.lines[start].contains(wanted[0]) {
                return Script { at: run.line, line: start as u64 + 1, literal: true, text: run.text };
            }
        }
        Script { at: run.line, text: run.text, line: run.line, literal: false }
    }

    fn permissions(&self, node: &Node) -> Result<Option<Permissions>, WorkflowError> {
        const FORM: &str = "write a map such as `contents: read`, or `{}` for none";
        let Some((key, value)) = node.entries().iter().find(|(key, _)| key.text == "permissions") else {
            return Ok(None);
        };
        let grants = match &value.value {
            Value::Scalar(word) => Grants::Word(word.clone()),
            Value::Map(entries) => {
                let grant = |(scope, access): &node::Entry| {
                    let what = || format!("the permission `{}` is {}", short(&scope.text), access.kind());
                    let access = access.scalar().ok_or_else(|| self.wrong(scope.line, what(), FORM))?;
                    Ok((scope.clone(), access))
                };
                Grants::Each(entries.iter().map(grant).collect::<Result<_, _>>()?)
            }
            Value::Null | Value::List(_) => {
                return Err(self.wrong(key.line, format!("`permissions:` is {}", value.kind()), FORM));
            }
        };
        Ok(Some(Permissions { line: key.line, grants }))
    }

    fn variables(&self, node: &Node, key: &str) -> Result<Vec<Variable>, WorkflowError> {
        let Some(found) = node.get(key) else { return Ok(Vec::new()) };
        match &found.value {
            Value::Map(entries) => {
                Ok(entries.iter().filter_map(|(name, value)| Some((name.clone(), value.scalar()?))).collect())
            }
            // An expression may stand for the whole map.
            Value::Null | Value::Scalar(_) => Ok(Vec::new()),
            Value::List(_) => {
                Err(self.wrong(found.line, format!("`{key}:` is a list"), "write a map: `NAME: value`"))
            }
        }
    }
}

fn plain(node: &Node) -> Option<String> {
    node.scalar().map(|text| text.text)
}

fn is_set(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(|value| !matches!(value.value, Value::Null))
}

fn shell(node: &Node) -> Option<String> {
    node.get("defaults")?.get("run")?.get("shell").and_then(plain)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests;
