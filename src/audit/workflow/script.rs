//! What scripts do with a secret: where it is put in, who gets to see it, where it is left, and what follows its change.

mod arguments;
mod leak;
mod rollout;

use std::collections::BTreeSet;

use super::Notes;
use super::expression::{self, Source};
use super::shell::{self, Command, Pipeline, Word};
use crate::audit::Severity::Error;
use crate::client::github_workflow::{Job, Script, Step, Workflow};
use leak::artifact;
use rollout::{Course, follow_up};

/// The scripts of one job, in order.
pub(super) fn check(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
    let mut course = Course::default();
    let last_removal =
        job.steps.iter().rposition(|step| step.run.as_ref().is_some_and(|script| removes(&script.text)));
    for (at, step) in job.steps.iter().enumerate() {
        let Some(script) = &step.run else {
            artifact(notes, step, &course.stored);
            let secret = variables(workflow, job, step);
            let action = step.uses.as_ref().map_or("", |uses| uses.text.as_str());
            for (name, script) in &step.inputs {
                interpolated(notes, script, &secret, Some(name));
                Look::at(notes, script, secret.clone(), &mut course).input(action);
            }
            continue;
        };
        let secret = variables(workflow, job, step);
        interpolated(notes, script, &secret, None);
        let shell = step.shell.as_ref().or(job.shell.as_ref()).or(workflow.shell.as_ref());
        // Others than the shells of Unix have words of their own.
        if shell.is_some_and(|shell| {
            ["pwsh", "powershell", "python", "cmd", "node"].iter().any(|other| shell.starts_with(other))
        }) {
            continue;
        }
        let traced = shell.is_some_and(|shell| {
            let mut flags =
                shell.split_whitespace().filter(|word| word.starts_with('-') && !word.starts_with("--"));
            flags.any(|word| word.contains('x'))
        });
        let mut look = Look::at(notes, script, secret, &mut course);
        look.guarded = last_removal.is_some_and(|last| at <= last);
        look.script(traced);
    }
    follow_up(notes, workflow, job, &course);
}

/// Names of the variables that hold a secret in this step.
fn variables(workflow: &Workflow, job: &Job, step: &Step) -> BTreeSet<String> {
    let env = workflow.env.iter().chain(&job.env).chain(&step.env);
    env.filter(|(_, value)| expression::secrets(&value.text).next().is_some())
        .map(|(name, _)| name.text.clone())
        .collect()
}

/// What GitHub pastes into a script, which is a step's own or the `input` of an action.
fn interpolated(notes: &mut Notes<'_>, script: &Script, secret: &BTreeSet<String>, input: Option<&str>) {
    for (line, source) in expression::sources(&script.text) {
        let (name, written) = match source {
            Source::Secret(name) => (name.clone(), format!("secrets.{name}")),
            Source::AllSecrets => ("SECRET".into(), "secrets".into()),
            Source::Variable(name) => match secret.iter().find(|secret| secret.eq_ignore_ascii_case(&name)) {
                Some(secret) => (secret.clone(), format!("env.{secret}")),
                None => continue,
            },
        };
        let name = variable_name(&name);
        notes.add(
            Error,
            "secret-in-script",
            script.line_of(line),
            match input {
                Some(input) => format!("`${{{{ {written} }}}}` is pasted into `{input}:`, which the action runs."),
                None => format!("`${{{{ {written} }}}}` is pasted into the script."),
            },
            "The secret becomes part of a file and of command lines on the runner, and a quote or a `$` in it changes what the script does.",
            if input.is_some() {
                format!("Hand it over as a variable of the step, and let what runs read that (some actions must be told to hand it on, as by `envs:`):\nenv:\n  {name}: ${{{{ secrets.{name} }}}}")
            } else if written.starts_with("env.") {
                format!("It is a variable already, so use that:\n\"${name}\"")
            } else {
                format!("Hand it over as a variable of the step, and use that:\nenv:\n  {name}: ${{{{ secrets.{name} }}}}\nrun: |\n  … \"${name}\" …")
            },
        );
    }
}

fn variable_name(secret: &str) -> String {
    secret.replace('-', "_")
}

