//! `audit`: checks that need no outage to be worth it.

mod credentials;
mod host;
mod unit;
mod workflow;

use super::Exit;
use super::report::Report;
use crate::audit::Severity;

/// What to check.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Check what the tunnels of this host prove themselves with, and who else can read it.
    Credentials(credentials::Arguments),
    /// Check the unit that runs cloudflared against what cloudflared needs.
    Unit(unit::Arguments),
    /// Check workflows of GitHub Actions that put a tunnel's secret somewhere.
    Workflow(workflow::Arguments),
}

pub(super) fn main(verb: &Verb) -> Exit {
    match verb {
        Verb::Credentials(arguments) => credentials::main(arguments),
        Verb::Unit(arguments) => unit::main(arguments),
        Verb::Workflow(arguments) => workflow::main(arguments),
    }
}

/// `2 errors and 1 warning`; `None` if there are neither.
fn weight(report: &Report) -> Option<String> {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let counted =
        |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => None,
        (0, warnings) => Some(counted(warnings, "warning")),
        (errors, 0) => Some(counted(errors, "error")),
        (errors, warnings) => {
            Some(format!("{} and {}", counted(errors, "error"), counted(warnings, "warning")))
        }
    }
}
