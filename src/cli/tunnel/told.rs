//! What is seen of tunnels, put into a report.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::sight::{Sight, Wanted};
use crate::audit::{Audit, Finding, Severity};
use crate::cli::report::{Report, Section};
use crate::client::cloudflare_api::{
    ApiError, ConfigSource, Connector, TokenStatus, TunnelStatus, VerifiedToken,
};
use crate::warden::explain::span;
use crate::warden::time::Now;

/// As verification answers.
type Token = Result<Option<VerifiedToken>, ApiError>;
type Seen<'a> = (&'a Wanted, Result<Sight, ApiError>);

/// Cloudflare keeps a lost connection, and may miss a new one, for up to this long.
const LAG: &str = "its records may be 3 min old";
const DAY: Duration = Duration::from_secs(86_400);
/// A token that ends sooner than this is worth a warning.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Writes everything down, the verdict last.
pub(super) fn write(report: &mut Report, seen: &[Seen<'_>], token: Token, now: Now) {
    let mut verdicts = Vec::new();
    let mut data = Vec::new();
    for (wanted, looked) in seen {
        match looked {
            Ok(sight) => {
                let verdict = judge(wanted, sight);
                report.wrong |= verdict.wrong;
                report.sections.push(facts(sight, now));
                if !sight.connectors.is_empty() {
                    report.sections.push(table(wanted, sight, now));
                }
                report.findings.extend(twins(sight));
                data.push(as_json(wanted, sight, &verdict.says));
                verdicts.push(named(seen, wanted, verdict.says));
            }
            Err(ApiError::NotFound) => {
                report.wrong = true;
                let says = "Cloudflare knows no such tunnel in the accounts that these credentials reach: the id is wrong, \
                            the tunnel belongs to another account, or it was deleted long ago.";
                data.push(json!({ "id": wanted.id, "error": says }));
                verdicts.push(named(seen, wanted, says.into()));
            }
            Err(error) => {
                let says = words(error);
                report.blind.push(named(seen, wanted, says.clone()));
                data.push(json!({ "id": wanted.id, "error": says }));
                verdicts.push(named(
                    seen,
                    wanted,
                    "Not known, because Cloudflare's API could not be read.".into(),
                ));
            }
        }
    }
    let token = told_token(report, token, now);
    report.verdict = verdicts.join(" ");
    report.data = json!({ "tunnels": data, "token": token });
}

/// An error, with what a person can do about it.
pub(super) fn words(error: &ApiError) -> String {
    format!("{error}: {}.", error.advice())
}

/// Names the tunnel where there are several.
fn named(seen: &[Seen<'_>], wanted: &Wanted, says: String) -> String {
    if seen.len() == 1 { says } else { format!("{}: {says}", wanted.title()) }
}

struct Verdict {
    wrong: bool,
    says: String,
}

fn judge(wanted: &Wanted, sight: &Sight) -> Verdict {
    let live: usize = sight.connectors.iter().map(Connector::live).sum();
    let serving = sight.connectors.iter().filter(|connector| connector.live() != 0).count();
    if let Some(at) = sight.tunnel.deleted_at {
        let says = format!("Deleted at {at}: make a new tunnel and route the names to it.");
        return Verdict { wrong: true, says };
    }
    let (mut wrong, mut says) = match &sight.tunnel.status {
        Some(TunnelStatus::Healthy) => (false, "Healthy".to_owned()),
        Some(TunnelStatus::Degraded) => (true, "Degraded".to_owned()),
        Some(TunnelStatus::Down) => (true, "Down".to_owned()),
        Some(TunnelStatus::Inactive) => (true, "Never run".to_owned()),
        Some(TunnelStatus::Other(word)) => {
            (live == 0, format!("{word} (a word of Cloudflare's that is new to us)"))
        }
        None => (live == 0, "No status".to_owned()),
    };
    says.push_str(&match (live, serving) {
        (0, _) => ": no connector has a live connection to the edge.".to_owned(),
        (1, _) => ": 1 live connection of 1 connector.".to_owned(),
        (n, 1) => format!(": {n} live connections of 1 connector."),
        (n, of) => format!(": {n} live connections of {of} connectors."),
    });
    let Some(here) = &wanted.here else { return Verdict { wrong, says } };
    let listed = mine(wanted, sight).map(Connector::live);
    match (&here.connector, here.connections, listed) {
        (Some(_), _, Some(1..)) => says.push_str(" The one marked * is this host's."),
        (Some(_), Some(1..), Some(0) | None) => {
            wrong = true;
            says.push_str(&format!(
                " This host's connector believes in connections that Cloudflare does not list ({LAG}): tunnelwarden diagnose."
            ));
        }
        (Some(_), Some(0) | None, Some(0) | None) => {
            wrong = true;
            says.push_str(" This host's connector holds none: tunnelwarden diagnose says why.");
        }
        (None, _, _) => {
            says.push_str(&format!(" Which one is this host's is not known: {} does not say.", here.unit))
        }
    }
    Verdict { wrong, says }
}

/// This host's connector, if it is listed.
fn mine<'a>(wanted: &Wanted, sight: &'a Sight) -> Option<&'a Connector> {
    let mine = wanted.here.as_ref()?.connector.as_deref()?;
    sight.connectors.iter().find(|connector| connector.id.eq_ignore_ascii_case(mine))
}

