//! Classes of characters: `[a-z]`, `[[:alpha:]]`, `\p{Greek}`.

use std::fmt::Write as _;

use super::escape::perl;
use super::{Reader, error, read};

impl Reader<'_> {
    /// `\pN`, `\p{Greek}`, `\P{^Greek}`
    pub(super) fn unicode(&mut self) -> Result<String, String> {
        let whole = self.rest;
        let mut negated = whole.starts_with("\\P");
        let after = &whole[2..];
        let (name, rest) = if let Some(braced) = after.strip_prefix('{') {
            match braced.split_once('}') {
                Some(split) => split,
                None => return error("invalid character class range", whole),
            }
        } else {
            let length = after.chars().next().map_or(0, char::len_utf8);
            after.split_at(length)
        };
        let mut bare = name;
        if let Some(name) = name.strip_prefix('^') {
            negated = !negated;
            bare = name;
        }
        let letter = if negated { 'P' } else { 'p' };
        let class = format!("\\{letter}{{{bare}}}");
        let plain = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plain || regex_automata::util::syntax::parse(&class).is_err() {
            return error("invalid character class range", read(whole, rest));
        }
        self.rest = rest;
        Ok(class)
    }

    pub(super) fn class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        self.bump();
        let mut class = String::from("[");
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            class.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.starts_with("[:")
                && let Some((name, after)) = self.rest[2..].split_once(":]")
            {
                if !posix(name) {
                    return error("invalid character class range", read(self.rest, after));
                }
                class.push_str(read(self.rest, after));
                self.rest = after;
                continue;
            }
            let second = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
            if let Some('p' | 'P') = second {
                class.push_str(&self.unicode()?);
                continue;
            }
            if let Some(perl) = second.and_then(perl) {
                self.rest = &self.rest[2..];
                class.push_str(&format!("[{perl}]"));
                continue;
            }
            let range = self.rest;
            let low = self.member(whole)?;
            let mut high = low;
            if let Some(after) = self.rest.strip_prefix('-')
                && !after.is_empty()
                && !after.starts_with(']')
            {
                self.rest = after;
                high = self.member(whole)?;
                if high < low {
                    return error("invalid character class range", read(range, self.rest));
                }
            }
            span(&mut class, low, high);
        }
        self.bump();
        class.push(']');
        self.atom(&class);
        Ok(())
    }

    fn member(&mut self, class: &str) -> Result<u32, String> {
        if self.rest.starts_with('\\') {
            return self.character();
        }
        match self.bump() {
            Some(c) => Ok(u32::from(c)),
            None => error("missing closing ]", class),
        }
    }
}

/// A range, without the halves of UTF-16 pairs.
fn span(class: &mut String, low: u32, high: u32) {
    for (from, to) in [(low, high.min(0xD7FF)), (low.max(0xE000), high)] {
        if from <= to && writeln!(class, "\\x{{{from:x}}}-\\x{{{to:x}}}").is_ok() {
            class.pop();
        }
    }
}

fn posix(name: &str) -> bool {
    let names = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    names.contains(&name.strip_prefix('^').unwrap_or(name))
}
