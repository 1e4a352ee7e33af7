//! What an operator sees of a tunnel, and what every story asserts of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::host::{Lab, wait};

pub(crate) const UNIT: &str = "cloudflared.service";
pub const OPENED: &str = "190ebf81b21098e83e77715e7331559a";
pub const ORDERED: &str = "1d821be27819d07f107ae1aef91070aa";
pub const FINISHED: &str = "133f9548ce84ed40daac4707f8d9df48";
pub(crate) const HELD: &str = "32d527bf2f988d15cb710873edc93f8d";
pub(crate) const CLOSED: &str = "333a85eccf86b5e47fd8f0b31756746c";

/// How long to look on after a process was healthy for the first time, until none of the rails that guard a young one is what
/// holds a remedy back.
pub(crate) const BEYOND_GRACE: Duration = seconds(75);

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn tunnel(lab: &Lab) -> Result<Value> {
    lab.status()?["tunnels"].get(0).cloned().context("status shows no tunnel")
}

pub(crate) fn cause(lab: &Lab) -> Result<String> {
    Ok(tunnel(lab)?["cause"].as_str().unwrap_or("").to_owned())
}

/// Waits until the tunnel is proven healthy; it may be that nobody answers meanwhile.
pub(crate) fn wait_healthy(lab: &Lab, limit: u64) -> Result<()> {
    wait("healthy", seconds(limit), || Ok(cause(lab).unwrap_or_default() == "Healthy"))
}

/// The same, and the process is old enough to be judged.
pub fn settle(lab: &Lab) -> Result<()> {
    wait_healthy(lab, 60)?;
    // A registration needs 60 s before its absence at the edge means anything; each of the four.
    wait("registrations of 65 s", seconds(180), || {
        let age = lab.sh("ps -o etimes= -p $(systemctl show -P MainPID cloudflared)")?;
        let young = lab.sh(
            "journalctl -q -u cloudflared --since=-65s -g 'Registered tunnel connection' -n 1 -o cat || true",
        )?;
        let held = tunnel(lab)?["connector"]["connections"].as_u64();
        Ok(65 <= age.trim().parse::<u64>().unwrap_or(0) && young.trim().is_empty() && held == Some(4))
    })
}

pub(crate) fn wait_cause(lab: &Lab, wanted: &str, limit: u64) -> Result<()> {
    let mut seen = Vec::new();
    let result = wait(&format!("cause {wanted}"), seconds(limit), || {
        let now = cause(lab)?;
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        Ok(now == wanted)
    });
    result.with_context(|| format!("causes seen: {seen:?}; {}", lab.explain().unwrap_or_default()))
}

pub(crate) fn invocation(lab: &Lab) -> Result<String> {
    lab.show(UNIT, "InvocationID")
}

/// tunnelwarden ordered nothing.
pub(crate) fn no_remedy(lab: &Lab) -> Result<()> {
    let ordered = lab.events(ORDERED)?;
    ensure!(ordered.is_empty(), "a remedy was ordered: {}", ordered[0]["MESSAGE"]);
    ensure!(
        lab.metric("tunnelwarden_budget_remaining{tunnel=\"cloudflared.service\",window=\"hour\"}")? == 3.0
    );
    Ok(())
}

/// Exactly one remedy was ordered, proven, and charged.
pub(crate) fn one_cure(lab: &Lab, remedy: &str, why: &str) -> Result<()> {
    wait("the cure is proven", seconds(90), || Ok(!lab.events(FINISHED)?.is_empty()))?;
    let ordered = lab.events(ORDERED)?;
    ensure!(ordered.len() == 1, "{} remedies were ordered", ordered.len());
    ensure!(ordered[0]["TUNNELWARDEN_REMEDY"] == remedy, "ordered {}", ordered[0]["TUNNELWARDEN_REMEDY"]);
    ensure!(ordered[0]["TUNNELWARDEN_CAUSE"] == why, "because of {}", ordered[0]["TUNNELWARDEN_CAUSE"]);
    ensure!(ordered[0]["PRIORITY"] == "5", "priority {}", ordered[0]["PRIORITY"]);
    let finished = lab.events(FINISHED)?;
    ensure!(finished[0]["TUNNELWARDEN_OUTCOME"] == "Cured", "{}", finished[0]["MESSAGE"]);
    ensure!(lab.visit("app.example.com")?.0 == 200, "visitors are not served");
    ensure!(
        lab.metric("tunnelwarden_budget_remaining{tunnel=\"cloudflared.service\",window=\"hour\"}")? == 2.0
    );
    let label = match remedy {
        "SwiftRestart" => "swift_restart",
        "ResetAndStart" => "reset_and_start",
        _ => "restart",
    };
    let series = format!(
        "tunnelwarden_remedies_total{{outcome=\"cured\",remedy=\"{label}\",tunnel=\"cloudflared.service\"}}"
    );
    ensure!(lab.metric(&series)? == 1.0, "the metric does not count it");
    wait("the incident is closed", seconds(30), || Ok(!lab.events(CLOSED)?.is_empty()))
}

/// The same; or, where a short sleep may be drawn, no remedy and an incident that ended by itself.
pub(crate) fn one_cure_or_alone(lab: &Lab, may: bool, remedy: &str, why: &str) -> Result<()> {
    if may {
        wait("a remedy or the end", seconds(90), || {
            Ok(!lab.events(ORDERED)?.is_empty() || !lab.events(CLOSED)?.is_empty())
        })?;
        if lab.events(ORDERED)?.is_empty() {
            ensure!(lab.visit("app.example.com")?.0 == 200, "visitors are not served");
            let closed = lab.events(CLOSED)?;
            let outcome = &closed[0]["TUNNELWARDEN_OUTCOME"];
            ensure!(outcome == "RecoveredAlone", "the incident ended as {outcome}");
            return Ok(());
        }
    }
    one_cure(lab, remedy, why)
}
