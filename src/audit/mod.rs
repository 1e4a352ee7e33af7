//! Pure checks over parsed input, with findings as the answer. Nothing here opens a file or asks anybody.

pub mod credentials;
pub mod dns;
pub mod drop_in;
pub mod ingress;
pub mod service;
pub mod unit;
pub mod workflow;

use std::cmp::Ordering;

use crate::client::origin_address::without_passwords;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audit {
    Ingress,
    Dns,
    Credentials,
    Unit,
    Workflow,
}

impl Audit {
    /// Those of a host, which the daemon runs too. A workflow lies in a repository.
    pub const OF_A_HOST: [Self; 4] = [Self::Ingress, Self::Dns, Self::Credentials, Self::Unit];

    /// As labels and JSON say it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Dns => "dns",
            Self::Credentials => "credentials",
            Self::Unit => "unit",
            Self::Workflow => "workflow",
        }
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Broken or exposed now.
    Error,
    /// Works, and will hurt.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    /// As labels and JSON say it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A path, or what else a person calls it ("the unit's environment").
    pub file: String,
    /// Counted from 1.
    pub line: Option<u64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// One thing that a check has to say. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub audit: Audit,
    pub severity: Severity,
    /// What was broken, in kebab-case; the same for ever ("shadowed-rule").
    pub rule: &'static str,
    pub place: Option<Place>,
    /// What is there, in one sentence.
    pub what: String,
    /// What comes of it.
    pub why: String,
    /// What to write or do instead. Text that can be pasted starts a new line.
    pub fix: String,
}

/// What one audit has found so far.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    audit: Audit,
    pub(crate) all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn of(audit: Audit) -> Self {
        Self { audit, all: Vec::new() }
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        place: Place,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.all.push(Finding {
            audit: self.audit,
            severity,
            rule,
            place: Some(place),
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
        });
    }

    /// All of them, the worst first.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.all.sort_by(Finding::order);
        self.all
    }
}

impl Finding {
    /// Hides the passwords of origins, which rules are quoted with.
    pub fn conceal(&mut self) {
        for text in [&mut self.what, &mut self.why, &mut self.fix] {
            let concealed = without_passwords(text).into_owned();
            *text = concealed;
        }
    }

    /// The worst first, then by place.
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |finding: &Self| {
            let place = finding.place.clone();
            (
                finding.severity,
                place.as_ref().map(|place| place.file.clone()),
                place.and_then(|place| place.line),
            )
        };
        key(self).cmp(&key(other))
    }
}
