//! Unit files and drop-ins of systemd as text. Values may hold a tunnel's token, so nothing here has a `Debug`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::systemd::UnitState;

/// systemd itself takes no line longer than this, and no unit is near it.
const FILE_LIMIT: u64 = 1024 * 1024;

/// A unit file that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UnitFileError {
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no regular file: name a unit file such as /etc/systemd/system/cloudflared.service", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is longer than 1 MiB, which no unit is", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: this is not UTF-8 text, so it is no unit file", path.display())]
    NotText { path: PathBuf, line: u64 },
    #[error("{}:{line}: this is neither a [Section] nor Key=Value: mend the line, or begin it with # to leave it out", path.display())]
    Line { path: PathBuf, line: u64 },
    #[error("{}: there is no [Service] section: name the unit file of cloudflared, or a drop-in beside it", path.display())]
    NoService { path: PathBuf },
}

/// One assignment.
#[derive(Clone)]
pub struct Setting {
    pub section: String,
    pub key: String,
    /// Empty: what was assigned before is forgotten.
    pub value: Zeroizing<String>,
    pub file: PathBuf,
    /// Of its first line, counted from 1.
    pub line: u64,
}

/// Reads a unit file or a drop-in.
///
/// # Errors
/// The file cannot be read, or has a line that is none of a unit's; with file, line and remedy.
pub fn read(path: &Path) -> Result<Vec<Setting>, UnitFileError> {
    let failed = |source| UnitFileError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(UnitFileError::NotAFile { path: path.into() });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(failed)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if FILE_LIMIT < bytes.len() as u64 {
        return Err(UnitFileError::TooLarge { path: path.into() });
    }
    let not_text = |good: usize| {
        let line = 1 + bytes[..good].iter().filter(|byte| **byte == b'\n').count() as u64;
        UnitFileError::NotText { path: path.into(), line }
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(error.valid_up_to()))?;
    match text.find('\0') {
        Some(nul) => Err(not_text(nul)),
        None => parse(path, text),
    }
}

/// Reads the text of one; `path` is for places and errors.
///
/// # Errors
/// A line that is none of a unit's.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, UnitFileError> {
    let mut settings = Vec::new();
    let mut section = String::new();
    // systemd passes over the mark that some editors begin a file with.
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let line = at as u64 + 1;
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let mut whole = Zeroizing::new(trimmed.to_owned());
        while whole.ends_with('\\') {
            whole.pop();
            // Comments between continued lines are passed over, as systemd does.
            let next = lines.by_ref().map(|(_, next)| next.trim()).find(|next| !next.starts_with(['#', ';']));
            let Some(next) = next else { break };
            whole.push(' ');
            whole.push_str(next);
        }
        let wrong = || UnitFileError::Line { path: path.into(), line };
        let (key, value) = whole.split_once('=').ok_or_else(wrong)?;
        let key = key.trim();
        if section.is_empty()
            || key.is_empty()
            || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        {
            return Err(wrong());
        }
        settings.push(Setting {
            section: section.clone(),
            key: key.to_owned(),
            value: Zeroizing::new(value.trim().to_owned()),
            file: path.into(),
            line,
        });
    }
    Ok(settings)
}

/// What the files behind a unit say, as far as they may be read.
pub fn of_unit(state: &UnitState) -> Vec<Setting> {
    let files =
        std::iter::once(&state.fragment_path).chain(&state.drop_in_paths).filter(|path| !path.is_empty());
    files.filter_map(|path| read(Path::new(path)).ok()).flatten().collect()
}

/// A unit file with the drop-ins beside it (`NAME.service.d/*.conf`), in the order in which they count.
///
/// # Errors
/// See [`read`]; also if the unit file has no `[Service]`.
pub fn with_drop_ins(path: &Path) -> Result<Vec<Setting>, UnitFileError> {
    let mut settings = read(path)?;
    if !settings.iter().any(|setting| setting.section == "Service") {
        return Err(UnitFileError::NoService { path: path.into() });
    }
    let mut folder = path.as_os_str().to_owned();
    folder.push(".d");
    let mut drop_ins: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    drop_ins.sort();
    for drop_in in drop_ins {
        settings.extend(read(&drop_in)?);
    }
    Ok(settings)
}

/// A span of time in µs; `u64::MAX` = for ever. `None` where systemd would not take it either.
pub fn span(text: &str) -> Option<u64> {
    let text = text.trim();
    if text == "infinity" {
        return Some(u64::MAX);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut sum: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "us" | "µs" | "usec" => 1e-6,
            "ms" | "msec" => 1e-3,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            _ => return None,
        };
        sum += number * seconds;
        rest = rest[letters..].trim_start();
    }
    Some((sum * 1e6) as u64)
}

/// The words of a value, by systemd's rules of quoting.
pub fn words(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => found.extend(word.take()),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_their_place() {
        let text = "# a\n[Unit]\nDescription=x = y\n\n[Service]\nExecStart=/bin/a \\\n  # no part of it\n  b\nRestart =on-failure\n";
        let settings = parse(Path::new("u"), text).unwrap_or_else(|error| panic!("{error}"));
        let told: Vec<_> = settings
            .iter()
            .map(|set| format!("{}:{} {}={}", set.line, set.section, set.key, *set.value))
            .collect();
        assert_eq!(
            told,
            ["3:Unit Description=x = y", "6:Service ExecStart=/bin/a  b", "9:Service Restart=on-failure"]
        );
        let marked =
            parse(Path::new("u"), &format!("\u{feff}{text}")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((marked.len(), marked[0].line, marked[0].section.as_str()), (3, 3, "Unit"));
        assert_eq!(
            parse(Path::new("u"), "\u{feff}[Service]\nType=notify\n").map(|set| set.len()).ok(),
            Some(1)
        );
        for (wrong, line) in [
            ("[Service]\nnonsense\n", 2),
            ("a=b\n", 1),
            ("[S]\n=b\n", 2),
            ("[S]\n\u{7f}E=b\n", 2),
            ("\u{feff}\u{feff}[S]\na=b\n", 1),
        ] {
            let error = parse(Path::new("u"), wrong).err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.starts_with(&format!("u:{line}: "))),
                "{wrong:?}: {error:?}"
            );
        }
    }

    #[test]
    fn spans_are_read_as_systemd_reads_them() {
        for (text, seconds) in [
            ("15", 15.0),
            ("5s", 5.0),
            ("1min 30s", 90.0),
            ("1m30", 90.0),
            ("100ms", 0.1),
            ("0", 0.0),
            ("2h", 7200.0),
        ] {
            assert_eq!(span(text), Some((seconds * 1e6) as u64), "{text}");
        }
        assert_eq!(span("infinity"), Some(u64::MAX));
        for wrong in ["", "soon", "5 parsecs", "-1", "1.2.3"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn words_are_split_and_unquoted() {
        assert_eq!(words(r#"/bin/a  "b c" 'd "e"' f\ g "" "#), ["/bin/a", "b c", "d \"e\"", "f g", ""]);
        assert_eq!(words("\"open"), ["open"]);
    }
}
