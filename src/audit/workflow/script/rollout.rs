//! What changes a secret where it is kept, and the restart that has to follow.

use std::collections::BTreeSet;

use super::super::Notes;
use super::super::shell::{Command, Pipeline};
use super::Look;
use crate::audit::Severity::{Error, Note, Warning};
use crate::client::github_workflow::{Job, Workflow};

/// What happened in a job so far.
#[derive(Default)]
pub(super) struct Course {
    /// Files that a secret was written to.
    pub(super) stored: Vec<String>,
    /// Lines where a Kubernetes secret was changed and pods were restarted and watched, or a host's likewise.
    changed: Option<u64>,
    restarted: bool,
    watched: bool,
    host_changed: Option<u64>,
    host_restarted: bool,
}

impl Look<'_, '_> {
    pub(super) fn restarts(&mut self, command: &Command) {
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
    pub(super) fn kubernetes(&mut self, pipeline: &Pipeline) {
        for (at, command) in pipeline.commands.iter().enumerate().filter(|(_, command)| is_kubectl(command)) {
            let line = command.words.first().map_or(0, |word| word.line);
            let positional = positional(command);
            let creates =
                positional.starts_with(&["create", "secret"]) && !positional.contains(&"docker-registry");
            let names_secret = positional.iter().any(|word| word.starts_with("secret"));
            let verb = positional.first().copied().unwrap_or_default();
            let writes = matches!(verb, "apply" | "create" | "edit" | "patch" | "replace");
            // A manifest in a here-document.
            let fed = pipeline.commands.iter().flat_map(|command| &command.fed);
            let manifest = fed.into_iter().any(|fed| fed.text.contains("kind: Secret"));
            let changes = creates || writes && (names_secret || manifest);
            if changes {
                self.course.changed = Some(self.script.line_of(line));
                self.course.restarted = false;
                self.course.watched = false;
            }
            if !creates {
                if manifest && verb == "apply" {
                    self.last_applied(command, line);
                }
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
                Some(apply) => self.last_applied(apply, line),
            }
        }
    }

    fn last_applied(&mut self, apply: &Command, line: usize) {
        let server =
            apply.words.iter().any(|word| word.text == "--server-side" || word.text == "--server-side=true");
        if server || positional(apply).first() != Some(&"apply") {
            return;
        }
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

/// What has to come after a change.
pub(super) fn follow_up(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job, course: &Course) {
    if course.changed.is_none() && course.host_changed.is_none() {
        return;
    }
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

/// Jobs that wait for jobs that wait: what is further away does not count.
const LONGEST_CHAIN: usize = 32;

/// The scripts of the jobs that wait for this one, directly or not.
fn later_scripts<'a>(workflow: &'a Workflow, job: &'a Job) -> Vec<&'a str> {
    let mut after: BTreeSet<&str> = BTreeSet::from([job.id.text.as_str()]);
    for _ in 0..LONGEST_CHAIN {
        let known = after.len();
        let waiting =
            workflow.jobs.iter().filter(|other| other.needs.iter().any(|id| after.contains(id.as_str())));
        let waiting: Vec<&str> = waiting.map(|other| other.id.text.as_str()).collect();
        after.extend(waiting);
        if after.len() == known {
            break;
        }
    }
    let jobs =
        workflow.jobs.iter().filter(|other| other.id != job.id && after.contains(other.id.text.as_str()));
    jobs.flat_map(|other| &other.steps)
        .filter_map(|step| step.run.as_ref())
        .map(|script| script.text.as_str())
        .collect()
}
