//! Where a secret comes out: the log, a file, an artifact.

use super::super::shell::{Pipeline, Word};
use super::super::{Notes, short};
use super::Look;
use crate::audit::Severity::{Error, Warning};
use crate::client::github_workflow::Step;

/// Programs that give on what they are fed, changed or not.
pub(super) const FILTERS: [&str; 19] = [
    "awk", "base64", "cat", "cut", "fold", "grep", "gunzip", "gzip", "head", "jq", "od", "rev", "sed",
    "sort", "tail", "tee", "tr", "xxd", "yq",
];
/// Programs that write out their own words, or what stands below them.
pub(super) const WRITERS: [&str; 3] = ["cat", "echo", "printf"];
/// Files that GitHub reads after the step, and hands on.
const HANDED_ON: [&str; 3] = ["GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"];

impl Look<'_, '_> {
    /// Follows a secret along the pipes, to the log or into a file.
    pub(super) fn flow(&mut self, pipeline: &Pipeline) {
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
        let private = made_by_mktemp || self.masked_from.is_some_and(|from| from <= line);
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

/// What uploads or keeps files after the job.
pub(super) fn artifact(notes: &mut Notes<'_>, step: &Step, stored: &[String]) {
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
