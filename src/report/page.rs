//! The page: the state of every tunnel for a person at 3 am. Everything from outside is escaped.

use std::fmt::Write as _;

use super::snapshot::{Status, TunnelStatus};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#111;background:#fff}h2{margin:1.5rem 0 .3rem}table{border-collapse:collapse}td,th{text-align:left;\
padding:.15rem .8rem .15rem 0;vertical-align:top;font-variant-numeric:tabular-nums}\
.Healthy{color:#066b2d}.Degraded{color:#8a5a00}.Down{color:#b00020}.Unknown{color:#555}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}.Healthy{color:#5bd68b}.Degraded{color:#f0b849}\
.Down{color:#ff7b8a}.Unknown{color:#aaa}}";

/// The whole page.
pub fn render(status: &Status) -> String {
    let mut page = String::new();
    let version = escape(&status.version);
    let mode = escape(&status.mode);
    push(&mut page, format_args!("<!doctype html><html lang=en><meta charset=utf-8>"));
    push(
        &mut page,
        format_args!(
            "<meta name=viewport content=\"width=device-width\"><meta http-equiv=refresh content=10>"
        ),
    );
    push(&mut page, format_args!("<title>tunnelwarden</title><style>{STYLE}</style><h1>tunnelwarden</h1>"));
    push(&mut page, format_args!("<p>version {version}, mode {mode}, since {}</p>", escape(&status.since)));
    if let Some(why) = &status.powerless {
        push(&mut page, format_args!("<p><strong>Only watching:</strong> {}</p>", escape(why)));
    }
    if let Some(until) = &status.paused_until {
        let until = escape(until);
        push(&mut page, format_args!("<p><strong>Paused</strong> until {until}: nothing is restarted</p>"));
    }
    if status.tunnels.is_empty() {
        page.push_str("<p>No unit on this host runs a tunnel.</p>");
    }
    for tunnel in &status.tunnels {
        one(&mut page, tunnel);
    }
    page
}

fn one(page: &mut String, tunnel: &TunnelStatus) {
    let cause = tunnel.cause.as_deref().unwrap_or("");
    let verdict = escape(&tunnel.verdict);
    push(page, format_args!("<h2>{}: <span class={verdict}>{verdict}</span></h2>", escape(&tunnel.name)));
    push(page, format_args!("<p><strong>{}</strong> since {}<br>", escape(cause), escape(&tunnel.since)));
    push(page, format_args!("{}<br>{}</p>", escape(&tunnel.explanation), escape(&tunnel.advice)));
    for hold in &tunnel.holds {
        let until = hold.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
        push(
            page,
            format_args!("<p>Held by {}{}: {}</p>", escape(&hold.hold), escape(&until), escape(&hold.reason)),
        );
    }
    for finding in &tunnel.findings {
        let (severity, audit, what) =
            (escape(&finding.severity), escape(&finding.audit), escape(&finding.what));
        push(page, format_args!("<p>Audit of {audit}, {severity}: {what}</p>"));
    }
    for unread in &tunnel.unread {
        push(page, format_args!("<p>Not readable: {}</p>", escape(unread)));
    }
    for note in &tunnel.notes {
        push(page, format_args!("<p>{}</p>", escape(note)));
    }
    page.push_str("<table><tr><th>name<th>answer<th>status<th>ms<th>at");
    for name in &tunnel.names {
        let status = name.status.map(|status| status.to_string()).unwrap_or_default();
        let took = name.latency_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let at = name.at.as_deref().unwrap_or("");
        let cells = [name.hostname.as_str(), name.answer.as_str(), status.as_str(), took.as_str(), at];
        row(page, &cells);
    }
    page.push_str("</table><table><tr><th>edge region<th>transport<th>reachable<th>at");
    for edge in &tunnel.edge {
        let reachable = if edge.reachable { "yes" } else { "no" };
        row(page, &[edge.region.as_str(), edge.transport.as_str(), reachable, edge.at.as_str()]);
    }
    page.push_str("</table>");
    if let Some(incident) = &tunnel.incident {
        push(page, format_args!("<h3>Incident {}</h3><table>", escape(&incident.id)));
        for step in &incident.steps {
            row(page, &[step.at.as_str(), step.what.as_str(), step.detail.as_str()]);
        }
        page.push_str("</table>");
    }
}

fn row(page: &mut String, cells: &[&str]) {
    page.push_str("<tr>");
    for cell in cells {
        push(page, format_args!("<td>{}", escape(cell)));
    }
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    if page.write_fmt(text).is_err() {
        tracing::debug!("a page could not be written whole");
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(escape("<script>'&\""), "&lt;script&gt;&#39;&amp;&quot;");
    }
}
