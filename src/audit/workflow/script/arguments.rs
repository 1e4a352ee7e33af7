//! Secrets on command lines, which every process on the machine can read.

use super::super::shell::{self, Command, Pipeline, Word};
use super::super::short;
use super::Look;
use super::leak::{FILTERS, WRITERS};
use crate::audit::Severity::Error;

/// A shell's own words: what they are given stays within it.
const BUILTINS: [&str; 32] = [
    ".",
    ":",
    "[",
    "[[",
    "alias",
    "case",
    "cd",
    "declare",
    "echo",
    "exit",
    "export",
    "false",
    "for",
    "getopts",
    "let",
    "local",
    "mapfile",
    "printf",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "source",
    "test",
    "trap",
    "true",
    "typeset",
    "unset",
    "wait",
];
/// How the names of variables end that are kept among the secrets and are none.
const NO_SECRETS: [&str; 24] = [
    "ACCOUNT",
    "ADDR",
    "ADDRESS",
    "CLUSTER",
    "DOMAIN",
    "EMAIL",
    "GROUP",
    "HOST",
    "HOSTNAME",
    "ID",
    "NAME",
    "NAMESPACE",
    "PATH",
    "PORT",
    "PROJECT",
    "REGION",
    "REGISTRY",
    "SERVER",
    "SUBSCRIPTION",
    "TENANT",
    "URL",
    "USER",
    "USERNAME",
    "ZONE",
];

impl Look<'_, '_> {
    /// What an action is given to run, which may be the arguments alone.
    pub(super) fn input(&mut self, action: &str) {
        // It runs JavaScript.
        if action.starts_with("actions/github-script@") {
            return;
        }
        for pipeline in shell::pipelines(&self.script.text) {
            for command in &pipeline.commands {
                self.arguments(command, false);
                self.restarts(command);
            }
        }
    }

    /// The word has the secret itself in it: by a variable, or as the output of the `inner` commands.
    pub(super) fn is_whole(&self, word: &Word, inner: bool) -> bool {
        let named = |name: &String| {
            let last = name.rsplit('_').next().unwrap_or_default().to_ascii_uppercase();
            self.whole.contains(name) && !NO_SECRETS.contains(&last.as_str()) && expands(&word.text, name)
        };
        word.variables.iter().any(named) || inner && word.text.contains("$()")
    }

    /// Its output is the secret, as it is or in another form.
    pub(super) fn gives_on(&self, pipeline: &Pipeline) -> bool {
        let writes = pipeline.commands.first().is_some_and(|first| {
            let words = first.words.iter().skip(1).filter(|_| WRITERS.contains(&first.program()));
            words.chain(&first.fed).any(|word| self.is_whole(word, false))
        });
        let known = |command: &Command| {
            command.output().is_none()
                && (WRITERS.contains(&command.program()) || FILTERS.contains(&command.program()))
        };
        writes && pipeline.commands.iter().all(known)
    }

    /// Secrets among the words of a program, which every process on the machine can read.
    pub(super) fn arguments(&mut self, command: &Command, inner: bool) {
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
            if BUILTINS.contains(&command.program()) {
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
                    "The token is on the command line of cloudflared.".to_owned(),
                    "Give it in a file that only root can read, or in the environment:\nTUNNEL_TOKEN_FILE=/path/of/the/token cloudflared tunnel run",
                )
            } else if to_container {
                (
                    "The secret is on the command line of the container tool.".to_owned(),
                    "Name the variable and leave its value out, so that it comes from the environment:\ndocker run --env TUNNEL_TOKEN …",
                )
            } else if to_chart {
                (
                    "The secret is on the command line of helm, and helm keeps it in the release.".to_owned(),
                    "Make the Kubernetes secret by itself and let the chart only name it.",
                )
            } else if self.is_whole(word, inner)
                && command.program() != "eval"
                && !self.functions.contains(command.program())
            {
                (
                    format!("The secret is on the command line of `{}`.", short(command.program())),
                    other(command),
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

/// The shell puts this variable into the text, by itself and not within inner commands.
fn expands(text: &str, name: &str) -> bool {
    text.split('$').skip(1).any(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let after = rest.strip_prefix(name);
        // `${X+…}` is only whether it is set.
        after.is_some_and(|after| {
            !after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+'))
        })
    })
}

fn other(command: &Command) -> &'static str {
    match command.program() {
        "curl" => {
            "Give the header on standard input:\nprintf 'header = \"Authorization: Bearer %s\"\\n' \"$TOKEN\" | curl --config - …"
        }
        "kubectl" | "oc" => {
            "Feed it on standard input, into a secret that the deployment names:\nprintf %s \"$TUNNEL_TOKEN\" | kubectl create secret generic tunnel-credentials \\\n  --from-file=token=/dev/stdin --dry-run=client --output=yaml | kubectl apply --server-side --filename=-"
        }
        "ssh" => {
            "Feed it on standard input, and read it there:\nprintf %s \"$TUNNEL_TOKEN\" | ssh host 'command that reads it'"
        }
        _ => {
            "Give it on standard input, in a file that is gone afterwards, or in the environment, whichever the program takes."
        }
    }
}
