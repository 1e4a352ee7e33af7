//! `completions`: what a shell needs to complete our command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Exit, out, say};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    shell: Shell,
}

/// `tunnelwarden completions SHELL`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "tunnelwarden", &mut text);
    match String::from_utf8(text) {
        Ok(text) => {
            out(&text);
            Exit::Fine
        }
        Err(error) => {
            say(&format!("cannot write completions: {error}"));
            Exit::Blind
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packages ship what the command line is.
    #[test]
    fn the_shipped_completions_are_current() {
        let shipped = [
            (Shell::Bash, include_str!("../../packaging/completions/tunnelwarden.bash")),
            (Shell::Zsh, include_str!("../../packaging/completions/_tunnelwarden")),
            (Shell::Fish, include_str!("../../packaging/completions/tunnelwarden.fish")),
        ];
        for (shell, shipped) in shipped {
            let mut text = Vec::new();
            clap_complete::generate(
                shell,
                &mut super::super::Arguments::command(),
                "tunnelwarden",
                &mut text,
            );
            let same = text == shipped.as_bytes();
            assert!(same, "write it anew: tunnelwarden completions {shell} > packaging/completions/…");
        }
    }
}
