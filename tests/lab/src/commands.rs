//! The commands that look for themselves, with and without the daemon, as root and as anybody.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::edge::api::TOKEN;
use crate::host::{Lab, TUNNEL, Wishes, wait};
use crate::scenarios::{Stage, cause, invocation, seconds, settle, wait_cause, wait_healthy};

const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// A command's exit status, stdout and stderr; neither may hold a secret.
pub(crate) fn ran(lab: &Lab, line: &str) -> Result<(i32, String, String)> {
    let output = lab.try_sh(line)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(!out.contains(TOKEN) && !err.contains(TOKEN), "`{line}` shows the token");
    Ok((output.status.code().context("ended by a signal")?, out.into_owned(), err.into_owned()))
}

pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

pub(crate) fn narrow(text: &str) -> Result<()> {
    let wide = text.lines().find(|line| 80 < line.chars().count() && !line.starts_with("      "));
    ensure!(wide.is_none(), "wider than 80 columns: {}", wide.unwrap_or(""));
    Ok(())
}

pub(crate) fn commands(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { api: true, ..Wishes::default() })?;
    settle(&lab)?;
    diagnose(&lab)?;
    tunnel(&lab)?;
    verify(&lab)
}

/// The same judge as the daemon's, within 15 s, with it or without.
#[expect(clippy::disallowed_methods, reason = "the lab runs in real time")]
fn diagnose(lab: &Lab) -> Result<()> {
    let began = Instant::now();
    let (exit, out, err) = ran(lab, "tunnelwarden diagnose --json")?;
    ensure!(exit == 0, "{exit}: {out}{err}");
    ensure!(began.elapsed() < seconds(15), "took {:?}", began.elapsed());
    let seen = &json(&out)?["tunnels"][0];
    ensure!(seen["verdict"] == "Healthy" && seen["connector"]["connections"] == 4, "{seen}");
    ensure!(seen["id"] == TUNNEL && seen["journal_lines"]["registered"] == 4, "{seen}");
    let records = seen["senses"].as_array().and_then(|all| all.iter().find(|one| one["sense"] == "tunnel"));
    ensure!(
        records.is_some_and(|sense| sense["blind"].is_null()),
        "Cloudflare's records were not read: {records:?}"
    );
    ensure!(err.contains("first look"), "no word of what is being done: {err}");
    let (exit, out, err) = ran(lab, &format!("{NOBODY} tunnelwarden diagnose"))?;
    ensure!(exit == 0 && out.contains("systemd-journal"), "{exit}: {out}{err}");
    narrow(&out)?;
    // What takes longer than one look, the service has seen.
    lab.sh("tunnelwarden pause --for 10m --reason 'to be looked at'")?;
    let before = invocation(lab)?;
    lab.edge("blackhole")?;
    wait_cause(lab, "ConnectorPhantom", 60)?;
    let (exit, out, err) = ran(lab, "tunnelwarden diagnose --json")?;
    let seen = &json(&out)?["tunnels"][0];
    ensure!(exit == 1 && seen["cause"] == "ConnectorPhantom", "{exit}: {out}{err}");
    ensure!(seen["restart"]["helps"] == true && seen["holds"].to_string().contains("Paused"), "{out}");
    ensure!(invocation(lab)? == before, "a diagnosis restarted something");
    lab.sh("tunnelwarden resume")?;
    wait("cured", seconds(90), || Ok(cause(lab).unwrap_or_default() == "Healthy"))?;
    // Without the service.
    lab.sh("systemctl stop tunnelwarden")?;
    lab.edge("refuse")?;
    let (exit, out, _) = ran(lab, "tunnelwarden diagnose")?;
    narrow(&out)?;
    let text = out.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(exit == 1 && text.contains("EdgeBlocked. No, a restart cannot mend this."), "{exit}: {out}");
    lab.edge("accept")?;
    lab.sh("systemctl restart cloudflared; systemctl start tunnelwarden")?;
    wait_healthy(lab, 90)?;
    let (exit, out, _) = ran(
        lab,
        "busctl call --json=short org.tunnelwarden.Warden1 /org/tunnelwarden/Warden1 \
                                   org.tunnelwarden.Warden1 Diagnose s cloudflared.service",
    )?;
    ensure!(exit == 0 && out.contains("Nothing to restart"), "{exit}: {out}");
    Ok(())
}

