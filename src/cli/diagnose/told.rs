//! A diagnosis, put into a report: what was seen, layer by layer, and what it comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::audit::Finding;
use crate::audit::dns;
use crate::cli::report::{Report, Section};
use crate::client::dns::{Addresses, DnsFailure};
use crate::clock;
use crate::daemon::once::{Diagnosed, Heard};
use crate::report::diagnosis::Diagnosis;
use crate::report::snapshot::{NOT_CONFIGURED, Name, Status, TunnelStatus};
use crate::warden::cause::Cause;
use crate::warden::diagnosis::Health;
use crate::warden::evidence::{Answer, Control, Sense};
use crate::warden::explain::span;
use crate::warden::outlook::Outlook;
use crate::warden::route::Route;

/// Meanings worth a word, in the order in which they are shown; the rest is counted together.
const TELLING: [&str; 24] = [
    "registered",
    "lost_connection",
    "dial_failed",
    "retrying",
    "refused",
    "control_stream_failed",
    "fallback_to_http2",
    "dns_failed",
    "addresses_exhausted",
    "config_error",
    "credentials_error",
    "usage_error",
    "metrics_port_taken",
    "no_ingress",
    "origin_error",
    "fatal_shutdown",
    "graceful_shutdown",
    "crashed",
    "unit_started",
    "unit_stopped",
    "unit_main_exited",
    "unit_failed",
    "unit_start_limit_hit",
    "unit_restart_scheduled",
];

/// Writes everything down, the verdict last.
pub(super) fn write(report: &mut Report, diagnosed: Diagnosed, service: Option<&Status>) {
    let Diagnosed { status, lines, dns, way_out, outlooks, heard, unremembered, took } = diagnosed;
    let mut verdicts = Vec::new();
    let mut data = Vec::new();
    let several = 1 < status.tunnels.len();
    for tunnel in status.tunnels {
        let longer =
            service.and_then(|service| service.tunnels.iter().find(|known| known.unit == tunnel.unit));
        let outlook = outlooks.get(&tunnel.unit).copied();
        let (tunnel, outlook) = judged(tunnel, longer, outlook);
        let diagnosis = Diagnosis::of(tunnel);
        let tunnel = &diagnosis.tunnel;
        let heard = heard.get(&tunnel.unit).copied().unwrap_or_default();
        report.sections.push(layers(tunnel, lines.get(&tunnel.unit), heard, way_out, several));
        if !tunnel.names.is_empty() {
            report.sections.push(names(tunnel, &dns));
        }
        let unserved = tunnel.names.iter().filter(|name| name.answer != Answer::Served.word());
        report.findings.extend(unserved.filter_map(|name| finding(name, dns.get(&name.hostname)?)));
        report.sections.push(judgement(&diagnosis, longer, outlook));
        if tunnel.verdict == Health::Unknown.name() {
            report.blind.push(format!("{}: {}", tunnel.name, tunnel.explanation));
        }
        report.wrong |= tunnel.verdict == Health::Down.name() || tunnel.verdict == Health::Degraded.name();
        let suspected = outlook.map(|outlook| format!(" Suspected: {}.", outlook.cause.name()));
        verdicts.push(format!(
            "{}: {}. {}{}",
            tunnel.name,
            head(tunnel),
            diagnosis.restart.says,
            suspected.unwrap_or_default()
        ));
        data.push(as_json(&diagnosis, &dns, lines.get(&tunnel.unit), heard, outlook));
    }
    if data.is_empty() {
        report.blind.push("No unit of this host runs a tunnel, so there is nothing to diagnose.".into());
        verdicts.push("No tunnel was found on this host.".into());
    }
    if let Some(why) = unremembered.as_ref().filter(|_| report.wrong || !report.blind.is_empty()) {
        let says = format!(
            "{why}: restarts of before, and whether names were ever served by this process, are not known here"
        );
        report
            .sections
            .push(Section::Facts { title: String::new(), facts: vec![("daemon's memory".into(), says)] });
    }
    report.verdict = verdicts.join(" ");
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    report.data = json!({ "tunnels": data, "took_ms": took, "memory": unremembered });
}

