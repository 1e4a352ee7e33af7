//! The checks cloudflared makes beside its start: two regions over both transports, told in a table and in
//! lines, and acted upon by nobody.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::{
    dial::Dialer,
    log::{Fields, Log},
    settings::Protocol,
};
use crate::wire::SNI_PROBE;

const DIAL_WAIT: Duration = Duration::from_secs(5);
/// Dials that fail before a target counts as out of reach.
const DIALS: usize = 2;
const REGIONS: [&str; 2] = ["region1.v2.argotunnel.com", "region2.v2.argotunnel.com"];
const API: &str = "api.cloudflare.com:443";

struct Row {
    component: &'static str,
    target: &'static str,
    status: &'static str,
    details: String,
}

/// Checks and tells. `regions` is what the lookups found, or why they failed; `protocol` what auto or the
/// settings begin with.
pub async fn run(
    log: Log,
    dialer: Dialer,
    regions: Result<[Vec<SocketAddr>; 2], String>,
    protocol: Protocol,
) {
    let rows = match regions {
        Ok(regions) => reached(&dialer, &regions).await,
        Err(error) => unresolved(&error),
    };
    let passed = |component: &str| rows.iter().any(|row| row.component == component && row.status == "pass");
    let (resolved, udp, tcp) =
        (passed("DNS Resolution"), passed("UDP Connectivity"), passed("TCP Connectivity"));
    let hard_fail = !resolved || !(udp || tcp);
    let suggested =
        if udp && (protocol == Protocol::Quic || !tcp) { Protocol::Quic } else { Protocol::Http2 };
    let suggested = suggested.name();
    let summary = if hard_fail {
        "Environment has critical failures. cloudflared may not be able to establish a tunnel.".to_owned()
    } else if udp && tcp {
        format!("Environment is healthy. cloudflared will use '{suggested}' as primary protocol.")
    } else {
        format!("Environment ready with degraded transport. cloudflared will proceed using '{suggested}'.")
    };
    tell(log, &rows, &format!("SUMMARY: {summary}"), udp);
    let id = Value::from(uuid::Uuid::new_v4().to_string());
    for row in rows {
        let fields: Fields = vec![
            ("component", row.component.into()),
            ("details", row.details.into()),
            ("run_id", id.clone()),
            ("status", row.status.to_lowercase().into()),
            ("target", row.target.into()),
        ];
        log.info("precheck", fields);
    }
    let mut fields: Fields = vec![("hard_fail", hard_fail.into()), ("run_id", id)];
    if !hard_fail {
        fields.push(("suggested_protocol", suggested.into()));
    }
    log.info("precheck complete", fields);
}

async fn reached(dialer: &Dialer, regions: &[Vec<SocketAddr>; 2]) -> Vec<Row> {
    let [one, two] = [regions[0].first().copied(), regions[1].first().copied()];
    let (udp_one, udp_two, tcp_one, tcp_two, api) =
        tokio::join!(udp(dialer, one), udp(dialer, two), tcp(dialer, one), tcp(dialer, two), api());
    let row = |component, target, pass: bool, good: &str, bad: &str| Row {
        component,
        target,
        status: if pass { "pass" } else { "fail" },
        details: (if pass { good } else { bad }).to_owned(),
    };
    let [first, second] = REGIONS;
    let dns = |target| row("DNS Resolution", target, true, "DNS Resolved successfully", "");
    let quic = |target, pass| {
        row("UDP Connectivity", target, pass, "QUIC connection successful", "QUIC connection failed")
    };
    let http2 = |target, pass| {
        let bad = "HTTP/2 connection is blocked or unreachable";
        row("TCP Connectivity", target, pass, "HTTP/2 connection successful", bad)
    };
    vec![
        dns(first),
        dns(second),
        quic(first, udp_one),
        quic(second, udp_two),
        http2(first, tcp_one),
        http2(second, tcp_two),
        row("Cloudflare API", API, api, "API is reachable", "API Connection failed"),
    ]
}

fn unresolved(error: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = REGIONS
        .map(|target| Row { component: "DNS Resolution", target, status: "fail", details: error.to_owned() })
        .into();
    for component in ["UDP Connectivity", "TCP Connectivity"] {
        let skipped =
            |target| Row { component, target, status: "skip", details: "DNS prerequisite failed".into() };
        rows.extend(REGIONS.map(skipped));
    }
    let details = "API Connection failed".into();
    rows.push(Row { component: "Cloudflare API", target: API, status: "fail", details });
    rows
}

async fn udp(dialer: &Dialer, edge: Option<SocketAddr>) -> bool {
    let Some(edge) = edge else { return false };
    reaches(|| dialer.dial_quic(edge, SNI_PROBE)).await
}

async fn tcp(dialer: &Dialer, edge: Option<SocketAddr>) -> bool {
    let Some(edge) = edge else { return false };
    reaches(|| dialer.dial_tcp(edge, SNI_PROBE)).await
}

async fn api() -> bool {
    reaches(|| TcpStream::connect(API)).await
}

async fn reaches<T, E, F: Future<Output = Result<T, E>>>(dial: impl Fn() -> F) -> bool {
    for _ in 0..DIALS {
        if let Ok(Ok(_)) = timeout(DIAL_WAIT, dial()).await {
            return true;
        }
    }
    false
}

/// The box, as wide as its widest line.
fn tell(log: Log, rows: &[Row], summary: &str, udp: bool) {
    let line = |component: &str, target: &str, status: &str, details: &str| {
        format!("{component:<16}  {target:<25}  {status:<6}  {details}")
    };
    let mut lines = vec![line("COMPONENT", "TARGET", "STATUS", "DETAILS")];
    lines.extend(
        rows.iter().map(|row| line(row.component, row.target, &row.status.to_uppercase(), &row.details)),
    );
    if !udp {
        lines.extend(vec!["WARNING: Allow outbound QUIC traffic on port 7844 or use HTTP2.".to_owned(); 2]);
    }
    lines.extend([String::new(), summary.to_owned()]);
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let ruler = format!("+{}+", "-".repeat(width + 4));
    let say = |text: &str| log.info(text, vec![]);
    say(&ruler);
    say(&format!("|{:^1$}|", "CONNECTIVITY PRE-CHECKS", width + 4));
    say(&ruler);
    for line in &lines {
        say(&format!("|  {line:<width$}  |"));
    }
    say(&ruler);
}
