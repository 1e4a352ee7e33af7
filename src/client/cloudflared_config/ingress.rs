//! The ingress rules of a `config.yml`, each with its line: what is needed to check them. The file may be a Kubernetes
//! manifest with a ConfigMap that holds the configuration as a block of text.

mod keys;
mod origin_request;
mod single_origin;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::{ConfigError, first_line, options};
use keys::{CONFIG_KEYS, LATER_ORIGIN_KEYS, ORIGIN_KEYS, RULE_KEYS};

pub use origin_request::{Access, IpRule, OriginRequest};

/// A text and the line on which it begins, counted from 1; 0 where no file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub line: u64,
    pub text: String,
}

/// The rules as somebody wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressFile {
    /// Id or name.
    pub tunnel: Option<String>,
    /// Without any, the one that cloudflared makes of the keys for a single origin.
    pub rules: Vec<WrittenRule>,
    /// Private-network routing is configured.
    pub warp_routing: bool,
    /// For all rules that do not say otherwise.
    pub origin: OriginRequest,
    /// Name of the ConfigMap that the rules were in.
    pub config_map: Option<String>,
    /// Keys that stand twice in one mapping. cloudflared refuses them; the last one was read here.
    pub twice: Vec<Written>,
    /// Keys of rules that cloudflared does not know and passes over.
    pub unknown: Vec<Written>,
}

/// One rule. What is missing or null is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenRule {
    pub line: u64,
    pub hostname: Written,
    pub path: Written,
    pub service: Written,
    pub origin: OriginRequest,
}

/// Reads the rules of a text; `path` is for errors.
///
/// # Errors
/// The text is not what cloudflared would take; with file and line.
pub fn ingress(path: &Path, text: &str) -> Result<IngressFile, ConfigError> {
    let mut first = None;
    for document in documents(text) {
        let Some(manifest) = read::<Option<Manifest>>(path, &document, &mut Vec::new())? else { continue };
        if manifest.kind.as_deref() != Some("ConfigMap") {
            first.get_or_insert(document);
            continue;
        }
        let Some((key, block)) = CONFIG_KEYS.iter().find_map(|key| Some((key, manifest.data.get(*key)?)))
        else {
            first.get_or_insert(document);
            continue;
        };
        let mut file = inside(path, text, key, block)?;
        let name = manifest.metadata.and_then(|metadata| metadata.name);
        file.config_map = Some(name.unwrap_or_else(|| (*key).to_owned()));
        return Ok(file);
    }
    rules(path, &first.unwrap_or_default())
}

/// The configuration inside of a ConfigMap. A block of text keeps its lines; of other texts only the place is known.
fn inside(path: &Path, whole: &str, key: &str, block: &Spanned<String>) -> Result<IngressFile, ConfigError> {
    let line = block.referenced.line();
    let above = whole.lines().take(usize::try_from(line).unwrap_or(usize::MAX)).enumerate();
    // The parser counts a block from its first line, which follows that of its key.
    let header = above.filter(|(_, line)| line.trim_start().starts_with(key)).last();
    if let Some((above, header)) = header
        && header.contains('|')
    {
        return rules(path, &("\n".repeat(above + 1) + &block.value));
    }
    let mut file = rules(path, &block.value).map_err(|error| match error {
        ConfigError::Yaml { path, column, message, .. } => ConfigError::Yaml { path, line, column, message },
        other @ (ConfigError::Read { .. } | ConfigError::TooLarge { .. }) => other,
    })?;
    for rule in &mut file.rules {
        rule.line = line;
        for written in [&mut rule.hostname, &mut rule.path, &mut rule.service] {
            written.line = line;
        }
    }
    for written in file.twice.iter_mut().chain(&mut file.unknown) {
        written.line = line;
    }
    Ok(file)
}

