//! The environment: `TUNNELWARDEN_PROBE__PERIOD=30s` is `period` of `[probe]`.

use ::config::{Map, Value, ValueKind};

use super::error::{ConfigError, Excerpt, Place};
use super::file::{Layer, Origin};
use super::keys::{self, KEYS, Key, LISTS};
use super::redact;

const PREFIX: &str = "TUNNELWARDEN_";

/// The variables of this process that are ours, for [`super::load`]. One that is no text is kept
/// with its odd parts replaced, so that it is refused and not overlooked.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
}

/// What the environment says; variables of other programs are passed over.
pub(super) fn layer(env: impl Iterator<Item = (String, String)>) -> Layer {
    let mut layer = Layer::default();
    let mut ours: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, value) in ours {
        match key_of(&name) {
            Ok(key) => take(&mut layer, key, &name, &value),
            Err(says) => layer.errors.push(ConfigError::Refused {
                place: Place::Environment(redact::name(&name)),
                key: "this name".to_owned(),
                says,
                excerpt: Excerpt::default(),
            }),
        }
    }
    layer
}

fn take(layer: &mut Layer, key: &Key, name: &str, value: &str) {
    let path = path(key);
    let shown = redact::value(key.name, value);
    let origin = Origin::Environment(name.to_owned(), shown);
    match key.read_environment(value) {
        Ok(value) if key.section.is_empty() => {
            layer.values.insert(key.name.to_owned(), value);
            layer.origins.insert(path, origin);
        }
        Ok(value) => {
            let section = layer
                .values
                .entry(key.section.to_owned())
                .or_insert_with(|| Map::<String, Value>::new().into());
            if let ValueKind::Table(section) = &mut section.kind {
                section.insert(key.name.to_owned(), value);
            }
            layer.origins.insert(path, origin);
        }
        Err(says) => {
            layer.errors.push(ConfigError::Refused {
                place: origin.place(),
                key: keys::join(key.section, key.name),
                says,
                excerpt: origin.excerpt(),
            });
            layer.refused.insert(path);
        }
    }
}

fn path(key: &Key) -> String {
    if key.section.is_empty() { key.name.to_owned() } else { format!("{}/{}", key.section, key.name) }
}

fn key_of(name: &str) -> Result<&'static Key, String> {
    let found = KEYS.iter().find(|key| settable(key) && variable(key) == name);
    found.ok_or_else(|| instead_of(name))
}

/// Lists of tables have no place in a variable.
fn settable(key: &Key) -> bool {
    !LISTS.contains(&key.section)
}

fn variable(key: &Key) -> String {
    let section = if key.section.is_empty() { String::new() } else { format!("{}__", key.section) };
    format!("{PREFIX}{section}{}", key.name).to_ascii_uppercase()
}

fn instead_of(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if rest.starts_with("TUNNEL_") {
        return "cannot describe a tunnel; write [[tunnel]] in a file".to_owned();
    }
    let names: Vec<String> = KEYS.iter().filter(|key| settable(key)).map(variable).collect();
    let flat = |name: &str| name.to_ascii_uppercase().replace("__", "_");
    if let Some(meant) = names.iter().find(|candidate| flat(candidate) == flat(name)) {
        return format!("is unknown; write {meant}: section, two underscores, key, in capitals");
    }
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    // The common beginning must not make strangers look alike.
    let rests: Vec<&str> = lower.iter().map(|name| &name[PREFIX.len()..]).collect();
    match keys::nearest(rest, &rests) {
        Some(meant) => format!("is unknown; did you mean {PREFIX}{}?", meant.to_ascii_uppercase()),
        None => {
            "is unknown; a name is TUNNELWARDEN_, section, two underscores, key: TUNNELWARDEN_PROBE__PERIOD"
                .to_owned()
        }
    }
}
