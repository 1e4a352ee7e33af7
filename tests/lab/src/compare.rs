//! Two recordings of one scenario side by side, the stand-in's and the real one's: what the host saw, and what cloudflared wrote.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use regex_lite::Regex;

const WIDTH: usize = 68;

/// Tells both, line by line; what only one of them has is marked.
///
/// # Errors
/// A folder is no recording.
pub fn tell(standin: &Path, real: &Path) -> Result<String> {
    let mut text = String::new();
    let _ = writeln!(text, "  {:WIDTH$}  the real one", "the stand-in");
    let told: [(&str, Read); 2] = [("what the host saw", seen), ("what it wrote", wrote)];
    for (what, read) in told {
        let (left, right) = (read(standin)?, read(real)?);
        let _ = writeln!(text, "-- {what}");
        for (one, other) in aligned(&left, &right, |one, other| one.what == other.what) {
            let mark = if one.is_some() && other.is_some() { ' ' } else { '*' };
            let [one, other] = [one, other].map(|line| line.map_or_else(String::new, Line::cut));
            let _ = writeln!(text, "{mark} {one:WIDTH$}  {other}");
        }
    }
    Ok(text)
}

/// Reads one part of a recording.
type Read = fn(&Path) -> Result<Vec<Line>>;

/// A line of one side.
struct Line {
    /// Differs by nature.
    when: String,
    /// Is to be the same.
    what: String,
}

impl Line {
    fn cut(&self) -> String {
        format!("{}{}", self.when, self.what).chars().take(WIDTH).collect()
    }
}

/// Seconds, public answer, `/ready` and the unit's state, where one of them changed.
fn seen(folder: &Path) -> Result<Vec<Line>> {
    let text = read(folder, "observed.tsv")?;
    let mut lines: Vec<Line> = Vec::new();
    for row in text.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [seconds, _, public, ready, unit, ..] = columns.as_slice() else { continue };
        let state = unit.split(' ').next().unwrap_or_default();
        let restarts = unit.split(' ').nth(2).unwrap_or_default();
        let when = format!("{:>7.1}  ", seconds.parse::<f64>().unwrap_or(0.0));
        let what = format!("{public} {ready} {state} {restarts}");
        if lines.last().is_none_or(|last| last.what != what) {
            lines.push(Line { when, what });
        }
    }
    Ok(lines)
}

/// cloudflared's lines without what differs by nature: times, ids, addresses, ports. A line that repeats is told once.
fn wrote(folder: &Path) -> Result<Vec<Line>> {
    let journal = fs::read(folder.join("journal.export")).context("no journal.export")?;
    let journal = String::from_utf8_lossy(&journal);
    let line = Regex::new(r"^(?:\S+Z )?(INF|WRN|ERR|DBG) (.*)$")?;
    let fields = Regex::new(
        r#" (?:connIndex|connection|event|ip|location|run_id|dest|version|config|tunnelID)=(?:"(?:[^"\\]|\\.)*"|\S+)"#,
    )?;
    let differs = Regex::new(
        r"[0-9a-f]{8}-[0-9a-f-]{27}|fe80:[0-9a-f:]+|[0-9a-f]{64}|\d+\.\d+\.\d+\.\d+(:\d+)?|\[::\]:\d+|:\d{5}|up to \S+",
    )?;
    let mut lines: Vec<Line> = Vec::new();
    for entry in journal.split("\n\n").filter(|entry| entry.contains("\n_SYSTEMD_UNIT=cloudflared.service")) {
        let Some(message) = entry.lines().find_map(|line| line.strip_prefix("MESSAGE=")) else { continue };
        let Some(parts) = line.captures(message) else { continue };
        if parts[2].starts_with(['|', '+']) {
            continue;
        }
        let said = fields.replace_all(&parts[2], "");
        let what = format!("{} {}", &parts[1], differs.replace_all(&said, "…"));
        if !lines.iter().rev().take(8).any(|before| before.what == what) {
            lines.push(Line { when: String::new(), what });
        }
    }
    Ok(lines)
}

fn read(folder: &Path, file: &str) -> Result<String> {
    fs::read_to_string(folder.join(file)).with_context(|| format!("no {file} in {}", folder.display()))
}

/// Both lists with what is the same on one line, as few left alone as can be.
fn aligned<'a, T>(
    left: &'a [T],
    right: &'a [T],
    same: impl Fn(&T, &T) -> bool,
) -> Vec<(Option<&'a T>, Option<&'a T>)> {
    // Longest common part of every pair of ends.
    let mut common = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for (at, one) in left.iter().enumerate().rev() {
        for (over, other) in right.iter().enumerate().rev() {
            common[at][over] = if same(one, other) {
                common[at + 1][over + 1] + 1
            } else {
                common[at + 1][over].max(common[at][over + 1])
            };
        }
    }
    let (mut at, mut over, mut pairs) = (0, 0, Vec::new());
    while at < left.len() || over < right.len() {
        match (left.get(at), right.get(over)) {
            (Some(one), Some(other)) if same(one, other) => {
                pairs.push((Some(one), Some(other)));
                (at, over) = (at + 1, over + 1);
            }
            (Some(one), other) if other.is_none() || common[at][over + 1] <= common[at + 1][over] => {
                pairs.push((Some(one), None));
                at += 1;
            }
            (_, other) => {
                pairs.push((None, other));
                over += 1;
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_stands_on_one_line() {
        let pairs = aligned(&["a", "b", "d"], &["a", "c", "d", "e"], |one, other| one == other);
        let told: Vec<_> = pairs
            .iter()
            .map(|(one, other)| (one.copied().unwrap_or("-"), other.copied().unwrap_or("-")))
            .collect();
        assert_eq!(told, [("a", "a"), ("b", "-"), ("-", "c"), ("d", "d"), ("-", "e")]);
        assert!(aligned::<&str>(&[], &[], |_, _| true).is_empty());
    }

    #[test]
    fn times_and_ids_are_no_difference() {
        let folder = |id: &str, second: &str| {
            let folder = tempfile::tempdir().unwrap();
            let rows = format!("seconds\n{second}\tT\t200\t200/4\tactive/running success 0 7 0\tok\n");
            fs::write(folder.path().join("observed.tsv"), rows).unwrap();
            let entry = format!(
                "_PID=1\n_SYSTEMD_UNIT=cloudflared.service\nMESSAGE=2026-01-01T00:00:0{second}Z INF Registered tunnel connection connIndex=0 connection={id} ip=10.9.8.7\n\n"
            );
            fs::write(folder.path().join("journal.export"), entry).unwrap();
            folder
        };
        let one = folder("11111111-2222-4333-8444-555555555555", "1");
        let other = folder("99999999-2222-4333-8444-555555555555", "2");
        let text = tell(one.path(), other.path()).unwrap();
        assert!(text.contains("INF Registered tunnel connection") && !text.contains("\n*"), "{text}");
    }
}
