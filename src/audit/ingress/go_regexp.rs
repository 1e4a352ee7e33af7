//! Go's regular expressions, in which cloudflared reads a rule's `path`: checked as Go checks them, in its words, and
//! rewritten for the engine that we have. The two differ in escapes, in what `\d` and `\b` mean, and in what they refuse.

use std::fmt::Write as _;

/// Deeper ones are refused.
const DEEPEST: usize = 1000;
/// A repetition, or those inside one another together.
const MOST_REPEATED: u32 = 1000;

/// Rewrites a pattern of Go's.
///
/// # Errors
/// Go's own words for what is wrong with it.
pub(super) fn rewritten(pattern: &str) -> Result<String, String> {
    let mut reader = Reader {
        whole: pattern,
        rest: pattern,
        out: String::new(),
        wanted: Flags::default(),
        written: Flags::default(),
        groups: Vec::new(),
        here: Branch::default(),
    };
    reader.all()?;
    Ok(reader.out)
}

/// Of the flags only these change what is matched; greed does not.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    fold: bool,
    lines: bool,
    dot_all: bool,
}

impl Flags {
    fn set(&mut self, flag: char, on: bool) {
        match flag {
            'i' => self.fold = on,
            'm' => self.lines = on,
            's' => self.dot_all = on,
            _ => {}
        }
    }

    fn text(self) -> String {
        let all = [('i', self.fold), ('m', self.lines), ('s', self.dot_all)];
        let of = |on: bool| all.iter().filter(|(_, is)| *is == on).map(|(flag, _)| *flag).collect::<String>();
        let off = of(false);
        if off.is_empty() { of(true) } else { format!("{}-{off}", of(true)) }
    }
}

/// What stands before the next character in this alternative.
#[derive(Clone, Copy, Default)]
struct Branch {
    /// Something that can be repeated.
    atom: bool,
    /// How often the last one is repeated in all.
    weight: u32,
    /// The heaviest in this group.
    heaviest: u32,
}

struct Group {
    wanted: Flags,
    written: Flags,
    before: Branch,
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
    /// As the pattern has set them, and as they are in what was written so far.
    wanted: Flags,
    written: Flags,
    groups: Vec<Group>,
    here: Branch,
}

fn error<T>(says: &str, of: &str) -> Result<T, String> {
    Err(format!("error parsing regexp: {says}: `{of}`"))
}

/// The part of `from` that has been read when `rest` is left.
fn read<'a>(from: &'a str, rest: &str) -> &'a str {
    from.get(..from.len() - rest.len()).unwrap_or(from)
}

impl<'a> Reader<'a> {
    fn all(&mut self) -> Result<(), String> {
        let mut last_repeat: Option<&'a str> = None;
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match c {
                '(' => self.group()?,
                ')' => self.end()?,
                '|' => {
                    self.bump();
                    self.out.push('|');
                    self.here.atom = false;
                }
                '^' | '$' | '.' => {
                    self.bump();
                    self.atom(&c.to_string());
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.bump();
                    self.repetition(before, last_repeat, &c.to_string(), None)?;
                    repeat = Some(before);
                }
                '{' => match counts(before) {
                    Some((least, most, rest)) => {
                        self.rest = rest;
                        if least.is_none_or(|n| MOST_REPEATED < n)
                            || most.is_some_and(|most| most.is_none_or(|n| MOST_REPEATED < n))
                            || most.flatten().zip(least).is_some_and(|(most, least)| most < least)
                        {
                            return error("invalid repeat count", read(before, rest));
                        }
                        let least = least.unwrap_or_default();
                        let most = most.flatten();
                        let text = match most {
                            Some(most) => format!("{{{least},{most}}}"),
                            None => format!("{{{least},}}"),
                        };
                        self.repetition(before, last_repeat, &text, Some((least, most)))?;
                        repeat = Some(before);
                    }
                    None => self.literal(),
                },
                '\\' => self.escape()?,
                _ => self.literal(),
            }
            last_repeat = repeat;
        }
        if self.groups.is_empty() { Ok(()) } else { error("missing closing )", self.whole) }
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Writes something that can be repeated, under the flags that hold for it.
    fn atom(&mut self, text: &str) {
        self.flags();
        self.out.push_str(text);
        self.here.atom = true;
        self.here.weight = 1;
        self.here.heaviest = self.here.heaviest.max(1);
    }

