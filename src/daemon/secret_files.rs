//! The files that hold what a tunnel proves itself with, looked at: who may read them, and what is wrong in them. Nothing
//! secret leaves this module.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::audit::credentials::{Content, FileSight, Role, Runner};
use crate::audit::service::Service;
use crate::client::cloudflared_config::{CredentialsSight, FileConfig, TokenSight, is_uuid};
use crate::client::file_access;

/// Whatever is longer is no secret of cloudflared's.
const LONGEST: u64 = 64 * 1024;
/// Where certificates lie that nobody names.
const CERTIFICATES: [&str; 3] =
    ["/etc/cloudflared/cert.pem", "/usr/local/etc/cloudflared/cert.pem", "/root/.cloudflared/cert.pem"];

/// What was seen, and what was not.
#[derive(Debug, Default)]
pub(crate) struct SecretFiles {
    pub files: Vec<FileSight>,
    pub unseen: Vec<Unseen>,
}

/// A file about which something is not known.
#[derive(Debug)]
pub(crate) struct Unseen {
    pub path: PathBuf,
    pub what: Hidden,
}

/// What is not known of it.
#[derive(Debug)]
pub(crate) enum Hidden {
    /// A folder on the way may not be searched.
    Access(std::io::Error),
    /// Who may read it is known; what is in it is not.
    Content(std::io::Error),
    /// A pipe or a device, say, which is not opened.
    NoFile,
    /// Neither a token nor a credentials file was found.
    Nowhere,
    /// Only systemd knows where this leads.
    Specifier,
    /// It is not there for us, and we do not see what the unit sees: one of us has temporary folders of its own.
    Private,
}

impl Unseen {
    /// In a sentence without its end.
    pub(crate) fn says(&self) -> String {
        let path = self.path.display();
        match &self.what {
            Hidden::Access(error) => format!("{path} cannot be looked at: {error}"),
            Hidden::Content(error) => format!("{path} cannot be read: {error}"),
            Hidden::NoFile => format!("{path} is no regular file, so it was not opened"),
            Hidden::Nowhere => {
                format!(
                    "{path} leads to no token and no credentials file that was seen, so how they are kept is not known"
                )
            }
            Hidden::Specifier => format!("where {path} lies is known to systemd alone"),
            Hidden::Private => format!("{path} is not there for others than the unit, if it is there at all"),
        }
    }
}

/// What cloudflared runs as; `None`: not known, or made for each start.
pub(crate) fn runner(service: &Service) -> Option<Runner> {
    let (uid, own) = match service.user().as_deref() {
        None => (0, Some(0)),
        Some("") => return None,
        Some(user) => match file_access::user_of(user) {
            Some((uid, gid)) => (uid, Some(gid)),
            None => (user.parse().ok()?, None),
        },
    };
    let (group, others) = service.groups();
    let own = group.map_or(own, |group| file_access::gid_of(&group));
    let groups = own.into_iter().chain(others.iter().filter_map(|group| file_access::gid_of(group)));
    Some(Runner { uid, groups: groups.collect() })
}

impl SecretFiles {
    /// Looks at every file that the unit or the configuration names, and for certificates where cloudflared does. `own_tmp`: we
    /// have temporary folders of our own, as the unit may have. `step` is told of each file.
    pub(crate) fn look(
        service: &Service,
        config: Option<(&Path, &FileConfig)>,
        own_tmp: bool,
        mut step: impl FnMut(&Path),
    ) -> Self {
        let mut seen = Self::default();
        let blind_there = own_tmp || service.private_tmp();
        let Lists { wanted, searched, unknown } = lists(service, config);
        for wanted in wanted {
            step(&wanted.path);
            seen.one(wanted, blind_there);
        }
        seen.search(searched, step);
        seen.unseen.extend(unknown.into_iter().map(|path| Unseen { path, what: Hidden::Specifier }));
        seen.nowhere(service, config);
        seen
    }

    /// Looks where cloudflared does for a file that nobody names: the first that is there is the one.
    fn search(&mut self, searched: Vec<PathBuf>, mut step: impl FnMut(&Path)) {
        let mut hidden = None;
        for path in searched {
            step(&path);
            match file_access::look(&path) {
                Ok(_) => {
                    let wanted = Wanted { role: Role::Credentials, path, handed: false, may_miss: true };
                    return self.one(wanted, false);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    hidden.get_or_insert(Unseen { path, what: Hidden::Access(error) });
                }
            }
        }
        self.unseen.extend(hidden);
    }