/// The daemon's own token for root, one of the environment or a hidden prompt for others.
fn tunnel(lab: &Lab) -> Result<()> {
    let (exit, out, err) = ran(lab, "tunnelwarden tunnel --json")?;
    ensure!(exit == 0, "{exit}: {out}{err}");
    let seen = &json(&out)?["tunnels"][0];
    ensure!(seen["status"] == "healthy" && seen["account"]["name"] == "lab", "{seen}");
    let mine = &seen["connectors"][0];
    ensure!(mine["this_host"] == true && 0 < mine["live"].as_u64().unwrap_or(0), "{seen}");
    let (exit, out, _) = ran(lab, "tunnelwarden tunnel")?;
    ensure!(exit == 0 && out.contains(" *"), "{exit}: {out}");
    narrow(&out)?;
    lab.sh("chmod 0600 /etc/credstore/cloudflare-api-token")?;
    let (exit, _, err) = ran(lab, &format!("{NOBODY} tunnelwarden tunnel </dev/null"))?;
    ensure!(exit == 2 && err.contains("CLOUDFLARE_API_TOKEN"), "{exit}: {err}");
    let (exit, out, err) =
        ran(lab, &format!("{NOBODY} env CLOUDFLARE_API_TOKEN={TOKEN} tunnelwarden tunnel"))?;
    ensure!(exit == 0, "{exit}: {out}{err}");
    let (exit, out, err) =
        ran(lab, &format!("{NOBODY} env CLOUDFLARE_API_TOKEN=cfut_wrong tunnelwarden tunnel"))?;
    ensure!(exit == 2 && out.contains("revoked"), "{exit}: {out}{err}");
    let (exit, _, err) = ran(lab, "tunnelwarden tunnel nosuch")?;
    ensure!(exit == 64 && err.contains("cloudflared.service"), "{exit}: {err}");
    // What is typed is not shown.
    let typed =
        format!("(sleep 8; echo {TOKEN}) | script -qec \"{NOBODY} tunnelwarden tunnel --json\" /run/typed");
    let (exit, out, _) = ran(lab, &typed)?;
    ensure!(exit == 0 && out.contains("not shown") && out.contains("\"this_host\""), "{exit}: {out}");
    Ok(())
}

/// The names as visitors get them. That the lab's edge is not among Cloudflare's addresses is noted, as it must be.
fn verify(lab: &Lab) -> Result<()> {
    let (exit, out, err) = ran(lab, "tunnelwarden verify --json")?;
    let seen = json(&out)?;
    let names = seen["names"].as_array().context("no names")?;
    ensure!(names.len() == 2, "{out}{err}");
    for name in names {
        ensure!(
            name["status"] == 200 && name["http"] == "HTTP/2" && name["server"] == "cloudflare",
            "{name}"
        );
        ensure!(name["dns"]["is"] == "elsewhere" && name["cf_ray"].as_str().is_some(), "{name}");
    }
    ensure!(exit == 0 && seen["findings"][0]["rule"] == "name-leads-elsewhere", "{exit}: {out}");
    lab.edge("page plain app.example.com")?;
    let (exit, out, _) = ran(lab, "tunnelwarden verify app.example.com")?;
    ensure!(exit == 1 && out.contains("Error 1033"), "{exit}: {out}");
    narrow(&out)?;
    lab.edge("unpage app.example.com")?;
    Ok(())
}

/// An ordered restart, followed to its proof; force goes past the cooldown and not past what guards the unit.
pub(crate) fn followed(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    let (exit, out, err) = ran(&lab, "tunnelwarden restart --reason 'new binary' --follow")?;
    ensure!(exit == 0, "{exit}: {out}{err}");
    let after = out.rsplit("unit stopping").next().unwrap_or_default();
    ensure!(after.contains(" registered "), "the new process is not in it: {out}");
    ensure!(out.contains("Cured") || out.contains("cured"), "{out}");
    ensure!(invocation(&lab)? != before, "nothing was restarted");
    let (exit, _, err) = ran(&lab, "tunnelwarden restart --reason again --follow")?;
    ensure!(exit == 69 && err.contains("Cooldown until "), "{exit}: {err}");
    let (exit, out, err) = ran(&lab, "tunnelwarden restart --force --reason 'it must be' --follow --json")?;
    ensure!(exit == 0, "{exit}: {out}{err}");
    let last = out.lines().last().context("it said nothing")?;
    ensure!(json(last)?["outcome"] == "Cured", "{last}");
    let story = lab.sh("tunnelwarden incidents")?;
    ensure!(story.matches("PlannedRestart").count() == 2, "{story}");
    let said = lab.sh("journalctl -u tunnelwarden -o cat")?;
    ensure!(said.contains("past cooldown and budget: it must be"), "force is not recorded: {said}");
    lab.edge("refuse")?;
    wait_cause(&lab, "EdgeBlocked", 60)?;
    let (exit, _, err) = ran(&lab, "tunnelwarden restart --force --reason mad --follow")?;
    ensure!(exit == 69 && err.contains("StartWouldFail"), "{exit}: {err}");
    lab.edge("accept")?;
    Ok(())
}
