//! `incidents`: what happened on this host, from the incident log and, for the open one, from the daemon.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::{Exit, daemon, out, say, wrapped};
use crate::client::error_chain::chain;
use crate::clock::rfc3339;
use crate::report::snapshot::{Status, TunnelStatus};
use crate::store::{IncidentLog, IncidentRecord, Step, StoreError};
use crate::warden::explain::span;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Draw the timeline of this one; the beginning of its id is enough.
    id: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Read this log.
    #[arg(long, value_name = "FILE", default_value = "/var/lib/tunnelwarden/incidents.jsonl")]
    log: std::path::PathBuf,
}

/// One incident, over or not.
struct Shown {
    record: IncidentRecord,
    open: bool,
}

/// `tunnelwarden incidents [ID]`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    let read = match IncidentLog::new(arguments.log.clone()).read() {
        Ok(read) => read,
        Err(error) => {
            say(&chain(&error));
            if forbidden(&error) {
                say("The log belongs to the user tunnelwarden: try with sudo.");
            }
            return Exit::Blind;
        }
    };
    for line in &read.passed_over {
        say(&format!("passed over: {line}"));
    }
    let unreadable = read.incidents.is_empty() && !read.passed_over.is_empty();
    if unreadable {
        say(&format!("{}: no line of it is an incident", arguments.log.display()));
    }
    let mut all: Vec<Shown> =
        read.incidents.into_iter().map(|record| Shown { record, open: false }).collect();
    match daemon::status() {
        Ok(status) => all.extend(open_ones(&status)),
        Err(refused) => say(&format!("only what is over, because {}", refused.why)),
    }
    let shown = match &arguments.id {
        Some(id) => one(&all, id, arguments.json),
        None if unreadable && all.is_empty() => Exit::Blind,
        None => table(&all, arguments.json),
    };
    if unreadable { Exit::Blind } else { shown }
}

fn forbidden(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::PermissionDenied)
}

fn open_ones(status: &Status) -> impl Iterator<Item = Shown> {
    status.tunnels.iter().filter_map(open_one)
}

fn open_one(tunnel: &TunnelStatus) -> Option<Shown> {
    let incident = tunnel.incident.as_ref()?;
    let steps = incident.steps.iter().map(|step| Step {
        wall: millis(&step.at),
        what: step.what.clone(),
        detail: step.detail.clone(),
    });
    let record = IncidentRecord {
        id: incident.id.clone(),
        tunnel: tunnel.name.clone(),
        cause: incident.cause.clone(),
        outcome: "open".into(),
        opened_wall: millis(&incident.opened),
        closed_wall: crate::clock::now().wall.as_millis().try_into().unwrap_or(u64::MAX),
        steps: steps.collect(),
    };
    Some(Shown { record, open: true })
}

fn millis(rfc3339: &str) -> u64 {
    let at = rfc3339.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).unwrap_or(0);
    u64::try_from(at).unwrap_or(0)
}

fn table(all: &[Shown], json: bool) -> Exit {
    if json {
        let list: Vec<_> = all.iter().map(as_json).collect();
        out(&format!("{}\n", serde_json::Value::from(list)));
        return Exit::Fine;
    }
    if all.is_empty() {
        out("No incident is on record.\n");
        return Exit::Fine;
    }
    let mut rows = vec![["ID", "OPENED", "CAUSE", "OUTCOME", "LASTED"].map(str::to_owned)];
    rows.extend(all.iter().rev().map(|Shown { record, .. }| {
        let lasted = Duration::from_millis(record.closed_wall.saturating_sub(record.opened_wall));
        // Month, day, hour and minute: the whole time is in the timeline and in the JSON.
        let opened = seconds(record.opened_wall).get(5..16).unwrap_or("").replace('T', " ");
        [record.id.clone(), opened, record.cause.clone(), record.outcome.clone(), span(lasted)]
    }));
    let widths: [usize; 5] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    out(&text);
    Exit::Fine
}

fn one(all: &[Shown], id: &str, json: bool) -> Exit {
    // A relapse keeps its id: the last one is the whole story.
    let exact = all.iter().rev().find(|shown| shown.record.id == id);
    let Some(shown) = exact.or_else(|| all.iter().rev().find(|shown| shown.record.id.starts_with(id))) else {
        say(&format!("no incident on record is called {id:?}; `tunnelwarden incidents` lists them"));
        return Exit::Usage;
    };
    if json {
        out(&format!("{:#}\n", as_json(shown)));
    } else {
        out(&timeline(shown).unwrap_or_default());
    }
    Exit::Fine
}

/// The story of one incident, drawn in 80 columns.
fn timeline(shown: &Shown) -> Result<String, std::fmt::Error> {
    let Shown { record, open } = shown;
    let mut text = String::new();
    let lasted = span(Duration::from_millis(record.closed_wall.saturating_sub(record.opened_wall)));
    writeln!(text, "{}  {}", record.id, record.tunnel)?;
    let so_far = if *open { "open for" } else { "lasted" };
    let outcome = if *open { String::new() } else { format!(", {}", record.outcome) };
    writeln!(text, "{}{outcome}, {so_far} {lasted}", record.cause)?;
    writeln!(text, "began {}\n", seconds(record.opened_wall))?;
    for (at, step) in record.steps.iter().enumerate() {
        let since = step.wall.saturating_sub(record.opened_wall);
        let last = at + 1 == record.steps.len();
        let (mark, bar) = if last { ('\u{2514}', ' ') } else { ('\u{251c}', '\u{2502}') };
        let after = format!("+{}", span(Duration::from_millis(since)));
        writeln!(text, "{after:>11} {mark}\u{2500} {}", step.what)?;
        if !step.detail.is_empty() {
            for line in wrapped(&step.detail, 62, 0).lines() {
                writeln!(text, "{:>11} {bar}  {line}", "")?;
            }
        }
    }
    if *open {
        writeln!(text, "\nIt is open still. tunnelwarden explain says what comes next.")?;
    }
    Ok(text)
}

fn as_json(shown: &Shown) -> serde_json::Value {
    let Shown { record, open } = shown;
    let time = |ms: u64| rfc3339(Duration::from_millis(ms));
    let steps: Vec<_> = record
        .steps
        .iter()
        .map(|step| json!({ "at": time(step.wall), "what": step.what, "detail": step.detail }))
        .collect();
    json!({
        "id": record.id, "tunnel": record.tunnel, "cause": record.cause,
        "outcome": if *open { None } else { Some(&record.outcome) },
        "opened": time(record.opened_wall),
        "closed": if *open { None } else { Some(time(record.closed_wall)) },
        "steps": steps,
    })
}

/// To the second.
fn seconds(ms: u64) -> String {
    rfc3339(Duration::from_secs(ms / 1000))
}