    /// Only before an atom, since a repetition may follow a change of flags and means what stood before.
    fn flags(&mut self) {
        if self.wanted != self.written {
            self.out.push_str(&format!("(?{})", self.wanted.text()));
            self.written = self.wanted;
        }
    }

    fn literal(&mut self) {
        if let Some(c) = self.bump() {
            self.atom(&one(u32::from(c)));
        }
    }

    fn open(&mut self, flags: Flags) -> Result<(), String> {
        self.flags();
        if DEEPEST <= self.groups.len() {
            return error("expression nests too deeply", self.whole);
        }
        self.groups.push(Group { wanted: self.wanted, written: self.written, before: self.here });
        self.out.push_str(&format!("(?{}:", flags.text()));
        (self.wanted, self.written) = (flags, flags);
        self.here = Branch::default();
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        let whole = self.rest;
        if !whole.starts_with("(?") {
            self.bump();
            return self.open(self.wanted);
        }
        let name = if 4 < whole.len() && whole.starts_with("(?P<") {
            whole.strip_prefix("(?P<")
        } else if 3 < whole.len() {
            whole.strip_prefix("(?<")
        } else {
            None
        };
        if let Some(after) = name {
            let Some((name, rest)) = after.split_once('>') else {
                return error("invalid named capture", whole);
            };
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return error("invalid named capture", read(whole, rest));
            }
            self.rest = rest;
            return self.open(self.wanted);
        }
        self.rest = &whole[2..];
        let mut flags = self.wanted;
        let (mut on, mut saw) = (true, false);
        while let Some(c) = self.bump() {
            match c {
                'i' | 'm' | 's' | 'U' => {
                    flags.set(c, on);
                    saw = true;
                }
                '-' if on => (on, saw) = (false, false),
                ':' | ')' if on || saw => {
                    if c == ':' {
                        return self.open(flags);
                    }
                    self.wanted = flags;
                    return Ok(());
                }
                _ => break,
            }
        }
        error("invalid or unsupported Perl syntax", read(whole, self.rest))
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(group) = self.groups.pop() else { return error("unexpected )", self.whole) };
        self.bump();
        self.out.push(')');
        let inner = self.here.heaviest.max(1);
        (self.wanted, self.written) = (group.wanted, group.written);
        self.here = Branch { atom: true, weight: inner, heaviest: group.before.heaviest.max(inner) };
        Ok(())
    }

    fn repetition(
        &mut self,
        before: &'a str,
        last: Option<&'a str>,
        text: &str,
        counts: Option<(u32, Option<u32>)>,
    ) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
        }
        if let Some(last) = last {
            return error("invalid nested repetition operator", read(last, self.rest));
        }
        if !self.here.atom {
            return error("missing argument to repetition operator", read(before, self.rest));
        }
        if let Some((least, most)) = counts {
            let times = most.unwrap_or(least).max(1);
            self.here.weight = self.here.weight.saturating_mul(times);
            if 2 <= times && MOST_REPEATED < self.here.weight {
                return error("invalid repeat count", read(before, self.rest));
            }
            self.here.heaviest = self.here.heaviest.max(self.here.weight);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let rest = self.rest;
        let second = rest.chars().nth(1);
        match second {
            Some(c @ ('A' | 'z')) => self.short(&format!("\\{c}")),
            Some(c @ ('b' | 'B')) => self.short(&format!("(?-u:\\{c})")),
            Some('C') => return error("invalid escape sequence", &rest[..2]),
            Some('Q') => {
                let (quoted, after) = rest[2..].split_once("\\E").unwrap_or((&rest[2..], ""));
                for c in quoted.chars() {
                    self.atom(&one(u32::from(c)));
                }
                self.rest = after;
            }
            Some(c) if perl(c).is_some() => {
                let class = perl(c).unwrap_or_default();
                self.short(&format!("[{class}]"));
            }
            Some('p' | 'P') => {
                let class = self.unicode()?;
                self.atom(&class);
            }
            Some(_) | None => {
                let c = self.character()?;
                self.atom(&one(c));
            }
        }
        Ok(())
    }

    /// An escape of two characters that is written as `text`.
    fn short(&mut self, text: &str) {
        self.rest = self.rest.get(2..).unwrap_or_default();
        self.atom(text);
    }

    /// `\pN`, `\p{Greek}`, `\P{^Greek}`
    fn unicode(&mut self) -> Result<String, String> {
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

    /// An escape that means one character, as its number.
    fn character(&mut self) -> Result<u32, String> {
        let whole = self.rest;
        self.bump();
        let Some(c) = self.bump() else { return error("trailing backslash at end of expression", "") };
        let hex = |c: Option<char>| c.and_then(|c| c.to_digit(16));
        let found = match c {
            '0'..='7' => {
                let octal = self.rest.chars().next().is_some_and(|next| ('0'..='7').contains(&next));
                let mut value = c.to_digit(8);
                if c != '0' && !octal {
                    value = None;
                }
                for _ in 1..3 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
                    if let Some(so_far) = value {
                        value = Some(so_far * 8 + digit);
                        self.bump();
                    }
                }
                value
            }
            'x' if self.rest.starts_with('{') => {
                self.bump();
                let mut value: Option<u32> = None;
                loop {
                    match self.bump() {
                        Some('}') => break value,
                        c => match hex(c) {
                            Some(digit) => {
                                let next = value.unwrap_or(0).saturating_mul(16).saturating_add(digit);
                                value = Some(next);
                                if 0x0010_FFFF < next {
                                    break None;
                                }
                            }
                            None => break None,
                        },
                    }
                }
            }
            'x' => {
                let (high, low) = (hex(self.bump()), hex(self.bump()));
                high.zip(low).map(|(high, low)| high * 16 + low)
            }
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        match found {
            Some(found) => Ok(found),
            None => error("invalid escape sequence", read(whole, self.rest)),
        }
    }

    fn class(&mut self) -> Result<(), String> {
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

/// One character. Halves of UTF-16 pairs occur in no text.
fn one(c: u32) -> String {
    if char::from_u32(c).is_some() { format!("\\x{{{c:x}}}") } else { "[^\\x{0}-\\x{10ffff}]".to_owned() }
}

/// A range, without the halves of UTF-16 pairs.
fn span(class: &mut String, low: u32, high: u32) {
    for (from, to) in [(low, high.min(0xD7FF)), (low.max(0xE000), high)] {
        if from <= to && writeln!(class, "\\x{{{from:x}}}-\\x{{{to:x}}}").is_ok() {
            class.pop();
        }
    }
}

fn perl(c: char) -> Option<&'static str> {
    match c {
        'd' => Some("0-9"),
        'D' => Some("^0-9"),
        's' => Some("\\x{9}\\x{a}\\x{c}\\x{d}\\x{20}"),
        'S' => Some("^\\x{9}\\x{a}\\x{c}\\x{d}\\x{20}"),
        'w' => Some("0-9A-Za-z_"),
        'W' => Some("^0-9A-Za-z_"),
        _ => None,
    }
}

fn posix(name: &str) -> bool {
    let names = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    names.contains(&name.strip_prefix('^').unwrap_or(name))
}

/// `{2}`, `{2,}`, `{2,5}`: the least, the most if one is set, and what follows; a number too large to count is `None`.
#[expect(clippy::type_complexity, reason = "read in one place")]
fn counts(text: &str) -> Option<(Option<u32>, Option<Option<u32>>, &str)> {
    let number = |text: &'_ str| -> Option<(Option<u32>, usize)> {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        let leading = 1 < length && text.starts_with('0');
        (0 < length && !leading).then(|| (text[..length].parse::<u32>().ok(), length))
    };
    let rest = text.strip_prefix('{')?;
    let (least, length) = number(rest)?;
    let rest = &rest[length..];
    let Some(after) = rest.strip_prefix(',') else {
        return Some((least, Some(least), rest.strip_prefix('}')?));
    };
    if let Some(rest) = after.strip_prefix('}') {
        return Some((least, None, rest));
    }
    let (most, length) = number(after)?;
    Some((least, Some(most), after[length..].strip_prefix('}')?))
}
