//! The tree of a YAML file, taken for a workflow.

use std::path::Path;

use super::node::{self, Node, Value};
use super::{
    Grants, JOBS, Job, MOST_JOBS, Permissions, Script, Step, Text, Variable, Workflow, WorkflowError,
};

/// Inputs by which actions are given something to run.
const RUN: [&str; 8] = ["args", "arguments", "cmd", "command", "commands", "inlinescript", "run", "script"];

/// Takes a tree for a workflow, strict only where a wrong form would be passed over in silence.
pub(super) struct Form<'a> {
    pub(super) path: &'a Path,
    pub(super) lines: Vec<&'a str>,
}

impl Form<'_> {
    pub(super) fn wrong(&self, line: u64, what: impl Into<String>, remedy: &'static str) -> WorkflowError {
        WorkflowError::Form { path: self.path.into(), line, what: what.into(), remedy }
    }

    pub(super) fn workflow(&self, root: &Node) -> Result<Workflow, WorkflowError> {
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
        let with = self.variables(step, "with")?;
        let run_by_action =
            with.iter().filter(|(name, _)| RUN.contains(&name.text.to_ascii_lowercase().as_str()));
        let inputs =
            run_by_action.map(|(name, text)| (name.text.clone(), self.script(text.clone()))).collect();
        Ok(Step {
            line: step.line,
            uses: step.get("uses").and_then(Node::scalar),
            with,
            inputs,
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
