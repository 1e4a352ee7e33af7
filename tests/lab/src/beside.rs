//! What stands beside the tunnel: Cloudflare's status page, records by its API, Access, a prober elsewhere, and an update that
//! waits on this host's disk.

use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::edge::pages::SERVICE_TOKEN;
use crate::host::{Lab, TUNNEL, Wishes, wait};
use crate::scenarios::{
    HELD, OPENED, ORDERED, Stage, cause, invocation, no_remedy, one_cure, seconds, settle, tunnel, wait_cause,
};

fn healthy(lab: &Lab) -> Result<()> {
    wait("healthy", seconds(60), || Ok(cause(lab).unwrap_or_default() == "Healthy"))
}

fn sense(lab: &Lab, word: &str) -> Result<Value> {
    let senses = tunnel(lab)?["senses"].clone();
    let found = senses.as_array().and_then(|senses| senses.iter().find(|sense| sense["sense"] == word));
    found.cloned().with_context(|| format!("no {word} sense"))
}

fn asked(lab: &Lab) -> Result<u64> {
    lab.edge("status")?["status_page_asked"].as_u64().context("the edge does not count")
}

/// An incident at Cloudflare holds a remedy back for some minutes, says so everywhere, and never for ever. A page that cannot be
/// read changes nothing.
pub(crate) fn status_page(stage: &Stage<'_>) -> Result<()> {
    let settings = "[edge]\nstatus_page = \"https://www.cloudflarestatus.com\"\n";
    let lab = stage.boot(&Wishes { settings, warden: false, ..Wishes::default() })?;
    lab.edge("announce Tunnel <b>connectivity</b> issues")?;
    lab.install()?;
    wait("the page is read", seconds(30), || Ok(sense(&lab, "status_page")?["blind"].is_null()))?;
    settle(&lab)?;
    let told = "Cloudflare announces \"Tunnel <b>connectivity</b> issues\"";
    ensure!(
        lab.sh("tunnelwarden status")?.split_whitespace().collect::<Vec<_>>().join(" ").contains(told),
        "a calm status does not say it"
    );
    let incidents = "tunnelwarden_cloudflare_incidents{tunnel=\"cloudflared.service\"}";
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 40)?;
    wait("the incident is known", seconds(90), || Ok(lab.metric(incidents).unwrap_or(0.0) == 1.0))?;
    wait("it holds the remedy", seconds(30), || {
        let holds = tunnel(&lab)?["holds"].clone();
        let held =
            holds.as_array().and_then(|holds| holds.iter().find(|hold| hold["hold"] == "CloudflareIncident"));
        Ok(held.is_some_and(|held| !held["until"].is_null()))
    })?;
    ensure!(lab.explain()?.contains(told), "{}", lab.explain()?);
    ensure!(
        lab.sh("tunnelwarden status || true")?.contains("Cloudflare announces"),
        "status does not say it"
    );
    ensure!(
        !lab.sh("curl -s http://127.0.0.1:9733/")?.contains("<b>connectivity"),
        "the page shows it as it came"
    );
    ensure!(!lab.sh("curl -s http://127.0.0.1:9733/metrics")?.contains("connectivity"), "it is a label");
    let held = lab.events(HELD)?;
    ensure!(
        held.iter().any(|event| event["TUNNELWARDEN_HOLD"] == "CloudflareIncident"),
        "the journal does not say it"
    );
    let announced = || -> Result<usize> {
        let steps = tunnel(&lab)?["incident"]["steps"].clone();
        let steps = steps.as_array().map_or(&[][..], Vec::as_slice);
        Ok(steps.iter().filter(|step| step["what"] == "announced").count())
    };
    wait("the incident's timeline names it", seconds(40), || Ok(announced()? == 1))?;
    no_remedy(&lab)?;
    // Once a minute at most, however much is wrong.
    let before = asked(&lab)?;
    sleep(seconds(50));
    ensure!(asked(&lab)? <= before + 1, "asked {} times in 50 s", asked(&lab)? - before);
    no_remedy(&lab)?;
    ensure!(announced()? == 1, "{} steps name it", announced()?);
    // A page that says nothing holds nothing.
    lab.edge("announce html")?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")?;
    ensure!(
        sense(&lab, "status_page")?["blind"] == "answer makes no sense",
        "{}",
        sense(&lab, "status_page")?
    );
    Ok(())
}

/// The record of a name leads to another tunnel: without it this would be a phantom.
pub(crate) fn record_elsewhere(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { api: true, ..Wishes::default() })?;
    let other = "99999999-2222-4333-8444-555555555555";
    for name in ["app", "api"] {
        lab.edge(&format!("api record {name}.example.com {other}.cfargotunnel.com"))?;
    }
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("page plain")?;
    wait_cause(&lab, "Misrouted", 60)?;
    let says = format!("leads to another tunnel, {other}");
    ensure!(lab.explain()?.contains(&says), "{}", lab.explain()?);
    sleep(seconds(60));
    ensure!(cause(&lab)? == "Misrouted", "{}", lab.explain()?);
    ensure!(invocation(&lab)? == before, "cloudflared was restarted for a record");
    no_remedy(&lab)?;
    for name in ["app", "api"] {
        lab.edge(&format!("api record {name}.example.com {TUNNEL}.cfargotunnel.com"))?;
    }
    lab.edge("unpage")?;
    healthy(&lab)?;
    no_remedy(&lab)
}

