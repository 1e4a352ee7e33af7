//! `incidents.jsonl`: one line for each incident with its timeline, and one older file beside it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::atomic::{neighbour, read_bounded, sync_folder};

/// At this size the file becomes the older one.
const FULL: u64 = 1 << 20;
/// A file can be longer by one line than [`FULL`].
const LONGEST: u64 = 2 * FULL;

/// One incident. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct IncidentRecord {
    pub id: String,
    /// Name of the unit.
    pub tunnel: String,
    pub cause: String,
    pub outcome: String,
    pub opened_wall: u64,
    pub closed_wall: u64,
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One thing that happened in it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Step {
    pub wall: u64,
    pub what: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The log, by its path.
#[derive(Clone, Debug)]
pub struct IncidentLog {
    path: PathBuf,
}

/// What could be read back.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// Oldest first.
    pub incidents: Vec<IncidentRecord>,
    /// What was passed over, with file and line; a torn last line is expected after a crash and not told.
    pub passed_over: Vec<String>,
}

impl IncidentLog {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Adds a line, durably when this returns. A line that a crash has torn is ended first, so that
    /// it spoils no other.
    pub fn append(&self, incident: &IncidentRecord) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(incident)
            .map_err(|source| StoreError::Encode { path: self.path.clone(), source: Box::new(source) })?;
        line.push(b'\n');
        self.rotate(line.len() as u64).map_err(|source| StoreError::io(&self.path, "rotated", source))?;
        self.append_line(&line).map_err(|source| StoreError::io(&self.path, "written", source))
    }

    fn append_line(&self, line: &[u8]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        let length = file.metadata()?.len();
        let written = write_after(&mut file, length, line).and_then(|()| file.sync_data());
        if written.is_err() {
            // On a full disk half a line may be there. If it stays, the next line ends it first.
            let _second_failure = file.set_len(length);
        }
        written
    }

    fn rotate(&self, more: u64) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(meta) if FULL < meta.len().saturating_add(more) && meta.len() != 0 => {
                fs::rename(&self.path, self.older())?;
                sync_folder(&self.path)
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn older(&self) -> PathBuf {
        neighbour(&self.path, ".1")
    }

    /// All incidents that are still kept.
    ///
    /// # Errors
    /// Only if a file that is there cannot be read at all.
    pub fn read(&self) -> Result<Read, StoreError> {
        let mut read = Read::default();
        for path in [self.older(), self.path.clone()] {
            match read_bounded(&path, LONGEST) {
                Ok(bytes) => read_lines(&path, &bytes, &mut read),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::io(&path, "read", source)),
            }
        }
        Ok(read)
    }
}

fn write_after(file: &mut fs::File, length: u64, line: &[u8]) -> io::Result<()> {
    let mut last = [b'\n'];
    if length != 0 {
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    file.write_all(line)
}

fn read_lines(path: &Path, bytes: &[u8], read: &mut Read) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    for (at, line) in lines.iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(incident) => read.incidents.push(incident),
            // The last piece has no line end: it was being written.
            Err(_) if at + 1 == lines.len() => {}
            Err(error) => read.passed_over.push(format!("{}:{}: {error}", path.display(), at + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(id: &str, detail: &str) -> IncidentRecord {
        IncidentRecord {
            id: id.to_owned(),
            tunnel: "cloudflared.service".to_owned(),
            cause: "ConnectorPhantom".to_owned(),
            outcome: "Cured".to_owned(),
            opened_wall: 1,
            closed_wall: 2,
            steps: vec![Step { wall: 1, what: "opened".to_owned(), detail: detail.to_owned() }],
        }
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incidents.jsonl");
        let log = IncidentLog::new(path.clone());
        assert_eq!(log.read().unwrap(), Read::default());
        log.append(&incident("a", "")).unwrap();
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(br#"{"id":"b","tun"#);
        fs::write(&path, torn).unwrap();
        assert_eq!(log.read().unwrap(), Read { incidents: vec![incident("a", "")], passed_over: vec![] });
        log.append(&incident("c", "line\nbreak")).unwrap();
        let read = log.read().unwrap();
        assert_eq!(read.incidents, [incident("a", ""), incident("c", "line\nbreak")]);
        assert_eq!(read.passed_over.len(), 1);
        assert!(
            read.passed_over[0].starts_with(&format!("{}:2: ", path.display())),
            "{:?}",
            read.passed_over
        );
    }

    #[test]
    fn a_full_disk_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incidents.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let error = IncidentLog::new(path).append(&incident("a", "")).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incidents.jsonl");
        let log = IncidentLog::new(path.clone());
        let long = "x".repeat(100_000);
        for number in 0..40 {
            log.append(&incident(&number.to_string(), &long)).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= FULL);
        }
        let read = log.read().unwrap();
        assert_eq!(read.incidents.last().unwrap().id, "39");
        assert!((10..=20).contains(&read.incidents.len()), "{}", read.incidents.len());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
