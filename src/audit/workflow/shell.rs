//! Words of a shell script: enough to tell which command gets what, and where its output goes. It runs nothing, expands
//! nothing, and gives no error: what it does not understand it passes over.

mod command;
mod word;

use std::collections::BTreeSet;

use command::strip_prefixes;
pub(super) use command::{Command, Pipeline, Word};

/// All pipelines of a script; inner ones (`$(…)`) before those they stand in.
pub(super) fn pipelines(script: &str) -> Vec<Pipeline> {
    let mut scanner =
        Scanner { chars: script.chars().collect(), at: 0, line: 0, found: Vec::new(), depth: 0 };
    scanner.list(End::Script);
    scanner.found
}

/// Names of the functions that a script defines.
pub(super) fn functions(script: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut pieces: Vec<&str> = script.split("()").collect();
    pieces.pop();
    let called = pieces.into_iter().filter_map(|before| before.trim_end().rsplit(|c: char| !part(c)).next());
    let declared = script.lines().filter_map(|line| line.trim_start().strip_prefix("function "));
    let declared = declared.filter_map(|rest| rest.split(|c: char| !part(c)).next());
    called.chain(declared).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Deeper nesting is passed over.
const DEEPEST: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Script,
    Parenthesis,
    Backtick,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Plain,
    Case,
    Function,
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Pipeline>,
    depth: usize,
}

/// What is being put together.
#[derive(Default)]
struct Draft {
    pipeline: Pipeline,
    command: Command,
    word: Option<Word>,
    redirect: Option<u8>,
    /// Delimiter, and whether tabs are stripped and variables expanded.
    documents: Vec<(String, bool, bool)>,
    document: Option<bool>,
    here_string: bool,
    quoted: bool,
    /// Where each open group began.
    groups: Vec<(Group, usize)>,
    /// `name()` was read.
    function: bool,
}

