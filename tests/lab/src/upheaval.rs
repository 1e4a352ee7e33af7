//! The ground moves: journald begins anew, the host loses its power.

use std::thread::sleep;

use anyhow::{Result, ensure};

use crate::host::{TUNNEL, Wishes, wait};
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
    // Everything begins anew under the new settings, the evidence too, and whoever asks meanwhile is answered.
    lab.sh("for n in $(seq 20); do tunnelwarden status >/dev/null 2>>/run/said; done; ! grep . /run/said")?;
    wait("only the package manager holds it", seconds(90), || {
        let holds = holds()?;
        Ok(holds.contains("Upgrading") && !holds.contains("OutsideWindow"))
    })?;
    no_remedy(&lab)?;
    lab.sh("systemctl stop upgrade")?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}

/// The audits see within seconds what somebody does to a file, tell it everywhere, and touch nothing: a rule taken out of
/// config.yml, credentials that everyone may read, a unit that does not come back; and a name that leaves DNS. What the service
/// may not read it says.
pub(crate) fn audits(stage: &Stage<'_>) -> Result<()> {
    let settings = "[dns]\nperiod = \"5s\"\nperiod_down = \"5s\"\nranges = [\"10.99.0.0/16\"]\n";
    let lab = stage.boot(&Wishes { settings, ..Wishes::default() })?;
    wait_healthy(&lab, 60)?;
    let before = invocation(&lab)?;
    let count = |audit: &str, severity: &str| {
        lab.metric(&format!(
            "tunnelwarden_audit_findings{{audit=\"{audit}\",severity=\"{severity}\",tunnel=\"cloudflared.service\"}}"
        ))
    };
    let found = |rule: &str| -> Result<bool> { Ok(tunnel(&lab)?["findings"].to_string().contains(rule)) };
    for audit in ["ingress", "dns", "credentials", "unit"] {
        for severity in ["error", "warning", "note"] {
            count(audit, severity)?;
        }
    }
    ensure!(count("workflow", "error").is_err(), "the daemon claims to look at workflows");
    // Of the unit that cloudflared installs by itself there is always something to say, and its credentials are root's.
    wait(
        "the unit is audited",
        seconds(60),
        || Ok(0.0 < count("unit", "note")? + count("unit", "warning")?),
    )?;
    for audit in ["ingress", "dns", "credentials"] {
        ensure!(count(audit, "error")? == 0.0, "{audit}: {}", tunnel(&lab)?["findings"]);
    }
    ensure!(
        1.0 <= count("credentials", "note")? && found("not-looked-into")?,
        "{}",
        tunnel(&lab)?["findings"]
    );

    let step = |what: &str, does: &str, audit: &str, rule: &str, mends: &str| -> Result<()> {
        lab.sh(does)?;
        wait(what, seconds(30), || Ok(1.0 <= count(audit, "error")? && found(rule)?))?;
        let said = format!("audit of {audit}");
        ensure!(lab.sh("tunnelwarden status || true")?.contains(&said), "status does not show {rule}");
        ensure!(
            lab.sh("journalctl -u tunnelwarden -p warning -o cat")?.contains(&said),
            "the journal does not say {rule}"
        );
        lab.sh(mends)?;
        wait(&format!("{rule} is mended"), seconds(30), || Ok(count(audit, "error")? == 0.0))
    };
    let config = "/etc/cloudflared/config.yml";
    step(
        "the missing rule is seen",
        &format!("cp {config} /root/kept; sed -i '/http_status:404/d' {config}"),
        "ingress",
        "missing-catch-all",
        &format!("cp /root/kept {config}"),
    )?;
    let credentials = format!("/etc/cloudflared/{TUNNEL}.json");
    step(
        "credentials for everyone are seen",
        &format!("chmod 0644 {credentials}"),
        "credentials",
        "file-readable",
        &format!("chmod 0400 {credentials}"),
    )?;
    step(
        "a unit that stays down is seen",
        "printf '[Service]\nRestart=no\n' > /etc/systemd/system/cloudflared.service.d/z.conf; systemctl daemon-reload",
        "unit",
        "no-restart",
        "rm /etc/systemd/system/cloudflared.service.d/z.conf; systemctl daemon-reload",
    )?;
    lab.records(2, "app A 10.99.3.1\n")?;
    wait("a name that is missing is seen", seconds(120), || {
        Ok(count("dns", "error")? == 1.0 && found("name-missing")?)
    })?;
    lab.records(3, "app A 10.99.3.1\napi A 10.99.3.1\n")?;
    wait("it is back", seconds(120), || Ok(count("dns", "error")? == 0.0))?;
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
    // Mended before the power fails, and no newer than the last complaint about it. It is read again: the place in the journal
    // is written down now and then only.
    let config = "/etc/cloudflared/config.yml";
    lab.sh(&format!(
        "cp -p {config} /root/good.yml; echo ': {{' >> {config}; systemctl restart cloudflared || sleep 1; cp -p /root/good.yml {config}"
    ))?;
    drop(lab);
    let lab = stage.power_cut()?;
    wait("it is up", seconds(30), || Ok(lab.status().is_ok()))?;
    let status = lab.status()?;
    let after = &status["tunnels"][0];
    ensure!(after["incident"]["id"] == incident, "{incident} became {}", after["incident"]);
    ensure!(after["budget"]["hour"] == 2, "the budget forgot: {}", after["budget"]);
    ensure!(lab.metric("tunnelwarden_memory_lost")? == 0.0, "the memory is lost");
    let before = invocation(&lab)?;
    for _ in 0..20 {
        let explained = lab.explain()?;
        ensure!(!explained.contains("YAML"), "a line of the last boot counts: {explained}");
        sleep(seconds(1));
    }
    lab.edge("accept")?;
    wait_healthy(&lab, 200)?;
    ensure!(!before.is_empty() && lab.show("tunnelwarden", "NRestarts")? == "0");
    ensure!(lab.events(OPENED)?.len() <= 1 && lab.events(FINISHED)?.len() <= 1, "told twice");
    Ok(())
}
