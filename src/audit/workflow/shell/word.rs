//! One word of a script: its quotes, its variables, and where it goes.

use super::command::{Redirect, Word, is_assignment};
use super::{DEEPEST, Draft, End, Scanner};

impl Scanner {
    /// The operator `<…` or `>…` of a redirection.
    pub(super) fn redirection(&mut self, draft: &mut Draft, fd: u8) {
        if self.skip("<<<") {
            draft.here_string = true;
        } else if self.skip("<<-") {
            draft.document = Some(true);
        } else if self.skip("<<") {
            draft.document = Some(false);
        } else {
            self.next();
            if self.skip("&") {
                self.word(draft).text.push('&');
            } else if !self.skip(">") {
                self.skip("|");
            }
            draft.redirect = Some(fd);
        }
    }

    /// Something that is part of a word.
    pub(super) fn piece(&mut self, draft: &mut Draft) {
        let Some(c) = self.next() else { return };
        match c {
            '\'' => {
                draft.quoted = true;
                self.word(draft);
                while let Some(c) = self.next() {
                    if c == '\'' {
                        break;
                    }
                    self.push(draft, c);
                }
            }
            '"' => {
                draft.quoted = true;
                self.word(draft);
                while let Some(c) = self.next() {
                    match c {
                        '"' => break,
                        '\\' => {
                            if let Some(c) = self.next().filter(|c| *c != '\n') {
                                self.push(draft, c);
                            }
                        }
                        '$' | '`' => self.expansion(draft, c),
                        _ => self.push(draft, c),
                    }
                }
            }
            '$' if self.peek(0) == '\'' => {
                self.next();
                self.word(draft);
                while let Some(c) = self.next() {
                    match c {
                        '\'' => break,
                        '\\' => {
                            self.next();
                        }
                        _ => self.push(draft, c),
                    }
                }
            }
            '$' | '`' => self.expansion(draft, c),
            _ => self.push(draft, c),
        }
    }

    /// What follows `$`, or a backtick.
    fn expansion(&mut self, draft: &mut Draft, sign: char) {
        if sign == '`' {
            let names = self.nested(End::Backtick);
            let word = self.word(draft);
            word.text.push_str("$()");
            word.variables.extend(names);
        } else if self.skip("{{") {
            // An expression of GitHub's, put in before the shell sees anything.
            let word = self.word(draft);
            word.text.push_str("${{");
            while !self.skip("}}") {
                let Some(c) = self.next() else { break };
                self.push(draft, c);
            }
            self.word(draft).text.push_str("}}");
        } else if self.skip("((") {
            while !self.skip("))") && self.next().is_some() {}
            self.word(draft).text.push('0');
        } else if self.skip("(") {
            let names = self.nested(End::Parenthesis);
            let word = self.word(draft);
            word.text.push_str("$()");
            word.variables.extend(names);
        } else if self.skip("{") {
            let mut inner = String::new();
            let mut depth = 1;
            while let Some(c) = self.next() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                if depth == 0 {
                    break;
                }
                inner.push(c);
            }
            let name: String = inner
                .trim_start_matches(['!'])
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let word = self.word(draft);
            word.text.push_str(&format!("${{{inner}}}"));
            // `${#X}` is only its length, `${X:+…}` only whether it is set.
            if !name.is_empty() && !inner.contains(":+") {
                word.variables.push(name);
            }
        } else {
            let mut name = String::new();
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
                name.extend(self.next());
            }
            let word = self.word(draft);
            word.text.push('$');
            word.text.push_str(&name);
            if !name.is_empty() {
                word.variables.push(name);
            }
        }
    }

    /// Reads commands whose output is put in here; gives the variables that they use.
    pub(super) fn nested(&mut self, end: End) -> Vec<String> {
        let before = self.found.len();
        if self.depth < DEEPEST {
            self.list(end);
        } else {
            self.at = self.chars.len();
        }
        let mut names = Vec::new();
        for pipeline in &mut self.found[before..] {
            pipeline.captured = true;
            for command in &pipeline.commands {
                let words = command.words.iter().chain(&command.fed);
                names.extend(words.flat_map(|word| word.variables.iter().cloned()));
            }
        }
        // Each level would double them.
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(super) fn word<'a>(&self, draft: &'a mut Draft) -> &'a mut Word {
        let line = self.line;
        draft.word.get_or_insert_with(|| Word { line, ..Word::default() })
    }

    pub(super) fn push(&self, draft: &mut Draft, c: char) {
        self.word(draft).text.push(c);
    }

    pub(super) fn end_word(&mut self, draft: &mut Draft) {
        let Some(word) = draft.word.take() else { return };
        let quoted = std::mem::take(&mut draft.quoted);
        if let Some(strip) = draft.document.take() {
            draft.documents.push((word.text, strip, !quoted));
        } else if std::mem::take(&mut draft.here_string) {
            draft.command.fed.push(word);
        } else if let Some(fd) = draft.redirect.take() {
            draft.command.redirects.push(Redirect { fd, target: word });
        } else if draft.command.words.is_empty() && is_assignment(&word.text) {
            draft.command.assignments.push(word);
        } else if draft.command.words.is_empty() && !quoted && self.grammar(draft, &word.text) {
            // Words of the grammar stand before a command and are none.
        } else {
            draft.command.words.push(word);
        }
    }
}
