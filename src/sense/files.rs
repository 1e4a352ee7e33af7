//! The files that the next cloudflared would read. Credentials are root's alone and stay unread: whether they are
//! there, and when they changed, is enough.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::client::cloudflared_config::{self, ConfigError};
use crate::client::host::modified;
use crate::warden::evidence::FilesSight;

/// Which files a unit's connector reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub config: Option<PathBuf>,
    /// Credentials or token file.
    pub credentials: Option<PathBuf>,
}

/// Looks at them.
pub fn look(files: &Files) -> FilesSight {
    let mut sight = FilesSight::default();
    for path in [&files.config, &files.credentials].into_iter().flatten() {
        match modified(path) {
            Ok(changed) => sight.changed = sight.changed.max(Some(changed)),
            Err(error) if error.kind() == ErrorKind::NotFound && is_the_same_for_us(path) => {
                sight.unusable = Some(format!("{} does not exist", path.display()));
            }
            // Not ours to look at is no reason to doubt it.
            Err(_) => (),
        }
    }
    if sight.unusable.is_none()
        && let Some(config) = &files.config
    {
        sight.unusable = parse_error(config);
    }
    sight
}

/// The unit finds there what we find. It does not in the folders that `PrivateTmp=` gives to each of us, nor where systemd puts
/// credentials for as long as the unit runs; and a path that does not begin at the root, or begins at a home (`~`), is the
/// unit's to complete.
fn is_the_same_for_us(path: &Path) -> bool {
    path.is_absolute()
        && !["/tmp", "/var/tmp", "/run/credentials"].iter().any(|folder| path.starts_with(folder))
}

fn parse_error(config: &Path) -> Option<String> {
    match cloudflared_config::read(config) {
        Err(error @ ConfigError::Yaml { .. }) => Some(error.to_string()),
        // What we do not read, cloudflared may.
        Ok(_) | Err(ConfigError::Read { .. } | ConfigError::TooLarge { .. }) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_a_pipe_is_waited_for_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("config.yml");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(look(&Files { config: Some(pipe.clone()), credentials: None }).unusable, None);
        std::fs::remove_file(&pipe).unwrap();
        std::fs::write(&pipe, "ingress: [").unwrap();
        assert!(look(&Files { config: Some(pipe), credentials: None }).unusable.is_some());
    }

    #[test]
    fn a_file_that_only_the_unit_can_see_is_not_missing() {
        let credentials = |path: &str| look(&Files { config: None, credentials: Some(path.into()) }).unusable;
        for path in [
            "/run/credentials/cloudflared.service/tunnel-token",
            "/tmp/no-such-token",
            "/var/tmp/no-such-token",
            "no-such-folder/credentials.json",
            "~/.cloudflared/no-such-credentials.json",
        ] {
            assert_eq!(credentials(path), None, "{path}");
        }
        let gone = credentials("/etc/no-such-folder/credentials.json");
        assert_eq!(gone.as_deref(), Some("/etc/no-such-folder/credentials.json does not exist"));
    }
}
