//! The unit that runs cloudflared, as the audits see it: what is written, with its place, and what is in force.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::Place;
use crate::client::cloudflared_binary::Version;
use crate::client::cloudflared_config::{Launch, is_tunnel_run};
use crate::client::systemd::UnitState;
use crate::client::unit_file::{self, Setting};

/// A unit with what is known around it.
#[derive(Clone)]
pub struct Service {
    /// `cloudflared.service`
    pub name: String,
    /// In the order in which they count; for the places. Without [`Service::state`] also for what is in force.
    pub settings: Vec<Setting>,
    /// What systemd has in force.
    pub state: Option<UnitState>,
    /// Of the binary that `ExecStart=` names.
    pub cloudflared: Option<Version>,
    pub systemd: Option<u32>,
    /// `protocol` in cloudflared's own configuration.
    pub protocol: Option<String>,
    /// `retries` there.
    pub retries: Option<u32>,
    /// `grace-period` there, such as `30s`.
    pub grace_period: Option<String>,
    /// `no-autoupdate` there.
    pub no_autoupdate: bool,
    /// The program was put in place after the process that runs had started.
    pub newer_program: bool,
    /// Load state, active state and file state of the timer that updates cloudflared.
    pub update_timer: Option<(String, String, String)>,
}

/// A file that systemd hands over as a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    pub id: String,
    /// Where it comes from; `None`: one of systemd's own stores.
    pub path: Option<PathBuf>,
    pub encrypted: bool,
}

/// A setting with its place.
pub(super) struct Written<'a> {
    pub(super) value: &'a str,
    pub(super) place: Place,
}

