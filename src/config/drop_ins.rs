//! Which files are read: the main one, then the drop-ins of three folders by file name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// Where configuration lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Need not exist.
    pub main: PathBuf,
    /// Need not exist; a file in a later folder masks one of the same name in an earlier one.
    pub drop_ins: [PathBuf; 3],
}

impl Roots {
    /// The places on a host.
    pub fn system() -> Self {
        Self::under(Path::new("/"))
    }

    /// The same places below another root.
    pub fn under(root: &Path) -> Self {
        let conf_d = |folder: &str| root.join(folder).join("tunnelwarden/conf.d");
        Self {
            main: root.join("etc/tunnelwarden/tunnelwarden.toml"),
            drop_ins: [conf_d("usr/lib"), conf_d("run"), conf_d("etc")],
        }
    }
}

/// The files to read, least important first.
#[derive(Default)]
pub(super) struct Found {
    pub files: Vec<PathBuf>,
    pub warnings: Vec<String>,
    pub errors: Vec<ConfigError>,
}

pub(super) fn find(roots: &Roots) -> Found {
    let mut found = Found::default();
    if is_there(&roots.main) && !masked(&roots.main) {
        found.files.push(roots.main.clone());
    }
    let mut by_name: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in &roots.drop_ins {
        match entries(folder) {
            Ok(entries) => by_name.extend(entries),
            Err(source) => found.errors.push(ConfigError::Unreadable { path: folder.clone(), source }),
        }
    }
    for (name, path) in by_name {
        let name = name.to_string_lossy();
        if name.starts_with('.') || masked(&path) {
            continue;
        }
        if name.ends_with(".toml") {
            found.files.push(path);
        } else {
            found
                .warnings
                .push(format!("{} is not read, because its name does not end in .toml", path.display()));
        }
    }
    found
}

/// A link that leads nowhere is there: someone meant something by it.
fn is_there(path: &Path) -> bool {
    !matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

fn masked(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

fn entries(folder: &Path) -> io::Result<Vec<(OsString, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| entry.map(|entry| (entry.file_name(), entry.path()))).collect()
}
