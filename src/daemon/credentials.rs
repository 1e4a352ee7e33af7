//! What proves to Cloudflare's API who we are: from systemd, from a file, or from our environment.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::client::cloudflare_api::Credentials;
use crate::client::http::ServiceToken;
use crate::config::{Api, Credential};

/// Whatever is longer is no token.
const LONGEST: u64 = 4096;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub credentials: Option<Credentials>,
    /// What the operator should know about where they come from, or why there are none.
    pub warning: Option<String>,
}

/// Looks for credentials, the safest first. That there are none is no fault, unless a file was named for them.
pub(crate) fn find(api: &Api, environment: impl Fn(&str) -> Option<String>) -> Found {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    let place = place(&api.token, &environment);
    let named_file = matches!(api.token, Credential::File(_));
    let mut warning = None;
    match place.map(|place| (read(&place), place)) {
        Some((Ok(token), _)) => {
            return Found { credentials: Some(Credentials::Token(token)), warning: None };
        }
        Some((Err(error), place)) if named_file || error.kind() != io::ErrorKind::NotFound => {
            warning = Some(format!("the API token in {} cannot be read: {error}", place.display()));
        }
        Some((Err(_), _)) | None => (),
    }
    if let Some(token) = set("CLOUDFLARE_API_TOKEN") {
        let why = "the API token comes from the environment, where others may read it: make it a systemd credential";
        return Found { credentials: Some(Credentials::Token(token.into())), warning: Some(why.into()) };
    }
    match global_key(set).filter(|_| api.global_key) {
        Some(credentials) => Found { credentials: Some(credentials), warning: Some(ALL_POWERFUL.into()) },
        None => Found { credentials: None, warning },
    }
}

pub(crate) const ALL_POWERFUL: &str =
    "the global key can do everything in its account: make a token that may only read";
/// Variables that may hold an e-mail address, and those of the global key that belongs to it.
const KEYS: [(&str, &str); 2] = [("CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY"), ("CF_EMAIL", "CF_KEY")];

fn global_key(set: impl Fn(&str) -> Option<String>) -> Option<Credentials> {
    let (email, key) = KEYS.into_iter().find_map(|(email, key)| set(email).zip(set(key)))?;
    Some(Credentials::GlobalKey { email: email.into(), key: key.into() })
}

/// What a person's command goes by: first what they gave it themselves, then the daemon's own credential, which root may
/// read. A global key that they set for the command needs no other permission, and is warned of.
pub(crate) fn for_command(api: &Api, environment: impl Fn(&str) -> Option<String>) -> Found {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    if let Some(token) = set("CLOUDFLARE_API_TOKEN") {
        return Found { credentials: Some(Credentials::Token(token.into())), warning: None };
    }
    let mut warning = None;
    let places: Vec<PathBuf> = match &api.token {
        Credential::Named(name) => {
            let own = set("CREDENTIALS_DIRECTORY");
            own.iter().map(String::as_str).chain(DAEMONS).map(|folder| Path::new(folder).join(name)).collect()
        }
        Credential::File(path) => vec![path.clone()],
    };
    for place in places {
        match read(&place) {
            Ok(token) => return Found { credentials: Some(Credentials::Token(token)), warning: None },
            Err(error) if matches!(api.token, Credential::File(_)) => {
                warning = Some(format!("the API token in {} cannot be read: {error}", place.display()));
            }
            // Others' credentials are not there, or not for whoever runs the command.
            Err(_) => (),
        }
    }
    match global_key(set) {
        Some(credentials) => Found { credentials: Some(credentials), warning: Some(ALL_POWERFUL.into()) },
        None => Found { credentials: None, warning },
    }
}

/// Where systemd keeps what the daemon is given: decrypted while it runs, and as it was put there.
const DAEMONS: [&str; 2] = ["/run/credentials/tunnelwarden.service", "/etc/credstore"];

/// An e-mail address without its key: whoever set it means the global key.
pub(crate) fn email_alone(environment: impl Fn(&str) -> Option<String>) -> Option<SecretString> {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    KEYS.into_iter().find_map(|(email, key)| set(email).filter(|_| set(key).is_none())).map(Into::into)
}

impl Found {
    /// The same was found.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let credentials = match (&self.credentials, &other.credentials) {
            (Some(ours), Some(theirs)) => ours.same(theirs),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        credentials && self.warning == other.warning
    }
}

