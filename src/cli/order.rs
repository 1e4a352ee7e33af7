//! `pause`, `resume`, `restart`: what an operator orders of the daemon.

use std::time::Duration;

use super::daemon::{self, Call};
use super::{Exit, follow, out, say};
use crate::clock;

#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    /// How long, for example 30m or 2h; at most 720h.
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    span: Duration,
    /// Why, in one line; it goes into the journal, and is shown where a remedy is held.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Restart {
    /// The tunnel: its configured name or its unit [default: the only one].
    tunnel: Option<String>,
    /// Why, in one line; it goes into the journal and the incident.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Past cooldown and budget; everything else still holds, and the restart is paid for all the same.
    #[arg(long)]
    force: bool,
    /// Show the unit's journal, its last 200 lines first, until it is known whether the restart cured.
    #[arg(long)]
    follow: bool,
    /// With --follow: one JSON object a line, the outcome last.
    #[arg(long, requires = "follow")]
    json: bool,
}

/// `tunnelwarden pause`.
pub(super) fn pause(arguments: &Pause) -> Exit {
    let until = clock::now().wall + arguments.span;
    let micros = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
    match daemon::call(&Call::Pause { until: micros, reason: &arguments.reason }) {
        Ok(_) => {
            out(&format!("Paused until {}. Nothing is restarted until then.\n", clock::rfc3339(until)));
            Exit::Fine
        }
        Err(refused) => daemon::complain(&refused),
    }
}

/// `tunnelwarden resume`.
pub(super) fn resume() -> Exit {
    match daemon::call(&Call::Resume) {
        Ok(_) => {
            out("Remedies are possible again.\n");
            Exit::Fine
        }
        Err(refused) => daemon::complain(&refused),
    }
}

/// `tunnelwarden restart`.
pub(super) fn restart(arguments: &Restart) -> Exit {
    let tunnel = match &arguments.tunnel {
        Some(tunnel) => tunnel.clone(),
        None => match the_only_one() {
            Ok(tunnel) => tunnel,
            Err(exit) => return exit,
        },
    };
    let Restart { reason, force, follow, json, .. } = arguments;
    match daemon::call(&Call::Restart { tunnel: &tunnel, reason, force: *force }) {
        Ok(incident) if *follow => follow::main(&tunnel, &incident, *json),
        Ok(incident) => {
            out(&format!("Restart of {tunnel} ordered, incident {incident}.\n"));
            say("How it goes on: tunnelwarden explain, tunnelwarden incidents");
            Exit::Fine
        }
        Err(refused) => daemon::complain(&refused),
    }
}

fn the_only_one() -> Result<String, Exit> {
    let status = daemon::status().map_err(|refused| daemon::complain(&refused))?;
    match status.tunnels.as_slice() {
        [only] => Ok(only.unit.clone()),
        [] => {
            say("no unit on this host runs a tunnel");
            Err(Exit::Blind)
        }
        several => {
            let names: Vec<_> = several.iter().map(|tunnel| tunnel.name.as_str()).collect();
            say(&format!("which one? {}", names.join(", ")));
            Err(Exit::Usage)
        }
    }
}

fn span(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).map_err(|error| error.to_string())
}
