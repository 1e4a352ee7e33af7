//! The ground moves: journald begins anew, the host loses its power.

use std::thread::sleep;

use anyhow::{Result, ensure};

use crate::host::{Wishes, wait};
use crate::scenarios::{
    FINISHED, OPENED, ORDERED, Stage, invocation, no_remedy, one_cure, seconds, settle, tunnel, wait_cause,
    wait_healthy,
};

/// journald restarted, its files rotated and thrown away: lines are still read, and an outage after it is still cured.
pub(crate) fn journald(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    let lines =
        "tunnelwarden_journal_lines_total{meaning=\"lost_connection\",tunnel=\"cloudflared.service\"}";
    for (index, upheaval) in [
        "systemctl restart systemd-journald",
        "journalctl -q --rotate; journalctl -q --vacuum-time=1s",
        "systemctl kill -s KILL systemd-journald",
    ]
    .iter()
    .enumerate()
    {
        lab.sh(upheaval)?;
        sleep(seconds(3));
        let before = lab.metric(lines)?;
        // It loses a connection, and says so at once; when it has it again is its own random draw. One at a time: without
        // any it may sleep, which is an outage.
        lab.edge(&format!("drop {index}"))?;
        wait(&format!("lines are read after {upheaval:?}"), seconds(60), || Ok(before < lab.metric(lines)?))?;
    }
    no_remedy(&lab)?;
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    settle(&lab)?;
    lab.edge("blackhole")?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}

/// A window that is shut, and a package manager at work: both hold what would help, and say so. When they are over, it is done.
pub(crate) fn held_by_host(stage: &Stage<'_>) -> Result<()> {
    let settings = "[window]\nforbid = [\"00:00..24:00\"]\n";
    let lab = stage.boot(&Wishes { settings, ..Wishes::default() })?;
    settle(&lab)?;
    lab.sh("systemd-run -q --unit=upgrade flock /var/lib/dpkg/lock-frontend sleep infinity")?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 60)?;
    let holds = || -> Result<String> { Ok(tunnel(&lab)?["holds"].to_string()) };
    wait("both are shown", seconds(30), || {
        let holds = holds()?;
        Ok(holds.contains("OutsideWindow") && holds.contains("Upgrading"))
    })?;
    ensure!(lab.explain()?.contains("OutsideWindow"), "{}", lab.explain()?);
    lab.sh("rm /etc/tunnelwarden/conf.d/*.toml; systemctl reload tunnelwarden")?;
    // Everything begins anew under the new settings, the evidence too.
    wait("only the package manager holds it", seconds(90), || {
        let holds = holds()?;
        Ok(holds.contains("Upgrading") && !holds.contains("OutsideWindow"))
    })?;
    no_remedy(&lab)?;
    lab.sh("systemctl stop upgrade")?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}

/// The audits see a rule that is taken out of config.yml within seconds, tell it everywhere, and touch nothing.
pub(crate) fn audits(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    let before = invocation(&lab)?;
    let count = |audit: &str, severity: &str| {
        lab.metric(&format!(
            "tunnelwarden_audit_findings{{audit=\"{audit}\",severity=\"{severity}\",tunnel=\"cloudflared.service\"}}"
        ))
    };
    // Of the unit that cloudflared installs by itself there is always something to say.
    wait(
        "the unit is audited",
        seconds(60),
        || Ok(0.0 < count("unit", "note")? + count("unit", "warning")?),
    )?;
    ensure!(count("ingress", "error")? == 0.0, "{}", tunnel(&lab)?["findings"]);
    lab.sh(
        "cp /etc/cloudflared/config.yml /root/kept; sed -i '/http_status:404/d' /etc/cloudflared/config.yml",
    )?;
    wait("the missing rule is seen", seconds(20), || Ok(count("ingress", "error")? == 1.0))?;
    wait("it is in the status", seconds(5), || {
        Ok(tunnel(&lab)?["findings"].to_string().contains("missing-catch-all"))
    })?;
    ensure!(lab.sh("tunnelwarden status || true")?.contains("audit of ingress"), "status does not show it");
    ensure!(
        lab.sh("journalctl -u tunnelwarden")?.contains("audit of ingress"),
        "the journal does not say it"
    );
    lab.sh("cp /root/kept /etc/cloudflared/config.yml")?;
    wait("it is mended", seconds(20), || Ok(count("ingress", "error")? == 0.0))?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)
}

/// The power goes in the middle of an incident, right after a remedy: both are known afterwards.
pub(crate) fn reboot(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.edge("blackhole")?;
    wait("a remedy is ordered", seconds(60), || Ok(!lab.events(ORDERED)?.is_empty()))?;
    lab.edge("refuse")?;
    wait_cause(&lab, "EdgeBlocked", 60)?;
    let status = lab.status()?;
    let incident = status["tunnels"][0]["incident"]["id"].clone();
    ensure!(incident.is_string(), "no incident is open: {status}");
    drop(lab);
    let lab = stage.power_cut()?;
    wait("it is up", seconds(30), || Ok(lab.status().is_ok()))?;
    let status = lab.status()?;
    let after = &status["tunnels"][0];
    ensure!(after["incident"]["id"] == incident, "{incident} became {}", after["incident"]);
    ensure!(after["budget"]["hour"] == 2, "the budget forgot: {}", after["budget"]);
    ensure!(lab.metric("tunnelwarden_memory_lost")? == 0.0, "the memory is lost");
    let before = invocation(&lab)?;
    sleep(seconds(20));
    lab.edge("accept")?;
    wait_healthy(&lab, 200)?;
    ensure!(!before.is_empty() && lab.show("tunnelwarden", "NRestarts")? == "0");
    ensure!(lab.events(OPENED)?.len() <= 1 && lab.events(FINISHED)?.len() <= 1, "told twice");
    Ok(())
}