/// The Access service token that lies there.
///
/// # Errors
/// What is wrong, in words without the token.
pub(super) fn access(
    credential: &Credential,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<ServiceToken, String> {
    let Some(place) = place(credential, &environment) else {
        return Err(format!(
            "systemd gives us no credential {}; write LoadCredential={}:/path in a drop-in of our unit",
            credential.written(),
            credential.written()
        ));
    };
    let text = read(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    ServiceToken::parse(&text).map_err(|error| format!("{}: {error}", place.display()))
}

fn place(credential: &Credential, environment: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    match credential {
        Credential::Named(name) => {
            let folder = environment("CREDENTIALS_DIRECTORY").filter(|folder| !folder.trim().is_empty());
            folder.map(|folder| PathBuf::from(folder).join(name))
        }
        Credential::File(path) => Some(path.clone()),
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    // A pipe would be waited for, by the thread that decides.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn api(token: Credential, global_key: bool) -> Api {
        Api { account_id: None, token, global_key, period: Duration::from_secs(60) }
    }

    fn holds(found: &Found, token: &str) -> bool {
        found.credentials.as_ref().is_some_and(|found| found.same(&Credentials::Token(token.into())))
    }

    #[test]
    fn a_credential_comes_before_the_environment_and_its_absence_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let named = || api(Credential::Named("cloudflare-api-token".into()), false);
        let environment = |name: &str| match name {
            "CREDENTIALS_DIRECTORY" => Some(folder.path().display().to_string()),
            "CLOUDFLARE_API_TOKEN" => Some("from-the-environment".into()),
            _ => None,
        };
        let found = find(&named(), environment);
        assert!(holds(&found, "from-the-environment"));
        assert!(found.warning.is_some_and(|text| text.contains("environment")));
        let nothing = find(&named(), |name| environment(name).filter(|_| name == "CREDENTIALS_DIRECTORY"));
        assert!(nothing.credentials.is_none() && nothing.warning.is_none());
        std::fs::write(folder.path().join("cloudflare-api-token"), "from-systemd").unwrap();
        let found = find(&named(), environment);
        assert!(holds(&found, "from-systemd") && found.warning.is_none());
        assert!(found.same(&find(&named(), environment)) && !found.same(&nothing));
        assert!(!format!("{found:?}").contains("from-systemd"));
    }

    #[test]
    fn a_service_token_is_read_and_its_absence_told_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let environment =
            |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| folder.path().display().to_string());
        let named = Credential::Named("cf-access-app".into());
        assert!(access(&named, |_| None).unwrap_err().contains("LoadCredential=cf-access-app"));
        assert!(access(&named, environment).unwrap_err().contains("cf-access-app: No such file"));
        std::fs::write(folder.path().join("cf-access-app"), "only-one-line-of-it").unwrap();
        let error = access(&named, environment).unwrap_err();
        assert!(error.contains("two lines") && !error.contains("only-one"), "{error}");
        std::fs::write(folder.path().join("cf-access-app"), "id.access\nthe-secret\n").unwrap();
        let token = access(&named, environment).unwrap();
        assert!(!format!("{token:?}").contains("the-secret"));
        let file = Credential::File(folder.path().join("cf-access-app"));
        assert!(access(&file, |_| None).is_ok());
    }

    #[test]
    fn a_named_file_that_is_not_there_is_told() {
        let found = find(&api(Credential::File("/nonexistent/token".into()), false), |_| None);
        assert!(found.credentials.is_none());
        assert!(found.warning.is_some_and(|text| text.contains("/nonexistent/token")));
    }

    #[test]
    fn a_named_pipe_is_waited_for_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("token");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let (told, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let found = find(&api(Credential::File(pipe.clone()), false), |_| None);
            told.send((found.warning, access(&Credential::File(pipe), |_| None).unwrap_err())).unwrap();
        });
        let (warning, error) = answer.recv_timeout(Duration::from_secs(10)).expect("it waits for a writer");
        assert!(warning.is_some_and(|text| text.ends_with("token cannot be read: it is not a regular file")));
        assert!(error.ends_with("token: it is not a regular file"), "{error}");
    }

    #[test]
    fn a_command_takes_what_its_person_gave_it_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "from-the-file").unwrap();
        let api = api(Credential::File(file.clone()), false);
        let with = |known: &'static [(&str, &str)]| {
            move |name: &str| known.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let token =
            for_command(&api, with(&[("CLOUDFLARE_API_TOKEN", "mine"), ("CF_EMAIL", "e"), ("CF_KEY", "k")]));
        assert!(holds(&token, "mine") && token.warning.is_none());
        let key = with(&[("CF_EMAIL", "e"), ("CF_KEY", "k")]);
        assert!(holds(&for_command(&api, key), "from-the-file"), "the host's token is better than a key");
        std::fs::remove_file(file).unwrap();
        let found = for_command(&api, key);
        assert!(matches!(found.credentials, Some(Credentials::GlobalKey { .. })), "{found:?}");
        assert!(found.warning.is_some_and(|text| text.contains("global key")));
        let nothing = for_command(&api, with(&[("CF_EMAIL", "e"), ("CF_KEY", " ")]));
        assert!(nothing.credentials.is_none() && nothing.warning.unwrap().contains("cannot be read"));
        assert!(email_alone(with(&[("CF_EMAIL", "e")])).is_some() && email_alone(key).is_none());
    }

    #[test]
    fn a_global_key_is_used_only_where_that_was_asked_for() {
        let named = |allowed| api(Credential::Named("t".into()), allowed);
        for (email, key) in [("CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY"), ("CF_EMAIL", "CF_KEY")] {
            let environment = |name: &str| (name == email || name == key).then(|| "x".to_owned());
            assert!(find(&named(false), environment).credentials.is_none());
            let found = find(&named(true), environment);
            assert!(
                matches!(found.credentials, Some(Credentials::GlobalKey { .. })) && found.warning.is_some()
            );
            assert!(
                find(&named(true), |name| environment(name).filter(|_| name == key)).credentials.is_none()
            );
        }
    }
}
