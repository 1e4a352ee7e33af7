//! One file: who may read and change it, and what is in it.

use super::{Content, FileSight, Look, Role, Runner};
use crate::audit::{Place, Severity};
use crate::client::cloudflared_config::TokenSight;
use crate::client::file_access::Access;

/// Who has to read a file.
enum Reader {
    /// root or systemd.
    Root,
    /// cloudflared, as its owner.
    User,
    /// cloudflared, by this group of its unit's.
    Group(u32),
    /// cloudflared, as a user that is not known here or is made for each start.
    Unknown,
}

impl Look<'_> {
    pub(super) fn file(&mut self, file: &FileSight) {
        let path = file.path.display().to_string();
        let place = Place { file: path.clone(), line: None };
        let Some(access) = &file.access else {
            // Certificates are only looked for.
            if file.role != Role::Certificate {
                self.findings.add(
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
            Role::Certificate => self.findings.add(
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
            Role::Config => self.host.config.as_ref().is_some_and(|(_, config)| config.holds_secret()),
            Role::Encrypted => false,
        }
    }

    fn access(&mut self, file: &FileSight, access: &Access, path: &str, place: &Place) {
        let mode = format!("{:04o}", access.mode);
        let runner = self.host.runner.as_ref();
        let of_unit = runner.is_some_and(|runner| runner.groups.contains(&access.gid));
        let group = access.for_group() && access.gid != 0 && !of_unit;
        if access.for_everyone() || group {
            let who = if access.for_everyone() { "every user of this host" } else { "a whole group" };
            let shut = self.shut(file, access, path);
            self.findings.add(
                Severity::Error,
                "file-readable",
                place.clone(),
                format!("The file has mode {mode}, so {who} can read it."),
                "Who reads it can run the tunnel elsewhere and is sent its visitors.",
                format!("Shut it, and rotate the token or secret if others use this host{shut}"),
            );
        } else if access.mode & 0o022 != 0 {
            let shut = self.shut(file, access, path);
            self.findings.add(
                Severity::Error,
                "file-writable",
                place.clone(),
                format!("The file has mode {mode}, so others than its owner can change it."),
                "Who changes it decides where this host's tunnel ends.",
                format!("Shut it{shut}"),
            );
        }
        let runner = self.host.runner.as_ref();
        let owner_fits = access.uid == 0 || runner.is_some_and(|runner| access.uid == runner.uid);
        if !owner_fits && (runner.is_some() || file.handed) {
            let owned = Access { uid: 0, gid: 0, ..access.clone() };
            let shut = match self.read_by(file, &owned) {
                Reader::Root => format!(":\nsudo chown root:root {path}"),
                Reader::User | Reader::Group(_) | Reader::Unknown => self.shut(file, &owned, path),
            };
            self.findings.add(
                Severity::Error,
                "file-owner",
                place.clone(),
                format!(
                    "The file belongs to user {}, who is neither root nor the one that cloudflared runs as.",
                    access.uid
                ),
                "That user can read and change it.",
                format!("Give it to root{shut}"),
            );
        }
        if let Some(uid) = self.host.runner.as_ref().map(|runner| runner.uid).filter(|uid| {
            *uid != 0
                && !file.handed
                && access.uid != *uid
                && !matches!(file.role, Role::Environment | Role::Certificate)
        }) {
            // Its group may let it in; that is not known here.
            if !access.for_everyone() && !access.for_group() {
                self.findings.add(
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
            self.findings.add(
                Severity::Error,
                "folder-writable",
                place.clone(),
                format!("Others than its owner can change the folder {}, so they can put another file in its place.", folder.display()),
                "Who does so decides where this host's tunnel ends.",
                format!("Shut it:\nsudo chmod go-w {}", folder.display()),
            );
        }
        if let Some(tree) = &access.work_tree {
            self.findings.add(
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
            && self.findings.all.iter().all(|finding| finding.place.as_ref() != Some(place))
        {
            self.drop_in.give_token(self.host.service);
            self.findings.add(
                Severity::Note,
                "token-in-clear",
                place.clone(),
                "The token lies on the disk in clear, shut by its mode alone.",
                "A backup or a copy of the disk has it.",
                "systemd can keep it encrypted for this host and hand it over at the start: see the drop-in below.",
            );
        }
    }

    /// Who has to read the file, and by what right after nobody else may.
    fn read_by(&self, file: &FileSight, access: &Access) -> Reader {
        if file.handed || matches!(file.role, Role::Environment | Role::Certificate | Role::Encrypted) {
            return Reader::Root;
        }
        match &self.host.runner {
            Some(runner) if runner.uid == 0 => Reader::Root,
            Some(runner) if runner.uid == access.uid => Reader::User,
            Some(Runner { groups, .. }) => groups.first().map_or(Reader::Unknown, |own| Reader::Group(*own)),
            None => Reader::Unknown,
        }
    }

    /// How to shut a file so that cloudflared can still read it: the end of a sentence, with commands.
    fn shut(&mut self, file: &FileSight, access: &Access, path: &str) -> String {
        match self.read_by(file, access) {
            Reader::Root | Reader::User => format!(":\nsudo chmod 0600 {path}"),
            Reader::Group(own) => {
                format!(
                    ". cloudflared reads it by its group:\nsudo chown root:{own} {path}\nsudo chmod 0640 {path}"
                )
            }
            Reader::Unknown => {
                self.drop_in.give_token(self.host.service);
                format!(
                    ". cloudflared does not run as root, so first let systemd hand it over by the drop-in below:\nsudo chmod 0600 {path}"
                )
            }
        }
    }

    fn content(&mut self, file: &FileSight, place: &Place) {
        match &file.content {
            Content::Unread | Content::Environment(_) => {}
            Content::Token(TokenSight { tunnel: Some(_), .. }) => {}
            Content::Token(TokenSight { tunnel: None, .. }) => self.findings.add(
                Severity::Error,
                "no-token",
                place.clone(),
                "What is in this file is no token of a tunnel.",
                "cloudflared does not start with it: \"Provided Tunnel token is not valid\".",
                "Copy the token again, whole and in one line: it begins with eyJ.",
            ),
            Content::Credentials(None) => self.findings.add(
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
                self.findings.add(
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
}