fn head(tunnel: &TunnelStatus) -> String {
    match tunnel.cause.as_deref().filter(|cause| *cause != tunnel.verdict) {
        Some(cause) => format!("{}, {cause}", tunnel.verdict),
        None => tunnel.verdict.clone(),
    }
}

/// What each sense saw, from the unit outwards.
fn layers(
    tunnel: &TunnelStatus,
    lines: Option<&BTreeMap<&'static str, u64>>,
    heard: Heard,
    way_out: Option<Control>,
    several: bool,
) -> Section {
    let mut facts = Vec::new();
    let mut fact = |label: &str, value: String| facts.push((label.to_owned(), value));
    let blind = |sense: Sense| {
        let of = tunnel.senses.iter().find(|seen| seen.sense == sense.word())?;
        of.blind.as_deref().filter(|why| *why != NOT_CONFIGURED)
    };
    match (&tunnel.unit_state, blind(Sense::Unit)) {
        (_, Some(why)) => fact("unit", format!("{}: {why}", tunnel.unit)),
        (Some(unit), None) => {
            fact("unit", format!("{} {} ({}), result {}", tunnel.unit, unit.active, unit.sub, unit.result));
        }
        (None, None) => fact("unit", tunnel.unit.clone()),
    }
    if let Some(id) = &tunnel.id {
        fact("tunnel", id.clone());
    }
    fact(
        "journal",
        match blind(Sense::Journal) {
            Some(why) => format!("{why}: join the group systemd-journal, or use sudo"),
            None => lines_heard(lines),
        },
    );
    if let Some(at) = heard.registered {
        fact("last registration", clock::rfc3339(at));
    }
    // Where it is older than the registration, it led to that.
    if let Some(at) = heard.attempt.filter(|at| heard.registered.is_none_or(|registered| registered < *at)) {
        fact("last attempt", clock::rfc3339(at));
    }
    let connector = &tunnel.connector;
    fact(
        "/ready",
        match (blind(Sense::Ready), connector.connections) {
            (None, Some(n)) => {
                let by = connector.transport.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
                let version = connector.version.as_deref().map(|version| format!(", cloudflared {version}"));
                format!("{n} connections{by}{}", version.unwrap_or_default())
            }
            (Some(why), _) => format!("not asked: {why}"),
            (None, None) => "it does not answer".into(),
        },
    );
    if let Some(id) = &connector.id {
        fact("connector", id.clone());
    }
    let mut regions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for edge in &tunnel.edge {
        let reach = if edge.reachable { "reachable" } else { "not reachable" };
        let region = edge.region.split('.').next().unwrap_or(&edge.region);
        regions.entry(region).or_default().push(format!("{reach} by {}", edge.transport));
    }
    for (region, reach) in regions {
        fact(&format!("edge {region}"), reach.join(", "));
    }
    if tunnel.edge.is_empty() {
        fact("edge", format!("not dialled: {}", blind(Sense::Edge).unwrap_or("its names do not resolve")));
    }
    fact(
        "own way out",
        match (way_out, blind(Sense::Control)) {
            (Some(Control::Answered), _) => "a name that does not use the tunnel answers".into(),
            (Some(Control::Failing), _) => {
                "a name that does not use the tunnel does not answer either".into()
            }
            (None, why) => format!("not seen: {}", why.unwrap_or("nothing was asked")),
        },
    );
    fact(
        "Cloudflare's API",
        match (api(tunnel), tunnel.senses.iter().find(|seen| seen.sense == Sense::Tunnel.word())) {
            (Some(trouble), _) => trouble.to_owned(),
            (None, Some(seen)) => match seen.blind.as_deref() {
                Some(NOT_CONFIGURED) => "not asked, for want of a token: CLOUDFLARE_API_TOKEN".into(),
                Some(why) => why.to_owned(),
                None => "read; tunnelwarden tunnel shows what it holds".into(),
            },
            (None, None) => "not asked".into(),
        },
    );
    for unread in tunnel.unread.iter().filter(|unread| api(tunnel) != Some(unread.as_str())) {
        fact("not readable", unread.clone());
    }
    for note in &tunnel.notes {
        fact("note", note.clone());
    }
    let title = if several { format!("{}: what was seen", tunnel.name) } else { "What was seen".into() };
    Section::Facts { title, facts }
}

