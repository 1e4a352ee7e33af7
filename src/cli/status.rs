//! `status` and `explain`: what the daemon knows, read from it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Exit, daemon, out, say};
use crate::clock;
use crate::report::snapshot::{NOT_CONFIGURED, Status, TunnelStatus};

/// Which tunnels, and where from.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// Only this tunnel: its configured name or its unit.
    tunnel: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Ask the daemon that listens here in place of the one on the system bus.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    of: Of,
    /// Show it anew every two seconds, until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    #[command(flatten)]
    of: Of,
}

const WATCH_EVERY: Duration = Duration::from_secs(2);

/// `tunnelwarden status`.
pub(super) fn status(arguments: &Arguments) -> Exit {
    loop {
        let Some(status) = read(&arguments.of) else { return Exit::Blind };
        if arguments.watch {
            // Home, the picture, and whatever is left of the last one away; no flicker.
            let picture = render(&status).replace('\n', "\x1b[K\n");
            out(&format!("\x1b[H{picture}\x1b[J"));
            std::thread::sleep(WATCH_EVERY);
            continue;
        }
        if arguments.of.json {
            match serde_json::to_string_pretty(&status) {
                Ok(json) => out(&(json + "\n")),
                Err(error) => {
                    say(&format!("cannot write JSON: {error}"));
                    return Exit::Blind;
                }
            }
        } else {
            out(&render(&status));
        }
        return verdict(&status);
    }
}

/// `tunnelwarden explain`.
pub(super) fn explain(arguments: &Explain) -> Exit {
    let Some(status) = read(&arguments.of) else { return Exit::Blind };
    let wall = clock::now().wall;
    if arguments.of.json {
        let all: Vec<_> = status
            .tunnels
            .iter()
            .map(|tunnel| {
                serde_json::json!({
                    "tunnel": tunnel.name, "verdict": tunnel.verdict, "cause": tunnel.cause,
                    "explanation": tunnel.explanation, "advice": tunnel.advice, "holds": tunnel.holds, "notes": tunnel.notes,
                })
            })
            .collect();
        out(&format!("{}\n", serde_json::Value::from(all)));
        return verdict(&status);
    }
    if status.tunnels.is_empty() {
        out("No unit on this host runs a tunnel.\n");
    }
    for tunnel in &status.tunnels {
        let cause = tunnel.cause.as_deref().unwrap_or("no cause named");
        let head =
            if tunnel.healthy() { tunnel.verdict.clone() } else { format!("{}, {cause}", tunnel.verdict) };
        out(&format!("{}: {head}. {}\n", tunnel.name, tunnel.explain(wall)));
    }
    if let Some(why) = &status.powerless {
        out(&format!("tunnelwarden only watches here: {why}\n"));
    }
    if let Some(until) = &status.paused_until {
        out(&format!("tunnelwarden is paused until {until}.\n"));
    }
    verdict(&status)
}

fn verdict(status: &Status) -> Exit {
    if status.tunnels.is_empty() {
        say("There is nothing to see: tunnelwarden watches no tunnel here.");
        Exit::Blind
    } else if status.tunnels.iter().all(TunnelStatus::healthy) {
        Exit::Fine
    } else {
        Exit::Wrong
    }
}

fn read(arguments: &Of) -> Option<Status> {
    let read = match arguments.address {
        None => daemon::status().map_err(|refused| refused.why),
        Some(address) => fetch(address).map_err(|error| {
            format!(
                "cannot ask the daemon at {address}: {error}\nIs it running? systemctl status tunnelwarden"
            )
        }),
    };
    let mut status = match read {
        Ok(status) => status,
        Err(why) => {
            say(&why);
            return None;
        }
    };
    if let Some(wanted) = &arguments.tunnel {
        status.tunnels.retain(|tunnel| tunnel.name == *wanted || tunnel.unit == *wanted);
        if status.tunnels.is_empty() {
            say(&format!("the daemon watches no tunnel called {wanted:?}"));
            return None;
        }
    }
    Some(status)
}

/// A daemon answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(5);
const ANSWER_AT_MOST: u64 = 16 * 1024 * 1024;

