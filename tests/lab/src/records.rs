//! What Cloudflare's records say, through its API: proof for some conclusions, never a reason of its own to restart.

use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};

use crate::edge::api::TOKEN;
use crate::host::{Lab, Wishes, wait};
use crate::scenarios::{
    OPENED, Stage, cause, invocation, no_remedy, one_cure, seconds, settle, wait_cause, wait_healthy,
};

fn sense(lab: &Lab) -> Result<serde_json::Value> {
    let senses = lab.status()?["tunnels"][0]["senses"].clone();
    let found = senses.as_array().and_then(|senses| senses.iter().find(|sense| sense["sense"] == "tunnel"));
    found.cloned().context("no tunnel sense")
}

fn wait_for_sight(lab: &Lab) -> Result<()> {
    wait("Cloudflare's records are read", seconds(40), || Ok(sense(lab)?["blind"].is_null()))
}

fn unread(lab: &Lab) -> Result<String> {
    Ok(lab.status()?["tunnels"][0]["unread"].to_string())
}

pub(crate) fn tunnel_deleted(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { api: true, ..Wishes::default() })?;
    wait_healthy(&lab, 60)?;
    wait_for_sight(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("reject Unauthorized: Tunnel not found")?;
    lab.edge("api deleted")?;
    lab.edge("drop")?;
    wait_cause(&lab, "TunnelDeleted", 90)?;
    sleep(seconds(45));
    ensure!(cause(&lab)? == "TunnelDeleted", "{}", lab.explain()?);
    ensure!(invocation(&lab)? == before, "cloudflared was restarted for a tunnel that is gone");
    no_remedy(&lab)?;
    ensure!(!lab.events(OPENED)?.is_empty(), "nobody is told");
    Ok(())
}

/// An API that cannot be read changes nothing but what is said of it; its token is in no output.
pub(crate) fn api_unreadable(stage: &Stage<'_>) -> Result<()> {
    let settings = "[api]\nperiod = \"15s\"\n";
    let lab = stage.boot(&Wishes { api: true, settings, ..Wishes::default() })?;
    wait_healthy(&lab, 60)?;
    wait_for_sight(&lab)?;
    let before = invocation(&lab)?;
    ensure!(unread(&lab)? == "[]", "{}", unread(&lab)?);
    for (mood, advice) in [
        ("html", "cloudflarestatus.com"),
        ("429", "wait; the limit is shared"),
        ("fail 403 9109", "this token is revoked"),
    ] {
        lab.edge(&format!("api {mood}"))?;
        wait(&format!("{mood} is told"), seconds(45), || Ok(unread(&lab)?.contains(advice)))?;
        ensure!(cause(&lab)? == "Healthy", "{mood}: {}", lab.explain()?);
        ensure!(!sense(&lab)?["blind"].is_null(), "{mood}: {}", sense(&lab)?);
        let told = lab.sh("journalctl -u tunnelwarden -p warning -o cat")?;
        ensure!(told.matches(advice).count() == 1, "{mood} is told not once: {told}");
    }
    ensure!(lab.sh("tunnelwarden status")?.contains("unread"), "status does not show it");
    ensure!(lab.metric("tunnelwarden_sense_blind{sense=\"tunnel\",tunnel=\"cloudflared.service\"}")? == 1.0);
    for outcome in ["garbled", "limited", "denied"] {
        let series =
            format!("tunnelwarden_api_requests_total{{endpoint=\"connections\",outcome=\"{outcome}\"}}");
        ensure!(lab.metric(&series)? >= 1.0, "{outcome} is not counted");
    }
    lab.edge("api good")?;
    wait("it is read again", seconds(60), || Ok(unread(&lab)? == "[]"))?;
    // Asked for a minute after the start, and not soon again where that fails: so a start with an API that answers.
    lab.sh("systemctl restart tunnelwarden")?;
    let ends = "tunnelwarden_api_token_expiry_timestamp_seconds";
    wait(
        "the token's end is known",
        seconds(120),
        || Ok(lab.metric(ends).unwrap_or(0.0) == 2_082_758_400.0),
    )?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    let lines = [
        "tunnelwarden status --json",
        "tunnelwarden status",
        "tunnelwarden config show",
        "curl -s http://127.0.0.1:9733/metrics",
        "curl -s http://127.0.0.1:9733/",
        "journalctl -o verbose",
        "cat /var/lib/tunnelwarden/*",
    ];
    for line in lines {
        ensure!(!lab.sh(line)?.contains(&TOKEN[..20]), "the token is in the output of {line}");
    }
    token_in_a_file(&lab)
}

/// A file that is named and not there is told; once it is, a reload is enough.
fn token_in_a_file(lab: &Lab) -> Result<()> {
    let path = "/etc/tunnelwarden/token";
    lab.write("/etc/tunnelwarden/conf.d/token.toml", &format!("[api]\ntoken = \"file:{path}\"\n"))?;
    lab.sh("systemctl reload tunnelwarden")?;
    wait("its absence is told", seconds(20), || Ok(unread(lab).unwrap_or_default().contains(path)))?;
    ensure!(sense(lab)?["blind"] == "not configured", "{}", sense(lab)?);
    lab.write(path, TOKEN)?;
    lab.sh(&format!("chown tunnelwarden {path}; chmod 0400 {path}; systemctl reload tunnelwarden"))?;
    wait("the file is read", seconds(20), || Ok(unread(lab).unwrap_or_default() == "[]"))?;
    wait_for_sight(lab)
}

/// Names lead nowhere while Cloudflare lists our connections as live: whatever it is, a restart would only cut them.
pub(crate) fn api_misrouted(stage: &Stage<'_>) -> Result<()> {
    // Records lag by three minutes, and without them this is a phantom: it is held until they have spoken.
    let settings = "[judge]\nsustained = \"5m\"\n";
    let lab = stage.boot(&Wishes { api: true, settings, ..Wishes::default() })?;
    settle(&lab)?;
    wait_for_sight(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("page plain")?;
    wait_cause(&lab, "ConnectorPhantom", 40)?;
    wait_cause(&lab, "Misrouted", 260)?;
    sleep(seconds(75));
    ensure!(cause(&lab)? == "Misrouted", "{}", lab.explain()?);
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)
}

/// The edge's own records have lost the connector: then even one that may carry a private network is ended swiftly.
pub(crate) fn api_phantom(stage: &Stage<'_>) -> Result<()> {
    let settings = "[judge]\nsustained = \"4m\"\n";
    let config_tail = "  - service: http_status:404\nwarp-routing:\n  enabled: true\n";
    let lab = stage.boot(&Wishes { api: true, settings, config_tail, ..Wishes::default() })?;
    settle(&lab)?;
    wait_for_sight(&lab)?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 40)?;
    sleep(seconds(220));
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}
