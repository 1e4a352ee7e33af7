//! Go's regular expressions, in which cloudflared reads a rule's `path`: checked as Go checks them, in its words, and
//! rewritten for the engine that we have. The two differ in escapes, in what `\d` and `\b` mean, and in what they refuse.

mod class;
mod escape;

use escape::one;

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
