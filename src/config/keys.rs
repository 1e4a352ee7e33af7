//! The table of all keys: what they hold, and what they are where nothing is written.

use ::config::Value;
use toml::de::DeValue;

use super::{duration, redact};
use crate::client::calendar::Span as CalendarSpan;

/// One key that can be written.
pub(super) struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written in a file; none for what describes a single tunnel.
    pub default: Option<&'static str>,
    /// A value in the right form.
    pub example: &'static str,
}

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    Count,
    Span,
    Texts,
    Counts,
    Spans,
}

use Kind::{Count, Counts, Flag, Span, Spans, Text, Texts};

/// Sections that are a list, written `[[name]]`.
pub(super) const LISTS: [&str; 3] = ["tunnel", "tunnel.probe", "tunnel.expect"];

pub(super) const KEYS: &[Key] = &[
    set("", "mode", Text, "\"remedy\""),
    set("probe", "period", Span, "\"15s\""),
    set("probe", "period_down", Span, "\"5s\""),
    set("probe", "timeout", Span, "\"5s\""),
    set("probe", "control", Texts, "[\"https://www.cloudflare.com/cdn-cgi/trace\"]"),
    set("probe", "resolve", Text, "\"system\""),
    set("probe", "edge_addresses", Texts, "[\"104.16.132.229\", \"104.16.133.229\"]"),
    like("probe", "observers", Texts, "[]", "[\"http://blackbox.example.com:9115/probe?module=http_2xx\"]"),
    set("dns", "period", Span, "\"5m\""),
    set("dns", "period_down", Span, "\"60s\""),
    like("dns", "resolver", Text, "\"\"", "\"1.1.1.1\""),
    like("dns", "ranges", Texts, "[]", "[\"198.51.100.0/24\", \"2001:db8::/32\"]"),
    set("ready", "period", Span, "\"5s\""),
    set("edge", "period", Span, "\"60s\""),
    set("edge", "period_down", Span, "\"5s\""),
    like("edge", "region", Text, "\"\"", "\"us\""),
    like("edge", "status_page", Text, "\"\"", "\"https://www.cloudflarestatus.com\""),
    set("judge", "sustained", Span, "\"10s\""),
    set("judge", "rounds", Count, "2"),
    set("judge", "patience", Span, "\"30s\""),
    set("judge", "start_grace", Span, "\"60s\""),
    set("judge", "boot_grace", Span, "\"120s\""),
    set("judge", "healthy_after", Span, "\"1h\""),
    set("remedy", "cooldown", Spans, "[\"5m\", \"10m\", \"20m\", \"30m\"]"),
    set("remedy", "per_hour", Count, "3"),
    set("remedy", "per_day", Count, "10"),
    set("remedy", "per_hour_host", Count, "6"),
    set("remedy", "half_open", Span, "\"1h\""),
    set("remedy", "swift", Flag, "true"),
    set("remedy", "start_stopped", Flag, "false"),
    set("remedy", "transport_fallback", Flag, "false"),
    like("window", "forbid", Texts, "[]", "[\"Mon..Fri 08:00..18:00\"]"),
    like("window", "allow", Texts, "[]", "[\"Sat,Sun\"]"),
    like("api", "account_id", Text, "\"\"", "\"0123456789abcdef0123456789abcdef\""),
    set("api", "token", Text, "\"cloudflare-api-token\""),
    set("api", "global_key", Flag, "false"),
    set("api", "period", Span, "\"60s\""),
    set("http", "listen", Text, "\"127.0.0.1:9733\""),
    one("tunnel", "unit", Text, "\"cloudflared.service\""),
    one("tunnel", "name", Text, "\"cloudtolocalllm-aks\""),
    one("tunnel", "id", Text, "\"62da6c19-947b-4bf6-acad-100a73de4e0d\""),
    one("tunnel", "config", Text, "\"/etc/cloudflared/config.yml\""),
    one("tunnel", "metrics", Text, "\"127.0.0.1:20241\""),
    one("tunnel", "hostnames", Texts, "[\"app.example.com\"]"),
    one("tunnel.probe", "url", Text, "\"https://app.example.com/health\""),
    one("tunnel.probe", "expect_status", Counts, "[200]"),
    one("tunnel.probe", "expect_header", Text, "\"x-app: mine\""),
    one("tunnel.probe", "expect_body", Text, "\"ok\""),
    one("tunnel.probe", "access", Text, "\"cf-access-app\""),
    one("tunnel.expect", "hostname", Text, "\"app.example.com\""),
    one("tunnel.expect", "path", Text, "\"/api\""),
    one("tunnel.expect", "service", Text, "\"http://api-backend:8080\""),
];

const fn set(section: &'static str, name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { section, name, kind, default: Some(default), example: default }
}

const fn like(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    example: &'static str,
) -> Key {
    Key { section, name, kind, default: Some(default), example }
}

const fn one(section: &'static str, name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { section, name, kind, default: None, example }
}

/// The key of this section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// Whether there is such a section.
pub(super) fn is_section(name: &str) -> bool {
    !name.is_empty() && KEYS.iter().any(|key| key.section == name)
}

/// All defaults, as a file would say them.
pub(super) fn defaults() -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        let Some(default) = key.default else { continue };
        if key.section != section {
            section = key.section;
            text.push_str(&format!("[{section}]\n"));
        }
        text.push_str(&format!("{} = {default}\n", key.name));
    }
    text
}

