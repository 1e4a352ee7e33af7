//! What scripts do with a secret: where it is put in, who gets to see it, where it is left, and what follows its change.

use std::collections::BTreeSet;

use super::expression::{self, Source};
use super::shell::{self, Command, Pipeline, Word};
use super::{Notes, short};
use crate::audit::Severity::{Error, Note, Warning};
use crate::client::github_workflow::{Job, Script, Step, Workflow};

/// Programs that give on what they are fed, changed or not.
const FILTERS: [&str; 19] = [
    "awk", "base64", "cat", "cut", "fold", "grep", "gunzip", "gzip", "head", "jq", "od", "rev", "sed",
    "sort", "tail", "tee", "tr", "xxd", "yq",
];
/// Programs that write out their own words, or what stands below them.
const WRITERS: [&str; 3] = ["cat", "echo", "printf"];
/// Files that GitHub reads after the step, and hands on.
const HANDED_ON: [&str; 3] = ["GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"];

/// The scripts of one job, in order.
pub(super) fn check(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
    let mut course = Course::default();
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
            shell.split_whitespace().any(|word| word.starts_with('-') && word.contains('x'))
        });
        let later = job.steps[at + 1..].iter().filter_map(|step| step.run.as_ref());
        let cleaned_later = later.into_iter().any(|script| removes(&script.text));
        let mut look = Look {
            notes,
            script,
            secret,
            guarded: cleaned_later,
            temporary: BTreeSet::new(),
            course: &mut course,
        };
        look.script(traced);
    }
    follow_up(notes, workflow, job, &course);
}

/// What happened in a job so far.
#[derive(Default)]
struct Course {
    /// Files that a secret was written to.
    stored: Vec<String>,
    /// Lines where a Kubernetes secret was changed and pods were restarted and watched, or a host's likewise.
    changed: Option<u64>,
    restarted: bool,
    watched: bool,
    host_changed: Option<u64>,
    host_restarted: bool,
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
    /// Variables that name a file of `mktemp`'s.
    temporary: BTreeSet<String>,
    course: &'a mut Course,
}

