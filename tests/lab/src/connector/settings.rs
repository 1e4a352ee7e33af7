//! What the command line, the environment and config.yml say, and how cloudflared refuses what it cannot use.

use std::{collections::BTreeMap, env, fs, net::SocketAddr, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::log::{Level, Log};

/// The process ends here, with these words.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub text: String,
    /// Usage errors of flags go to standard output, all else to standard error.
    pub to_stdout: bool,
}

impl Exit {
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), to_stdout: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Quic,
    Http2,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Http2 => "http2",
        }
    }
}

/// Who we are to the edge.
#[derive(Clone)]
pub struct Credentials {
    pub account: String,
    pub tunnel_id: String,
    pub secret: Vec<u8>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Run,
    Validate,
    Version,
}

pub struct Settings {
    pub verb: Verb,
    /// The whole config file; null without one.
    pub config: Value,
    pub config_path: Option<String>,
    pub credentials: Credentials,
    /// `None` is `auto`.
    pub protocol: Result<Option<Protocol>, String>,
    pub metrics: Option<String>,
    pub retries: u32,
    pub grace: Duration,
    pub log: Log,
    pub cacert: Option<String>,
    /// Edge addresses given by hand; DNS is not asked then.
    pub edge: Vec<SocketAddr>,
    pub prechecks: bool,
    /// Flags in effect, secrets masked, as the `Settings:` line shows them.
    pub shown: BTreeMap<String, String>,
    /// No file and no `--token`: cloudflared says that it looked for one.
    pub searched_in_vain: bool,
}

