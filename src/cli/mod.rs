//! The command line: one file per verb. Data on stdout, talk on stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod access;
mod audit;
mod causes;
mod completions;
mod config;
mod daemon;
mod diagnose;
mod follow;
mod incidents;
mod order;
mod records;
mod replay;
mod report;
mod route;
mod run;
mod status;
mod tunnel;
mod unread;
mod verify;

/// What a command's exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// Found something wrong.
    Wrong = 1,
    /// Could not look.
    Blind = 2,
    Usage = 64,
    /// A rail holds it back.
    Held = 69,
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Watches cloudflared on this host and restarts it only when a restart can help.
#[derive(Debug, Parser)]
#[command(name = "tunnelwarden", version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon (systemd does this).
    Run,
    /// Show every tunnel: verdict, names, connector, holds, incident.
    Status(status::Arguments),
    /// Say in one sentence what is wrong, with proof, what holds a remedy back, and until when.
    Explain(status::Explain),
    /// List what happened, or draw the timeline of one incident.
    Incidents(incidents::Arguments),
    /// Restart nothing for a while; go on watching and reporting.
    Pause(order::Pause),
    /// End the pause.
    Resume,
    /// Restart a tunnel's unit through the rails, and follow it up as an incident.
    Restart(order::Restart),
    /// Print what can be concluded, what is done about it, and what can hold that back.
    Causes(causes::Arguments),
    /// Judge a recorded incident, or this host's own past, and say what would have been done.
    Replay(replay::Arguments),
    /// Look at everything once, say what is wrong with its proof, whether a restart can help, and what to do.
    Diagnose(diagnose::Arguments),
    /// Show what Cloudflare's records say of a tunnel: status, connectors, which of them is this host.
    Tunnel(tunnel::Arguments),
    /// Look at public names as visitors do: DNS, HTTP/2, status, cache, certificate; and at their records.
    Verify(verify::Arguments),
    /// Check what makes outages before it makes one.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Say which ingress rule a URL meets, and why.
    Route(route::Arguments),
    /// Check, show or derive configuration.
    #[command(subcommand)]
    Config(config::Verb),
    /// Print completions for a shell.
    Completions(completions::Arguments),
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = !error.use_stderr();
            if error.print().is_err() {
                return Exit::Blind.into();
            }
            return if asked { Exit::Fine.into() } else { Exit::Usage.into() };
        }
    };
    let exit = match arguments.verb {
        Verb::Run => run::main(),
        Verb::Status(arguments) => status::status(&arguments),
        Verb::Explain(arguments) => status::explain(&arguments),
        Verb::Incidents(arguments) => incidents::main(&arguments),
        Verb::Pause(arguments) => order::pause(&arguments),
        Verb::Resume => order::resume(),
        Verb::Restart(arguments) => order::restart(&arguments),
        Verb::Causes(arguments) => causes::main(&arguments),
        Verb::Replay(arguments) => replay::main(&arguments),
        Verb::Diagnose(arguments) => diagnose::main(&arguments),
        Verb::Tunnel(arguments) => tunnel::main(&arguments),
        Verb::Verify(arguments) => verify::main(&arguments),
        Verb::Audit(verb) => audit::main(&verb),
        Verb::Route(arguments) => route::main(&arguments),
        Verb::Completions(arguments) => completions::main(&arguments),
        Verb::Config(verb) => config::main(&verb),
    };
    exit.into()
}

/// Where a copy of the configuration lies, for tests and packagers.
fn roots(root: Option<&PathBuf>) -> crate::config::Roots {
    match root {
        Some(root) => crate::config::Roots::under(root),
        None => crate::config::Roots::system(),
    }
}

/// Writes data to stdout. A reader that went away is no error of ours.
fn out(text: &str) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        tracing::debug!("nobody reads our output any more");
    }
}

/// Breaks words into lines of `width`, the later ones indented.
fn wrapped(words: &str, width: usize, indent: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words.split(' ') {
        let length = word.chars().count();
        if column != 0 && width < column + 1 + length {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = 0;
        } else if column != 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

/// Talks to the person on stderr.
fn say(text: &str) {
    use std::io::Write as _;
    if writeln!(std::io::stderr(), "{text}").is_err() {
        tracing::debug!("nobody reads our talk any more");
    }
}
