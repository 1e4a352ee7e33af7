//! The files that hold what a tunnel proves itself with, looked at: who may read them, and what is wrong in them. Nothing
//! secret leaves this module.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::audit::credentials::{Content, FileSight, Role, Runner};
use crate::audit::service::Service;
use crate::client::cloudflared_config::{CredentialsSight, FileConfig, TokenSight};
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
        for wanted in wanted(service, config) {
            step(&wanted.path);
            seen.one(wanted, blind_there);
        }
        seen
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

fn wanted(service: &Service, config: Option<(&Path, &FileConfig)>) -> Vec<Wanted> {
    let launch = service.launch();
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut want_so = |role: Role, path: &Path, handed: bool, may_miss: bool| {
        // systemd's own copies are only for the service.
        let own = path.starts_with("/run/credentials") || !path.is_absolute();
        if !own && !wanted.iter().any(|known| known.path == path) {
            wanted.push(Wanted { role, path: path.to_owned(), handed, may_miss });
        }
    };
    let mut want = |role: Role, path: &Path, handed: bool| want_so(role, path, handed, false);
    for handed in service.handed() {
        let Some(path) = &handed.path else { continue };
        // Not everything that a unit is handed is a tunnel's: a CA is, or the key of an origin.
        if handed.encrypted {
            want(Role::Encrypted, path, true);
        } else if handed.id.contains("json") || handed.id.contains("credentials") {
            want(Role::Credentials, path, true);
        } else if handed.id.contains("token")
            || launch.token_file.as_ref().is_some_and(|file| file.ends_with(&handed.id))
        {
            want(Role::Token, path, true);
        }
    }
    let of_config = config.map(|(_, config)| config);
    let tokens = launch.token_file.iter().chain(of_config.and_then(|config| config.token_file.as_ref()));
    tokens.for_each(|path| want(Role::Token, path, false));
    let credentials =
        launch.credentials_file.iter().chain(of_config.and_then(|config| config.credentials_file.as_ref()));
    credentials.for_each(|path| want(Role::Credentials, path, false));
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
    wanted
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
            let value = text.lines().rev().find_map(|line| line.trim().strip_prefix("TUNNEL_TOKEN="));
            Content::Environment(value.map(|value| TokenSight::of(value.trim().trim_matches(['"', '\'']))))
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