fn rules(path: &Path, text: &str) -> Result<IngressFile, ConfigError> {
    let mut twice = Vec::new();
    let Some(raw) = read::<Option<Raw>>(path, text, &mut twice)? else { return Ok(IngressFile::default()) };
    let mut unknown = Vec::new();
    if let Some(keys) = read::<Option<RawKeys>>(path, text, &mut Vec::new())? {
        keys.origin.unwrap_or_default().strangers(&ORIGIN_KEYS, "originRequest.", &mut unknown);
        for rule in keys.ingress.unwrap_or_default().into_iter().flatten() {
            rule.rule.strangers(&RULE_KEYS, "", &mut unknown);
            rule.origin.strangers(&ORIGIN_KEYS, "originRequest.", &mut unknown);
        }
    }
    let single = raw.single();
    let rules = raw.ingress.unwrap_or_default().into_iter().map(|rule| {
        let line = rule.referenced.line();
        let value = rule.value.unwrap_or_default();
        WrittenRule {
            line,
            hostname: written(value.hostname, line),
            path: written(value.path, line),
            service: written(value.service, line),
            origin: value.origin.unwrap_or_default(),
        }
    });
    let mut rules: Vec<WrittenRule> = rules.collect();
    if rules.is_empty() {
        rules.extend(single);
    }
    Ok(IngressFile {
        tunnel: raw.tunnel,
        rules,
        warp_routing: raw.warp_routing.is_some(),
        origin: raw.origin.unwrap_or_default(),
        config_map: None,
        twice,
        unknown,
    })
}

fn written(text: Option<Spanned<Option<String>>>, line: u64) -> Written {
    match text {
        Some(text) => Written { line: text.referenced.line(), text: text.value.unwrap_or_default() },
        None => Written { line, text: String::new() },
    }
}

/// The documents of a YAML text, each with as many empty lines before it as it had lines.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        match documents.last_mut() {
            Some(last) if !marker => {
                last.push_str(line);
                last.push('\n');
            }
            Some(_) | None => documents.push("\n".repeat(number + 1)),
        }
    }
    documents.retain(|document| !document.trim().is_empty());
    documents
}

fn read<'a, T: Deserialize<'a>>(
    path: &Path,
    text: &'a str,
    twice: &mut Vec<Written>,
) -> Result<T, ConfigError> {
    match serde_saphyr::from_str_with_options(text, options()) {
        Ok(read) => return Ok(read),
        Err(error) => {
            let plain = error.without_snippet();
            let serde_saphyr::Error::DuplicateMappingKey { location, .. } = plain else {
                return Err(refused(path, text, plain));
            };
            let line = location.line();
            twice.push(Written { line, text: key_of(text, line).unwrap_or_default() });
        }
    }
    let mut lenient = options();
    lenient.duplicate_keys = DuplicateKeyPolicy::LastWins;
    serde_saphyr::from_str_with_options(text, lenient)
        .map_err(|error| refused(path, text, error.without_snippet()))
}

/// The error with what to write instead, where the key is one of ours.
fn refused(path: &Path, text: &str, error: &serde_saphyr::Error) -> ConfigError {
    let place = error.location();
    let line = place.map_or(0, |place| place.line());
    let mut message = first_line(&error.to_string());
    if let Some(end) = message.find(" at line ") {
        message.truncate(end);
    }
    if message.starts_with("budget breached") {
        message = "it holds more than any configuration does; write it without aliases, and with fewer rules"
            .into();
    }
    let form = match key_of(text, line).as_deref() {
        Some("ingress") => Some("a list of rules, each beginning with a dash: - service: http_status:404"),
        Some("hostname") => Some("text: hostname: app.example.com"),
        Some("path") => Some("text: path: ^/api(/|$)"),
        Some("service") => Some("text: service: http://localhost:8080"),
        Some("url") => Some("text: url: http://localhost:8080"),
        Some("tunnel") => Some("text: tunnel: 62da6c19-947b-4bf6-acad-100a73de4e0d"),
        Some("originRequest") => Some("a mapping of options"),
        Some(_) | None => None,
    };
    if let Some(star) = star(text, line) {
        message = format!("{message}; a value that begins with a star needs quotes: {star}");
    } else if let Some(form) = form
        && !message.contains("; write ")
    {
        message = format!("{message}; write {form}");
    }
    ConfigError::Yaml { path: path.into(), line, column: place.map_or(0, |place| place.column()), message }
}

