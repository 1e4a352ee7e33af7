//! What people and their programs meet: the bus, the alerts, the other package.

use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};

use crate::host::{Wishes, wait};
use crate::scenarios::{CLOSED, Stage, invocation, seconds, settle, wait_cause};

/// The shipped alerts in a real Prometheus, passed to a real Alertmanager.
pub(crate) fn alerts(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    let rules = "/usr/share/doc/tunnelwarden/prometheus/tunnelwarden.yml";
    lab.sh(&format!("promtool check rules {rules}"))?;
    lab.sh("curl -sf http://127.0.0.1:9733/metrics | promtool check metrics")?;
    // The spans of minutes are promtool's to test; the scenario shows the way to the Alertmanager.
    lab.write("/root/rules/tests.yml", include_str!("../../../packaging/prometheus/tests.yml"))?;
    lab.sh(&format!("cp {rules} /root/rules/ && promtool test rules /root/rules/tests.yml"))?;
    lab.sh(&format!(
        "mkdir -p /etc/prometheus; sed -E 's/for: [0-9]+m/for: 2s/' {rules} > /etc/prometheus/tunnelwarden.yml"
    ))?;
    lab.write(
        "/etc/prometheus/prometheus.yml",
        "global:\n  scrape_interval: 2s\n  evaluation_interval: 2s\nrule_files: [/etc/prometheus/tunnelwarden.yml]\n\
         alerting: { alertmanagers: [ { static_configs: [ { targets: ['127.0.0.1:9093'] } ] } ] }\n\
         scrape_configs:\n  - job_name: tunnelwarden\n    static_configs: [ { targets: ['127.0.0.1:9733'] } ]\n",
    )?;
    lab.write(
        "/etc/prometheus/alertmanager.yml",
        "route: { receiver: none, group_wait: 1s }\nreceivers: [ { name: none } ]\n",
    )?;
    lab.sh("systemctl unmask -q prometheus prometheus-alertmanager; \
            systemctl start prometheus prometheus-alertmanager")?;
    settle(&lab)?;
    let fire = |name: &str| -> Result<bool> {
        let active = lab.sh("curl -sf http://127.0.0.1:9093/api/v2/alerts || true")?;
        Ok(active.contains(&format!("\"alertname\":\"{name}\"")))
    };
    sleep(seconds(10));
    for quiet in ["TunnelDown", "TunnelHeld", "TunnelwardenSilent", "TunnelwardenCannotAct"] {
        ensure!(!fire(quiet)?, "{quiet} fires on a healthy tunnel");
    }
    lab.edge("refuse")?;
    wait_cause(&lab, "EdgeBlocked", 60)?;
    wait("Alertmanager has TunnelDown", seconds(60), || fire("TunnelDown"))?;
    let active = lab.sh("curl -sf http://127.0.0.1:9093/api/v2/alerts")?;
    ensure!(active.contains("runbook.md#edgeblocked"), "{active}");
    lab.sh("systemctl stop tunnelwarden")?;
    wait("Alertmanager has TunnelwardenSilent", seconds(60), || fire("TunnelwardenSilent"))
}

