//! Commands where no daemon runs: what one look can prove, what only time can, and what Cloudflare's API adds.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::commands::{json, narrow, ran};
use crate::edge::api::TOKEN;
use crate::host::{Lab, TUNNEL, Wishes, wait};
use crate::scenarios::{Stage, cause, invocation, seconds, settle};

/// The stand-in's program does not hold its version.
const AUDIT: &str = "tunnelwarden audit credentials --json --cloudflared-version 2026.7.0";

/// What `diagnose` says of the only tunnel, with its exit status and how long it took.
#[expect(clippy::disallowed_methods, reason = "the lab runs in real time")]
fn diagnosed(lab: &Lab, options: &str) -> Result<(i32, Value, Duration)> {
    let began = Instant::now();
    let (exit, out, err) = ran(lab, &format!("tunnelwarden diagnose --json {options}"))?;
    let took = began.elapsed();
    ensure!(!out.is_empty(), "{exit}: {err}");
    Ok((exit, json(&out)?["tunnels"][0].clone(), took))
}

/// Names are lost while the daemon is stopped. What it remembers of the process is proof; without that it is a suspicion, and how
/// long a look would prove it is said.
pub(crate) fn alone_phantom(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.sh("systemctl stop tunnelwarden")?;
    let before = invocation(&lab)?;
    lab.edge("blackhole")?;
    wait("visitors get 1033", seconds(20), || Ok(lab.visit("app.example.com")?.0 == 530))?;
    let (exit, seen, took) = diagnosed(&lab, "")?;
    ensure!(exit == 1 && seen["cause"] == "ConnectorPhantom", "{exit}: {seen}");
    ensure!(seen["restart"]["helps"] == true && seen["suspected"].is_null(), "{seen}");
    ensure!(took < seconds(15), "took {took:?}");
    lab.sh("mv /var/lib/tunnelwarden/state.toml /root/")?;
    let (exit, seen, took) = diagnosed(&lab, "")?;
    ensure!(exit == 2 && seen["verdict"] == "Unknown", "{exit}: {seen}");
    let wanted = seen["suspected"]["certain_in_s"].as_u64().unwrap_or(0);
    ensure!(seen["suspected"]["cause"] == "ConnectorPhantom" && (240..=300).contains(&wanted), "{seen}");
    ensure!(took < seconds(15), "took {took:?}");
    // Twenty seconds more are no proof either, and are not made one.
    let (exit, seen, took) = diagnosed(&lab, "--for 20s")?;
    ensure!(exit == 2 && seen["suspected"]["cause"] == "ConnectorPhantom", "{exit}: {seen}");
    ensure!(seconds(15) < took && took < seconds(35), "took {took:?}");
    ensure!(seen["suspected"]["certain_in_s"].as_u64().is_some_and(|now| now < wanted), "{seen}");
    let (_, out, _) = ran(&lab, "tunnelwarden diagnose")?;
    narrow(&out)?;
    let text = out.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(text.contains("suspected ConnectorPhantom") && text.contains("diagnose --for 6m"), "{out}");
    ensure!(invocation(&lab)? == before, "a diagnosis restarted something");
    Ok(())
}

/// A connector that sleeps while the daemon is stopped: one look sees it wait, and a longer one proves that it sleeps.
pub(crate) fn alone_asleep(stage: &Stage<'_>) -> Result<()> {
    let env = vec![("STANDIN_SUPERVISOR_WAIT", "250".to_owned())];
    let lab = stage.boot(&Wishes { env, standin: true, ..Wishes::default() })?;
    settle(&lab)?;
    lab.sh("systemctl stop tunnelwarden")?;
    let before = invocation(&lab)?;
    lab.edge("refuse")?;
    sleep(seconds(40));
    lab.edge("accept")?;
    let (exit, seen, took) = diagnosed(&lab, "")?;
    ensure!(
        exit == 1 && seen["cause"] == "Reconnecting" && seen["restart"]["helps"] == false,
        "{exit}: {seen}"
    );
    ensure!(seen["suspected"]["cause"] == "ConnectorAsleep", "{seen}");
    ensure!(seen["last_attempt"].is_string() && seen["last_registration"].is_string(), "{seen}");
    ensure!(took < seconds(15), "took {took:?}");
    let (exit, seen, took) = diagnosed(&lab, "--for 2m")?;
    ensure!(exit == 1 && seen["cause"] == "ConnectorAsleep", "{exit}: {seen}");
    ensure!(seen["restart"]["helps"] == true && seen["suspected"].is_null(), "{seen}");
    ensure!(took < seconds(75), "it did not stop when it was sure: {took:?}");
    ensure!(invocation(&lab)? == before, "a diagnosis restarted something");
    // Somebody heeds it.
    lab.sh("systemctl restart cloudflared; systemctl start tunnelwarden")?;
    wait("healthy", seconds(90), || Ok(cause(&lab).unwrap_or_default() == "Healthy"))
}

