//! What a host's tunnel proves itself with: who can read it, whether it is whole and for the right tunnel, and what lies
//! about that should not. Secrets were forgotten before anything came here.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::drop_in::DropIn;
use super::service::{Exposure, Service};
use super::unit::exposed;
use super::{Audit, Finding, Place, Severity};
use crate::client::cloudflare_api::{TokenStatus, VerifiedToken};
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
    /// Whether `TUNNEL_TOKEN` is set in there.
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

/// A record of a name that should lead into the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSight {
    pub name: String,
    /// The tunnel that a CNAME to `cfargotunnel.com` names; `None`: it leads elsewhere.
    pub tunnel: Option<String>,
    pub target: String,
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
    /// Of the user that cloudflared runs as; `None`: not known, or made for each start.
    pub uid: Option<u32>,
    pub records: Vec<RecordSight>,
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
    let mut look = Look { host, findings: Vec::new(), drop_in: DropIn::default() };
    for (how, place) in host.service.exposures() {
        look.findings.push(exposed(Audit::Credentials, how, place));
        if how != Exposure::Leftover {
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
    let Look { mut findings, drop_in, .. } = look;
    findings.sort_by(Finding::order);
    findings.dedup();
    Checked { findings, drop_in }
}

struct Look<'a> {
    host: &'a Host<'a>,
    findings: Vec<Finding>,
    drop_in: DropIn,
}