impl Service {
    /// All assignments of a key that count, in order: an empty one forgets those before it.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<Written<'_>> {
        let mut found = Vec::new();
        for setting in self.settings.iter().filter(|setting| setting.section == section && setting.key == key)
        {
            if setting.value.is_empty() {
                found.clear();
            } else {
                found.push(Written { value: &setting.value, place: place_of(setting) });
            }
        }
        found
    }

    /// The assignment that counts of a key that has one value.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<Written<'_>> {
        self.all(section, key).pop()
    }

    /// Where a key stands, or else where the unit is.
    pub(super) fn place(&self, section: &str, key: &str) -> Place {
        self.last(section, key).map_or_else(|| self.own_place(), |written| written.place)
    }

    /// The unit's file.
    pub(super) fn own_place(&self) -> Place {
        let file = self.settings.first().map(|setting| setting.file.display().to_string());
        let state =
            self.state.as_ref().map(|state| state.fragment_path.clone()).filter(|path| !path.is_empty());
        Place { file: file.or(state).unwrap_or_else(|| self.name.clone()), line: None }
    }

    /// A span in force, in µs; `None`: systemd's default, which is not known here.
    pub(super) fn span(&self, section: &str, keys: &[&str], live: impl Fn(&UnitState) -> u64) -> Option<u64> {
        match &self.state {
            Some(state) => Some(live(state)),
            None => keys.iter().find_map(|key| unit_file::span(self.last(section, key)?.value)),
        }
    }

    /// The command lines: the program first, its flags as systemd splits them. May hold a token.
    fn commands(&self) -> Vec<Zeroizing<Vec<String>>> {
        match &self.state {
            Some(state) => state.exec_start.commands().iter().cloned().map(Zeroizing::new).collect(),
            None => {
                let written = self.all("Service", "ExecStart");
                written
                    .iter()
                    .map(|line| {
                        Zeroizing::new(unit_file::words(
                            line.value.trim_start_matches(['-', '@', ':', '+', '!']),
                        ))
                    })
                    .collect()
            }
        }
    }

    /// The command line that runs the tunnel.
    pub(super) fn command(&self) -> Zeroizing<Vec<String>> {
        let mut commands = self.commands();
        let at = commands.iter().position(|argv| is_tunnel_run(argv)).unwrap_or_default();
        if at < commands.len() { commands.swap_remove(at) } else { Zeroizing::default() }
    }

    /// The program that it runs.
    pub fn program(&self) -> Option<PathBuf> {
        self.command().first().map(PathBuf::from)
    }

    /// The variables of `Environment=`; of a running unit those of cloudflared alone. May hold a token.
    pub(super) fn environment(&self) -> Zeroizing<Vec<String>> {
        match &self.state {
            Some(state) => {
                let all = state.environment.iter();
                Zeroizing::new(all.map(|(name, value)| format!("{name}={}", value.expose_secret())).collect())
            }
            None => {
                let written = self.all("Service", "Environment");
                Zeroizing::new(written.iter().flat_map(|line| unit_file::words(line.value)).collect())
            }
        }
    }

    /// How cloudflared is started.
    pub fn launch(&self) -> Launch {
        let mut launch = Launch::of(&self.command(), &self.environment());
        launch.is_tunnel_run |=
            self.command().first().is_some_and(|program| program.ends_with("cloudflared"));
        launch
    }

    /// `EnvironmentFile=`, each with whether it may be missing; no patterns.
    pub fn environment_files(&self) -> Vec<(PathBuf, bool)> {
        let files: Vec<(String, bool)> = match &self.state {
            Some(state) => state.environment_files.clone(),
            None => {
                let written = self.all("Service", "EnvironmentFile");
                let one = |value: &str| match value.strip_prefix('-') {
                    Some(path) => (path.to_owned(), true),
                    None => (value.to_owned(), false),
                };
                written.iter().map(|line| one(line.value)).collect()
            }
        };
        let named = files.into_iter().filter(|(path, _)| !path.contains(['*', '?', '[']));
        named.map(|(path, may_miss)| (PathBuf::from(path), may_miss)).collect()
    }

    /// It has temporary folders of its own, which nobody else sees.
    pub fn private_tmp(&self) -> bool {
        self.last("Service", "PrivateTmp")
            .is_some_and(|written| is_yes(written.value) || written.value == "disconnected")
    }

    /// `LoadCredential=` and `LoadCredentialEncrypted=`, as written.
    pub fn handed(&self) -> Vec<Handed> {
        let of = |key: &str, encrypted: bool| {
            let lines = self.all("Service", key).into_iter();
            let one = lines.map(move |line| {
                let (id, path) = line.value.split_once(':').unwrap_or((line.value, ""));
                let path = Some(PathBuf::from(path)).filter(|path| path.is_absolute());
                Handed { id: id.to_owned(), path, encrypted }
            });
            one.collect::<Vec<_>>()
        };
        [of("LoadCredential", false), of("LoadCredentialEncrypted", true)].concat()
    }

    /// A word in force.
    pub(super) fn word(&self, section: &str, key: &str, live: impl Fn(&UnitState) -> &str) -> Option<String> {
        match &self.state {
            Some(state) => Some(live(state).to_owned()),
            None => self.last(section, key).map(|written| written.value.to_owned()),
        }
    }

    /// The user that cloudflared runs as; `None`: root. A dynamic one is `Some("")`.
    pub fn user(&self) -> Option<String> {
        let dynamic = match &self.state {
            Some(state) => state.dynamic_user,
            None => self.last("Service", "DynamicUser").is_some_and(|written| is_yes(written.value)),
        };
        if dynamic {
            return Some(String::new());
        }
        self.word("Service", "User", |state| &state.user)
            .filter(|user| !user.is_empty() && user != "root" && user != "0")
    }

    /// `Group=`, and those of `SupplementaryGroups=`: names or numbers.
    pub fn groups(&self) -> (Option<String>, Vec<String>) {
        let group = self.last("Service", "Group").map(|written| written.value.to_owned());
        let others = self.all("Service", "SupplementaryGroups");
        let others = others.iter().flat_map(|line| line.value.split_whitespace()).map(str::to_owned);
        (group, others.collect())
    }

    /// `WorkingDirectory=`, as written; without it systemd starts in the root.
    pub fn working_directory(&self) -> String {
        let written = self.last("Service", "WorkingDirectory");
        written.map_or_else(|| "/".to_owned(), |written| written.value.trim_start_matches('-').to_owned())
    }

    /// The tunnel's secret is in the unit itself.
    pub fn holds_secret(&self) -> bool {
        self.exposures().iter().any(|(how, _)| !matches!(how, Exposure::Leftover(_)))
    }

    /// Where a secret of the tunnel's stands in clear for everyone to read, by the kind of place.
    pub(super) fn exposures(&self) -> Vec<(Exposure, Place)> {
        let mut found = Vec::new();
        for secret in Secret::of(&Launch::of::<_, &str>(&self.command(), &[])) {
            found.push((Exposure::CommandLine(secret), self.place("Service", "ExecStart")));
        }
        for secret in Secret::of(&Launch::of::<&str, _>(&[], &self.environment())) {
            let mut written = self.all("Service", "Environment").into_iter();
            let line = written.find(|line| line.value.contains(&format!("{}=", secret.variable())));
            let place = line.map_or_else(|| self.own_place(), |line| line.place);
            found.push((Exposure::Environment(secret), place));
        }
        // What a drop-in takes out of force still stands in its file.
        for setting in self.settings.iter().filter(|setting| setting.section == "Service") {
            let words = Zeroizing::new(unit_file::words(&setting.value));
            let secrets = match setting.key.as_str() {
                "ExecStart" => Secret::of(&Launch::of::<_, &str>(&words, &[])),
                "Environment" => Secret::of(&Launch::of::<&str, _>(&[], &words)),
                _ => Vec::new(),
            };
            let place = place_of(setting);
            if let Some(secret) = secrets.first()
                && !found.iter().any(|(_, known)| *known == place)
            {
                found.push((Exposure::Leftover(*secret), place));
            }
        }
        for line in self.all("Service", "SetCredential") {
            let speaks = line.value.split(':').next().is_some_and(|id| {
                let id = id.to_ascii_lowercase();
                ["token", "tunnel", "cloudflared", "credential"].iter().any(|word| id.contains(word))
            });
            if speaks {
                found.push((Exposure::SetCredential, line.place));
            }
        }
        found
    }
}

/// How a secret of the tunnel's lies open in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    CommandLine(Secret),
    Environment(Secret),
    SetCredential,
    /// In a file, and no longer in force.
    Leftover(Secret),
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    Token,
    /// The text of a credentials file.
    Credentials,
}

impl Secret {
    fn of(launch: &Launch) -> Vec<Self> {
        let token = launch.token.as_ref().map(|_| Self::Token);
        token.into_iter().chain(launch.credentials_contents.as_ref().map(|_| Self::Credentials)).collect()
    }

    /// The variable that gives it to cloudflared.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Token => "TUNNEL_TOKEN",
            Self::Credentials => "TUNNEL_CRED_CONTENTS",
        }
    }
}

pub(super) fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "yes" | "y" | "true" | "t" | "on")
}

fn place_of(setting: &Setting) -> Place {
    Place { file: setting.file.display().to_string(), line: Some(setting.line) }
}
