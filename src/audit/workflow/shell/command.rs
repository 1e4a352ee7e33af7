//! Commands and what they are made of.

/// A word with its quotes taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::audit::workflow) struct Word {
    pub(in crate::audit::workflow) text: String,
    /// Of the script, from 0.
    pub(in crate::audit::workflow) line: usize,
    /// Variables that the shell puts in.
    pub(in crate::audit::workflow) variables: Vec<String>,
}

/// Where one of a command's outputs goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit::workflow) struct Redirect {
    /// 0 in, 1 out, 2 errors.
    pub(in crate::audit::workflow) fd: u8,
    /// A path, or `&2`.
    pub(in crate::audit::workflow) target: Word,
}

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::audit::workflow) struct Command {
    /// The program first; no assignments before it, no `sudo`, no words of the grammar.
    pub(in crate::audit::workflow) words: Vec<Word>,
    pub(in crate::audit::workflow) assignments: Vec<Word>,
    pub(in crate::audit::workflow) redirects: Vec<Redirect>,
    /// What a here-document or here-string feeds it.
    pub(in crate::audit::workflow) fed: Vec<Word>,
}

impl Command {
    /// The program without its path.
    pub(in crate::audit::workflow) fn program(&self) -> &str {
        self.words.first().map_or("", |word| word.text.rsplit('/').next().unwrap_or_default())
    }

    /// Where its standard output goes, if not on.
    pub(in crate::audit::workflow) fn output(&self) -> Option<&Word> {
        self.redirects.iter().rev().find(|redirect| redirect.fd == 1).map(|redirect| &redirect.target)
    }

    pub(in crate::audit::workflow) fn has(&self, flag: &str) -> bool {
        self.words.iter().any(|word| word.text == flag)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
            && self.redirects.is_empty()
            && self.fed.is_empty()
            && self.assignments.is_empty()
    }
}

/// Commands joined by `|`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::audit::workflow) struct Pipeline {
    pub(in crate::audit::workflow) commands: Vec<Command>,
    /// Its output goes to someone else than the log: `$(…)`, a function, a group that is piped on.
    pub(in crate::audit::workflow) captured: bool,
}

impl Pipeline {
    pub(in crate::audit::workflow) fn line(&self) -> usize {
        let command = self.commands.first();
        command
            .and_then(|command| command.words.first().or(command.assignments.first()))
            .map_or(0, |word| word.line)
    }
}

pub(super) fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        let name = name.strip_suffix('+').unwrap_or(name);
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// `sudo -E env A=b timeout 5 program` runs `program`.
pub(super) fn strip_prefixes(words: &mut Vec<Word>) {
    loop {
        let Some(first) =
            words.first().map(|word| word.text.rsplit('/').next().unwrap_or_default().to_owned())
        else {
            return;
        };
        let prefix =
            matches!(first.as_str(), "sudo" | "env" | "command" | "exec" | "nohup" | "timeout" | "xargs");
        // Alone they are commands of their own.
        if !prefix || words.len() == 1 {
            return;
        }
        let mut gone = 1;
        while let Some(word) = words.get(gone) {
            let flag = word.text.starts_with('-');
            if flag
                && matches!(word.text.as_str(), "-u" | "-g" | "-k" | "-s" | "-n" | "-I")
                && first != "sudo"
                || word.text == "-u"
            {
                gone += 2;
            } else if flag
                || is_assignment(&word.text)
                || (first == "timeout" && word.text.starts_with(|c: char| c.is_ascii_digit()))
            {
                gone += 1;
            } else {
                break;
            }
        }
        if words.len() <= gone {
            return;
        }
        words.drain(..gone);
    }
}
