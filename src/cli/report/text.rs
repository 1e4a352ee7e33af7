//! A report for a person: 80 columns, colour only on a terminal.

use std::io::IsTerminal as _;

use super::{Report, Section};
use crate::audit::{Finding, Severity};
use crate::cli::wrapped;

const WIDTH: usize = 80;
/// A label longer than this has its value on the next line.
const LABEL: usize = 22;

/// Whether there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    /// Of a terminal that wants it (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if unwanted || !std::io::stdout().is_terminal() { Self::Plain } else { Self::Coloured }
    }

    fn severity(self, severity: Severity) -> String {
        let code = match severity {
            Severity::Error => "31",
            Severity::Warning => "33",
            Severity::Note => "36",
        };
        self.with(code, severity.label())
    }

    fn with(self, code: &str, words: &str) -> String {
        match self {
            Self::Plain => words.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{words}\x1b[0m"),
        }
    }
}

pub(super) fn render(report: &Report, paint: Paint) -> String {
    let mut text = paint.with("1", &format!("{}: {}", report.command, report.subject));
    text.push('\n');
    for section in &report.sections {
        if matches!(section, Section::Paste { .. }) {
            continue;
        }
        text.push('\n');
        match section {
            Section::Paste { .. } => {}
            Section::Facts { title, facts } => {
                heading(&mut text, title, paint);
                for (label, value) in facts {
                    text.push_str(&format!("  {}\n", labelled(label, value)));
                }
            }
            Section::Table { title, columns, rows } => {
                heading(&mut text, title, paint);
                table(&mut text, columns, rows);
            }
        }
    }
    for finding in &report.findings {
        text.push('\n');
        one(&mut text, finding, paint);
    }
    for section in &report.sections {
        if let Section::Paste { title, text: paste } = section {
            text.push('\n');
            heading(&mut text, title, paint);
            for line in paste.lines() {
                text.push_str(format!("  {line}").trim_end());
                text.push('\n');
            }
        }
    }
    if !report.blind.is_empty() {
        text.push('\n');
        heading(&mut text, "Not seen", paint);
        for blind in &report.blind {
            text.push_str(&format!("  - {}\n", wrapped(blind, WIDTH - 4, 4)));
        }
    }
    text.push_str(&format!("\n{}\n", paint.with("1", &wrapped(&report.verdict, WIDTH, 0))));
    text
}

fn heading(text: &mut String, title: &str, paint: Paint) {
    if !title.is_empty() {
        text.push_str(&format!("{}\n", paint.with("1", title)));
    }
}

fn labelled(label: &str, value: &str) -> String {
    let longest = value.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
    if WIDTH - LABEL - 2 < longest {
        return format!("{label}\n      {}", wrapped(value, WIDTH - 6, 6));
    }
    if LABEL <= label.chars().count() {
        return format!("{label}\n  {:LABEL$}{}", "", wrapped(value, WIDTH - LABEL - 2, LABEL + 2));
    }
    format!("{label:<LABEL$}{}", wrapped(value, WIDTH - LABEL - 2, LABEL + 2))
}

/// Where even the last column alone in a line of its own does not fit, each row is written as a block of labelled lines.
fn table(text: &mut String, columns: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = columns.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let room = |widths: &[usize]| widths.iter().map(|width| width + 2).sum::<usize>() <= WIDTH;
    let (last, others) = widths.split_last().map_or((0, widths.as_slice()), |(last, others)| (*last, others));
    // One long column, as of URLs, stands below the others.
    let below = !room(&widths) && room(others) && last + 6 <= WIDTH;
    if below {
        widths.pop();
    } else if !room(&widths) {
        for row in rows {
            for (at, (head, cell)) in
                columns.iter().zip(row).enumerate().filter(|(_, (_, cell))| !cell.is_empty())
            {
                let mark = if at == 0 { "- " } else { "  " };
                text.push_str(&format!("{mark}{}\n", labelled(head, cell)));
            }
        }
        return;
    }
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned() + "\n"
    };
    let put = |text: &mut String, cells: Vec<&str>| {
        let under = cells.last().copied().filter(|_| below);
        text.push_str(&line(cells));
        if let Some(under) = under {
            text.push_str(&format!("      {under}\n"));
        }
    };
    put(text, columns.to_vec());
    for row in rows {
        put(text, row.iter().map(String::as_str).collect());
    }
}

fn one(text: &mut String, finding: &Finding, paint: Paint) {
    let place = finding.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
    text.push_str(&format!("{}{place} [{}]\n", paint.severity(finding.severity), finding.rule));
    for (label, words) in [("", &finding.what), ("why  ", &finding.why), ("fix  ", &finding.fix)] {
        if words.is_empty() {
            continue;
        }
        // What can be pasted stays as it is.
        let (sentence, paste) = match words.split_once('\n') {
            Some((sentence, paste)) => (sentence, Some(paste)),
            None => (words.as_str(), None),
        };
        let indent = 2 + label.len();
        text.push_str(&format!("  {label}{}\n", wrapped(sentence, WIDTH - indent, indent)));
        for line in paste.into_iter().flat_map(str::lines) {
            text.push_str(format!("      {line}").trim_end());
            text.push('\n');
        }
    }
}
