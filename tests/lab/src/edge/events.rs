//! What happened at the edge and when, one JSON object a line, so that a bench can compute times.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Appends events to a file; without one it only remembers what visitors saw last.
#[derive(Default)]
pub struct Events {
    file: Option<Mutex<File>>,
    last_answer: Mutex<HashMap<String, Answer>>,
}

/// What a visitor got: the status and, where the edge made the page, its error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub code: Option<u16>,
}

impl Events {
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn to_file(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file: Some(Mutex::new(file)), ..Self::default() })
    }

    /// Writes one event with the time in `unix_ms`; `details` is a JSON object.
    pub fn note(&self, event: &str, details: Value) {
        let Some(file) = &self.file else { return };
        let mut line = json!({ "unix_ms": jiff::Timestamp::now().as_millisecond(), "event": event });
        if let (Some(line), Value::Object(details)) = (line.as_object_mut(), details) {
            line.extend(details);
        }
        // A full disk must not stop the edge.
        let _ = writeln!(lock(file), "{line}");
    }

    /// Notes an answer to a visitor if it differs from the one before for this name.
    pub fn answered(&self, host: &str, answer: Answer) {
        let before = lock(&self.last_answer).insert(host.to_owned(), answer);
        if before != Some(answer) {
            self.note("public", json!({ "host": host, "status": answer.status, "code": answer.code }));
        }
    }
}

/// A lock whose data stays usable although a holder panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