/// What to write instead of a name that does not exist, as the end of a sentence.
pub(super) fn instead_of(section: &str, name: &str) -> String {
    if is_section(name) || is_section(&format!("tunnel.{name}")) && section.is_empty() {
        let name = if is_section(name) { name.to_owned() } else { format!("tunnel.{name}") };
        return format!("is a section of its own; write {}", header(&name));
    }
    let here: Vec<&str> = children(section);
    if let Some(near) = nearest(name, &here) {
        return match find(section, near) {
            Some(_) => format!("is unknown; did you mean `{near}`?"),
            None => format!("is unknown; did you mean {}?", header(&join(section, near))),
        };
    }
    let elsewhere: Vec<String> = KEYS
        .iter()
        .filter(|key| key.name == name && key.section != section)
        .map(
            |key| if key.section.is_empty() { "the top of the file".to_owned() } else { header(key.section) },
        )
        .collect();
    if !elsewhere.is_empty() {
        return format!("does not belong here; it goes under {}", elsewhere.join(" or "));
    }
    format!("is unknown; there is {}", here.join(", "))
}

/// `section.name`, or the name alone at the top.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// A section as its first line is written.
pub(super) fn header(section: &str) -> String {
    if LISTS.contains(&section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// Names of keys and sections that can stand directly in a section.
fn children(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in KEYS {
        let name = if key.section == section {
            key.name
        } else if section.is_empty() {
            key.section.split('.').next().unwrap_or(key.section)
        } else if let Some(rest) = key.section.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) {
            rest
        } else {
            continue;
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name that a slip of the fingers may have missed.
pub(super) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let near = names.iter().map(|candidate| (distance(&lower, candidate), *candidate)).min()?;
    (near.0 <= (near.1.len() / 3).max(1)).then_some(near.1)
}

/// Levenshtein's distance; names that long are not ours, so they are far away.
fn distance(left: &str, right: &str) -> usize {
    if 64 < left.len() {
        return usize::MAX;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

impl Key {
    /// A value of a file in the form that merging needs, or what is wrong with it.
    pub(super) fn read(&self, value: &DeValue<'_>) -> Result<Value, String> {
        match (self.kind, value) {
            (Text, DeValue::String(text)) => Ok(text.to_string().into()),
            (Flag, DeValue::Boolean(flag)) => Ok((*flag).into()),
            (Count, DeValue::Integer(_)) => Ok(count(value).ok_or_else(|| self.wrong_form(value))?.into()),
            (Span, DeValue::String(text)) => span(text),
            (Texts | Spans | Counts, DeValue::Array(items)) => {
                let items = items.iter().map(|item| self.item(item.get_ref()));
                Ok(items.collect::<Result<Vec<Value>, String>>()?.into())
            }
            (Text | Flag | Count | Span | Texts | Spans | Counts, _) => Err(self.wrong_form(value)),
        }
    }

    fn item(&self, item: &DeValue<'_>) -> Result<Value, String> {
        match (self.kind, item) {
            (Texts, DeValue::String(text)) => Ok(text.to_string().into()),
            (Spans, DeValue::String(text)) => span(text),
            (Counts, DeValue::Integer(_)) => Ok(count(item).ok_or_else(|| self.wrong_form(item))?.into()),
            (Text | Flag | Count | Span | Texts | Spans | Counts, _) => {
                Err(format!("has {} in its list; write {}", item_kind(item), self.form()))
            }
        }
    }

    /// A value of the environment, where everything is text.
    pub(super) fn read_environment(&self, text: &str) -> Result<Value, String> {
        let items = || text.split(self.between()).map(str::trim).filter(|item| !item.is_empty());
        match self.kind {
            Text => Ok(text.to_owned().into()),
            Flag => match text {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                _ => Err("must be true or false".to_owned()),
            },
            Count => text
                .parse::<u32>()
                .map(Value::from)
                .map_err(|_not_a_count| format!("must be a whole number such as {}", self.example)),
            Span => span(text),
            Texts if self.section == "window" => {
                let spans = items().map(|item| match CalendarSpan::parse(item) {
                    Ok(_) => Ok(Value::from(item.to_owned())),
                    Err(error) => {
                        let shown = redact::value("", item);
                        Err(format!("has {shown}, which {error}, with a semicolon before the next span"))
                    }
                });
                Ok(spans.collect::<Result<Vec<_>, _>>()?.into())
            }
            Texts => Ok(items().map(|item| Value::from(item.to_owned())).collect::<Vec<_>>().into()),
            Spans => Ok(items().map(span).collect::<Result<Vec<_>, _>>()?.into()),
            Counts => items()
                .map(|item| item.parse::<u32>().map(Value::from))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::from)
                .map_err(|_not_a_count| "must be whole numbers with commas between them".to_owned()),
        }
    }

    /// What stands between the items of a list in the environment. Spans of the calendar have commas of their own.
    fn between(&self) -> char {
        if self.section == "window" { ';' } else { ',' }
    }

    fn wrong_form(&self, value: &DeValue<'_>) -> String {
        let found = item_kind(value);
        match self.kind {
            Span => match count(value) {
                Some(number) => format!("is a number without a unit; write {} = \"{number}s\"", self.name),
                None => format!("must be a duration in quotes, not {found}; write {}", self.form()),
            },
            Count if value.is_integer() => format!("is out of range; write {}", self.form()),
            Text => format!("must be text in quotes, not {found}; write {}", self.form()),
            Flag => format!("must be true or false without quotes, not {found}; write {}", self.form()),
            Count => {
                format!("must be a whole number, not {found}; write {}", self.form())
            }
            Texts | Spans | Counts => format!("must be a list, not {found}; write {}", self.form()),
        }
    }

    fn form(&self) -> String {
        format!("{} = {}", self.name, self.example)
    }
}

fn span(text: &str) -> Result<Value, String> {
    duration::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned().into())
}

fn count(value: &DeValue<'_>) -> Option<u32> {
    let number = value.as_integer()?;
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

fn item_kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text in quotes",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