/// The trouble with Cloudflare's API, if there is one.
fn api(tunnel: &TunnelStatus) -> Option<&str> {
    tunnel.unread.iter().map(String::as_str).find(|unread| unread.starts_with("Cloudflare's API"))
}

/// What the last lines say, by meaning.
fn lines_heard(lines: Option<&BTreeMap<&'static str, u64>>) -> String {
    let Some(lines) = lines.filter(|lines| !lines.is_empty()) else { return "no line of this unit".into() };
    let all: u64 = lines.values().sum();
    let telling = TELLING.iter().filter_map(|word| Some((word, lines.get(*word)?)));
    let telling: Vec<_> = telling.map(|(word, n)| format!("{n} {}", word.replace('_', " "))).collect();
    let unknown = lines.get("unknown").map(|n| format!("; {n} with no known meaning")).unwrap_or_default();
    match telling.is_empty() {
        true => format!("{all} lines, none of them telling{unknown}"),
        false => format!("{all} lines: {}{unknown}", telling.join(", ")),
    }
}

fn names(tunnel: &TunnelStatus, dns: &BTreeMap<String, Result<Addresses, DnsFailure>>) -> Section {
    let rows = tunnel.names.iter().map(|name| {
        let status = name.status.map(|status| status.to_string());
        let code = name.code.map(|code| format!(" error {code}")).unwrap_or_default();
        vec![
            name.hostname.clone(),
            leads(dns.get(&name.hostname)).to_owned(),
            name.answer.replace('_', " "),
            format!("{}{code}", status.unwrap_or_else(|| "-".into())),
            name.latency_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
        ]
    });
    Section::Table {
        title: "Public names".into(),
        columns: vec!["name", "dns", "answer", "status", "took"],
        rows: rows.collect(),
    }
}

fn leads(seen: Option<&Result<Addresses, DnsFailure>>) -> &'static str {
    match seen {
        Some(Ok(found)) => dns::word(&dns::public(&found.addresses, &found.aliases)),
        Some(Err(DnsFailure::NxDomain | DnsFailure::NoRecords)) => dns::word(&Route::Missing),
        Some(Err(_)) | None => "unseen",
    }
}

fn finding(name: &Name, seen: &Result<Addresses, DnsFailure>) -> Option<Finding> {
    match seen {
        Ok(found) => {
            let leads = dns::public(&found.addresses, &found.aliases);
            dns::route(&name.hostname, &leads, name.colo.is_some())
        }
        Err(DnsFailure::NxDomain | DnsFailure::NoRecords) => {
            dns::route(&name.hostname, &Route::Missing, false)
        }
        Err(_) => None,
    }
}

/// What one look could not conclude, somebody who has watched for longer may have; then there is nothing to suspect.
fn judged(
    tunnel: TunnelStatus,
    longer: Option<&TunnelStatus>,
    outlook: Option<Outlook>,
) -> (TunnelStatus, Option<Outlook>) {
    let unknown = |tunnel: &TunnelStatus| tunnel.verdict == Health::Unknown.name();
    let waiting = |tunnel: &TunnelStatus| tunnel.cause.as_deref() == Some(Cause::Reconnecting.name());
    let surer = |longer: &&TunnelStatus| {
        let healthy = longer.verdict == Health::Healthy.name();
        // That it was healthy a moment ago is no news about one that has just lost its connections.
        (unknown(&tunnel) && !unknown(longer))
            || (waiting(&tunnel) && !unknown(longer) && !waiting(longer) && !healthy)
    };
    match longer.filter(surer) {
        Some(longer) => {
            let known = TunnelStatus {
                verdict: longer.verdict.clone(),
                cause: longer.cause.clone(),
                since: longer.since.clone(),
                explanation: longer.explanation.clone(),
                advice: longer.advice.clone(),
                holds: longer.holds.clone(),
                ..tunnel
            };
            (known, None)
        }
        None if unknown(&tunnel) => {
            (TunnelStatus { advice: advice(&tunnel, outlook).into(), ..tunnel }, outlook)
        }
        None => (tunnel, outlook),
    }
}

