//! Replacing a file so that a reader, or a crash, sees the old or the new one and nothing between.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::StoreError;

/// Where something was kept.
#[derive(Debug)]
#[must_use]
pub enum Stored {
    /// Where it belongs.
    Primary,
    /// In `at`, which does not survive a reboot, because of `why`.
    Fallback { at: PathBuf, why: StoreError },
}

/// Whether it matters that something is on disk when we go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// It is there before anything is done that rests on it.
    Now,
    /// When the disk gets to it. A loss of power may leave the old one, an empty file, or zeros.
    SomeTime,
}

/// Writes `bytes` to a neighbour of `path`, and puts it in the place of `path`.
pub(super) fn replace(path: &Path, bytes: &[u8], durable: Durable) -> Result<(), StoreError> {
    let new = neighbour(path, ".new");
    let written = fill(&new, bytes, durable).map_err(|source| StoreError::io(&new, "written", source));
    let renamed = written.and_then(|()| {
        fs::rename(&new, path).map_err(|source| StoreError::io(path, "replaced", source))?;
        match durable {
            Durable::Now => sync_folder(path).map_err(|source| StoreError::io(path, "made durable", source)),
            Durable::SomeTime => Ok(()),
        }
    });
    if renamed.is_err() {
        // A half-written neighbour takes space and tells nobody anything.
        let _absent_is_fine = fs::remove_file(&new);
    }
    renamed
}

/// Keeps `bytes` in `primary`, or under the same file name in `fallback` (on a tmpfs, under `/run`)
/// if the disk is full or read-only. What lay in `fallback` is removed once `primary` works again, so
/// that it can never be taken for newer.
///
/// # Errors
/// The fallback's if that failed too; the primary's if no other place would help.
pub fn write_or_fallback(primary: &Path, fallback: &Path, bytes: &[u8]) -> Result<Stored, StoreError> {
    let at = fallback.join(primary.file_name().unwrap_or_default());
    match replace(primary, bytes, Durable::Now) {
        Ok(()) => match fs::remove_file(&at) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(&at, "removed", source))
            }
            Ok(()) | Err(_) => Ok(Stored::Primary),
        },
        Err(why) if why.elsewhere_may_work() => {
            replace(&at, bytes, Durable::Now).map(|()| Stored::Fallback { at, why })
        }
        Err(why) => Err(why),
    }
}

fn fill(path: &Path, bytes: &[u8], durable: Durable) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(bytes)?;
    match durable {
        Durable::Now => file.sync_all(),
        Durable::SomeTime => Ok(()),
    }
}

/// A rename is on disk when its folder is.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// `path` with something after its name.
pub(super) fn neighbour(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A regular file of at most `longest` bytes; a longer one is an error and not cut short.
pub(super) fn read_bounded(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let refused = |says| Err(io::Error::new(io::ErrorKind::InvalidData, says));
    if !fs::metadata(path)?.is_file() {
        return refused("not a regular file");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    if longest < bytes.len() as u64 { refused("far longer than anything we write") } else { Ok(bytes) }
}