fn facts(sight: &Sight, now: Now) -> Section {
    let Sight { account, tunnel, .. } = sight;
    let mut facts = Vec::new();
    let mut fact = |label: &str, value: String| facts.push((label.to_owned(), value));
    let name = tunnel.name.as_deref();
    fact("id", tunnel.id.clone());
    fact(
        "account",
        match &account.name {
            Some(name) => format!("{name} ({})", account.id),
            None => account.id.clone(),
        },
    );
    fact("status", status_words(tunnel.status.as_ref()).to_owned());
    if let Some(at) = tunnel.deleted_at {
        fact("deleted", format!("{at}, {} ago", age(at, now)));
    }
    if let Some(at) = tunnel.active_since {
        fact("connected since", format!("{at}, for {}", age(at, now)));
    }
    if let Some(at) = tunnel.inactive_since {
        fact("unconnected since", format!("{at}, for {}", age(at, now)));
    }
    fact(
        "ingress rules",
        match &tunnel.config_source {
            Some(ConfigSource::Cloudflare) => "Cloudflare's; those of a config.yml do not count".to_owned(),
            Some(ConfigSource::Local) => "those of each host's config.yml".to_owned(),
            Some(ConfigSource::Other(word)) => word.clone(),
            None => "not said".to_owned(),
        },
    );
    Section::Facts { title: format!("Tunnel {}", name.unwrap_or(&tunnel.id)), facts }
}

fn status_words(status: Option<&TunnelStatus>) -> &str {
    match status {
        Some(TunnelStatus::Healthy) => "healthy",
        Some(TunnelStatus::Degraded) => "degraded: it serves, with a connection too few",
        Some(TunnelStatus::Down) => "down: it ran before and has no connection now",
        Some(TunnelStatus::Inactive) => "inactive: it was made and never run",
        Some(TunnelStatus::Other(word)) => word,
        None => "not said",
    }
}

fn table(wanted: &Wanted, sight: &Sight, now: Now) -> Section {
    let mine = mine(wanted, sight).map(|mine| mine.id.as_str());
    let rows = sight.connectors.iter().map(|connector| {
        let pending = connector.connections.len() - connector.live();
        let mark = if mine == Some(connector.id.as_str()) { " *" } else { "" };
        vec![
            connector.id.chars().take(8).collect::<String>() + mark,
            connector.version.clone().unwrap_or_default(),
            connector.run_at.map(|at| age(at, now)).unwrap_or_default(),
            connector.live().to_string(),
            pending.to_string(),
            each(connector.connections.iter().filter_map(|connection| connection.colo.clone())),
            each(
                connector
                    .connections
                    .iter()
                    .filter_map(|connection| connection.origin_ip)
                    .map(|ip| ip.to_string()),
            ),
        ]
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort();
    Section::Table {
        title: "Connectors".into(),
        columns: vec!["connector", "version", "age", "live", "pending", "colos", "origin"],
        rows,
    }
}

/// Each once, in order.
fn each(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<_> = words.collect();
    words.sort();
    words.dedup();
    words.join(" ")
}

/// Two processes at one address: one of them may have been left over.
fn twins(sight: &Sight) -> Option<Finding> {
    let address = |connector: &Connector| {
        let live = connector.connections.iter().find(|connection| !connection.is_pending_reconnect)?;
        live.origin_ip
    };
    let mut addresses: Vec<_> = sight.connectors.iter().filter_map(address).collect();
    addresses.sort();
    let twice = addresses.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])?;
    Some(Finding {
        audit: Audit::Unit,
        severity: Severity::Note,
        rule: "connectors-of-one-address",
        place: None,
        what: format!("Several connectors come from {twice}."),
        why: "They are hosts behind one address, or a second cloudflared was left running on one; with other rules it gives \
              404 and 502 now and then."
            .into(),
        fix: "On that host, look for a process that no unit runs:\nsystemctl list-units 'cloudflared*'\npgrep -c -x cloudflared".into(),
    })
}

