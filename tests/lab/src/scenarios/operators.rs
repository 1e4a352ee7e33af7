//! What operators do, on purpose or by mistake; none of it is for us to mend.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Stage;
use super::proof::{
    BEYOND_GRACE, OPENED, UNIT, invocation, no_remedy, seconds, tunnel, wait_cause, wait_healthy,
};
use crate::host::{TOKEN_RUN, TUNNEL, Wishes, wait};

pub(super) fn wrong_secret(stage: &Stage<'_>) -> Result<()> {
    let secret = "d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldC13cm9uZy0=";
    let lab = stage.boot(&Wishes { secret, ..Wishes::default() })?;
    wait_cause(&lab, "CredentialsRejected", 60)?;
    sleep(seconds(60));
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.iter().any(|event| event["TUNNELWARDEN_CAUSE"] == "CredentialsRejected"));
    let state = lab.sh("cat /var/lib/tunnelwarden/state.toml")?;
    ensure!(state.contains("latch"), "the refusal is not remembered: {state}");
    Ok(())
}

pub(super) fn bad_config(stage: &Stage<'_>) -> Result<()> {
    let config_tail = "  - hostname: last.example.com\n    service: http://127.0.0.1:8080\n";
    let lab = stage.boot(&Wishes { config_tail, ..Wishes::default() })?;
    wait_cause(&lab, "ConfigInvalid", 60)?;
    // systemd tries it again and again; what is wrong is the same at each moment of it.
    for _ in 0..200 {
        let said = lab.explain()?;
        ensure!(said.contains("last ingress rule"), "{said}");
        sleep(Duration::from_millis(150));
    }
    no_remedy(&lab)?;
    let steps = tunnel(&lab)?["incident"]["steps"].clone();
    ensure!(
        steps.as_array().is_some_and(|steps| steps.len() == 1),
        "it is told as more than one trouble: {steps}"
    );
    Ok(())
}

pub(super) fn operator_stop(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    lab.sh("systemctl stop cloudflared")?;
    wait_cause(&lab, "OperatorStopped", 20)?;
    sleep(seconds(60));
    ensure!(lab.show(UNIT, "ActiveState")? == "inactive", "it was started again");
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    lab.sh("systemctl start cloudflared")?;
    wait_healthy(&lab, 60)
}

pub(super) fn admin_restart(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    lab.sh("systemctl restart cloudflared")?;
    sleep(seconds(2));
    wait_healthy(&lab, 60)?;
    sleep(seconds(20));
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    let series = "tunnelwarden_unit_restarts_total{by=\"other\",tunnel=\"cloudflared.service\"}";
    ensure!(lab.metric(series)? == 1.0, "it is not counted as somebody else's");
    Ok(())
}

pub(super) fn origin_down(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    let before = invocation(&lab)?;
    lab.sh("systemctl stop origin")?;
    wait_cause(&lab, "OriginDown", 60)?;
    sleep(BEYOND_GRACE);
    ensure!(invocation(&lab)? == before, "cloudflared was restarted for its origin");
    no_remedy(&lab)?;
    lab.sh("systemctl start origin")?;
    wait_healthy(&lab, 60)
}

/// A tunnel whose rules come from Cloudflare: no config.yml, nothing configured for us.
pub(super) fn remote_managed(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { command: TOKEN_RUN, ..Wishes::default() })?;
    lab.sh("rm /etc/cloudflared/config.yml")?;
    let rules = r#"{"ingress":[{"hostname":"app.example.com","service":"http://127.0.0.1:8080"},{"service":"http_status:404"}]}"#;
    lab.edge(&format!("config {rules}"))?;
    lab.sh("systemctl restart cloudflared tunnelwarden")?;
    wait("the name is found", seconds(60), || {
        let names = tunnel(&lab)?["names"].to_string();
        Ok(names.contains("app.example.com") && names.contains("served"))
    })?;
    ensure!(
        tunnel(&lab)?["names"].as_array().is_some_and(|names| names.len() == 1),
        "{}",
        tunnel(&lab)?["names"]
    );
    ensure!(tunnel(&lab)?["id"] == TUNNEL, "the tunnel's id is not shown");
    ensure!(!tunnel(&lab)?["connector"]["version"].is_null(), "cloudflared's version is not shown");
    wait_cause(&lab, "Healthy", 30)
}
