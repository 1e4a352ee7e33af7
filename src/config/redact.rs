//! What an error may repeat of what it read. When in doubt it is hidden: an operator can open the
//! file, a log cannot be made to forget.

pub const HIDDEN: &str = "(hidden)";

/// Somewhere in the name of a key; `passw` for those who write it in another language.
const SECRET_WORDS: [&str; 8] =
    ["token", "key", "secret", "passw", "passphrase", "pwd", "bearer", "authorization"];
const TOKEN_PREFIXES: [&str; 5] = ["eyJ", "cfut_", "cfat_", "cfk_", "cfast_"];
/// Cloudflare's tokens have 40 characters and more; the longest harmless run is a UUID's 36.
const LONG_RUN: usize = 40;
/// The old global API key has 37 hexadecimal digits, an account id 32.
const LONG_HEX: usize = 33;
const LONGEST_SHOWN: usize = 160;

/// Whether a key of this name may hold a secret.
pub fn secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether a text looks like a secret, or carries one, whatever it is called.
pub fn secret_looking(text: &str) -> bool {
    let in_base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    TOKEN_PREFIXES.iter().any(|prefix| text.contains(prefix))
        || text.split(|c| !in_base64(c)).any(random_run)
        || names_a_secret(text)
}

/// A run of base64 or hexadecimal digits as long as keys are. Long paths and names have separators too,
/// but hardly capitals among small letters.
fn random_run(run: &str) -> bool {
    let separated = run.bytes().any(|byte| !byte.is_ascii_alphanumeric());
    let mixed = run.bytes().any(|byte| byte.is_ascii_uppercase())
        && run.bytes().any(|byte| byte.is_ascii_lowercase());
    let hex = run.bytes().all(|byte| byte.is_ascii_hexdigit());
    (LONG_RUN <= run.len() && (mixed || !separated)) || (LONG_HEX <= run.len() && hex)
}

/// `token=…`, `x-api-key: …` inside a value, and the password of a URL.
fn names_a_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let assigned = SECRET_WORDS.iter().any(|word| {
        lower.match_indices(word).any(|(at, word)| {
            let rest = lower[at + word.len()..].trim_start();
            rest.starts_with('=') || rest.starts_with(':')
        })
    });
    let after_scheme = lower.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    assigned || after_scheme.is_some_and(|authority| authority.contains('@'))
}

/// A value in quotes, or that it is hidden. `key` is the name it was found under.
pub fn value(key: &str, text: &str) -> String {
    if secret_name(key) || secret_looking(text) { HIDDEN.to_owned() } else { format!("\"{}\"", plain(text)) }
}

/// The name of a key or section as it may be repeated.
pub fn name(text: &str) -> String {
    if secret_looking(text) { HIDDEN.to_owned() } else { plain(text) }
}

/// Short, and without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    let cut = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(LONGEST_SHOWN).map(cut).collect();
    if shown.len() < text.len() && LONGEST_SHOWN <= shown.chars().count() {
        shown.push('…');
    }
    shown
}

/// A line of a TOML text as an excerpt may show it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Shown(String),
    /// With the value, or everything, hidden.
    Hidden(String),
}

/// Line `number` (from 1) of a TOML text that need not parse. A secret may go on for several
/// lines, so everything from the beginning is looked at.
pub(super) fn line(text: &str, number: usize) -> Line {
    let mut reader = Reader::default();
    let mut last = Line::Shown(String::new());
    for line in text.lines().take(number) {
        last = reader.read(line);
    }
    last
}

/// Where we are in a text that need not be TOML.
#[derive(Default)]
struct Reader {
    section_secret: bool,
    entry_secret: bool,
    /// The quotes that end the text that spans lines.
    open: Option<&'static str>,
}

impl Reader {
    fn read(&mut self, line: &str) -> Line {
        let inside = self.open.is_some();
        if !inside {
            self.begin(line);
        }
        self.quotes(line);
        let hidden = self.section_secret || self.entry_secret || secret_name(line) || secret_looking(line);
        if !hidden || (!inside && header(line).is_some_and(|name| !secret_looking(name))) {
            return Line::Shown(plain(line));
        }
        match line.split_once('=') {
            Some((key, _)) if !inside && key_like(key) && !secret_looking(key) => {
                Line::Hidden(format!("{} = {HIDDEN}", plain(key.trim_end())))
            }
            _ => Line::Hidden(HIDDEN.to_owned()),
        }
    }

    /// A line outside of quotes: does something new begin here?
    fn begin(&mut self, line: &str) {
        if let Some(section) = header(line) {
            self.section_secret = secret_name(section);
            self.entry_secret = false;
        } else if let Some((key, _)) = line.split_once('=')
            && key_like(key)
        {
            self.entry_secret = secret_name(line);
        }
    }

    fn quotes(&mut self, line: &str) {
        for quotes in ["\"\"\"", "'''"] {
            if line.matches(quotes).count() % 2 == 0 {
                continue;
            }
            match self.open {
                Some(open) if open == quotes => self.open = None,
                Some(_) => {}
                None => self.open = Some(quotes),
            }
        }
    }
}

fn key_like(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"'".contains(c))
}

/// The name in `[name]` or `[[name]]`.
fn header(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or(line).trim();
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    // `["a"]` alone in a line is more likely a part of a list.
    (key_like(name) && !name.trim().starts_with(['"', '\''])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, number: usize) -> String {
        match line(text, number) {
            Line::Shown(text) | Line::Hidden(text) => text,
        }
    }

    #[test]
    fn tokens_are_known_by_their_looks() {
        let run = "a".repeat(40);
        let url_safe = "aB3_".repeat(10);
        let hex = "0123456789abcdef".repeat(3);
        for text in [
            "eyJhIjoi",
            "cfut_x",
            "cfat_x",
            "cfk_x",
            "cfast_x",
            &run,
            &url_safe,
            &hex[..37],
            "https://a:b@c/",
            "x-api-key: 1",
        ] {
            assert!(secret_looking(text), "{text}");
        }
        for text in [
            "62da6c19-947b-4bf6-acad-100a73de4e0d",
            "15s",
            "https://www.cloudflare.com/cdn-cgi/trace",
            "/etc/cloudflared/tunnels/production-office-berlin-2.yml",
            &hex[..32],
        ] {
            assert!(!secret_looking(text), "{text}");
        }
    }

    #[test]
    fn a_secret_is_hidden_on_every_line_it_spans() {
        let text = "[api]\ntoken = \"\"\"\nhunter2\nnot = shown\n\"\"\"\nperiod = \"60s\"\nlist = [\n1]";
        let lines: Vec<_> = (1..=8).map(|number| shown(text, number)).collect();
        assert_eq!(
            lines,
            ["[api]", "token = (hidden)", HIDDEN, HIDDEN, HIDDEN, "period = \"60s\"", "list = [", "1]"]
        );
        assert_eq!(shown("passwords = [\n\"hunter2\"\n]", 2), HIDDEN);
        assert_eq!(shown("[secrets]\na = \"hunter2\"", 2), "a = (hidden)");
        assert_eq!(shown("eyJhIjoiMTIz=", 1), HIDDEN);
        assert_eq!(shown("a = { token = \"hunter2\" }", 1), "a = (hidden)");
    }
}
