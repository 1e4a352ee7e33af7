//! Outages: of cloudflared itself, and of what lies between it and the edge.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Stage;
use super::proof::{
    BEYOND_GRACE, HELD, OPENED, ORDERED, UNIT, invocation, no_remedy, one_cure, one_cure_or_alone, seconds,
    settle, tunnel, wait_cause, wait_healthy,
};
use crate::host::{Wishes, wait};

/// A visitor who speaks WebSocket: what the origin sends back comes last.
const WEBSOCKET: &str = r"
(printf 'GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
 printf 'Sec-WebSocket-Key: bGFi\r\nSec-WebSocket-Version: 13\r\n\r\n'; sleep 2; printf 'there and back'; sleep 2) |
    timeout 20 openssl s_client -quiet -no_ign_eof -connect app.example.com:443 -servername app.example.com 2>/dev/null";

pub(super) fn healthy(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    let before = invocation(&lab)?;
    settle(&lab)?;
    sleep(seconds(20));
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    ensure!(lab.metric("tunnelwarden_verdict{tunnel=\"cloudflared.service\",verdict=\"healthy\"}")? == 1.0);
    ensure!(lab.metric("tunnelwarden_connector_connections{")? == 4.0);
    ensure!(lab.sh("curl -sf http://127.0.0.1:9733/healthz")?.trim() == "ok");
    ensure!(lab.sh("tunnelwarden explain")?.contains("Healthy"));
    let said = lab.sh(WEBSOCKET)?;
    ensure!(said.contains(" 101 ") && said.ends_with("there and back"), "no WebSocket: {said}");
    Ok(())
}

pub(super) fn phantom(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 40)?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")?;
    ensure!(invocation(&lab)? != before);
    ensure!(lab.show(UNIT, "NRestarts")? == "0", "systemd had to help");
    let series = "tunnelwarden_unit_restarts_total{by=\"tunnelwarden\",tunnel=\"cloudflared.service\"}";
    ensure!(lab.metric(series)? == 1.0, "the restart is not counted as ours");
    Ok(())
}

pub(super) fn asleep(stage: &Stage<'_>) -> Result<()> {
    let env = vec![("STANDIN_SUPERVISOR_WAIT", "250".to_owned())];
    let lab = stage.boot(&Wishes { env, ..Wishes::default() })?;
    settle(&lab)?;
    lab.edge("refuse")?;
    wait_cause(&lab, "EdgeBlocked", 60)?;
    sleep(seconds(20));
    no_remedy(&lab)?;
    lab.edge("accept")?;
    one_cure_or_alone(&lab, stage.is_real(), "SwiftRestart", "ConnectorAsleep")
}

pub(super) fn frozen(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.sh("kill -STOP $(systemctl show -P MainPID cloudflared)")?;
    wait_cause(&lab, "ConnectorFrozen", 40)?;
    one_cure(&lab, "SwiftRestart", "ConnectorFrozen")
}

pub(super) fn network_down(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.link(false)?;
    wait_cause(&lab, "HostOffline", 60)?;
    sleep(seconds(30));
    ensure!(invocation(&lab)? == before, "cloudflared was restarted with the network down");
    no_remedy(&lab)?;
    ensure!(lab.explain()?.contains("no way out"), "{}", lab.explain()?);
    lab.link(true)?;
    wait_healthy(&lab, 120)
}

pub(super) fn edge_blocked(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    let before = invocation(&lab)?;
    lab.block("tcp")?;
    lab.far_nft("add rule inet lab incoming udp dport 7844 drop")?;
    lab.edge("forget")?;
    wait_cause(&lab, "EdgeBlocked", 60)?;
    sleep(BEYOND_GRACE);
    ensure!(invocation(&lab)? == before, "cloudflared was restarted with 7844 shut");
    no_remedy(&lab)?;
    ensure!(lab.explain()?.contains("7844"), "{}", lab.explain()?);
    let reachable = "tunnelwarden_edge_reachable{region=\"region1.v2.argotunnel.com\",transport=\"http2\"}";
    ensure!(lab.metric(reachable)? == 0.0);
    Ok(())
}

