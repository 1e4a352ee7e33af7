//! The command line and the environment of cloudflared's unit.

use std::path::PathBuf;

use super::TokenSight;

/// Flags that stand alone. Every other one takes a value, in the same word (`--x=y`) or in the next.
const SWITCHES: [&str; 26] = [
    "bastion",
    "debug",
    "disable-chunked-encoding",
    "f",
    "force",
    "h",
    "hello-world",
    "help",
    "http2-origin",
    "is-autoupdated",
    "management-diagnostics",
    "no-autoupdate",
    "no-chunked-encoding",
    "no-happy-eyeballs",
    "no-prechecks",
    "no-tls-verify",
    "post-quantum",
    "pq",
    "proxy-dns",
    "proxy-no-happy-eyeballs",
    "quic-disable-pmtu-discovery",
    "skip-prechecks",
    "socks5",
    "ui",
    "v",
    "version",
];

/// How a cloudflared process is started, as far as it matters to us. Flags before environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// It runs a named tunnel.
    pub is_tunnel_run: bool,
    /// Id or name after `run`.
    pub tunnel: Option<String>,
    pub config: Option<PathBuf>,
    pub credentials_file: Option<PathBuf>,
    /// A token stands in clear in the command line or the environment.
    pub token: Option<TokenSight>,
    pub token_file: Option<PathBuf>,
    /// The text of a credentials file stands in clear there.
    pub credentials_contents: Option<TokenSight>,
    pub protocol: Option<String>,
    pub metrics: Option<String>,
    pub retries: Option<u32>,
    pub grace_period: Option<String>,
    pub edge_ip_version: Option<String>,
    /// Whose family beats `edge_ip_version`.
    pub edge_bind_address: Option<String>,
    pub region: Option<String>,
    /// Connections that it is to hold.
    pub ha_connections: Option<i64>,
    /// It dials addresses set by hand (`--edge`), not those that the edge's names give.
    pub own_edge: bool,
    /// Its journal lines are JSON.
    pub output_json: bool,
}

impl Launch {
    /// Reads `ExecStart=` as systemd splits it (the program first) and the assignments of `Environment=`.
    pub fn of<A: AsRef<str>, E: AsRef<str>>(argv: &[A], environment: &[E]) -> Self {
        let words = Words::of(argv);
        let mut launch = Self {
            is_tunnel_run: words.is_tunnel_run(),
            tunnel: words.positional.get(2).map(|word| (*word).to_owned()),
            ..Self::default()
        };
        // The first to speak wins: the flag's later place beats its earlier one, and both beat the environment.
        for (name, value) in words.flags.iter().rev() {
            launch.take(name, value);
        }
        for assignment in environment {
            if let Some((variable, value)) = assignment.as_ref().split_once('=') {
                launch.take(flag_of(variable), value);
            }
        }
        launch
    }

    fn take(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let text = || Some(value.to_owned());
        let path = || Some(PathBuf::from(value));
        match name {
            "config" if self.config.is_none() => self.config = path(),
            "credentials-file" | "cred-file" if self.credentials_file.is_none() => {
                self.credentials_file = path();
            }
            "token" if self.token.is_none() => self.token = Some(TokenSight::of(value)),
            "credentials-contents" if self.credentials_contents.is_none() => {
                self.credentials_contents = Some(TokenSight::of_credentials(value));
            }
            "token-file" if self.token_file.is_none() => self.token_file = path(),
            "protocol" | "p" if self.protocol.is_none() => self.protocol = text(),
            "metrics" if self.metrics.is_none() => self.metrics = text(),
            "retries" if self.retries.is_none() => self.retries = value.parse().ok(),
            "grace-period" if self.grace_period.is_none() => self.grace_period = text(),
            "edge-ip-version" if self.edge_ip_version.is_none() => self.edge_ip_version = text(),
            "edge-bind-address" if self.edge_bind_address.is_none() => self.edge_bind_address = text(),
            "ha-connections" if self.ha_connections.is_none() => self.ha_connections = value.parse().ok(),
            "region" if self.region.is_none() => self.region = text(),
            "edge" => self.own_edge = true,
            "output" => self.output_json |= value == "json",
            _ => {}
        }
    }
}

/// The command line runs a named tunnel: `… tunnel … run …`, or the oldest units' form without any command and with a
/// config file.
pub fn is_tunnel_run<A: AsRef<str>>(argv: &[A]) -> bool {
    Words::of(argv).is_tunnel_run()
}

fn flag_of(variable: &str) -> &'static str {
    match variable {
        "TUNNEL_CRED_FILE" => "credentials-file",
        "TUNNEL_CRED_CONTENTS" => "credentials-contents",
        "TUNNEL_TOKEN" => "token",
        "TUNNEL_TOKEN_FILE" => "token-file",
        "TUNNEL_TRANSPORT_PROTOCOL" => "protocol",
        "TUNNEL_METRICS" => "metrics",
        "TUNNEL_RETRIES" => "retries",
        "TUNNEL_GRACE_PERIOD" => "grace-period",
        "TUNNEL_EDGE_IP_VERSION" => "edge-ip-version",
        "TUNNEL_EDGE_BIND_ADDRESS" => "edge-bind-address",
        "TUNNEL_REGION" => "region",
        "TUNNEL_EDGE" => "edge",
        "TUNNEL_LOG_OUTPUT" | "TUNNEL_MANAGEMENT_OUTPUT" => "output",
        _ => "",
    }
}

/// A command line taken apart. Holds tokens in clear, so it has no Debug and does not outlive its reading.
struct Words<'a> {
    flags: Vec<(&'a str, &'a str)>,
    positional: Vec<&'a str>,
    program: &'a str,
}

impl<'a> Words<'a> {
    fn of<A: AsRef<str>>(argv: &'a [A]) -> Self {
        let mut words = argv.iter().map(AsRef::as_ref);
        let mut found =
            Self { flags: Vec::new(), positional: Vec::new(), program: words.next().unwrap_or("") };
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                found.positional.push(word);
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag.is_empty() {
                found.positional.extend(words.by_ref());
            } else if let Some((name, value)) = flag.split_once('=') {
                found.flags.push((name, value));
            } else if SWITCHES.contains(&flag) {
                found.flags.push((flag, ""));
            } else {
                found.flags.push((flag, words.next().unwrap_or("")));
            }
        }
        found
    }

    fn is_tunnel_run(&self) -> bool {
        let name = self.program.rsplit('/').next().unwrap_or_default();
        let shell = matches!(name, "sh" | "bash" | "dash" | "env" | "systemd-run");
        match self.positional.as_slice() {
            [] => !shell && self.flags.iter().any(|(name, _)| matches!(*name, "config" | "origincert")),
            ["tunnel", "run", ..] => true,
            _ => false,
        }
    }
}
