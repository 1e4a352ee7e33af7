//! Public names that DNS does not lead to the tunnel, by a real DNS server, and names that are asked as configured.

use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};

use crate::host::{Lab, TUNNEL, Wishes, wait};
use crate::scenarios::{
    OPENED, Stage, cause, invocation, no_remedy, seconds, tunnel, wait_cause, wait_healthy,
};

/// The lab's edge is where nobody publishes it.
const SETTINGS: &str = "[dns]\nperiod = \"5s\"\nperiod_down = \"5s\"\nranges = [\"10.99.0.0/16\"]\n";
const BOTH: &str = "app A 10.99.3.1\napi A 10.99.3.1\n";

fn route(lab: &Lab, name: &str, route: &str) -> Result<bool> {
    let series = format!(
        "tunnelwarden_name_route{{hostname=\"{name}\",route=\"{route}\",tunnel=\"cloudflared.service\"}}"
    );
    Ok(lab.metric(&series)? == 1.0)
}

/// `app` is led astray by `records` and nothing else: the cause names it, nothing is restarted, and once it is mended all
/// is well again.
fn led_astray(stage: &Stage<'_>, records: &str, word: &str, says: &str) -> Result<()> {
    let lab = stage.boot(&Wishes { settings: SETTINGS, ..Wishes::default() })?;
    wait_healthy(&lab, 60)?;
    wait("DNS is looked at", seconds(30), || route(&lab, "app.example.com", "routed"))?;
    let before = invocation(&lab)?;
    lab.records(2, &format!("{records}\napi A 10.99.3.1\n"))?;
    wait_cause(&lab, "Misrouted", 150)?;
    ensure!(lab.explain()?.contains(says), "{}", lab.explain()?);
    ensure!(route(&lab, "app.example.com", word)?, "the metric does not say {word}");
    ensure!(route(&lab, "api.example.com", "routed")?, "the other name is said to be astray");
    ensure!(tunnel(&lab)?["verdict"] == "Degraded", "{}", tunnel(&lab)?);
    let status = String::from_utf8_lossy(&lab.try_sh("tunnelwarden status")?.stdout).into_owned();
    ensure!(status.contains(&format!("DNS: {word}")), "{status}");
    sleep(seconds(30));
    ensure!(cause(&lab)? == "Misrouted", "{}", lab.explain()?);
    ensure!(lab.events(OPENED)?.len() == 1, "not told once");
    lab.records(3, BOTH)?;
    wait_healthy(&lab, 60)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted for its DNS");
    no_remedy(&lab)
}

pub(crate) fn dns_missing(stage: &Stage<'_>) -> Result<()> {
    led_astray(stage, "", "missing", "app.example.com does not exist for this host's resolver")
}

pub(crate) fn dns_grey(stage: &Stage<'_>) -> Result<()> {
    let record = format!("app CNAME {TUNNEL}.cfargotunnel.com.");
    led_astray(stage, &record, "misrouted", "that is not proxied (grey cloud)")
}

pub(crate) fn dns_elsewhere(stage: &Stage<'_>) -> Result<()> {
    led_astray(stage, "app A 192.0.2.1", "misrouted", "resolves to 192.0.2.1, which is not Cloudflare's")
}

/// Inside, a name is a server of our own; the resolver outside knows better.
pub(crate) fn dns_split_horizon(stage: &Stage<'_>) -> Result<()> {
    let settings = "[dns]\nperiod = \"5s\"\nperiod_down = \"5s\"\nranges = [\"10.99.0.0/16\"]\nresolver = \"10.99.0.1\"\n";
    let lab = stage.boot(&Wishes { settings, ..Wishes::default() })?;
    wait_healthy(&lab, 60)?;
    wait("DNS is looked at", seconds(30), || route(&lab, "app.example.com", "routed"))?;
    lab.sh("echo 192.0.2.1 app.example.com >> /etc/hosts")?;
    wait("the name is not seen here", seconds(120), || {
        Ok(name(&lab, "app.example.com")?["answer"] == "blind")
    })?;
    sleep(seconds(20));
    ensure!(cause(&lab)? == "Healthy", "{}", lab.explain()?);
    ensure!(route(&lab, "app.example.com", "routed")?);
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    // Gone outside, too.
    lab.records(2, "api A 10.99.3.1\n")?;
    wait_cause(&lab, "Misrouted", 60)?;
    ensure!(lab.explain()?.contains("does not exist for the resolver outside"), "{}", lab.explain()?);
    no_remedy(&lab)
}

fn name(lab: &Lab, hostname: &str) -> Result<serde_json::Value> {
    let names = tunnel(lab)?["names"].clone();
    let found = names.as_array().and_then(|names| names.iter().find(|name| name["hostname"] == hostname));
    found.cloned().context("no such name")
}

/// Names are asked at the edge's own address, no resolver needed; each phase is timed; an answer that is not the origin's own
/// is not taken for it.
pub(crate) fn edge_direct(stage: &Stage<'_>) -> Result<()> {
    let settings = "[probe]\nresolve = \"edge-direct\"\nedge_addresses = [\"10.99.3.1\"]\n\
        [dns]\nperiod = \"5s\"\nperiod_down = \"5s\"\nranges = [\"10.99.0.0/16\"]\n\
        [[tunnel]]\nhostnames = [\"api.example.com\"]\n\
        [[tunnel.probe]]\nurl = \"https://app.example.com/\"\nexpect_status = [200]\n";
    let lab = stage.boot(&Wishes { settings, ..Wishes::default() })?;
    wait_healthy(&lab, 60)?;
    wait("the name is served", seconds(20), || Ok(name(&lab, "app.example.com")?["answer"] == "served"))?;
    let before = invocation(&lab)?;
    for phase in ["tcp", "tls", "first_byte"] {
        let series =
            format!("tunnelwarden_probe_duration_seconds{{hostname=\"app.example.com\",phase=\"{phase}\"");
        let took = lab.metric(&series)?;
        ensure!(0.0 < took && took < 2.0, "{phase} took {took}");
    }
    ensure!(lab.metric("tunnelwarden_probe_http_version{hostname=\"app.example.com\"")? == 2.0);
    let ends =
        lab.metric("tunnelwarden_certificate_expiry_timestamp_seconds{hostname=\"app.example.com\"")?;
    ensure!(ends > 1.7e9, "the certificate ends at {ends}");
    ensure!(name(&lab, "app.example.com")?["http"] == "HTTP/2", "{}", name(&lab, "app.example.com")?);
    // This host's resolver does not know the name, and it is served: nothing is wrong that we could know of.
    lab.records(2, "api A 10.99.3.1\n")?;
    wait("DNS says that it is missing", seconds(60), || route(&lab, "app.example.com", "missing"))?;
    sleep(seconds(15));
    ensure!(cause(&lab)? == "Healthy", "{}", lab.explain()?);
    ensure!(name(&lab, "app.example.com")?["answer"] == "served");
    // Nothing else is expected than what the origin does not say.
    let other = settings.replace("[200]", "[204]");
    lab.write("/etc/tunnelwarden/conf.d/lab.toml", &other)?;
    lab.sh("systemctl reload tunnelwarden")?;
    // It is off the bus for a moment while it begins anew.
    wait("another answer is noticed", seconds(60), || Ok(cause(&lab).unwrap_or_default() == "OriginDown"))?;
    ensure!(lab.explain()?.contains("status 200, not 204"), "{}", lab.explain()?);
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)
}
