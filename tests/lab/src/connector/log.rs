//! cloudflared's log: its text lines, or JSON, on standard error.

use std::io::Write;

use serde_json::{Map, Value};

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// The level a `--loglevel` names; anything unknown is `info`.
    pub fn named(name: &str) -> Self {
        match name {
            "debug" | "trace" => Self::Debug,
            "warn" => Self::Warn,
            "error" | "fatal" | "panic" => Self::Error,
            _ => Self::Info,
        }
    }

    fn short(self) -> &'static str {
        match self {
            Self::Debug => "DBG",
            Self::Info => "INF",
            Self::Warn => "WRN",
            Self::Error => "ERR",
        }
    }

    fn long(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Fields of a line; `error` comes first in text, the rest by name.
pub type Fields = Vec<(&'static str, Value)>;

/// Where the lines go.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    pub json: bool,
    /// The quietest level still written.
    pub level: Level,
}

impl Log {
    pub fn info(&self, message: &str, fields: Fields) {
        self.write(Level::Info, message, fields);
    }

    pub fn error(&self, message: &str, error: &str, mut fields: Fields) {
        fields.push(("error", error.into()));
        self.write(Level::Error, message, fields);
    }

    /// Writes one line, in one piece.
    pub fn write(&self, level: Level, message: &str, fields: Fields) {
        if level < self.level {
            return;
        }
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = if self.json {
            json_line(&time, level, message, fields)
        } else {
            text_line(&time, level, message, fields)
        };
        // Nobody reads us; there is nowhere to say so.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn text_line(time: &str, level: Level, message: &str, mut fields: Fields) -> String {
    fields.sort_by_key(|(name, _)| (*name != "error", *name));
    let mut line = format!("{time} {} {message}", level.short());
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => quoted(&text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        line.push_str(&format!(" {name}={value}"));
    }
    line.push('\n');
    line
}

fn json_line(time: &str, level: Level, message: &str, fields: Fields) -> String {
    let mut object: Map<String, Value> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    object.insert("level".into(), level.long().into());
    object.insert("time".into(), time.into());
    if !message.is_empty() {
        object.insert("message".into(), message.into());
    }
    format!("{}\n", Value::Object(object))
}

/// As Go quotes: only where a space, a quote, a backslash or anything outside printable ASCII asks for it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_as_recorded() {
        let fields =
            vec![("ip", "198.41.192.7".into()), ("connIndex", 0.into()), ("error", "a \"b\"".into())];
        let line = text_line("2026-11-23T10:49:07Z", Level::Warn, "Serve tunnel error", fields);
        let expected =
            "2026-11-23T10:49:07Z WRN Serve tunnel error error=\"a \\\"b\\\"\" connIndex=0 ip=198.41.192.7\n";
        assert_eq!(line, expected);
        assert_eq!(text_line("T", Level::Error, "", vec![("error", "x".into())]), "T ERR  error=x\n");
    }

    #[test]
    fn json_as_recorded() {
        let line =
            json_line("2026-11-23T10:49:10Z", Level::Info, "Starting tunnel", vec![("tunnelID", "1".into())]);
        let expected = "{\"level\":\"info\",\"message\":\"Starting tunnel\",\"time\":\"2026-11-23T10:49:10Z\",\"tunnelID\":\"1\"}\n";
        assert_eq!(line, expected);
    }
}
