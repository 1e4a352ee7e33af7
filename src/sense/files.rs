//! The files that the next cloudflared would read. Credentials are root's alone and stay unread: whether they are
//! there, and when they changed, is enough.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::client::cloudflared_config;
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
            Err(error) if error.kind() == ErrorKind::NotFound => {
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

fn parse_error(config: &Path) -> Option<String> {
    let text = std::fs::read_to_string(config).ok()?;
    cloudflared_config::parse(config, &text).err().map(|error| error.to_string())
}
