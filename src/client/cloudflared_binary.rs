//! The version of an installed cloudflared, read from its file: no program is started for it.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

/// A release, such as 2026.8.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// The first that knows `--token-file` and `TUNNEL_TOKEN_FILE`.
    pub const TOKEN_FILE: Self = Self(2025, 4, 0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A text that is no version of cloudflared.
#[derive(Debug, thiserror::Error)]
#[error("a version of cloudflared looks like 2026.8.2")]
pub struct NoVersion;

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut parts = text.splitn(3, '.').map(|part| part.parse::<u16>().map_err(|_| NoVersion));
        let mut part = || parts.next().ok_or(NoVersion)?;
        let version = Self(part()?, part()?, part()?);
        if (2018..3000).contains(&version.0) { Ok(version) } else { Err(NoVersion) }
    }
}

/// The linker's setting that carries the version; Go keeps it among the facts of the build.
const MARK: &[u8] = b"main.Version=";
/// No release is near it.
const LARGEST: u64 = 256 * 1024 * 1024;
const PIECE: usize = 1024 * 1024;

/// The version that a binary was built as; `None` where it does not say (other builds than the official ones).
///
/// # Errors
/// The file cannot be read.
pub fn version(path: &Path) -> std::io::Result<Option<Version>> {
    let mut file = File::open(path)?.take(LARGEST);
    let mut piece = Vec::with_capacity(PIECE + 64);
    loop {
        // What is longer than a mark with its version may lie across two pieces.
        let kept = piece.len().saturating_sub(64);
        piece.drain(..kept);
        let before = piece.len();
        file.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if let Some(version) = find(&piece) {
            return Ok(Some(version));
        }
        if piece.len() == before {
            return Ok(None);
        }
    }
}

fn find(bytes: &[u8]) -> Option<Version> {
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(MARK.len()).position(|window| window == MARK) {
        from += at + MARK.len();
        let text: String = bytes[from..]
            .iter()
            .take(16)
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
            .map(|byte| char::from(*byte))
            .collect();
        if let Ok(version) = text.parse() {
            return Some(version);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloudflared");
        let facts = b"build\t-ldflags=\"-X \\\"main.Version=2026.8.2\\\" -X \\\"main.BuildTime=x\\\"\"";
        for padding in [0, PIECE - 20, PIECE - 1, 2 * PIECE + 7] {
            let bytes = [vec![b'm'; padding], facts.to_vec(), vec![0; 4096]].concat();
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(version(&path).unwrap(), Some(Version(2026, 8, 2)), "{padding}");
        }
        std::fs::write(&path, b"main.Version=DEV main.Version=").unwrap();
        assert_eq!(version(&path).unwrap(), None);
        assert!(version(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn versions_are_ordered() {
        let parsed = |text: &str| text.parse::<Version>().ok();
        assert!(parsed("2025.10.1") > parsed("2025.4.0") && parsed("2025.4.0") == Some(Version::TOKEN_FILE));
        assert_eq!(parsed("2025.4"), None);
        assert_eq!(parsed("1.2.3"), None);
    }
}
