//! The command line: words, flags, and how the real one refuses them; and values in the words of Go.

use std::{collections::BTreeMap, time::Duration};

use super::{Exit, Verb};

/// Flags with a value, and those without.
pub(super) const VALUED: &[&str] = &[
    "config",
    "token",
    "token-file",
    "protocol",
    "metrics",
    "retries",
    "grace-period",
    "loglevel",
    "output",
    "transport-loglevel",
    "cacert",
    "edge",
    "cred-file",
    "credentials-file",
    "origincert",
    "region",
    "logfile",
    "log-directory",
    "edge-ip-version",
    "edge-bind-address",
    "ha-connections",
    "rpc-timeout",
    "pidfile",
    "tag",
    "label",
    "autoupdate-freq",
    "max-edge-addr-retries",
    "url",
    "features",
];
pub(super) const SWITCHES: &[&str] = &["no-autoupdate", "no-prechecks", "post-quantum", "hello-world"];

/// Words and flags of the command line. `--edge` may be repeated.
pub(super) fn split(arguments: &[String]) -> Result<(Vec<String>, BTreeMap<String, String>), Exit> {
    let (mut words, mut flags) = (Vec::new(), BTreeMap::<String, String>::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            words.push(argument.clone());
            continue;
        };
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let after_run = words.get(1).is_some_and(|word| word == "run");
        if matches!(name, "version" | "v" | "V") {
            words.insert(0, "version".into());
        } else if SWITCHES.contains(&name) {
            flags.insert(name.into(), given.unwrap_or_else(|| "true".into()));
        } else if VALUED.contains(&name) && !(name == "output" && after_run) {
            let value = given.or_else(|| rest.next().cloned());
            let value = value.ok_or_else(|| usage(&format!("flag needs an argument: -{name}")))?;
            let value = match flags.get(name) {
                Some(before) if name == "edge" => format!("{before},{value}"),
                Some(_) | None => value,
            };
            flags.insert(name.into(), value);
        } else {
            return Err(usage(&format!("flag provided but not defined: -{name}")));
        }
    }
    Ok((words, flags))
}

/// A bad flag: said on standard output, and the exit code is 0.
fn usage(text: &str) -> Exit {
    Exit { code: 0, text: format!("Incorrect Usage. {text}"), to_stdout: true }
}

pub(super) fn verb(words: &[String]) -> Result<Verb, Exit> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["version", ..] => Ok(Verb::Version),
        ["tunnel", "run", ..] => Ok(Verb::Run),
        ["tunnel", "ingress", "validate"] => Ok(Verb::Validate),
        ["tunnel"] | [] => Err(Exit::new(1, "use `cloudflared tunnel run` to start tunnel")),
        _ => Err(Exit::new(
            1,
            "You did not specify any valid additional argument to the cloudflared tunnel command.",
        )),
    }
}

/// A Go map on one line.
pub fn go_map(map: &BTreeMap<String, String>) -> String {
    let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", entries.join(" "))
}

/// `30s`, `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number_ends = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(number_ends);
        let unit_ends = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_ends);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("5"), None);
    }
}
