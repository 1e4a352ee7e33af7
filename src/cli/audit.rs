//! `audit`: checks that need no outage to be worth it.

mod credentials;
mod host;
mod ingress;
mod origins;
mod rules;
mod unit;
mod workflow;

use super::Exit;
use super::report::Report;
use crate::audit::Severity;

pub(super) use rules::{Of, Rules, load};

/// What to check.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Check what the tunnels of this host prove themselves with, and who else can read it.
    Credentials(credentials::Arguments),
    /// Check the unit that runs cloudflared against what cloudflared needs.
    Unit(unit::Arguments),
    /// Check workflows of GitHub Actions that put a tunnel's secret somewhere.
    Workflow(workflow::Arguments),
    /// Check a tunnel's ingress rules, and compare them with a checklist.
    Ingress(ingress::Arguments),
}

pub(super) fn main(verb: &Verb) -> Exit {
    match verb {
        Verb::Credentials(arguments) => credentials::main(arguments),
        Verb::Ingress(arguments) => ingress::main(arguments),
        Verb::Unit(arguments) => unit::main(arguments),
        Verb::Workflow(arguments) => workflow::main(arguments),
    }
}

/// `2 errors and 1 warning`; `None` if there are neither.
fn weight(report: &Report) -> Option<String> {
    let number = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    match (number(Severity::Error), number(Severity::Warning)) {
        (0, 0) => None,
        (0, warnings) => Some(count(warnings, "warning")),
        (errors, 0) => Some(count(errors, "error")),
        (errors, warnings) => Some(format!("{} and {}", count(errors, "error"), count(warnings, "warning"))),
    }
}

/// "1 rule", "2 rules".
pub(super) fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