/// Flags with a value, and those without.
const VALUED: &[&str] = &[
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
const SWITCHES: &[&str] = &["no-autoupdate", "no-prechecks", "post-quantum", "hello-world"];
const SEARCHED: &[&str] = &["/etc/cloudflared", "/usr/local/etc/cloudflared"];

/// Reads everything there is to read.
///
/// # Errors
/// How the real one would leave.
pub fn read(arguments: &[String]) -> Result<Settings, Exit> {
    let (words, flags) = split(arguments)?;
    let verb = verb(&words)?;
    let (config_path, config, searched_in_vain) = config(&flags)?;
    let pick = |flag: &str, variable: &str| -> Option<String> {
        let from_env = || env::var(variable).ok().filter(|value| !value.is_empty());
        let from_file = || match config.get(flag)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        flags.get(flag).cloned().or_else(from_env).or_else(from_file)
    };
    let json = flags.get("output").cloned().or_else(|| env::var("TUNNEL_LOG_OUTPUT").ok());
    let log = Log {
        json: json
            .or_else(|| env::var("TUNNEL_MANAGEMENT_OUTPUT").ok())
            .is_some_and(|output| output == "json"),
        level: Level::named(&pick("loglevel", "TUNNEL_LOGLEVEL").unwrap_or_default()),
    };
    let nobody = || Credentials { account: String::new(), tunnel_id: String::new(), secret: Vec::new() };
    let credentials = match verb {
        Verb::Run => credentials(&pick, words.get(2))?,
        Verb::Validate | Verb::Version => nobody(),
    };
    let number = |text: String, flag: &str| {
        text.parse().map_err(|_| {
            Exit::new(255, format!("Incorrect Usage: invalid value \"{text}\" for flag -{flag}: parse error"))
        })
    };
    let retries = pick("retries", "TUNNEL_RETRIES").map(|text| number(text, "retries")).transpose()?;
    let grace = pick("grace-period", "TUNNEL_GRACE_PERIOD")
        .map_or(Some(Duration::from_secs(30)), |text| duration(&text));
    Ok(Settings {
        verb,
        credentials,
        protocol: protocol(pick("protocol", "TUNNEL_TRANSPORT_PROTOCOL")),
        metrics: pick("metrics", "TUNNEL_METRICS"),
        retries: retries.unwrap_or(5),
        grace: grace.ok_or_else(|| {
            Exit::new(255, "Incorrect Usage: invalid value for flag -grace-period: parse error")
        })?,
        log,
        cacert: pick("cacert", "TUNNEL_CACERT"),
        edge: edge(pick("edge", "TUNNEL_EDGE"))?,
        prechecks: pick("no-prechecks", "TUNNEL_NO_PRECHECKS").is_none_or(|value| value == "false"),
        shown: shown(&flags, &config),
        searched_in_vain: searched_in_vain
            && !flags.contains_key("token")
            && env::var_os("TUNNEL_TOKEN").is_none(),
        config_path,
        config,
    })
}

/// Words and flags of the command line. `--edge` may be repeated.
fn split(arguments: &[String]) -> Result<(Vec<String>, BTreeMap<String, String>), Exit> {
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

fn verb(words: &[String]) -> Result<Verb, Exit> {
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

fn config(flags: &BTreeMap<String, String>) -> Result<(Option<String>, Value, bool), Exit> {
    let given = flags.get("config").cloned();
    let found = || {
        let names = SEARCHED.iter().flat_map(|dir| ["yml", "yaml"].map(|end| format!("{dir}/config.{end}")));
        names.into_iter().find(|path| Path::new(path).exists())
    };
    let Some(path) = given.or_else(found) else { return Ok((None, Value::Null, true)) };
    let text = fs::read_to_string(&path).map_err(|error| Exit::new(1, go_open(&path, &error)))?;
    let parsed: Result<Value, _> = serde_saphyr::from_str(&text);
    let value = parsed.map_err(|error| {
        let detail = error.to_string();
        let detail = detail.lines().next().unwrap_or_default();
        Exit::new(1, format!("error parsing YAML in config file at {path}: yaml: {detail}"))
    })?;
    if !value.is_object() && !value.is_null() {
        let text = format!(
            "error parsing YAML in config file at {path}: yaml: unmarshal errors:\n  line 1: cannot unmarshal into config.configFileSettings"
        );
        return Err(Exit::new(1, text));
    }
    Ok((Some(path), value, false))
}

fn credentials(
    pick: &dyn Fn(&str, &str) -> Option<String>,
    named: Option<&String>,
) -> Result<Credentials, Exit> {
    let bad_token =
        || Exit::new(255, "Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'.");
    if let Some(token) = pick("token", "TUNNEL_TOKEN") {
        return from_token(&token).ok_or_else(bad_token);
    }
    if let Some(path) = pick("token-file", "TUNNEL_TOKEN_FILE") {
        let token = fs::read_to_string(&path).map_err(|error| {
            Exit::new(255, format!("Failed to read token file: {}", go_open(&path, &error)))
        })?;
        return from_token(token.trim()).ok_or_else(bad_token);
    }
    let Some(tunnel) = named.cloned().or_else(|| pick("tunnel", "TUNNEL_ID")) else {
        return Err(Exit::new(
            255,
            "\"cloudflared tunnel run\" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file.",
        ));
    };
    let path = pick("credentials-file", "TUNNEL_CRED_FILE").or_else(|| pick("cred-file", "TUNNEL_CRED_FILE"));
    let path = path.unwrap_or_else(|| format!("/etc/cloudflared/{tunnel}.json"));
    if !Path::new(&path).is_file() {
        return Err(Exit::new(1, format!("Tunnel credentials file '{path}' doesn't exist or is not a file")));
    }
    let text = fs::read_to_string(&path).map_err(|error| {
        Exit::new(1, format!("couldn't read tunnel credentials from {path}: {}", go_open(&path, &error)))
    })?;
    let invalid = || Exit::new(1, "Invalid JSON when parsing tunnel credentials file");
    let value: Value = serde_json::from_str(&text).map_err(|_| invalid())?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let secret = STANDARD.decode(text("TunnelSecret")).map_err(|_| invalid())?;
    let tunnel_id = Some(text("TunnelID")).filter(|id| !id.is_empty()).unwrap_or(tunnel);
    Ok(Credentials { account: text("AccountTag"), tunnel_id, secret })
}

/// A token is base64 of JSON; what the JSON lacks is empty, as with the real one.
fn from_token(token: &str) -> Option<Credentials> {
    let value: Value = serde_json::from_slice(&STANDARD.decode(token).ok()?).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let tunnel_id = Some(text("t")).filter(|id| !id.is_empty());
    let nil = || "00000000-0000-0000-0000-000000000000".to_owned();
    let secret = STANDARD.decode(text("s")).ok()?;
    Some(Credentials { account: text("a"), tunnel_id: tunnel_id.unwrap_or_else(nil), secret })
}

fn protocol(name: Option<String>) -> Result<Option<Protocol>, String> {
    match name.as_deref() {
        None | Some("auto" | "") => Ok(None),
        Some("quic") => Ok(Some(Protocol::Quic)),
        Some("http2" | "h2mux") => Ok(Some(Protocol::Http2)),
        Some(other) => Err(format!(
            "unknown protocol {other}, Available protocols: auto - automatically select the best protocol to use; quic - based on QUIC, relying on UDP egress to Cloudflare edge; http2 - using Go's HTTP2 library, relying on TCP egress to Cloudflare edge"
        )),
    }
}

fn edge(list: Option<String>) -> Result<Vec<SocketAddr>, Exit> {
    let list = list.unwrap_or_default();
    let addresses = list.split(',').filter(|address| !address.is_empty());
    addresses
        .map(|address| address.parse().map_err(|_| Exit::new(1, "failed to resolve any edge address")))
        .collect()
}

fn shown(flags: &BTreeMap<String, String>, config: &Value) -> BTreeMap<String, String> {
    let mut shown = flags.clone();
    for (key, value) in config.as_object().into_iter().flatten() {
        if VALUED.contains(&key.as_str()) || SWITCHES.contains(&key.as_str()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            shown.entry(key.clone()).or_insert(text);
        }
    }
    for (one, other) in [("cred-file", "credentials-file"), ("credentials-file", "cred-file")] {
        if let Some(path) = shown.get(one).cloned() {
            shown.entry(other.into()).or_insert(path);
        }
    }
    if let Some(token) = shown.get_mut("token") {
        *token = "*****".into();
    }
    shown
}

/// A Go map on one line.
pub fn go_map(map: &BTreeMap<String, String>) -> String {
    let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", entries.join(" "))
}

/// A Go error of opening a file.
fn go_open(path: &str, error: &std::io::Error) -> String {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("open {path}: {reason}")
}

/// `30s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
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

    fn split_line(line: &str) -> Result<(Vec<String>, BTreeMap<String, String>), Exit> {
        split(&line.split(' ').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_real_command_lines() {
        let (words, flags) =
            split_line("--no-autoupdate --config /etc/cloudflared/config.yml tunnel run").unwrap();
        assert_eq!(verb(&words), Ok(Verb::Run));
        assert_eq!(
            go_map(&shown(&flags, &Value::Null)),
            "map[config:/etc/cloudflared/config.yml no-autoupdate:true]"
        );
        let (_, flags) = split_line("tunnel run --token secret").unwrap();
        assert_eq!(go_map(&shown(&flags, &Value::Null)), "map[token:*****]");
        assert_eq!(split_line("tunnel run --nonsense").unwrap_err().code, 0);
        assert_eq!(split_line("tunnel run --output json").unwrap_err().code, 0);
    }

    #[test]
    fn durations_of_go() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("5"), None);
    }

    #[test]
    fn an_empty_token_is_valid_and_garbage_is_not() {
        assert_eq!(from_token("e30=").unwrap().tunnel_id, "00000000-0000-0000-0000-000000000000");
        assert!(from_token("garbage").is_none());
    }
}