fn told_token(report: &mut Report, token: Token, now: Now) -> Value {
    let token = match token {
        Ok(Some(token)) => token,
        Ok(None) => return Value::Null,
        // Many a good token may not be verified by us, and the tunnel itself was read.
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let status = match &token.status {
        Some(TokenStatus::Active) => "active",
        Some(TokenStatus::Disabled) => "disabled",
        Some(TokenStatus::Expired) => "expired",
        Some(TokenStatus::Other(word)) => word,
        None => "not said",
    };
    let end = token.expires_on.map_or("without an end".to_owned(), |end| format!("until {end}"));
    report.sections.push(Section::Facts {
        title: "Token".into(),
        facts: vec![("status".into(), format!("{status}, {end}"))],
    });
    if let Some(end) = token.expires_on
        && left(end, now) < ENDS_SOON
    {
        report.findings.push(Finding {
            audit: Audit::Credentials,
            severity: Severity::Warning,
            rule: "token-ends-soon",
            place: None,
            what: format!("The API token ends in {}, at {end}.", days(left(end, now))),
            why: "After that neither this command nor the daemon can read Cloudflare's records.".into(),
            fix: "Make a new one in the dashboard, or roll this one, and install it.".into(),
        });
    }
    json!({ "status": status, "expires_on": token.expires_on.map(|end| end.to_string()) })
}

fn unix(at: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

fn left(end: Timestamp, now: Now) -> Duration {
    unix(end).saturating_sub(now.wall)
}

fn age(at: Timestamp, now: Now) -> String {
    days(now.wall.saturating_sub(unix(at)))
}

/// As [`span`], and longer times in days.
fn days(length: Duration) -> String {
    if length < 2 * DAY { span(length) } else { format!("{} d", length.as_secs() / DAY.as_secs()) }
}

fn as_json(wanted: &Wanted, sight: &Sight, verdict: &str) -> Value {
    let Sight { account, tunnel, connectors } = sight;
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let mine = mine(wanted, sight).map(|mine| mine.id.as_str());
    let connectors: Vec<_> = connectors
        .iter()
        .map(|connector| {
            let connections: Vec<_> = connector
                .connections
                .iter()
                .map(|connection| {
                    json!({
                        "colo": connection.colo, "origin": connection.origin_ip, "opened": time(connection.opened_at),
                        "pending": connection.is_pending_reconnect,
                    })
                })
                .collect();
            json!({
                "id": connector.id, "version": connector.version, "arch": connector.arch, "run_at": time(connector.run_at),
                "live": connector.live(), "this_host": mine == Some(connector.id.as_str()), "connections": connections,
            })
        })
        .collect();
    json!({
        "id": tunnel.id, "name": tunnel.name, "account": { "id": account.id, "name": account.name },
        "status": status_word(tunnel.status.as_ref()), "deleted": time(tunnel.deleted_at),
        "connected_since": time(tunnel.active_since), "unconnected_since": time(tunnel.inactive_since),
        "rules": match &tunnel.config_source {
            Some(ConfigSource::Cloudflare) => Some("cloudflare"),
            Some(ConfigSource::Local) => Some("local"),
            Some(ConfigSource::Other(word)) => Some(word.as_str()),
            None => None,
        },
        "connectors": connectors, "verdict": verdict,
    })
}

fn status_word(status: Option<&TunnelStatus>) -> Option<&str> {
    Some(match status? {
        TunnelStatus::Healthy => "healthy",
        TunnelStatus::Degraded => "degraded",
        TunnelStatus::Down => "down",
        TunnelStatus::Inactive => "inactive",
        TunnelStatus::Other(word) => word,
    })
}