pub(super) fn udp_blocked(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { protocol: "auto", warden: false, ..Wishes::default() })?;
    lab.block("udp")?;
    lab.sh("systemctl restart --no-block cloudflared")?;
    lab.install()?;
    wait_cause(&lab, "QuicBlocked", 60)?;
    // systemd starts it again and again; what is wrong is the same at each moment of it.
    for _ in 0..225 {
        let said = lab.explain()?;
        ensure!(said.contains("TUNNEL_TRANSPORT_PROTOCOL=http2"), "{said}");
        sleep(Duration::from_millis(200));
    }
    no_remedy(&lab)?;
    ensure!(lab.show(UNIT, "NRestarts")?.parse::<u32>()? >= 2, "the stock unit did not loop");
    Ok(())
}

pub(super) fn second_outage(stage: &Stage<'_>) -> Result<()> {
    let settings = "[judge]\nstart_grace = \"5s\"\n";
    let lab = stage.boot(&Wishes { settings, ..Wishes::default() })?;
    settle(&lab)?;
    lab.edge("blackhole")?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 60)?;
    wait("the cooldown is shown", seconds(30), || {
        let held = tunnel(&lab)?["holds"].to_string();
        Ok(held.contains("Cooldown"))
    })?;
    sleep(seconds(20));
    ensure!(invocation(&lab)? == before, "the cooldown did not hold");
    ensure!(lab.events(ORDERED)?.len() == 1, "a second remedy was ordered");
    let held = lab.events(HELD)?;
    ensure!(held.iter().any(|event| event["TUNNELWARDEN_HOLD"] == "Cooldown"), "the journal does not say it");
    ensure!(lab.metric("tunnelwarden_hold{hold=\"cooldown\",tunnel=\"cloudflared.service\"}")? == 1.0);
    ensure!(lab.explain()?.contains("Held by Cooldown until 2"), "{}", lab.explain()?);
    Ok(())
}

pub(super) fn killed_mid_remedy(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    // A plain restart of a phantom takes 30 s: time to be killed in.
    lab.sh("mkdir -p /etc/tunnelwarden/conf.d; printf '[remedy]\\nswift = false\\n' > /etc/tunnelwarden/conf.d/slow.toml")?;
    lab.sh("systemctl reload tunnelwarden")?;
    lab.edge("blackhole")?;
    wait("a remedy is ordered", seconds(60), || Ok(!lab.events(ORDERED)?.is_empty()))?;
    lab.sh("systemctl kill -s KILL tunnelwarden")?;
    wait("tunnelwarden is back", seconds(30), || Ok(lab.status().is_ok()))?;
    let left = lab.metric("tunnelwarden_budget_remaining{tunnel=\"cloudflared.service\",window=\"hour\"}")?;
    ensure!(left == 2.0, "the budget was given back: {left}");
    wait_healthy(&lab, 90)?;
    sleep(seconds(20));
    ensure!(lab.events(ORDERED)?.len() == 1, "a second remedy was ordered");
    let restarts = "tunnelwarden_unit_restarts_total{by=\"tunnelwarden\",tunnel=\"cloudflared.service\"}";
    ensure!(lab.metric(restarts)? == 1.0, "the life it began is not counted as ours");
    lab.sh("systemctl restart tunnelwarden")?;
    wait("tunnelwarden is back", seconds(30), || Ok(lab.status().is_ok()))?;
    wait_healthy(&lab, 90)?;
    ensure!(lab.metric(restarts)? == 0.0, "a life that is remembered is counted once more");
    Ok(())
}

pub(super) fn unit_failed(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.sh("mkdir -p /run/systemd/system/cloudflared.service.d; \
            printf '[Service]\\nRestart=no\\n' > /run/systemd/system/cloudflared.service.d/z.conf; systemctl daemon-reload")?;
    lab.sh("systemctl kill -s KILL cloudflared")?;
    one_cure(&lab, "ResetAndStart", "UnitFailed")?;
    // The past can be asked, too.
    let past = lab.sh("tunnelwarden replay --since 1h --json")?;
    ensure!(past.contains("UnitFailed"), "{past}");
    Ok(())
}