impl Look<'_> {
    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        place: Place,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding {
            audit: Audit::Credentials,
            severity,
            rule,
            place: Some(place),
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
        });
    }

    fn file(&mut self, file: &FileSight) {
        let path = file.path.display().to_string();
        let place = Place { file: path.clone(), line: None };
        let Some(access) = &file.access else {
            // Certificates are only looked for.
            if file.role != Role::Certificate {
                self.add(
                    Severity::Error,
                    "file-missing",
                    place,
                    "The unit names this file, and it is not there.",
                    "cloudflared does not start without it; one that runs now does not come back.",
                    "Put it there, or name the right one in the unit.",
                );
            }
            return;
        };
        match file.role {
            Role::Certificate => self.add(
                Severity::Warning,
                "cert-pem",
                place.clone(),
                "cloudflared's cert.pem lies on this host.",
                "It makes and deletes tunnels and DNS records of the zone, does not end for ten years or more, and no running tunnel needs it.",
                format!("Keep it where tunnels are made, and remove it here:\nsudo shred --remove {path}"),
            ),
            Role::Token | Role::Credentials | Role::Environment | Role::Config | Role::Encrypted => {}
        }
        self.content(file, &place);
        if self.is_secret(file) {
            self.access(file, access, &path, &place);
        }
    }

    /// The file has something that others must not read.
    fn is_secret(&self, file: &FileSight) -> bool {
        match file.role {
            Role::Token | Role::Credentials | Role::Certificate => true,
            // Unread it is taken for one: it is there to keep something out of the unit.
            Role::Environment => !matches!(file.content, Content::Environment(None)),
            Role::Config => self.host.config.as_ref().is_some_and(|(_, config)| config.token.is_some()),
            Role::Encrypted => false,
        }
    }

    fn access(&mut self, file: &FileSight, access: &Access, path: &str, place: &Place) {
        let mode = format!("{:04o}", access.mode);
        let group = access.for_group() && access.gid != 0 && Some(access.gid) != self.host.uid;
        if access.for_everyone() || group {
            let who = if access.for_everyone() { "every user of this host" } else { "a whole group" };
            self.add(
                Severity::Error,
                "file-readable",
                place.clone(),
                format!("The file has mode {mode}, so {who} can read it."),
                "Who reads it can run the tunnel elsewhere and is sent its visitors.",
                format!(
                    "Shut it, and rotate the token or secret if others use this host:\nsudo chmod 0600 {path}"
                ),
            );
        } else if access.mode & 0o022 != 0 {
            self.add(
                Severity::Error,
                "file-writable",
                place.clone(),
                format!("The file has mode {mode}, so others than its owner can change it."),
                "Who changes it decides where this host's tunnel ends.",
                format!("Shut it:\nsudo chmod 0600 {path}"),
            );
        }
        let owner_fits = access.uid == 0 || Some(access.uid) == self.host.uid;
        if !owner_fits && (self.host.uid.is_some() || file.handed) {
            self.add(
                Severity::Error,
                "file-owner",
                place.clone(),
                format!(
                    "The file belongs to user {}, who is neither root nor the one that cloudflared runs as.",
                    access.uid
                ),
                "That user can read and change it.",
                format!("Give it to root:\nsudo chown root:root {path}"),
            );
        }
        if let Some(uid) = self.host.uid.filter(|uid| {
            *uid != 0
                && !file.handed
                && access.uid != *uid
                && !matches!(file.role, Role::Environment | Role::Certificate)
        }) {
            // Its group may let it in; that is not known here.
            if !access.for_everyone() && !access.for_group() {
                self.add(
                    Severity::Error,
                    "file-unreadable",
                    place.clone(),
                    format!("cloudflared runs as user {uid} and cannot read this file of user {} with mode {mode}.", access.uid),
                    "The next start fails.",
                    "Let systemd read it as root and hand it over by the drop-in below.",
                );
                self.drop_in.give_token(self.host.service);
            }
        }
        if let Some(folder) = &access.open_folder {
            self.add(
                Severity::Error,
                "folder-writable",
                place.clone(),
                format!("Others than its owner can change the folder {}, so they can put another file in its place.", folder.display()),
                "Who does so decides where this host's tunnel ends.",
                format!("Shut it:\nsudo chmod go-w {}", folder.display()),
            );
        }
        if let Some(tree) = &access.work_tree {
            self.add(
                Severity::Error,
                "file-in-git",
                place.clone(),
                format!("The file lies in the git work tree {}.", tree.display()),
                "One `git add` later the secret is in every clone, for ever.",
                "Keep it outside, in /etc/cloudflared or as a credential of systemd's.",
            );
        }
        if file.role == Role::Token
            && !file.handed
            && self.findings.iter().all(|finding| finding.place.as_ref() != Some(place))
        {
            self.drop_in.give_token(self.host.service);
            self.add(
                Severity::Note,
                "token-in-clear",
                place.clone(),
                "The token lies on the disk in clear, shut by its mode alone.",
                "A backup or a copy of the disk has it.",
                "systemd can keep it encrypted for this host and hand it over at the start: see the drop-in below.",
            );
        }
    }

    fn content(&mut self, file: &FileSight, place: &Place) {
        match &file.content {
            Content::Unread | Content::Environment(_) => {}
            Content::Token(TokenSight { tunnel: Some(_) }) => {}
            Content::Token(TokenSight { tunnel: None }) => self.add(
                Severity::Error,
                "no-token",
                place.clone(),
                "What is in this file is no token of a tunnel.",
                "cloudflared does not start with it: \"Provided Tunnel token is not valid\".",
                "Copy the token again, whole and in one line: it begins with eyJ.",
            ),
            Content::Credentials(None) => self.add(
                Severity::Error,
                "credentials-not-json",
                place.clone(),
                "The credentials file is no JSON object.",
                "cloudflared does not start with it.",
                "Fetch it again where the tunnel was made, or run the tunnel by its token.",
            ),
            Content::Credentials(Some(sight)) if !sight.missing.is_empty() => {
                // Very old files have no id, and cloudflared takes them.
                let only_id = sight.missing == ["TunnelID"];
                self.add(
                    if only_id { Severity::Warning } else { Severity::Error },
                    "credentials-keys",
                    place.clone(),
                    format!("The credentials file has no good {}.", sight.missing.join(", no good ")),
                    if only_id {
                        "Nothing then shows that it belongs to the tunnel in the configuration."
                    } else {
                        "cloudflared cannot register with it."
                    },
                    "It must have AccountTag, TunnelSecret (base64) and TunnelID: fetch it again where the tunnel was made.",
                );
            }
            Content::Credentials(Some(_)) => {}
        }
    }

    fn config(&mut self) {
        let Some((path, config)) = &self.host.config else { return };
        if config.token.is_some() {
            self.add(
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
        let token = launch.token.and_then(|token| token.tunnel);
        named.extend(token.map(|tunnel| (tunnel, self.host.service.own_place())));
        if let Some((path, config)) = &self.host.config {
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
            self.add(
                Severity::Error,
                "tunnel-mismatch",
                place,
                format!("This is for the tunnel {other}, and {first_place} is for {first}."),
                "cloudflared runs one of them, and the other's names answer with Error 1033.",
                "Decide which tunnel this host runs, and make both say so.",
            );
        }
    }

    fn records(&mut self) {
        let named = self.named();
        let Some((tunnel, _)) = named.first().cloned() else { return };
        for record in &self.host.records {
            let (severity, what, why) = match &record.tunnel {
                Some(other) if *other == tunnel => continue,
                Some(other) => (
                    Severity::Error,
                    format!("The record of {} leads to the tunnel {other}, not to {tunnel}.", record.name),
                    "Visitors get Error 1033, or another tunnel's answers, whatever this host does.",
                ),
                None => (
                    Severity::Warning,
                    format!(
                        "The record of {} leads to {}, not into the tunnel {tunnel}.",
                        record.name, record.target
                    ),
                    "Visitors do not come through the tunnel.",
                ),
            };
            self.add(
                severity,
                "record-elsewhere",
                Place { file: format!("DNS of {}", record.name), line: None },
                what,
                why,
                format!("Set the record, proxied:\n{} CNAME {tunnel}.cfargotunnel.com", record.name),
            );
        }
    }

    fn api(&mut self) {
        let place = Place { file: "the API token".into(), line: None };
        match &self.host.api {
            ApiSight::None | ApiSight::Token(None) => {}
            ApiSight::GlobalKey => self.add(
                Severity::Error,
                "global-key",
                Place { file: "the Global API Key".into(), line: None },
                "The Global API Key is given to tunnelwarden.",
                "It can do everything its user can, in every account, and cannot be limited or dated.",
                "Make a token with Account › Cloudflare Tunnel › Read, give that, and set api.global_key back to false.",
            ),
            ApiSight::Token(Some(token)) => {
                let bad = match &token.status {
                    Some(TokenStatus::Disabled) => Some("disabled".to_owned()),
                    Some(TokenStatus::Expired) => Some("expired".to_owned()),
                    Some(TokenStatus::Other(word)) => Some(word.clone()),
                    Some(TokenStatus::Active) | None => None,
                };
                if let Some(word) = bad {
                    self.add(
                        Severity::Error,
                        "api-token-dead",
                        place,
                        format!("Cloudflare calls the API token {word}."),
                        "What only the API knows is not seen.",
                        "Make a new one with Account › Cloudflare Tunnel › Read, and give that.",
                    );
                    return;
                }
                match token.expires_on {
                    Some(end) if end <= self.host.now => self.add(
                        Severity::Error,
                        "api-token-dead",
                        place,
                        format!("The API token ended at {end}."),
                        "What only the API knows is not seen.",
                        "Roll it in Cloudflare's dashboard, and give the new one.",
                    ),
                    Some(end) if end.duration_since(self.host.now) < SignedDuration::from_hours(14 * 24) => self.add(
                        Severity::Warning,
                        "api-token-ends",
                        place,
                        format!("The API token ends at {end}."),
                        "From then on what only the API knows is not seen.",
                        "Roll it in Cloudflare's dashboard, and give the new one.",
                    ),
                    Some(_) => {}
                    None => self.add(
                        Severity::Note,
                        "api-token-endless",
                        place,
                        "The API token has no end.",
                        "One that is copied stays good until somebody remembers it.",
                        "Give it an end when it is rolled the next time.",
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