    /// Says that nothing was seen of what the tunnel proves itself with, if that is so.
    fn nowhere(&mut self, service: &Service, config: Option<(&Path, &FileConfig)>) {
        let held = service.holds_secret() || config.is_some_and(|(_, config)| config.holds_secret());
        let seen = self.files.iter().any(|file| match file.role {
            Role::Token | Role::Credentials | Role::Encrypted => true,
            Role::Environment => !matches!(file.content, Content::Environment(None)),
            Role::Config | Role::Certificate => false,
        });
        if held || seen || !self.unseen.is_empty() || service.handed().iter().any(|handed| handed.encrypted) {
            return;
        }
        let own = service.settings.first().map(|setting| setting.file.clone());
        let path =
            config.map(|(path, _)| path.to_owned()).or(own).unwrap_or_else(|| PathBuf::from(&service.name));
        self.unseen.push(Unseen { path, what: Hidden::Nowhere });
    }

    fn one(&mut self, wanted: Wanted, blind_there: bool) {
        let Wanted { role, path, handed, may_miss } = wanted;
        let access = match file_access::look(&path) {
            Ok(access) => Some(access),
            // Certificates are only looked for.
            Err(_) if role == Role::Certificate => return,
            Err(error) if error.kind() == ErrorKind::NotFound && may_miss => return,
            Err(error) if error.kind() == ErrorKind::NotFound && blind_there && is_temporary(&path) => {
                self.unseen.push(Unseen { path, what: Hidden::Private });
                return;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.unseen.push(Unseen { path, what: Hidden::Access(error) });
                return;
            }
        };
        let opens = matches!(role, Role::Token | Role::Credentials | Role::Environment);
        let content = match access.as_ref().filter(|_| opens) {
            None => Content::Unread,
            Some(access) if !access.is_file => {
                self.unseen.push(Unseen { path: path.clone(), what: Hidden::NoFile });
                Content::Unread
            }
            Some(_) => match read(&path) {
                Ok(text) => contents(role, &text),
                Err(error) => {
                    self.unseen.push(Unseen { path: path.clone(), what: Hidden::Content(error) });
                    Content::Unread
                }
            },
        };
        self.files.push(FileSight { role, path, access, content, handed });
    }
}

/// A file that is to be looked at.
struct Wanted {
    role: Role,
    path: PathBuf,
    /// systemd hands it over.
    handed: bool,
    may_miss: bool,
}

/// What is looked at.
struct Lists {
    wanted: Vec<Wanted>,
    /// Where the tunnel's credentials may lie, if no file is named; in cloudflared's order.
    searched: Vec<PathBuf>,
    /// Paths that were named and that say nothing to us.
    unknown: Vec<PathBuf>,
}

fn lists(service: &Service, config: Option<(&Path, &FileConfig)>) -> Lists {
    let launch = service.launch();
    let handed_over = service.handed();
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut unknown = Vec::new();
    let mut want_so = |role: Role, path: &Path, handed: bool, may_miss: bool| {
        // systemd's own copies are only for the service.
        let own = path.starts_with("/run/credentials") || !path.is_absolute();
        if !own && !wanted.iter().any(|known| known.path == path) {
            wanted.push(Wanted { role, path: path.to_owned(), handed, may_miss });
        }
    };
    let mut want = |role: Role, path: &Path, handed: bool| want_so(role, path, handed, false);
    for handed in &handed_over {
        let Some(path) = &handed.path else { continue };
        let named_by = |file: &Option<PathBuf>| file.as_ref().is_some_and(|file| file.ends_with(&handed.id));
        // Not everything that a unit is handed is a tunnel's: a CA is, or the key of an origin.
        if handed.encrypted {
            want(Role::Encrypted, path, true);
        } else if handed.id.contains("json")
            || handed.id.contains("credentials")
            || named_by(&launch.credentials_file)
        {
            want(Role::Credentials, path, true);
        } else if handed.id.contains("token") || named_by(&launch.token_file) {
            want(Role::Token, path, true);
        }
    }
    let of_config = config.map(|(_, config)| config);
    let tokens = launch.token_file.iter().chain(of_config.and_then(|config| config.token_file.as_ref()));
    let credentials =
        launch.credentials_file.iter().chain(of_config.and_then(|config| config.credentials_file.as_ref()));
    let named = tokens
        .map(|path| (Role::Token, path))
        .chain(credentials.map(|path| (Role::Credentials, path)))
        .collect::<Vec<_>>();
    for (role, path) in &named {
        match seen_by_unit(service, path) {
            Some(path) => want(*role, &path, false),
            None if handed_over.iter().any(|handed| path.ends_with(&handed.id)) => {}
            None => unknown.push(path.to_path_buf()),
        }
    }
    if let Some((path, _)) = config {
        want(Role::Config, path, false);
    }
    let files = service.environment_files();
    files.iter().for_each(|(path, may_miss)| want_so(Role::Environment, path, true, *may_miss));
    let beside: Vec<PathBuf> =
        wanted.iter().filter_map(|known| known.path.parent().map(|folder| folder.join("cert.pem"))).collect();
    for path in beside.into_iter().chain(CERTIFICATES.map(PathBuf::from)) {
        if !wanted.iter().any(|known| known.path == path) {
            wanted.push(Wanted { role: Role::Certificate, path, handed: false, may_miss: true });
        }
    }
    let told = service.holds_secret() || of_config.is_some_and(FileConfig::holds_secret);
    let searched = if told || !named.is_empty() { Vec::new() } else { searched(service, config) };
    Lists { wanted, searched, unknown }
}

