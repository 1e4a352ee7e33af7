//! `observed.tsv`: what an observer on the host saw, a row a look. Unknown columns are passed over, missing ones are unknown.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::ReplayError;

/// In seconds. Time passes for the judge whether or not something was seen.
const LONGEST: f64 = 31.0 * 86_400.0;

/// One look at everything.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Seconds since the recording began.
    pub at: f64,
    /// Unix time.
    pub wall: Duration,
    pub cells: BTreeMap<String, String>,
}

impl Row {
    /// A column; `None` where the recording has no such column or nothing in it.
    pub fn cell(&self, name: &str) -> Option<&str> {
        self.cells.get(name).map(String::as_str).filter(|cell| !cell.is_empty() && *cell != "-")
    }

    /// A column that is a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.cell(name)?.parse().ok()
    }
}

/// The rows of the file.
///
/// # Errors
/// The file cannot be read, has no rows, or a row has no time.
pub fn rows(path: &Path) -> Result<Vec<Row>, ReplayError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
    let mut lines = text.lines().enumerate();
    let head: Vec<_> =
        lines.next().map_or_else(Vec::new, |(_, head)| head.split('\t').map(str::to_owned).collect());
    let malformed =
        |line: usize, what: String| ReplayError::Malformed { path: path.to_owned(), line: line + 1, what };
    for wanted in ["seconds", "time"] {
        if !head.iter().any(|name| name == wanted) {
            return Err(malformed(
                0,
                format!("no column `{wanted}`; the first line names the columns, tab between"),
            ));
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let cells: BTreeMap<_, _> = head.iter().cloned().zip(line.split('\t').map(str::to_owned)).collect();
        let mut row = Row { cells, ..Row::default() };
        let seconds = row.number::<f64>("seconds").filter(|at| at.is_finite() && (0.0..1e9).contains(at));
        row.at =
            seconds.ok_or_else(|| malformed(number, "`seconds` must be a number such as 12.5".into()))?;
        let time = row.cell("time").and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let time = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        let what = "`time` must be a time such as 2026-11-23T10:00:00Z";
        row.wall = Duration::from_millis(time.ok_or_else(|| malformed(number, what.into()))?);
        if rows.last().is_some_and(|last| row.at < last.at) {
            return Err(malformed(number, "`seconds` must not go back".into()));
        }
        if rows.first().is_some_and(|first| LONGEST < row.at - first.at) {
            let what = "`seconds` is more than 31 days after the first row; write the seconds since the recording began";
            return Err(malformed(number, what.into()));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(malformed(0, "no row; there is nothing to judge".into()));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_a_month_ahead_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("observed.tsv");
        let read = |second: &str| {
            let time = "2026-11-23T10:00:00Z";
            std::fs::write(&path, format!("seconds\ttime\n0\t{time}\n{second}\t{time}\n")).unwrap();
            rows(&path)
        };
        assert_eq!(read("2678400").unwrap().len(), 2, "31 days");
        let error = read("900000000").unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{}:3: `seconds` is more than 31 days after the first row; write the seconds since the recording began",
                path.display()
            )
        );
    }
}
