//! What a command of the SOP has to say, once: written for a person, for a machine, or to paste into a ticket.

mod markdown;
mod text;

use serde_json::{Value, json};

use super::{Exit, out, say};
use crate::audit::{Finding, Severity};

/// How it is written.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Form {
    /// One JSON object.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Markdown, to paste into a ticket.
    #[arg(long)]
    markdown: bool,
}

/// A part of a report.
#[derive(Debug)]
pub(super) enum Section {
    /// Labelled lines.
    Facts { title: String, facts: Vec<(String, String)> },
    /// Columns; every row has a cell for each.
    Table { title: String, columns: Vec<&'static str>, rows: Vec<Vec<String>> },
    /// Text to be pasted, as it is. Comes after the findings.
    Paste { title: String, text: String },
}

/// What was looked at, what was found, and what to make of it.
#[derive(Debug)]
pub(super) struct Report {
    /// As on the command line: "audit ingress".
    pub(super) command: &'static str,
    /// Of what: a file, a tunnel, a host.
    pub(super) subject: String,
    pub(super) sections: Vec<Section>,
    pub(super) findings: Vec<Finding>,
    /// It is not as it should be, whatever was found besides.
    pub(super) wrong: bool,
    /// What could not be looked at, and why; each a sentence.
    pub(super) blind: Vec<String>,
    /// Everything comes down to this sentence.
    pub(super) verdict: String,
    /// What machines want beside the sections; an object.
    pub(super) data: Value,
}

impl Report {
    pub(super) fn new(command: &'static str, subject: impl Into<String>) -> Self {
        Self {
            command,
            subject: subject.into(),
            sections: Vec::new(),
            findings: Vec::new(),
            wrong: false,
            blind: Vec::new(),
            verdict: String::new(),
            data: json!({}),
        }
    }

    /// Writes it to stdout; the exit code is [`Report::exit`].
    pub(super) fn print(mut self, form: Form) -> Exit {
        self.findings.sort_by(Finding::order);
        let exit = self.exit();
        if form.json {
            match serde_json::to_string_pretty(&self.json()) {
                Ok(json) => out(&(json + "\n")),
                Err(error) => {
                    say(&format!("cannot write JSON: {error}"));
                    return Exit::Blind;
                }
            }
        } else if form.markdown {
            out(&markdown::render(&self));
        } else {
            out(&text::render(&self, text::Paint::of_stdout()));
        }
        exit
    }

    /// Notes alone are fine. Something found weighs more than something not seen.
    pub(super) fn exit(&self) -> Exit {
        if self.wrong || self.findings.iter().any(|finding| finding.severity != Severity::Note) {
            Exit::Wrong
        } else if self.blind.is_empty() {
            Exit::Fine
        } else {
            Exit::Blind
        }
    }

    fn json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(finding_json).collect();
        let mut object = json!({
            "command": self.command, "subject": self.subject, "verdict": self.verdict,
            "findings": findings, "blind": self.blind,
        });
        if let (Value::Object(whole), Value::Object(data)) = (&mut object, self.data.clone()) {
            whole.extend(data);
        }
        object
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "audit": finding.audit.label(), "severity": finding.severity.label(), "rule": finding.rule,
        "file": finding.place.as_ref().map(|place| &place.file),
        "line": finding.place.as_ref().and_then(|place| place.line),
        "what": finding.what, "why": finding.why, "fix": finding.fix,
    })
}

/// With a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// Tells the person on stderr what is being done, one line a step.
pub(super) fn step(doing: &str) {
    say(&format!("- {doing}"));
}

#[cfg(test)]
impl Report {
    /// Holds its three forms against `tests/golden/NAME.{txt,md,json}`; with `GOLDEN=write` it writes them, to be read by eye.
    pub(super) fn golden(mut self, name: &str) {
        self.findings.sort_by(Finding::order);
        let json = serde_json::to_string_pretty(&self.json()).unwrap() + "\n";
        let text = text::render(&self, text::Paint::Plain);
        // What can be pasted stays as it is.
        let fits = |line: &str| line.starts_with("      ") || line.chars().count() <= 80;
        assert!(text.lines().all(fits), "wider than 80 columns:\n{text}");
        for (ending, now) in [("txt", text), ("md", markdown::render(&self)), ("json", json)] {
            let path = format!("{}/tests/golden/{name}.{ending}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("GOLDEN").is_some_and(|write| write == "write") {
                std::fs::write(&path, &now).unwrap();
            }
            let then = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(now, then, "{path} (GOLDEN=write writes it anew)");
        }
    }
}