impl Look<'_, '_> {
    fn script(&mut self, traced: bool) {
        let pipelines = shell::pipelines(&self.script.text);
        self.guarded |= removes(&self.script.text);
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
                if value == "$()" && self.script.text.contains("mktemp") {
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
                if value.is_some() {
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

    fn restarts(&mut self, command: &Command) {
        let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
        let text = words.join(" ");
        if is_kubectl(command) {
            let positional = positional(command);
            let rolled = positional.starts_with(&["rollout", "restart"])
                || positional.first() == Some(&"delete") && text.contains("pod");
            let watched =
                positional.starts_with(&["rollout", "status"]) || positional.first() == Some(&"wait");
            if self.course.changed.is_some() {
                self.course.restarted |= rolled;
                self.course.watched |= watched && self.course.restarted;
            }
        }
        if command.program() == "helm"
            && (words.contains(&"upgrade") || words.contains(&"install"))
            && self.course.changed.is_some()
        {
            self.course.restarted = true;
            self.course.watched |= words.contains(&"--wait") || words.contains(&"--atomic");
        }
        let line = command.words.first().map_or(0, |word| self.script.line_of(word.line));
        let encrypts = text.contains("systemd-creds") && text.contains("encrypt");
        let writes = text.contains("/etc/cloudflared/")
            && (text.contains("tee ") || text.contains("install ") || text.contains('>'));
        if encrypts || writes {
            self.course.host_changed = Some(line);
            self.course.host_restarted = false;
        }
        let restarts =
            (text.contains("systemctl") || text.contains("tunnelwarden")) && text.contains("restart");
        self.course.host_restarted |= restarts && self.course.host_changed.is_some();
    }

    /// How a Kubernetes secret is written.
    fn kubernetes(&mut self, pipeline: &Pipeline) {
        for (at, command) in pipeline.commands.iter().enumerate().filter(|(_, command)| is_kubectl(command)) {
            let line = command.words.first().map_or(0, |word| word.line);
            let positional = positional(command);
            let creates =
                positional.starts_with(&["create", "secret"]) && !positional.contains(&"docker-registry");
            let names_secret = positional.iter().any(|word| word.starts_with("secret"));
            let changes = creates
                || names_secret
                    && ["patch", "replace", "apply", "edit"]
                        .iter()
                        .any(|verb| positional.first() == Some(verb));
            if changes {
                self.course.changed = Some(self.script.line_of(line));
                self.course.restarted = false;
                self.course.watched = false;
            }
            if !creates {
                continue;
            }
            let dry = command.has("--dry-run=client") || command.has("--dry-run");
            let applies = pipeline.commands[at + 1..].iter().filter(|command| is_kubectl(command));
            let apply = applies.into_iter().find(|command| {
                let positional = self::positional(command);
                matches!(positional.first(), Some(&"apply" | &"replace"))
            });
            const WRITE: &str = "Write:\nprintf %s \"$TUNNEL_TOKEN\" | kubectl create secret generic tunnel-credentials \\\n  --from-file=token=/dev/stdin --dry-run=client --output=yaml | kubectl apply --server-side --filename=-";
            match apply {
                None if !dry => self.add(
                    Warning,
                    "create-not-apply",
                    line,
                    "`kubectl create secret` fails as soon as the secret exists.",
                    "The first run works; every rotation after it fails or needs a delete, which leaves a time without any secret.",
                    WRITE,
                ),
                None if command.output().is_none() && pipeline.commands.len() == at + 1 && !pipeline.captured => self.add(
                    Error,
                    "secret-printed",
                    line,
                    "`--dry-run=client` prints the secret, and nothing applies it.",
                    "Base64 in the log hides nothing: GitHub masks the secret as it is stored, not as it is encoded.",
                    WRITE,
                ),
                None => {}
                Some(apply) => {
                    let server = apply.words.iter().any(|word| word.text == "--server-side" || word.text == "--server-side=true");
                    if !server && self::positional(apply).first() == Some(&"apply") {
                        self.add(
                            Note,
                            "last-applied",
                            line,
                            "`kubectl apply` keeps a copy of the secret in an annotation.",
                            "Tools that show annotations and not secrets then show this one, and it stays after the next change made otherwise.",
                            "Apply on the server:\nkubectl apply --server-side --filename=-",
                        );
                    }
                }
            }
        }
    }

    /// Follows a secret along the pipes, to the log or into a file.
    fn flow(&mut self, pipeline: &Pipeline) {
        let mut flows = false;
        let mut encoded = false;
        let last = pipeline.commands.len().saturating_sub(1);
        for (at, command) in pipeline.commands.iter().enumerate() {
            let line = command.words.first().map_or(0, |word| word.line);
            let program = command.program();
            let writes = WRITERS.contains(&program)
                && command
                    .words
                    .iter()
                    .skip(1)
                    .chain(&command.fed)
                    .any(|word| self.is_secret(word) && !word.text.contains("::add-mask::"));
            let lists = matches!(program, "printenv" | "env") && command.words.len() == 1
                || program == "export" && command.has("-p");
            if lists
                && !self.secret.is_empty()
                && at == last
                && command.output().is_none()
                && !pipeline.captured
            {
                self.add(
                    Error,
                    "secret-printed",
                    line,
                    format!("`{program}` prints the whole environment, and the secret with it."),
                    "GitHub masks only what is exactly the secret; a part of it, or another form, is in the log for good.",
                    "Print the variables that are wanted by name.",
                );
            }
            let fed = command.fed.iter().any(|word| self.is_secret(word));
            flows = writes || (flows || fed) && FILTERS.contains(&program);
            encoded |= flows && matches!(program, "base64" | "xxd" | "od" | "rev" | "gzip");
            if !flows {
                encoded = false;
                continue;
            }
            if program == "tee" {
                for file in command.words.iter().skip(1).filter(|word| !word.text.starts_with('-')) {
                    self.stored(file, line);
                }
            }
            match command.output() {
                Some(target) if target.text == "/dev/null" => flows = false,
                Some(target)
                    if target.text.starts_with('&')
                        || target.text.starts_with("/dev/std")
                        || target.text == "/dev/tty" =>
                {
                    self.printed(line, encoded);
                    flows = false;
                }
                Some(target) => {
                    let target = target.clone();
                    self.stored(&target, line);
                    flows = false;
                }
                None if at == last && !pipeline.captured => self.printed(line, encoded),
                None => {}
            }
        }
    }

    fn printed(&mut self, line: usize, encoded: bool) {
        self.add(
            Error,
            "secret-printed",
            line,
            if encoded { "The secret is printed in another form." } else { "The secret is printed." },
            if encoded {
                "GitHub masks only what is exactly the secret, so the log of the run now holds it for everyone who can read the repository."
            } else {
                "GitHub masks only what is exactly the secret; a part of it, or another form, is in the log for good."
            },
            "Do not print it. To see whether it is there, ask for its length:\necho \"${#TUNNEL_TOKEN} characters\"",
        );
    }

    fn stored(&mut self, target: &Word, line: usize) {
        let path = target.text.trim();
        if let Some(name) = HANDED_ON.iter().find(|name| {
            target.variables.iter().any(|variable| variable == *name) || path.contains(&format!("env.{name}"))
        }) {
            self.add(
                Error,
                "secret-stored",
                line,
                format!("The secret is written to `${name}`."),
                "GitHub hands it to every later step, action and job, and shows a summary to every reader.",
                "Give it to the step that needs it, and to no other:\nenv:\n  TUNNEL_TOKEN: ${{ secrets.CLOUDFLARE_TUNNEL_TOKEN }}",
            );
            return;
        }
        self.course.stored.push(path.to_owned());
        let inside = !path.starts_with(['/', '~', '$'])
            || path.contains("GITHUB_WORKSPACE")
            || path.contains("github.workspace");
        let shown = short(path);
        if inside {
            self.add(
                Error,
                "secret-stored",
                line,
                format!("The secret is written to `{shown}`, in the workspace."),
                "Whatever packs the workspace (an artifact, a cache, a container image) takes it along, and on a runner of your own it stays.",
                "Feed it on standard input. If a program can only read files, make one that is gone afterwards:\numask 077\ntrap 'rm -f \"$RUNNER_TEMP/token\"' EXIT\nprintf %s \"$TUNNEL_TOKEN\" > \"$RUNNER_TEMP/token\"",
            );
            return;
        }
        let made_by_mktemp = target.variables.iter().any(|name| self.temporary.contains(name));
        let private = made_by_mktemp
            || before(&self.script.text, line, "umask 077")
            || before(&self.script.text, line, "umask 0077");
        if !private || !self.guarded {
            let lacks = match (private, self.guarded) {
                (false, false) => "for everyone on the runner to read, and it is not removed",
                (false, true) => "for everyone on the runner to read",
                (true, _) => "and it is not removed",
            };
            self.add(
                Warning,
                "file-unguarded",
                line,
                format!("The secret is written to `{shown}`, {lacks}."),
                "Every later step can read it, and on a runner of your own every later job.",
                "Set the mask before, and remove the file whatever happens:\numask 077\ntrap 'rm -f \"$RUNNER_TEMP/token\"' EXIT",
            );
        }
    }
}

/// The words stand in a line up to this one.
fn before(script: &str, line: usize, words: &str) -> bool {
    script.lines().take(line + 1).any(|line| line.contains(words))
}

fn removes(script: &str) -> bool {
    shell::pipelines(script).iter().flat_map(|pipeline| &pipeline.commands).any(|command| {
        let by_trap = command.program() == "trap"
            && command.words.iter().any(|word| word.text.contains("rm ") || word.text.contains("shred"));
        matches!(command.program(), "rm" | "shred" | "unlink") || by_trap
    })
}

fn is_kubectl(command: &Command) -> bool {
    matches!(command.program(), "kubectl" | "oc")
        || matches!(command.program(), "k3s" | "microk8s" | "minikube") && command.has("kubectl")
}

/// The words that are no flags and no values of flags, without the program.
fn positional(command: &Command) -> Vec<&str> {
    const WITH_VALUE: [&str; 12] = [
        "-n",
        "--namespace",
        "--context",
        "--kubeconfig",
        "-f",
        "--filename",
        "-o",
        "--output",
        "-l",
        "--selector",
        "--cluster",
        "--type",
    ];
    let mut found = Vec::new();
    let mut words =
        command.words.iter().skip(1).map(|word| word.text.as_str()).filter(|word| *word != "kubectl");
    while let Some(word) = words.next() {
        if WITH_VALUE.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            found.push(word);
        }
    }
    found
}

/// What uploads or keeps files after the job.
fn artifact(notes: &mut Notes<'_>, step: &Step, stored: &[String]) {
    let Some(uses) = &step.uses else { return };
    let action = uses.text.split('@').next().unwrap_or_default().to_ascii_lowercase();
    if !["actions/upload-artifact", "actions/cache", "actions/cache/save", "actions/upload-pages-artifact"]
        .contains(&action.as_str())
    {
        return;
    }
    for (_, path) in step.with.iter().filter(|(name, _)| name.text == "path") {
        for (at, line) in path.text.lines().map(str::trim).enumerate() {
            let lower = line.to_ascii_lowercase();
            let by_name = ["credential", "token", "cert.pem", ".cloudflared", "secret"]
                .iter()
                .any(|word| lower.contains(word));
            let whole =
                matches!(line.trim_end_matches('/'), "." | "./" | "*" | "**" | "${{ github.workspace }}");
            let written =
                stored.iter().any(|file| whole && !file.starts_with(['/', '$', '~']) || file == line);
            if by_name || written {
                notes.add(
                    Error,
                    "secret-uploaded",
                    path.line + if path.text.contains('\n') { at as u64 + 1 } else { 0 },
                    format!("`{}` is uploaded, and a secret is in there.", short(line)),
                    "Everyone who can read the repository can fetch artifacts and caches of its runs.",
                    "Leave the file out, and do not write the secret to one.",
                );
            }
        }
    }
}

/// What has to come after a change.
fn follow_up(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job, course: &Course) {
    let later = later_scripts(workflow, job);
    let has = |words: &[&str]| later.iter().any(|script| words.iter().all(|word| script.contains(word)));
    if let Some(line) = course.changed {
        let restarted = course.restarted || has(&["rollout", "restart"]);
        let watched = course.watched || has(&["rollout", "status"]);
        const WRITE: &str = "kubectl rollout restart deployment/cloudflared --namespace=\"$NAMESPACE\"\nkubectl rollout status deployment/cloudflared --namespace=\"$NAMESPACE\" --timeout=5m";
        if !restarted {
            notes.add(
                Warning,
                "no-rollout",
                line,
                "The secret is changed here, and no pod is restarted afterwards.",
                "Running pods keep the old token. They stay up until their connections drop, and then cannot come back: the outage comes days later.",
                format!("Add after the change:\n{WRITE}"),
            );
        } else if !watched {
            notes.add(
                Warning,
                "rollout-unwatched",
                line,
                "The pods are restarted after the change, and nobody waits for them.",
                "A wrong secret then ends as a green run and a tunnel that is down.",
                format!("Add after the restart:\n{}", WRITE.lines().nth(1).unwrap_or_default()),
            );
        }
    }
    if let Some(line) = course.host_changed
        && !course.host_restarted
        && !has(&["systemctl", "restart"])
    {
        notes.add(
            Warning,
            "no-restart",
            line,
            "The host's credentials are changed here, and cloudflared is not restarted afterwards.",
            "It reads them only at its start, keeps its connections with the old ones until they drop, and then cannot come back.",
            "Add after the change:\nsudo systemctl restart cloudflared",
        );
    }
}

/// The scripts of the jobs that wait for this one, directly or not.
fn later_scripts<'a>(workflow: &'a Workflow, job: &'a Job) -> Vec<&'a str> {
    let mut after: BTreeSet<&str> = BTreeSet::from([job.id.text.as_str()]);
    // Each round finds at least one more job, or none any more.
    for _ in &workflow.jobs {
        let waiting =
            workflow.jobs.iter().filter(|other| other.needs.iter().any(|id| after.contains(id.as_str())));
        let waiting: Vec<&str> = waiting.map(|other| other.id.text.as_str()).collect();
        after.extend(waiting);
    }
    let jobs =
        workflow.jobs.iter().filter(|other| other.id != job.id && after.contains(other.id.text.as_str()));
    jobs.flat_map(|other| &other.steps)
        .filter_map(|step| step.run.as_ref())
        .map(|script| script.text.as_str())
        .collect()
}
