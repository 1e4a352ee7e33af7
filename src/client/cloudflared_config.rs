//! How cloudflared is configured: `config.yml`, the unit's command line and environment, and tokens, of which only
//! the tunnel's id is ever kept.

mod ingress;
mod launch;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

pub use ingress::{Access, IngressFile, IpRule, OriginRequest, Written, WrittenRule, ingress};
pub use launch::{Launch, is_tunnel_run};

/// Largest file that is read.
const FILE_LIMIT: u64 = 1024 * 1024;

/// A configuration that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is larger than {FILE_LIMIT} bytes", path.display())]
    TooLarge { path: PathBuf },
    /// Line and column count from 1; 0 where the parser knows no place.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Yaml { path: PathBuf, line: u64, column: u64, message: String },
}

/// An ingress rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// Empty or `*`: every hostname.
    #[serde(default)]
    pub hostname: Option<String>,
    /// A regular expression on the URL's path.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub service: String,
}

/// The names of these rules that can be asked, each once: no catch-all, no wildcard.
pub fn hostnames(rules: &[Rule]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in rules.iter().filter_map(|rule| rule.hostname.as_deref()).map(str::trim) {
        if !name.is_empty() && !name.contains('*') && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The parts of `config.yml` that matter to us, as written there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// Id or name.
    pub tunnel: Option<String>,
    pub credentials_file: Option<PathBuf>,
    /// `auto`, `quic` or `http2`.
    pub protocol: Option<String>,
    /// Address of its own port.
    pub metrics: Option<String>,
    pub ingress: Vec<Rule>,
    pub retries: Option<u32>,
    /// Such as `30s`.
    pub grace_period: Option<String>,
    pub no_autoupdate: bool,
    /// `auto`, `4` or `6`.
    pub edge_ip_version: Option<String>,
    /// Whose family beats `edge_ip_version`.
    pub edge_bind_address: Option<String>,
    pub region: Option<String>,
    /// Connections that it is to hold.
    pub ha_connections: Option<i64>,
    /// Private-network routing is configured.
    pub warp_routing: bool,
    pub token_file: Option<PathBuf>,
    /// The file holds a token in clear; for this tunnel, if it can be read.
    pub token: Option<TokenSight>,
    /// The file holds the text of a credentials file.
    pub credentials_contents: Option<TokenSight>,
}

impl FileConfig {
    /// A secret of the tunnel's stands in the file itself.
    pub fn holds_secret(&self) -> bool {
        self.token.is_some() || self.credentials_contents.is_some()
    }
}

/// A token was there. What it says besides is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSight {
    /// `None`: it is no token that cloudflared would take.
    pub tunnel: Option<String>,
    /// What cloudflared takes for its `--region`.
    pub endpoint: Option<String>,
}

impl TokenSight {
    /// Looks at a token: base64 of JSON with the account, the secret, the tunnel's id and, seldom, an endpoint.
    pub fn of(token: &str) -> Self {
        #[derive(Deserialize)]
        struct Form {
            t: String,
            #[serde(default)]
            e: Option<String>,
        }
        let json = STANDARD.decode(token.trim()).ok().map(Zeroizing::new);
        let form = json.and_then(|json| serde_json::from_slice::<Form>(&json).ok());
        form.map_or_else(Self::default, |form| Self { tunnel: uuid(form.t), endpoint: form.e })
    }

    /// Looks at the text of a credentials file, which has the same secret in it.
    pub fn of_credentials(text: &str) -> Self {
        Self { tunnel: tunnel_of_credentials(text), endpoint: None }
    }
}

/// The tunnel's id in a credentials file's text.
pub fn tunnel_of_credentials(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Form {
        #[serde(rename = "TunnelID")]
        tunnel: String,
    }
    uuid(serde_json::from_str::<Form>(text).ok()?.tunnel)
}

/// A credentials file was there. What it says besides the tunnel's id is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialsSight {
    /// Keys that cloudflared needs and does not find, or finds of another kind.
    pub missing: Vec<&'static str>,
    /// `None` in very old files too.
    pub tunnel: Option<String>,
}

impl CredentialsSight {
    /// Looks at a credentials file's text; `None` if it is no JSON object.
    pub fn of(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Form {
            #[serde(default)]
            account_tag: Option<Hidden>,
            #[serde(default)]
            tunnel_secret: Option<Hidden>,
            #[serde(default, rename = "TunnelID")]
            tunnel: Option<Hidden>,
        }
        // Of a wrong kind is as good as missing, and no error shows it.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Hidden {
            Text(Zeroizing<String>),
            Other(serde::de::IgnoredAny),
        }
        let text_of = |field: Option<Hidden>| match field {
            Some(Hidden::Text(text)) => Some(text).filter(|text| !text.trim().is_empty()),
            Some(Hidden::Other(_)) | None => None,
        };
        let form: Form = serde_json::from_str(text).ok()?;
        let secret = text_of(form.tunnel_secret);
        let tunnel = text_of(form.tunnel).and_then(|id| uuid(id.to_string()));
        let mut missing = Vec::new();
        if text_of(form.account_tag).is_none() {
            missing.push("AccountTag");
        }
        // cloudflared decodes it at once.
        if secret.is_none_or(|secret| STANDARD.decode(secret.as_bytes()).map(Zeroizing::new).is_err()) {
            missing.push("TunnelSecret");
        }
        if tunnel.is_none() {
            missing.push("TunnelID");
        }
        Some(Self { missing, tunnel })
    }
}

