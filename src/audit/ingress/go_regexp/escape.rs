//! What a backslash begins.

use super::{Reader, error, read};

impl Reader<'_> {
    pub(super) fn escape(&mut self) -> Result<(), String> {
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

    /// An escape that means one character, as its number.
    pub(super) fn character(&mut self) -> Result<u32, String> {
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

    /// An escape of two characters that is written as `text`.
    fn short(&mut self, text: &str) {
        self.rest = self.rest.get(2..).unwrap_or_default();
        self.atom(text);
    }
}

/// One character. Halves of UTF-16 pairs occur in no text.
pub(super) fn one(c: u32) -> String {
    if char::from_u32(c).is_some() { format!("\\x{{{c:x}}}") } else { "[^\\x{0}-\\x{10ffff}]".to_owned() }
}

pub(super) fn perl(c: char) -> Option<&'static str> {
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
