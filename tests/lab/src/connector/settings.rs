//! What the command line, the environment and config.yml say, and how cloudflared refuses what it cannot use.

mod credentials;
mod flags;

use std::{collections::BTreeMap, env, fs, net::SocketAddr, path::Path, time::Duration};

use serde_json::Value;

pub use self::credentials::Credentials;
use self::credentials::credentials;
pub use self::flags::go_map;
use self::flags::{SWITCHES, VALUED, duration, split, verb};
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

/// A Go error of opening a file.
fn go_open(path: &str, error: &std::io::Error) -> String {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("open {path}: {reason}")
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
}