/// The value of a line that begins with a star, which means something else in YAML, in quotes.
fn star(text: &str, line: u64) -> Option<String> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let (key, value) = line.trim_start_matches([' ', '-']).split_once(": ")?;
    let value = value.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "*.-_/".contains(c);
    let name = matches!(key, "hostname" | "path") && value.starts_with('*') && value.chars().all(plain);
    name.then(|| format!("{key}: \"{value}\""))
}

/// The key that stands on a line, without what may follow it.
fn key_of(text: &str, line: u64) -> Option<String> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let (key, _) = line.split_once(':')?;
    let key = key.trim_start_matches([' ', '-']).trim().trim_matches(['"', '\'']);
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (plain && !key.is_empty()).then(|| key.to_owned())
}

#[derive(Deserialize)]
struct Manifest {
    kind: Option<String>,
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "texts")]
    data: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
}

/// The texts of a mapping that hold a configuration; anything else is none of ours.
fn texts<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Spanned<String>>, D::Error> {
    struct Texts;
    impl<'de> Visitor<'de> for Texts {
        type Value = BTreeMap<String, Spanned<String>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a mapping of texts")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut found = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                if CONFIG_KEYS.contains(&key.as_str()) {
                    found.insert(key, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }
    }
    deserializer.deserialize_any(Texts)
}

#[derive(Deserialize)]
struct Raw {
    tunnel: Option<String>,
    #[serde(default)]
    ingress: Option<Vec<Spanned<Option<RawRule>>>>,
    #[serde(default, rename = "originRequest")]
    origin: Option<OriginRequest>,
    #[serde(rename = "warp-routing")]
    warp_routing: Option<IgnoredAny>,
    #[serde(rename = "hello-world")]
    hello_world: Option<Spanned<Option<bool>>>,
    bastion: Option<Spanned<Option<bool>>>,
    url: Option<Spanned<Option<String>>>,
    #[serde(rename = "unix-socket")]
    unix_socket: Option<Spanned<Option<String>>>,
}

#[derive(Default, Deserialize)]
struct RawRule {
    hostname: Option<Spanned<Option<String>>>,
    path: Option<Spanned<Option<String>>>,
    service: Option<Spanned<Option<String>>>,
    #[serde(rename = "originRequest")]
    origin: Option<OriginRequest>,
}

/// The same file again, for the names of its keys.
#[derive(Deserialize)]
struct RawKeys {
    #[serde(default)]
    ingress: Option<Vec<Option<RuleKeys>>>,
    #[serde(default, rename = "originRequest")]
    origin: Option<Keys>,
}

#[derive(Default)]
struct Keys(Vec<Written>);

struct RuleKeys {
    rule: Keys,
    origin: Keys,
}

impl Keys {
    fn strangers(self, known: &[&str], before: &str, found: &mut Vec<Written>) {
        let later: &[&str] = if before.is_empty() { &[] } else { &LATER_ORIGIN_KEYS };
        let strange = self.0.into_iter().filter(|key| {
            let key = key.text.as_str();
            !known.contains(&key) && !later.contains(&key) && key != "<<"
        });
        found.extend(strange.map(|key| Written { line: key.line, text: format!("{before}{}", key.text) }));
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfKeys).map(|keys| keys.rule)
    }
}

impl<'de> Deserialize<'de> for RuleKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfKeys)
    }
}

struct OfKeys;

impl<'de> Visitor<'de> for OfKeys {
    type Value = RuleKeys;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(RuleKeys { rule: Keys::default(), origin: Keys::default() })
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut keys = RuleKeys { rule: Keys::default(), origin: Keys::default() };
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if key.value == "originRequest" {
                keys.origin = map.next_value::<Option<Keys>>()?.unwrap_or_default();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            keys.rule.0.push(Written { line: key.referenced.line(), text: key.value });
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests;