/// Where cloudflared looks for the credentials of a tunnel that is named by its id, and beside its configuration.
fn searched(service: &Service, config: Option<(&Path, &FileConfig)>) -> Vec<PathBuf> {
    let launch = service.launch();
    let tunnel = launch.tunnel.or_else(|| config.and_then(|(_, config)| config.tunnel.clone()));
    let Some(id) = tunnel.filter(|tunnel| is_uuid(tunnel)) else { return Vec::new() };
    let mut folders = Vec::new();
    if let Some(home) = home(service) {
        folders.extend([".cloudflared", ".cloudflare-warp", "cloudflare-warp"].map(|name| home.join(name)));
    }
    folders.extend(["/etc/cloudflared", "/usr/local/etc/cloudflared"].map(PathBuf::from));
    let beside = config.and_then(|(path, _)| path.parent()).filter(|folder| folder.is_absolute());
    folders.extend(beside.map(Path::to_path_buf));
    folders.into_iter().map(|folder| folder.join(format!("{}.json", id.to_ascii_lowercase()))).collect()
}

/// The path as cloudflared takes it. `None`: it has something in it that only systemd can put in.
fn seen_by_unit(service: &Service, path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    if text.contains(['%', '$']) {
        return None;
    }
    if let Ok(rest) = path.strip_prefix("~") {
        return Some(home(service)?.join(rest));
    }
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let folder = match service.working_directory() {
        home_of_user if home_of_user == "~" => home(service)?,
        folder => PathBuf::from(folder),
    };
    Some(folder.join(path)).filter(|path| path.is_absolute() && !path.to_string_lossy().contains('%'))
}

/// The home of the user that cloudflared runs as.
fn home(service: &Service) -> Option<PathBuf> {
    match service.user().as_deref() {
        None => Some(file_access::home_of("root").unwrap_or_else(|| "/root".into())),
        Some("") => None,
        Some(user) => file_access::home_of(user),
    }
}

/// `PrivateTmp=` gives a unit folders of its own under these names.
fn is_temporary(path: &Path) -> bool {
    ["/tmp", "/var/tmp"].iter().any(|folder| path.starts_with(folder))
}

fn contents(role: Role, text: &str) -> Content {
    match role {
        Role::Token => Content::Token(TokenSight::of(text)),
        Role::Credentials => Content::Credentials(CredentialsSight::of(text)),
        Role::Environment => {
            let value = |name: &str| {
                let value = text.lines().rev().find_map(|line| line.trim().strip_prefix(name));
                value.map(|value| value.trim().trim_matches(['"', '\'']))
            };
            let credentials = || value("TUNNEL_CRED_CONTENTS=").map(TokenSight::of_credentials);
            Content::Environment(value("TUNNEL_TOKEN=").map(TokenSight::of).or_else(credentials))
        }
        Role::Config | Role::Certificate | Role::Encrypted => Content::Unread,
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    // What is no text is no secret of cloudflared's, and is told as that.
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}
