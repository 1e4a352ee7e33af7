//! What a host's tunnel proves itself with: who can read it, whether it is whole and for the right tunnel, and what lies
//! about that should not. Secrets were forgotten before anything came here.

mod api_token;
mod file;

use std::path::PathBuf;

use jiff::Timestamp;

use super::drop_in::DropIn;
use super::service::{Exposure, Service};
use super::unit::exposed;
use super::{Audit, Finding, Findings, Place, Severity, dns};
use crate::client::cloudflare_api::{Record, VerifiedToken};
use crate::client::cloudflared_config::{CredentialsSight, FileConfig, TokenSight};
use crate::client::file_access::Access;

/// What a file is to cloudflared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The tunnel's token, alone.
    Token,
    /// JSON with the tunnel's secret.
    Credentials,
    /// Variables for the unit.
    Environment,
    /// `config.yml`.
    Config,
    /// `cert.pem`, which makes tunnels.
    Certificate,
    /// What systemd decrypts and hands over.
    Encrypted,
}

/// What was read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Not opened: not permitted, or no need.
    Unread,
    Token(TokenSight),
    /// `None`: no JSON.
    Credentials(Option<CredentialsSight>),
    /// Whether `TUNNEL_TOKEN` or `TUNNEL_CRED_CONTENTS` is set in there.
    Environment(Option<TokenSight>),
}

/// A file that was looked at.
#[derive(Clone, Debug)]
pub struct FileSight {
    pub role: Role,
    pub path: PathBuf,
    /// `None`: it is not there.
    pub access: Option<Access>,
    pub content: Content,
    /// systemd reads it as root and hands it over, so only root must be able to.
    pub handed: bool,
}

/// What cloudflared runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    pub uid: u32,
    /// The groups that the unit gives it, its own first; empty: not known.
    pub groups: Vec<u32>,
}

/// The token for Cloudflare's API that was given to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiSight {
    /// None was given.
    None,
    GlobalKey,
    /// `None`: it could not be verified.
    Token(Option<VerifiedToken>),
}

/// Everything about one unit.
pub struct Host<'a> {
    pub service: &'a Service,
    pub files: Vec<FileSight>,
    pub config: Option<(PathBuf, FileConfig)>,
    /// `None`: not known, or made for each start.
    pub runner: Option<Runner>,
    /// Names of the tunnel, each with its records or those of the wildcard over it.
    pub records: Vec<(String, Vec<Record>)>,
    pub api: ApiSight,
    pub now: Timestamp,
}

/// What was found, and the drop-in that gives the token as a credential.
#[derive(Clone, Debug)]
pub struct Checked {
    pub findings: Vec<Finding>,
    pub drop_in: DropIn,
}

/// Looks through it.
pub fn check(host: &Host<'_>) -> Checked {
    let mut look = Look { host, findings: Findings::of(Audit::Credentials), drop_in: DropIn::default() };
    for (how, place) in host.service.exposures() {
        look.findings.all.push(exposed(Audit::Credentials, how, place));
        if !matches!(how, Exposure::Leftover(_)) {
            look.drop_in.give_token(host.service);
        }
    }
    for file in &host.files {
        look.file(file);
    }
    look.config();
    look.tunnels();
    look.records();
    look.api();
    let Look { findings, drop_in, .. } = look;
    let mut findings = findings.sorted();
    findings.dedup();
    Checked { findings, drop_in }
}

struct Look<'a> {
    host: &'a Host<'a>,
    findings: Findings,
    drop_in: DropIn,
}

impl Look<'_> {
    fn config(&mut self) {
        let Some((path, config)) = &self.host.config else { return };
        if config.credentials_contents.is_some() {
            self.findings.add(
                Severity::Warning,
                "token-in-config",
                Place { file: path.display().to_string(), line: None },
                "The tunnel's credentials stand in cloudflared's configuration.",
                "A configuration is shown, copied and kept in repositories; a secret must not be.",
                "Take `credentials-contents:` out, rotate the secret, and give the tunnel's new token by the drop-in below.",
            );
            self.drop_in.give_token(self.host.service);
        }
        if config.token.is_some() {
            self.findings.add(
                Severity::Warning,
                "token-in-config",
                Place { file: path.display().to_string(), line: None },
                "The tunnel's token stands in cloudflared's configuration.",
                "A configuration is shown, copied and kept in repositories; a token must not be.",
                "Take `token:` out, rotate it, and give the new one by the drop-in below.",
            );
            self.drop_in.give_token(self.host.service);
        }
    }

    /// The tunnel by everything that names one, with where it does.
    fn named(&self) -> Vec<(String, Place)> {
        let mut named = Vec::new();
        let place = |path: &PathBuf| Place { file: path.display().to_string(), line: None };
        for file in &self.host.files {
            let tunnel = match &file.content {
                Content::Token(token) | Content::Environment(Some(token)) => token.tunnel.clone(),
                Content::Credentials(Some(sight)) => sight.tunnel.clone(),
                Content::Credentials(None) | Content::Environment(None) | Content::Unread => None,
            };
            named.extend(tunnel.map(|tunnel| (tunnel, place(&file.path))));
        }
        let launch = self.host.service.launch();
        let secrets = launch.token.into_iter().chain(launch.credentials_contents);
        named.extend(
            secrets.filter_map(|secret| secret.tunnel).map(|tunnel| (tunnel, self.host.service.own_place())),
        );
        if let Some((path, config)) = &self.host.config {
            let secrets = config.token.iter().chain(&config.credentials_contents);
            named.extend(secrets.filter_map(|secret| Some((secret.tunnel.clone()?, place(path)))));
            // A name needs the API to become an id.
            let id =
                config.tunnel.as_ref().filter(|tunnel| crate::client::cloudflared_config::is_uuid(tunnel));
            named.extend(id.map(|tunnel| (tunnel.to_ascii_lowercase(), place(path))));
        }
        named
    }

    fn tunnels(&mut self) {
        let named = self.named();
        let Some((first, first_place)) = named.first().cloned() else { return };
        for (other, place) in named.into_iter().skip(1).filter(|(other, _)| *other != first) {
            self.findings.add(
                Severity::Error,
                "tunnel-mismatch",
                place,
                format!("This is for the tunnel {other}, and {first_place} is for {first}."),
                "cloudflared runs one of them, and the other's names answer with Error 1033.",
                "Decide which tunnel this host runs, and make both say so.",
            );
        }
    }

    /// Where the names lead, as Cloudflare keeps it.
    fn records(&mut self) {
        let named = self.named();
        let tunnel = named.first().map(|(tunnel, _)| tunnel.as_str());
        let found = self.host.records.iter().filter_map(|(name, found)| dns::record(name, found, tunnel));
        self.findings.all.extend(found);
    }
}

#[cfg(test)]
mod tests;