/// A name behind Access is looked at with a service token; a token that is refused is said, and is no outage.
pub(crate) fn access(stage: &Stage<'_>) -> Result<()> {
    let settings = "[[tunnel]]\nhostnames = [\"api.example.com\"]\n\
        [[tunnel.probe]]\nurl = \"https://app.example.com/\"\naccess = \"file:/etc/tunnelwarden/access\"\n";
    let lab = stage.boot(&Wishes { settings, warden: false, ..Wishes::default() })?;
    lab.edge("page access app.example.com")?;
    let [id, secret] = SERVICE_TOKEN;
    lab.write("/etc/tunnelwarden/access", &format!("{id}\n{secret}\n"))?;
    lab.install()?;
    lab.sh("chown tunnelwarden /etc/tunnelwarden/access; chmod 0400 /etc/tunnelwarden/access; systemctl restart tunnelwarden")?;
    let name = || -> Result<Value> {
        let names = tunnel(&lab)?["names"].clone();
        let found = names
            .as_array()
            .and_then(|names| names.iter().find(|name| name["hostname"] == "app.example.com"));
        found.cloned().context("no such name")
    };
    wait("it is let in", seconds(60), || Ok(name().is_ok_and(|name| name["answer"] == "served")))?;
    ensure!(lab.visit("app.example.com")?.0 == 302, "visitors are let in without a token");
    healthy(&lab)?;
    lab.write("/etc/tunnelwarden/access", &format!("{id}\nnot-{secret}\n"))?;
    // What is known of it counts until the name is not let in; the service begins anew with a reload of its files.
    lab.sh("systemctl restart tunnelwarden")?;
    wait("it is refused", seconds(60), || Ok(name().is_ok_and(|name| name["answer"] == "access")))?;
    let told = name()?;
    ensure!(told["detail"].as_str().unwrap_or("").contains("Access refuses the service token"), "{told}");
    sleep(seconds(20));
    ensure!(cause(&lab)? == "Healthy", "{}", lab.explain()?);
    lab.write("/etc/tunnelwarden/access", &format!("{id}\n{secret}\n"))?;
    wait("it is let in again", seconds(60), || Ok(name().is_ok_and(|name| name["answer"] == "served")))?;
    for line in [
        "tunnelwarden status --json",
        "tunnelwarden config show",
        "journalctl -o verbose",
        "curl -s http://127.0.0.1:9733/metrics",
    ] {
        ensure!(!lab.sh(line)?.contains(&secret[..20]), "the token is in the output of {line}");
    }
    no_remedy(&lab)
}

/// Somebody elsewhere is served what errs here: then it is the edge near this host, and no restart for five minutes. Once they
/// are not, it is the phantom that it looks like.
pub(crate) fn observer(stage: &Stage<'_>) -> Result<()> {
    let settings = "[probe]\nobservers = [\"https://blackbox.example.net/probe?module=http_2xx\"]\n";
    let lab = stage.boot(&Wishes { settings, ..Wishes::default() })?;
    lab.edge("prober served")?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "EdgeIncident", 40)?;
    ensure!(lab.explain()?.contains("blackbox.example.net is served"), "{}", lab.explain()?);
    ensure!(lab.metric("tunnelwarden_observer_up{hostname=\"app.example.com\"")? == 1.0);
    sleep(seconds(45));
    ensure!(invocation(&lab)? == before, "cloudflared was restarted under whoever is served");
    no_remedy(&lab)?;
    lab.edge("prober failing")?;
    wait_cause(&lab, "ConnectorPhantom", 60)?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}

/// The program on disk is newer than the process: said in status, and no reason to do anything.
pub(crate) fn update_waits(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    healthy(&lab)?;
    let before = invocation(&lab)?;
    let note = "is newer than the running process";
    ensure!(!lab.sh("tunnelwarden status")?.contains(note), "{}", lab.sh("tunnelwarden status")?);
    // What comes within two seconds of a start belongs to it.
    sleep(seconds(3));
    // As a package does it: beside it, with the time of its making, then in its place.
    let path = "/usr/local/bin/cloudflared";
    lab.sh(&format!("cp {path} {path}.new; touch -d 2020-01-01 {path}.new; mv {path}.new {path}"))?;
    wait("status says it", seconds(90), || {
        Ok(String::from_utf8_lossy(&lab.try_sh("tunnelwarden status")?.stdout).contains(note))
    })?;
    for command in ["explain", "diagnose", "audit unit"] {
        let said = lab.try_sh(&format!("tunnelwarden {command}"))?;
        let said = String::from_utf8_lossy(&said.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(said.contains(note), "{command}: {said}");
    }
    sleep(seconds(20));
    ensure!(invocation(&lab)? == before, "cloudflared was restarted for an update");
    wait_cause(&lab, "Healthy", 20)?;
    ensure!(lab.events(OPENED)?.is_empty(), "{}", lab.explain()?);
    ensure!(lab.events(ORDERED)?.is_empty());
    lab.sh("systemctl restart cloudflared")?;
    wait("it is said no more", seconds(90), || {
        Ok(!lab
            .try_sh("tunnelwarden status")
            .map(|said| String::from_utf8_lossy(&said.stdout).contains(note))?)
    })
}