fn fetch(address: SocketAddr) -> anyhow::Result<Status> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(stream, "GET /status HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_AT_MOST).read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| anyhow::anyhow!("it does not speak HTTP"))?;
    let code = head.split(' ').nth(1).unwrap_or("");
    anyhow::ensure!(code == "200", "it answered {code}: {}", body.trim());
    Ok(serde_json::from_str(body)?)
}

fn render(status: &Status) -> String {
    let mut text = String::new();
    for tunnel in &status.tunnels {
        one(&mut text, tunnel).unwrap_or_default();
    }
    if status.tunnels.is_empty() {
        text.push_str("No unit on this host runs a tunnel.\n");
    }
    let mode = match &status.powerless {
        Some(why) => format!("{}, but only watching: {why}", status.mode),
        None => status.mode.clone(),
    };
    if let Some(until) = &status.paused_until {
        text.push_str(&format!("paused until {until}: nothing is restarted\n"));
    }
    text.push_str(&format!("tunnelwarden {}, mode {mode}, since {}\n", status.version, status.since));
    text
}

fn one(text: &mut String, tunnel: &TunnelStatus) -> std::fmt::Result {
    let cause = tunnel.cause.as_deref().filter(|cause| *cause != tunnel.verdict).unwrap_or("");
    let glue = if cause.is_empty() { "" } else { ", " };
    writeln!(text, "{}: {}{glue}{cause} since {}", tunnel.name, tunnel.verdict, tunnel.since)?;
    for line in wrap(&tunnel.explanation, 76) {
        writeln!(text, "  {line}")?;
    }
    if !tunnel.healthy() {
        for line in wrap(&tunnel.advice, 76) {
            writeln!(text, "  {line}")?;
        }
    }
    if let Some(unit) = &tunnel.unit_state {
        writeln!(
            text,
            "  unit       {} {} ({}), result {}",
            tunnel.unit, unit.active, unit.sub, unit.result
        )?;
    }
    let connections = tunnel.connector.connections.map_or("unknown".into(), |n| n.to_string());
    let transport = tunnel.connector.transport.as_deref().unwrap_or("unknown transport");
    writeln!(text, "  connector  {connections} connections, {transport}")?;
    for name in &tunnel.names {
        let status = name.status.map(|status| format!(" {status}")).unwrap_or_default();
        let code = name.code.map(|code| format!(" error {code}")).unwrap_or_default();
        let took = name.latency_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
        let route = name.route.as_deref().filter(|route| *route != "routed");
        let route = route.map(|route| format!(", DNS: {route}")).unwrap_or_default();
        writeln!(text, "  name       {}: {}{status}{code}{took}{route}", name.hostname, name.answer)?;
    }
    for edge in &tunnel.edge {
        let reachable = if edge.reachable { "reachable" } else { "not reachable" };
        writeln!(text, "  edge       {} by {}: {reachable}", edge.region, edge.transport)?;
    }
    for hold in &tunnel.holds {
        let until = hold.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
        row(text, "held by", &format!("{}{until}: {}", hold.hold, hold.reason))?;
    }
    writeln!(
        text,
        "  budget     {} remedies left this hour, {} today",
        tunnel.budget.hour, tunnel.budget.day
    )?;
    if let Some(incident) = &tunnel.incident {
        writeln!(text, "  incident   {} since {}", incident.id, incident.opened)?;
    }
    for sense in &tunnel.senses {
        if let Some(why) = sense.blind.as_deref().filter(|why| *why != NOT_CONFIGURED) {
            row(text, "blind", &format!("{}: {why}", sense.sense))?;
        }
    }
    for finding in tunnel.findings.iter().filter(|finding| finding.severity != "note") {
        let place = finding.file.as_deref().map(|file| format!(" ({file})")).unwrap_or_default();
        row(text, &finding.severity, &format!("audit of {}: {}{place}", finding.audit, finding.what))?;
    }
    for unread in &tunnel.unread {
        row(text, "unread", unread)?;
    }
    for note in &tunnel.notes {
        row(text, "note", note)?;
    }
    Ok(())
}

/// One labelled row, in as many lines as it needs.
fn row(text: &mut String, label: &str, words: &str) -> std::fmt::Result {
    for (at, line) in wrap(words, 67).iter().enumerate() {
        writeln!(text, "  {:<10} {line}", if at == 0 { label } else { "" })?;
    }
    Ok(())
}

/// Lines of at most `width` characters, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && width < line.chars().count() + 1 + word.chars().count());
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