struct Look<'a, 'n> {
    notes: &'a mut Notes<'n>,
    script: &'a Script,
    secret: BTreeSet<String>,
    /// Those of them that hold the secret itself, and not what some program made of it.
    whole: BTreeSet<String>,
    /// Names of the script's own functions.
    functions: BTreeSet<String>,
    /// A later step, or this one, removes files.
    guarded: bool,
    /// The line from which new files are for their owner alone.
    masked_from: Option<usize>,
    calls_mktemp: bool,
    /// Variables that name a file of `mktemp`'s.
    temporary: BTreeSet<String>,
    course: &'a mut Course,
}

impl<'a, 'n> Look<'a, 'n> {
    fn at(
        notes: &'a mut Notes<'n>,
        script: &'a Script,
        secret: BTreeSet<String>,
        course: &'a mut Course,
    ) -> Self {
        let text = &script.text;
        let mask = |line: &str| line.contains("umask 077") || line.contains("umask 0077");
        Self {
            notes,
            script,
            whole: secret.clone(),
            secret,
            functions: shell::functions(text),
            guarded: false,
            masked_from: text.lines().position(mask),
            calls_mktemp: text.contains("mktemp"),
            temporary: BTreeSet::new(),
            course,
        }
    }
}

impl Look<'_, '_> {
    fn script(&mut self, traced: bool) {
        let pipelines = shell::pipelines(&self.script.text);
        let mut traced_from = traced.then_some(0);
        for (at, pipeline) in pipelines.iter().enumerate() {
            let inner = at.checked_sub(1).map(|before| &pipelines[before]).filter(|inner| inner.captured);
            let inner = inner.is_some_and(|inner| self.gives_on(inner));
            self.derive(pipeline, inner);
            let sets = pipeline.commands.iter().filter(|command| command.program() == "set");
            for set in sets {
                let on = set.words.iter().skip(1).any(|word| {
                    word.text == "xtrace"
                        || word.text.starts_with('-')
                            && !word.text.starts_with("--")
                            && word.text.contains('x')
                });
                if on {
                    traced_from = Some(pipeline.line());
                } else if set.has("+x") {
                    traced_from = None;
                }
            }
            if let Some(from) = traced_from
                && pipeline.commands.iter().any(|command| self.takes(command))
            {
                self.add(
                    Error,
                    "secret-printed",
                    from,
                    "The shell prints every command with its values here, and later ones have the secret among them.",
                    "The log of the run then holds it, and GitHub masks only what is exactly the secret.",
                    "Leave out `-x` (`set -x`, `bash -x`) in this step.",
                );
                traced_from = None;
            }
            self.pipeline(pipeline, inner);
        }
    }

    fn add(
        &mut self,
        severity: crate::audit::Severity,
        rule: &'static str,
        line: usize,
        what: impl Into<String>,
        why: &str,
        fix: impl Into<String>,
    ) {
        self.notes.add(severity, rule, self.script.line_of(line), what, why, fix);
    }

    /// The shell puts a secret into this word, or GitHub does.
    fn is_secret(&self, word: &Word) -> bool {
        word.variables.iter().any(|name| self.secret.contains(name))
            || expression::secrets(&word.text).next().is_some()
    }

    fn takes(&self, command: &Command) -> bool {
        command.words.iter().chain(&command.assignments).any(|word| self.is_secret(word))
    }

    /// Variables that are made of a secret are secret too.
    fn derive(&mut self, pipeline: &Pipeline, inner: bool) {
        for command in &pipeline.commands {
            let exported = ["export", "local", "readonly", "declare"].contains(&command.program());
            let words = command.words.iter().skip(1).filter(|_| exported);
            for word in command.assignments.iter().chain(words) {
                let Some((name, value)) = word.text.split_once('=') else { continue };
                if self.is_secret(word) {
                    self.secret.insert(name.to_owned());
                }
                if self.is_whole(word, inner) {
                    self.whole.insert(name.to_owned());
                }
                if value == "$()" && self.calls_mktemp {
                    self.temporary.insert(name.to_owned());
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, inner: bool) {
        for command in &pipeline.commands {
            self.arguments(command, inner);
            self.restarts(command);
        }
        self.kubernetes(pipeline);
        self.flow(pipeline);
    }
}

fn removes(script: &str) -> bool {
    shell::pipelines(script).iter().flat_map(|pipeline| &pipeline.commands).any(|command| {
        let by_trap = command.program() == "trap"
            && command.words.iter().any(|word| word.text.contains("rm ") || word.text.contains("shred"));
        matches!(command.program(), "rm" | "shred" | "unlink") || by_trap
    })
}