/// The life of the .rpm: installed, upgraded, removed, by rpm itself on a running systemd.
pub(crate) fn rpm(stage: &Stage<'_>) -> Result<()> {
    let package = stage.parts.rpm.as_ref().context("no .rpm was given (--rpm)")?;
    let lab = stage.boot(&Wishes { warden: false, ..Wishes::default() })?;
    lab.bring(package, "/root/tunnelwarden.rpm")?;
    // Debian's rpm knows no package, so what ours requires is not looked for.
    lab.sh("rpm -i --nodeps /root/tunnelwarden.rpm")?;
    lab.status().context("it is not on the bus as soon as it runs")?;
    ensure!(lab.show("tunnelwarden.service", "ActiveState")? == "active");
    ensure!(lab.show("tunnelwarden.service", "UnitFileState")? == "enabled");
    wait("healthy", seconds(60), || Ok(lab.explain().unwrap_or_default().contains("Healthy")))?;
    let status = lab.status()?;
    ensure!(status["powerless"].is_null(), "it may not act: {}", status["powerless"]);
    let explained = lab.sh("journalctl -q -x -u tunnelwarden")?;
    ensure!(explained.contains("Subject: tunnelwarden has started"), "the catalog is not there");
    let files = lab.sh("rpm -V --nodeps tunnelwarden || true")?;
    ensure!(files.trim().is_empty(), "{files}");
    // The configuration stays as the admin left it.
    lab.sh("echo '# mine' >> /etc/tunnelwarden/tunnelwarden.toml")?;
    let before = lab.show("tunnelwarden.service", "InvocationID")?;
    lab.sh("rpm -U --nodeps --replacepkgs --force /root/tunnelwarden.rpm")?;
    wait("the new one runs", seconds(20), || {
        Ok(lab.show("tunnelwarden.service", "ActiveState")? == "active"
            && lab.show("tunnelwarden.service", "InvocationID")? != before)
    })?;
    ensure!(
        lab.sh("tail -n 1 /etc/tunnelwarden/tunnelwarden.toml")?.trim() == "# mine",
        "the configuration is lost"
    );
    lab.sh("rpm -e tunnelwarden")?;
    ensure!(lab.sh("systemctl is-active tunnelwarden || true")?.trim() != "active", "it runs on");
    let left =
        lab.sh("ls /usr/bin/tunnelwarden /usr/lib/systemd/system/tunnelwarden.service 2>/dev/null || true")?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    ensure!(
        lab.sh("ls /etc/tunnelwarden/tunnelwarden.toml.rpmsave").is_ok(),
        "the changed configuration is gone"
    );
    ensure!(lab.sh("systemctl is-active cloudflared")?.trim() == "active", "cloudflared went with it");
    Ok(())
}

const PAUSED: &str = "293c362868d79a69866130c4cfbfb767";
const RESUMED: &str = "d9c69f48a843ef4959d04ea9abc38b8a";
const WARDEN: &str = "org.tunnelwarden.Warden1 /org/tunnelwarden/Warden1";

