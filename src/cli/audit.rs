//! `audit`: checks that need no outage to be worth it.

mod workflow;

use super::Exit;

/// What to check.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Check workflows of GitHub Actions that put a tunnel's secret somewhere.
    Workflow(workflow::Arguments),
}

pub(super) fn main(verb: &Verb) -> Exit {
    match verb {
        Verb::Workflow(arguments) => workflow::main(arguments),
    }
}