/// Records that lead elsewhere and a token that ends are found by the API, by root with the daemon's token and by others with
/// their own; who has none is told what was not looked at.
pub(crate) fn audited_by_api(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { api: true, ..Wishes::default() })?;
    settle(&lab)?;
    let audit = |line: &str| -> Result<(i32, Value, String)> {
        let (exit, out, err) = ran(&lab, line)?;
        Ok((exit, json(&out)?, err))
    };
    let rules = |report: &Value| -> Vec<String> {
        let findings = report["findings"].as_array().into_iter().flatten();
        findings.filter_map(|finding| Some(finding["rule"].as_str()?.to_owned())).collect()
    };
    let (_, report, err) = audit(AUDIT)?;
    let found = rules(&report);
    ensure!(!found.iter().any(|rule| rule.starts_with("record") || rule.starts_with("api")), "{report}{err}");
    ensure!(report["units"][0]["records"].as_array().is_some_and(|all| all.len() == 2), "{report}");
    ensure!(report["blind"] == serde_json::json!([]), "{report}");

    let other = "0f0f0f0f-947b-4bf6-acad-100a73de4e0d";
    lab.edge(&format!("api record api.example.com {other}.cfargotunnel.com"))?;
    let soon = lab.sh("date -u -d '+3 days' +%Y-%m-%dT%H:%M:%SZ")?;
    lab.edge(&format!("api ends {}", soon.trim()))?;
    let (exit, report, _) = audit(AUDIT)?;
    let found = rules(&report);
    ensure!(exit == 1, "{exit}: {report}");
    for rule in ["record-of-another-tunnel", "api-token-ends"] {
        ensure!(found.iter().any(|found| found == rule), "no {rule}: {report}");
    }
    // The same record, as `verify` shows it; visitors are served by the lab's edge all the same.
    let (exit, report, _) = audit("tunnelwarden verify --json")?;
    ensure!(exit == 1 && rules(&report).contains(&"record-of-another-tunnel".to_owned()), "{exit}: {report}");
    let shown = report["names"].to_string();
    ensure!(
        shown.contains(&format!("{other}.cfargotunnel.com"))
            && shown.contains(&format!("{TUNNEL}.cfargotunnel.com")),
        "{shown}"
    );
    let (exit, out, _) = ran(&lab, "tunnelwarden verify")?;
    narrow(&out)?;
    ensure!(exit == 1 && out.contains("read by API"), "{exit}: {out}");
    let (exit, report, _) = audit("tunnelwarden tunnel --json")?;
    ensure!(
        exit == 1 && report.to_string().contains(soon.trim().get(..10).unwrap_or("?")),
        "{exit}: {report}"
    );

    // A token that is shut, and an API that is ill, are said.
    lab.sh("chmod 0600 /etc/credstore/cloudflare-api-token")?;
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let (_, report, _) = audit(&format!("{nobody} env CLOUDFLARE_API_TOKEN={TOKEN} {AUDIT}"))?;
    ensure!(rules(&report).contains(&"record-of-another-tunnel".to_owned()), "{report}");
    let blind = report["blind"].to_string();
    ensure!(blind.contains(&format!("{TUNNEL}.json cannot be read")) && blind.contains("as root"), "{blind}");
    lab.edge("api fail 403 9109")?;
    let (_, report, _) = audit(AUDIT)?;
    let blind = report["blind"].to_string();
    ensure!(blind.contains("could not be verified") && blind.contains("The record of "), "{report}");
    lab.edge("api good").map(drop)
}