/// What people and their programs order and hear over the system bus.
pub(crate) fn orders(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    // Reads, by anybody.
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let tunnels =
        lab.sh(&format!("{nobody} busctl get-property {WARDEN} org.tunnelwarden.Warden1 Tunnels"))?;
    ensure!(tunnels.contains("\"cloudflared.service\" \"Healthy\" \"Healthy\" 4"), "{tunnels}");
    let status = lab.sh(&format!("{nobody} tunnelwarden status"))?;
    ensure!(status.contains("cloudflared.service: Healthy"), "{status}");
    let shown = lab.sh(&format!("busctl introspect {WARDEN} org.tunnelwarden.Warden1"))?;
    ensure!(shown.contains(".PausedUntil"), "{shown}");
    // Orders, not by anybody.
    let refused = lab.sh(&format!("{nobody} tunnelwarden restart --reason mischief 2>&1; echo exit $?"))?;
    ensure!(refused.contains("org.tunnelwarden.restart") && refused.contains("exit 2"), "{refused}");
    let refused =
        lab.sh(&format!("{nobody} tunnelwarden pause --for 1h --reason mischief 2>&1; echo exit $?"))?;
    ensure!(refused.contains("org.tunnelwarden.pause") && refused.contains("exit 2"), "{refused}");
    ensure!(lab.events(PAUSED)?.is_empty(), "paused by somebody who may not");
    // A member of the group needs no password.
    lab.sh("useradd --system --groups tunnelwarden-admin helper")?;
    let before = invocation(&lab)?;
    lab.sh("busctl monitor --json=short org.tunnelwarden.Warden1 > /run/heard 2>&1 &")?;
    wait("somebody listens", seconds(20), || {
        lab.sh("tunnelwarden status > /dev/null; grep -q Status /run/heard")?;
        Ok(true)
    })?;
    let said = lab.sh(
        "setpriv --reuid=helper --regid=helper --init-groups tunnelwarden restart --reason 'new binary'",
    )?;
    ensure!(said.contains("incident cloudflared-"), "{said}");
    wait("a new process", seconds(60), || Ok(invocation(&lab)? != before))?;
    wait("the incident is closed", seconds(150), || Ok(!lab.events(CLOSED)?.is_empty()))?;
    let closed = lab.events(CLOSED)?;
    ensure!(closed[0]["TUNNELWARDEN_OUTCOME"] == "Resolved", "{}", closed[0]["MESSAGE"]);
    // Its record is on disk a moment after it is told.
    let mut list = String::new();
    wait("it is in the log", seconds(20), || {
        list = lab.sh("tunnelwarden incidents")?;
        Ok(list.contains("PlannedRestart") && list.contains("Resolved"))
    })?;
    let story = lab.sh("tunnelwarden incidents cloudflared-")?;
    ensure!(story.contains("new binary") && story.contains("requested"), "{story}");
    let wide = story.lines().chain(list.lines()).find(|line| 80 < line.chars().count());
    ensure!(wide.is_none(), "wider than 80 columns: {}", wide.unwrap_or(""));
    for signal in ["IncidentOpened", "RemedyOrdered", "IncidentClosed", "PropertiesChanged"] {
        wait(&format!("{signal} is heard on the bus"), seconds(20), || {
            Ok(lab.sh("cat /run/heard")?.contains(&format!("\"{signal}\"")))
        })?;
    }
    // The budget binds people too.
    let held = lab.sh("tunnelwarden restart --reason again 2>&1; echo exit $?")?;
    ensure!(held.contains("Cooldown until ") && held.contains("exit 69"), "{held}");
    // A pause holds, is remembered over a restart of ours, and ends.
    lab.sh("tunnelwarden pause --for 2h --reason maintenance")?;
    wait("it is said in the journal", seconds(20), || Ok(lab.events(PAUSED)?.len() == 1))?;
    // It freezes before the new one has looked: its port was named long ago, to the one before.
    lab.sh("systemctl stop tunnelwarden; kill -STOP $(systemctl show -P MainPID cloudflared); systemctl start tunnelwarden")?;
    let status = lab.sh("tunnelwarden status || true")?;
    ensure!(status.contains("paused until"), "forgot the pause: {status}");
    wait("held by the pause", seconds(90), || Ok(lab.explain()?.contains("Held by Paused")))?;
    ensure!(lab.explain()?.contains("maintenance"), "{}", lab.explain()?);
    let status = lab.sh("tunnelwarden status || true")?;
    let wide = status.lines().find(|line| 80 < line.chars().count());
    ensure!(wide.is_none(), "wider than 80 columns: {}", wide.unwrap_or(""));
    lab.sh("tunnelwarden resume")?;
    wait("it is said in the journal", seconds(20), || Ok(lab.events(RESUMED)?.len() == 1))?;
    ensure!(!lab.explain()?.contains("Held by Paused"), "still held");
    // The bus goes away and comes back; a flood does no harm.
    lab.sh("systemctl restart dbus")?;
    wait("on the bus again", seconds(30), || {
        Ok(lab.sh("tunnelwarden status >/dev/null 2>&1; [ $? -lt 2 ]").is_ok())
    })?;
    lab.sh(&format!(
        "for n in 1 2 3 4; do (for m in $(seq 200); do busctl call {WARDEN} org.tunnelwarden.Warden1 Status \
         >/dev/null || true; done) & done; wait"
    ))?;
    ensure!(lab.show("tunnelwarden.service", "NRestarts")? == "0", "the flood ended us");
    ensure!(lab.sh("curl -sf http://127.0.0.1:9733/healthz")?.trim() == "ok");
    // journalctl -x explains every event.
    let explained = lab.sh(&format!("journalctl -q -x MESSAGE_ID={PAUSED}"))?;
    ensure!(explained.contains("Subject: tunnelwarden is paused"), "{explained}");
    Ok(())
}