/// An id that is not the nil one, which stands for a token without any.
fn uuid(text: String) -> Option<String> {
    let real = is_uuid(&text) && text.bytes().any(|b| !matches!(b, b'0' | b'-'));
    real.then(|| text.to_ascii_lowercase())
}

/// Written as an id of tunnels and connectors is.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Reads a `config.yml`. Never waits: a pipe is refused.
///
/// # Errors
/// The file cannot be read, or is not what cloudflared would take; with file and line.
pub fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
    }
    parse(path, &text(path)?)
}

/// Reads the rules of a `config.yml`, or of a manifest with a ConfigMap that holds one.
///
/// # Errors
/// As [`read`].
pub fn read_ingress(path: &Path) -> Result<IngressFile, ConfigError> {
    ingress(path, &text(path)?)
}

fn text(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(ConfigError::TooLarge { path: path.into() });
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = valid.split(|byte| *byte == b'\n').count();
            let says = format!("line {line} is not UTF-8 text");
            Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, says)))
        }
    }
}

/// Reads the text of a `config.yml`; `path` is for errors.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigError> {
    let text = first_document(text);
    if text.trim().is_empty() {
        return Ok(FileConfig::default());
    }
    let raw: Option<Raw> = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location();
        ConfigError::Yaml {
            path: path.into(),
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            message: first_line(&error.without_snippet().to_string()),
        }
    })?;
    Ok(raw.map(Raw::kept).unwrap_or_default())
}

/// The document that cloudflared decodes; what follows it, it never reads.
fn first_document(text: &str) -> &str {
    let (mut begun, mut end) = (false, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        let marks = |marker| {
            bare.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        };
        if begun && (marks("---") || marks("...")) {
            return &text[..end];
        }
        begun |= !(bare.is_empty() || bare == "---" || bare.trim_start().starts_with(['#', '%', '\u{feff}']));
        end += line.len();
    }
    text
}

/// A real file has a few hundred nodes. The excerpt stays out of errors, since the file may hold a token.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 100_000,
            max_nodes: 50_000,
            max_depth: 32,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// As the file has it; keys that we do not need are passed over, as cloudflared does with unknown ones.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    tunnel: Option<Scalar>,
    credentials_file: Option<Scalar>,
    protocol: Option<Scalar>,
    metrics: Option<Scalar>,
    #[serde(default)]
    ingress: Option<Vec<Rule>>,
    retries: Option<Scalar>,
    grace_period: Option<Scalar>,
    no_autoupdate: Option<Scalar>,
    edge_ip_version: Option<Scalar>,
    edge_bind_address: Option<Scalar>,
    region: Option<Scalar>,
    ha_connections: Option<Scalar>,
    warp_routing: Option<serde::de::IgnoredAny>,
    token_file: Option<Scalar>,
    token: Option<Scalar>,
    credentials_contents: Option<Scalar>,
}

/// Of its settings cloudflared takes any kind of value when it reads the file, and sees later what it makes of it: no reason
/// for us to refuse the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(Zeroizing<String>),
    Number(i64),
    Flag(bool),
    Other(serde::de::IgnoredAny),
}

impl Scalar {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.as_str().to_owned()),
            Self::Number(number) => Some(number.to_string()),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Other(_) => None,
        }
    }
}

impl Raw {
    fn kept(self) -> FileConfig {
        let text = |scalar: Option<Scalar>| scalar.and_then(Scalar::text);
        FileConfig {
            tunnel: text(self.tunnel),
            credentials_file: text(self.credentials_file).map(PathBuf::from),
            protocol: text(self.protocol),
            metrics: text(self.metrics),
            ingress: self.ingress.unwrap_or_default(),
            retries: text(self.retries).and_then(|retries| retries.parse().ok()),
            grace_period: text(self.grace_period),
            no_autoupdate: text(self.no_autoupdate).as_deref() == Some("true"),
            edge_ip_version: text(self.edge_ip_version),
            edge_bind_address: text(self.edge_bind_address),
            region: text(self.region),
            ha_connections: text(self.ha_connections).and_then(|number| number.parse().ok()),
            warp_routing: self.warp_routing.is_some(),
            token_file: text(self.token_file).map(PathBuf::from),
            token: text(self.token).map(Zeroizing::new).map(|token| TokenSight::of(&token)),
            credentials_contents: text(self.credentials_contents)
                .map(Zeroizing::new)
                .map(|text| TokenSight::of_credentials(&text)),
        }
    }
}

#[cfg(test)]
mod tests;
