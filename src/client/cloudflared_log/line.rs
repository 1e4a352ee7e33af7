//! The shape of a line: time, level, message, fields.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// More starts than this are not tried when looking where the fields begin.
const MAX_FIELD_STARTS: usize = 64;

/// How a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `2026-11-23T10:26:54Z INF message key=value`
    Text,
    /// One JSON object.
    Json,
    /// Go's standard log, local time: `2026/11/23 10:29:01 http2: server: …`
    GoLog,
    /// No time, no level: the last words of a failed process, or a further line of a longer message.
    Bare,
    /// Part of a JSON object that another one was written into.
    Torn,
}

/// cloudflared's own level; the journal's PRIORITY is always 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
    Panic,
}

/// A line taken apart. `message` and fields borrow from the line where they can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub form: Form,
    pub level: Option<Level>,
    pub message: Cow<'a, str>,
    pub fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Parsed<'_> {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The `error` field, empty if there is none.
    pub fn error(&self) -> &str {
        self.field("error").unwrap_or_default()
    }

    /// Which of the (normally four) connections speaks.
    pub fn conn_index(&self) -> Option<u8> {
        self.field("connIndex")?.parse().ok()
    }

    /// True for a line that does not begin a log entry of cloudflared.
    pub fn continuation(&self) -> bool {
        matches!(self.form, Form::Bare | Form::Torn)
    }
}

/// Takes a line apart. Never fails: what has no known shape is [`Form::Bare`] or [`Form::Torn`].
pub fn parse(line: &str) -> Parsed<'_> {
    if line.starts_with('{') || line.starts_with(",\"") {
        return json(line).unwrap_or_else(|| whole(Form::Torn, line));
    }
    if let Some((level, rest)) = text_prefix(line) {
        let (message, fields) = split_fields(rest);
        return Parsed { form: Form::Text, level: Some(level), message: Cow::Borrowed(message), fields };
    }
    match go_log_prefix(line) {
        Some(rest) => whole(Form::GoLog, rest),
        None => whole(Form::Bare, line),
    }
}

fn whole(form: Form, message: &str) -> Parsed<'_> {
    Parsed { form, level: None, message: Cow::Borrowed(message), fields: Vec::new() }
}

fn json(line: &str) -> Option<Parsed<'static>> {
    let mut object: Map<String, Value> = serde_json::from_str(line).ok()?;
    let level = json_level(object.get("level")?.as_str()?)?;
    let message = match object.remove("message") {
        Some(Value::String(message)) => message,
        _ => String::new(),
    };
    let fields = object.into_iter().filter_map(|(key, value)| Some((key.into(), scalar(value)?.into())));
    Some(Parsed { form: Form::Json, level: Some(level), message: message.into(), fields: fields.collect() })
}

/// Nested values (headers, the remote configuration) are foreign text and of no use here.
fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn json_level(name: &str) -> Option<Level> {
    Some(match name {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "fatal" => Level::Fatal,
        "panic" => Level::Panic,
        _ => return None,
    })
}

/// `2026-11-23T10:26:54Z INF rest` → level and rest; an offset may stand in place of the Z.
fn text_prefix(line: &str) -> Option<(Level, &str)> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (stamp, zone) = line.split_at_checked(SHAPE.len())?;
    if !has_shape(stamp, SHAPE) {
        return None;
    }
    let (zone, rest) = zone.split_once(' ')?;
    if zone != "Z" && !has_shape(zone, b"+dd:dd") && !has_shape(zone, b"-dd:dd") {
        return None;
    }
    let (level, rest) = rest.split_at_checked(3)?;
    let level = match level {
        "TRC" => Level::Trace,
        "DBG" => Level::Debug,
        "INF" => Level::Info,
        "WRN" => Level::Warn,
        "ERR" => Level::Error,
        "FTL" => Level::Fatal,
        "PNC" => Level::Panic,
        _ => return None,
    };
    Some((level, rest.strip_prefix(' ').or_else(|| rest.is_empty().then_some(rest))?))
}

fn go_log_prefix(line: &str) -> Option<&str> {
    const SHAPE: &[u8] = b"dddd/dd/dd dd:dd:dd ";
    let (stamp, rest) = line.split_at_checked(SHAPE.len())?;
    has_shape(stamp, SHAPE).then_some(rest)
}

/// `d` in the shape is any digit, all else stands for itself.
fn has_shape(text: &str, shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape).all(|(b, s)| if *s == b'd' { b.is_ascii_digit() } else { b == *s })
}

type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The fields are the longest run of `key=value` that reaches the end of the line; all before it is the message.
fn split_fields(rest: &str) -> (&str, Fields<'_>) {
    let mut from = 0;
    for _ in 0..MAX_FIELD_STARTS {
        let Some(start) = next_key(rest, from) else { break };
        match all_fields(&rest[start..]) {
            Ok(fields) => return (rest[..start].trim_end_matches(' '), fields),
            Err(read) => from = start + read.max(1),
        }
    }
    (rest, Vec::new())
}

/// Where the next token that looks like `key=` begins, at or after `from`.
fn next_key(rest: &str, from: usize) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut search = from;
    while let Some(equals) = bytes.get(search..)?.iter().position(|b| *b == b'=').map(|i| i + search) {
        let start = bytes[..equals].iter().rposition(|b| *b == b' ').map_or(0, |space| space + 1);
        if start >= from && is_key(&bytes[start..equals]) {
            return Some(start);
        }
        search = equals + 1;
    }
    None
}

fn is_key(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// All fields to the end, or how many bytes were read before something else stood there.
fn all_fields(text: &str) -> Result<Fields<'_>, usize> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let token = &text[at..];
        let (key, value) = token.split_once('=').filter(|(key, _)| is_key(key.as_bytes())).ok_or(at)?;
        let (value, length) = value_at(value).ok_or(at)?;
        fields.push((Cow::Borrowed(key), value));
        at += key.len() + 1 + length;
        match text.as_bytes().get(at) {
            None => {}
            Some(b' ') => at += 1,
            Some(_) => return Err(at),
        }
    }
    Ok(fields)
}

/// A value at the start of `text` and its length as written.
fn value_at(text: &str) -> Option<(Cow<'_, str>, usize)> {
    match text.as_bytes().first() {
        Some(b'"') => quoted(text),
        Some(b'[' | b'{') => {
            let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
            match values.next() {
                Some(Ok(_)) => Some((Cow::Borrowed(&text[..values.byte_offset()]), values.byte_offset())),
                _ => Some(plain(text)),
            }
        }
        _ => Some(plain(text)),
    }
}

fn plain(text: &str) -> (Cow<'_, str>, usize) {
    let end = text.find(' ').unwrap_or(text.len());
    (Cow::Borrowed(&text[..end]), end)
}

/// A Go-quoted string. Escapes by number are left as they stand.
fn quoted(text: &str) -> Option<(Cow<'_, str>, usize)> {
    let body = text.get(1..)?;
    let mut escaped = false;
    let end = body.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })?;
    Some((unescape(&body[..end]), end + 2))
}

fn unescape(body: &str) -> Cow<'_, str> {
    if !body.contains('\\') {
        return Cow::Borrowed(body);
    }
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(same @ ('"' | '\\')) => out.push(same),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}