impl Scanner {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied()?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn skip(&mut self, text: &str) -> bool {
        let here = text.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == c);
        if here {
            for _ in text.chars() {
                self.next();
            }
        }
        here
    }

    fn list(&mut self, end: End) {
        let mut draft = Draft::default();
        self.depth += 1;
        while let Some(c) = self.chars.get(self.at).copied() {
            match c {
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some('`') if end == End::Backtick => {}
                        Some(c) => self.push(&mut draft, c),
                    }
                }
                ' ' | '\t' | '\r' => {
                    self.next();
                    self.end_word(&mut draft);
                }
                '#' if draft.word.is_none() => {
                    while !matches!(self.peek(0), '\n' | '\0') {
                        self.next();
                    }
                }
                '\n' => {
                    self.next();
                    self.end_word(&mut draft);
                    // A pipe at the end of a line goes on below it.
                    if !draft.command.is_empty() || draft.pipeline.commands.is_empty() {
                        self.end_pipeline(&mut draft);
                    }
                    self.documents(&mut draft);
                }
                '`' if end == End::Backtick => {
                    self.next();
                    break;
                }
                ')' => {
                    self.next();
                    self.end_word(&mut draft);
                    let open = draft.groups.last().copied();
                    match open {
                        Some((Group::Case, _)) => draft.command = Command::default(),
                        None if end == End::Parenthesis => break,
                        Some((Group::Plain | Group::Function, _)) | None => {
                            self.end_pipeline(&mut draft);
                            self.close(&mut draft);
                        }
                    }
                }
                '(' => {
                    self.next();
                    if draft.word.is_some() && self.skip(")") {
                        draft.word = None;
                        draft.command = Command::default();
                        draft.function = true;
                    } else if draft.word.as_ref().is_some_and(|word| word.text.ends_with('=')) {
                        // An array: its words belong to the assignment.
                        self.push(&mut draft, ' ');
                    } else if matches!(draft.groups.last(), Some((Group::Case, _)))
                        && draft.command.is_empty()
                    {
                        // `(pattern)`
                    } else {
                        self.end_word(&mut draft);
                        let group =
                            if std::mem::take(&mut draft.function) { Group::Function } else { Group::Plain };
                        self.open(&mut draft, group);
                    }
                }
                ';' => {
                    self.next();
                    self.end_word(&mut draft);
                    self.end_pipeline(&mut draft);
                }
                '&' if self.peek(1) == '>' => {
                    self.next();
                    self.end_word(&mut draft);
                    self.redirection(&mut draft, 1);
                }
                '&' => {
                    self.next();
                    self.skip("&");
                    self.end_word(&mut draft);
                    self.end_pipeline(&mut draft);
                }
                '|' => {
                    self.next();
                    self.end_word(&mut draft);
                    if self.skip("|") {
                        self.end_pipeline(&mut draft);
                    } else {
                        self.skip("&");
                        self.end_command(&mut draft);
                    }
                }
                '>' | '<' => {
                    let digits = draft.word.as_ref().is_some_and(|word| {
                        word.variables.is_empty()
                            && word.text.len() == 1
                            && word.text.as_bytes()[0].is_ascii_digit()
                    });
                    let fd = match draft.word.take_if(|_| digits) {
                        Some(word) => word.text.bytes().next().unwrap_or(b'1') - b'0',
                        None => u8::from(c == '>'),
                    };
                    if matches!(self.peek(1), '(') {
                        // `<(…)`: its output goes to the command.
                        self.next();
                        self.next();
                        let names = self.nested(End::Parenthesis);
                        let word = self.word(&mut draft);
                        word.text.push_str("<()");
                        word.variables.extend(names);
                    } else {
                        self.end_word(&mut draft);
                        self.redirection(&mut draft, fd);
                    }
                }
                _ => self.piece(&mut draft),
            }
        }
        self.end_word(&mut draft);
        self.end_pipeline(&mut draft);
        self.depth -= 1;
    }

    /// Whether it is a word of the grammar; groups are opened and closed by it.
    fn grammar(&mut self, draft: &mut Draft, word: &str) -> bool {
        match word {
            "{" | "if" | "while" | "until" | "for" | "select" | "case" => {
                let group = match word {
                    _ if std::mem::take(&mut draft.function) => Group::Function,
                    "case" => Group::Case,
                    _ => Group::Plain,
                };
                self.open(draft, group);
                // `for NAME in WORDS` and `case WORD in` are no commands, but words all the same.
                !matches!(word, "for" | "select" | "case")
            }
            "}" | "fi" | "done" | "esac" => {
                self.close(draft);
                true
            }
            "then" | "else" | "elif" | "do" | "!" | "time" => true,
            _ => false,
        }
    }

    fn open(&self, draft: &mut Draft, group: Group) {
        if draft.groups.len() < DEEPEST {
            draft.groups.push((group, self.found.len()));
        }
    }

    /// Closes the innermost group. If more is done with its output, that is not for the log.
    fn close(&mut self, draft: &mut Draft) {
        let Some((group, from)) = draft.groups.pop() else { return };
        let mut ahead = 0;
        while matches!(self.peek(ahead), ' ' | '\t') {
            ahead += 1;
        }
        let piped = self.peek(ahead) == '|' && self.peek(ahead + 1) != '|';
        let stored = self.peek(ahead) == '>' || self.peek(ahead) == '1' && self.peek(ahead + 1) == '>';
        if piped || stored || group == Group::Function {
            for pipeline in &mut self.found[from..] {
                pipeline.captured = true;
            }
        }
    }

    fn end_command(&mut self, draft: &mut Draft) {
        let mut command = std::mem::take(&mut draft.command);
        strip_prefixes(&mut command.words);
        if !command.is_empty() {
            draft.pipeline.commands.push(command);
        }
    }

    fn end_pipeline(&mut self, draft: &mut Draft) {
        // A here-document's body follows the line, and its command must still be there.
        if draft.documents.is_empty() {
            self.end_command(draft);
        } else {
            let mut command = std::mem::take(&mut draft.command);
            strip_prefixes(&mut command.words);
            draft.pipeline.commands.push(command);
        }
        let pipeline = std::mem::take(&mut draft.pipeline);
        if !pipeline.commands.is_empty() {
            self.found.push(pipeline);
        }
    }

    /// The bodies of here-documents that the line above announced.
    fn documents(&mut self, draft: &mut Draft) {
        for (delimiter, strip, expand) in std::mem::take(&mut draft.documents) {
            let line = self.line;
            let mut body = String::new();
            while self.at < self.chars.len() {
                let mut text = String::new();
                while let Some(c) = self.next().filter(|c| *c != '\n') {
                    text.push(c);
                }
                let bare = if strip { text.trim_start_matches('\t') } else { text.as_str() };
                if bare.trim_end_matches('\r') == delimiter {
                    break;
                }
                body.push_str(&text);
                body.push('\n');
            }
            let variables = if expand { variables_of(&body) } else { Vec::new() };
            let fed = Word { text: body, line, variables };
            // The pipeline that announced it has just ended; the first of its commands reads it, most of the time.
            if let Some(command) = self.found.last_mut().and_then(|pipeline| pipeline.commands.first_mut()) {
                command.fed.push(fed);
            }
        }
    }
}

/// The variables that an unquoted text expands.
fn variables_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split('$').skip(1) {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !name.is_empty() {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests;
