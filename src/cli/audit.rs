//! `audit`: checks that need no outage to be worth it.

use super::Exit;

/// What to check.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {}

pub(super) fn main(verb: &Verb) -> Exit {
    match *verb {}
}
