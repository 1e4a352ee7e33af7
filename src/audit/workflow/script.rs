//! What scripts do with a secret: where it is put in, who gets to see it, where it is left, and what follows its change.

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
            continue;
        };
        let secret = variables(workflow, job, step);
        interpolated(notes, script, &secret);
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
        let mut look = Look {
            notes,
            script,
            secret,
            guarded: last_removal.is_some_and(|last| at <= last),
            masked_from: script
                .text
                .lines()
                .position(|line| line.contains("umask 077") || line.contains("umask 0077")),
            calls_mktemp: script.text.contains("mktemp"),
            temporary: BTreeSet::new(),
            course: &mut course,
        };
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

fn interpolated(notes: &mut Notes<'_>, script: &Script, secret: &BTreeSet<String>) {
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
            format!("`${{{{ {written} }}}}` is pasted into the script."),
            "The secret becomes part of a file and of command lines on the runner, and a quote or a `$` in it changes what the script does.",
            if written.starts_with("env.") {
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
    /// A later step, or this one, removes files.
    guarded: bool,
    /// The line from which new files are for their owner alone.
    masked_from: Option<usize>,
    calls_mktemp: bool,
    /// Variables that name a file of `mktemp`'s.
    temporary: BTreeSet<String>,
    course: &'a mut Course,
}

impl Look<'_, '_> {
    fn script(&mut self, traced: bool) {
        let pipelines = shell::pipelines(&self.script.text);
        let mut traced_from = traced.then_some(0);
        for pipeline in &pipelines {
            self.derive(pipeline);
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
            self.pipeline(pipeline);
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
    fn derive(&mut self, pipeline: &Pipeline) {
        for command in &pipeline.commands {
            let exported = ["export", "local", "readonly", "declare"].contains(&command.program());
            let words = command.words.iter().skip(1).filter(|_| exported);
            for word in command.assignments.iter().chain(words) {
                let Some((name, value)) = word.text.split_once('=') else { continue };
                if self.is_secret(word) {
                    self.secret.insert(name.to_owned());
                }
                if value == "$()" && self.calls_mktemp {
                    self.temporary.insert(name.to_owned());
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for command in &pipeline.commands {
            self.arguments(command);
            self.restarts(command);
        }
        self.kubernetes(pipeline);
        self.flow(pipeline);
    }

    /// Secrets among the words of a program, which every process on the machine can read.
    fn arguments(&mut self, command: &Command) {
        let whole: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
        let about_cloudflared = whole.iter().any(|word| word.contains("cloudflared"));
        for (at, word) in command.words.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |before| whole[before]);
            let by_flag = |flag: &str| before == flag || word.text.starts_with(&format!("{flag}="));
            if word.text.starts_with("--from-literal") {
                let value = if word.text.contains('=') { Some(word) } else { command.words.get(at + 1) };
                let makes_secret = whole.windows(2).any(|words| words == ["create", "secret"]);
                if value.is_some_and(|value| makes_secret || self.is_secret(value)) {
                    self.add(
                        Error,
                        "from-literal",
                        word.line,
                        "`--from-literal` puts the secret on the command line of kubectl.",
                        "Every process of the runner can read it there, and `set -x` prints it.",
                        "Feed it on standard input:\nprintf %s \"$TUNNEL_TOKEN\" | kubectl create secret generic tunnel-credentials \\\n  --from-file=token=/dev/stdin --dry-run=client --output=yaml | kubectl apply --server-side --filename=-",
                    );
                }
                continue;
            }
            if at == 0 || !self.is_secret(word) {
                continue;
            }
            // A shell's own words stay within it.
            if matches!(
                command.program(),
                "echo" | "printf" | "test" | "[" | "[[" | "export" | "local" | "for" | "case"
            ) {
                continue;
            }
            let quoted_command = word.text.contains("cloudflared")
                && (word.text.contains("--token") || word.text.contains("service install"));
            let to_cloudflared = about_cloudflared
                && (by_flag("--token") || (whole.contains(&"service") && whole.contains(&"install")));
            let to_container = matches!(command.program(), "docker" | "podman" | "nerdctl")
                && (by_flag("-e") || by_flag("--env") || word.text.starts_with("-e"));
            let to_chart = command.program() == "helm"
                && (before.starts_with("--set") || word.text.starts_with("--set"));
            let (what, fix) = if quoted_command || to_cloudflared {
                (
                    "The token is on the command line of cloudflared.",
                    "Give it in a file that only root can read, or in the environment:\nTUNNEL_TOKEN_FILE=/path/of/the/token cloudflared tunnel run",
                )
            } else if to_container {
                (
                    "The secret is on the command line of the container tool.",
                    "Name the variable and leave its value out, so that it comes from the environment:\ndocker run --env TUNNEL_TOKEN …",
                )
            } else if to_chart {
                (
                    "The secret is on the command line of helm, and helm keeps it in the release.",
                    "Make the Kubernetes secret by itself and let the chart only name it.",
                )
            } else {
                continue;
            };
            self.add(
                Error,
                "token-in-argv",
                word.line,
                what,
                "Every process of the machine can read it there, for as long as the program runs.",
                fix,
            );
        }
    }
}

fn removes(script: &str) -> bool {
    shell::pipelines(script).iter().flat_map(|pipeline| &pipeline.commands).any(|command| {
        let by_trap = command.program() == "trap"
            && command.words.iter().any(|word| word.text.contains("rm ") || word.text.contains("shred"));
        matches!(command.program(), "rm" | "shred" | "unlink") || by_trap
    })
}