/// What to do where one look cannot tell.
fn advice(tunnel: &TunnelStatus, outlook: Option<Outlook>) -> &'static str {
    let lost = |name: &Name| name.answer == Answer::TunnelError.word();
    let connected = tunnel.connector.connections.is_some_and(|n| 0 < n);
    if connected && !tunnel.names.is_empty() && tunnel.names.iter().all(lost) {
        "cloudflared is connected and no name gets through: the edge has lost its connections, or the names lead to another \
         tunnel. One look cannot tell which; tunnelwarden tunnel shows whether Cloudflare lists this host's connector."
    } else if outlook.is_some() {
        "Look for longer, as above, before anything is done."
    } else {
        "Give it a minute, or the service that watches: systemctl start tunnelwarden, then tunnelwarden explain."
    }
}

/// What time would prove, and the command that gives it that time.
fn suspicion(outlook: Outlook) -> String {
    let Outlook { cause, after } = outlook;
    format!(
        "{}: certain once everything has stayed as it is for another {}. To look for so long: tunnelwarden diagnose --for {}",
        cause.name(),
        span(after),
        minutes(after)
    )
}

/// Whole minutes, with room for what was seen so far, which a new look sees anew, and for the verdict to stand.
fn minutes(after: Duration) -> String {
    format!("{}m", (after + Duration::from_secs(45)).as_secs().div_ceil(60))
}

fn judgement(diagnosis: &Diagnosis, longer: Option<&TunnelStatus>, outlook: Option<Outlook>) -> Section {
    let tunnel = &diagnosis.tunnel;
    let mut facts = vec![
        ("verdict".to_owned(), head(tunnel)),
        ("proof".to_owned(), tunnel.explanation.clone()),
        ("can a restart help?".to_owned(), diagnosis.restart.says.clone()),
    ];
    if let Some(outlook) = outlook {
        facts.insert(2, ("suspected".into(), suspicion(outlook)));
    }
    if let Some(longer) = longer {
        facts.insert(1, ("the service says".into(), format!("{} since {}", head(longer), longer.since)));
    }
    for hold in tunnel.holds.iter().filter(|_| diagnosis.restart.helps != Some(false)) {
        let until = hold.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
        facts.push(("held by".into(), format!("{}{until}: {}", hold.hold, hold.reason)));
    }
    if diagnosis.restart.helps == Some(true) {
        let how =
            "the service does that within its rails; by hand: tunnelwarden restart --reason TEXT --follow";
        facts.push(("how".into(), how.into()));
    }
    if let Some(incident) = &tunnel.incident {
        facts.push(("incident".into(), format!("{}, open since {}", incident.id, incident.opened)));
    }
    if !tunnel.advice.is_empty() {
        facts.push(("what to do".into(), tunnel.advice.clone()));
    }
    if let Some(runbook) = &diagnosis.runbook {
        facts.push(("runbook".into(), runbook.clone()));
    }
    Section::Facts { title: "What it comes to".into(), facts }
}

fn as_json(
    diagnosis: &Diagnosis,
    dns: &BTreeMap<String, Result<Addresses, DnsFailure>>,
    lines: Option<&BTreeMap<&'static str, u64>>,
    heard: Heard,
    outlook: Option<Outlook>,
) -> Value {
    let of = |name: &String| {
        let seen = dns.get(name);
        let addresses = seen.and_then(|seen| seen.as_ref().ok()).map(|found| found.addresses.clone());
        let error = seen.and_then(|seen| seen.as_ref().err()).map(ToString::to_string);
        (
            name.clone(),
            json!({ "is": leads(seen), "addresses": addresses.unwrap_or_default(), "error": error }),
        )
    };
    let dns: serde_json::Map<_, _> = diagnosis.tunnel.names.iter().map(|name| of(&name.hostname)).collect();
    let mut value = serde_json::to_value(diagnosis).unwrap_or_default();
    if let Value::Object(object) = &mut value {
        object.insert("dns".into(), dns.into());
        object.insert("journal_lines".into(), json!(lines));
        object.insert("last_registration".into(), json!(heard.registered.map(clock::rfc3339)));
        object.insert("last_attempt".into(), json!(heard.attempt.map(clock::rfc3339)));
        let suspected = outlook
            .map(|outlook| json!({ "cause": outlook.cause.name(), "certain_in_s": outlook.after.as_secs() }));
        object.insert("suspected".into(), json!(suspected));
    }
    value
}
