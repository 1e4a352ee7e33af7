//! Why a file was not read, and what to do about it.

use std::io::{Error, ErrorKind};

/// In words, with a remedy; `instead` says which file to name.
pub(super) fn told(error: &Error, instead: &str) -> String {
    let kind = error.kind();
    if kind == ErrorKind::PermissionDenied {
        return "permission denied; run it as root, or as a user that may read the file".to_owned();
    }
    let ours = [(ErrorKind::NotFound, "no such file"), (ErrorKind::IsADirectory, "it is a directory")];
    match ours.iter().find(|(known, _)| *known == kind) {
        Some((_, says)) => format!("{says}; {instead}"),
        None if kind == ErrorKind::InvalidData => format!("{error}; {instead}"),
        None => format!("{error}; look at the file and the disk that it is on"),
    }
}
