//! What must happen on a real systemd, each asserted by what an operator would see.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bad_input::{bad_input, disk_full};
use crate::commands::{commands, followed};
use crate::host::{Lab, Parts, SECRET, TOKEN, TOKEN_RUN, Wishes, wait};
use crate::lessons;
use crate::names::{dns_elsewhere, dns_grey, dns_missing, dns_split_horizon, edge_direct};
use crate::records::{api_misrouted, api_phantom, api_unreadable, tunnel_deleted};
use crate::surfaces::{alerts, orders, rpm};
use crate::upheaval::{audits, held_by_host, journald, reboot};

/// One story.
pub struct Scenario {
    pub name: &'static str,
    pub play: fn(&Stage<'_>) -> Result<()>,
    /// Takes more than three minutes.
    pub long: bool,
}

/// Where a story plays. It boots its own lab, and keeps it for whoever wants to know why it failed.
pub struct Stage<'a> {
    pub parts: &'a Parts,
    pub lab: std::cell::RefCell<Option<Lab>>,
}

impl Stage<'_> {
    pub(crate) fn boot(&self, wishes: &Wishes) -> Result<std::cell::Ref<'_, Lab>> {
        *self.lab.borrow_mut() = Some(Lab::start(self.parts, wishes)?);
        self.running()
    }

    /// The power goes, and comes back.
    pub(crate) fn power_cut(&self) -> Result<std::cell::Ref<'_, Lab>> {
        self.lab.borrow_mut().as_mut().context("no lab")?.power_cut()?;
        self.running()
    }

    /// The machine we run on becomes the lab.
    pub(crate) fn boot_here(&self, wishes: &Wishes) -> Result<std::cell::Ref<'_, Lab>> {
        *self.lab.borrow_mut() = Some(Lab::start_here(self.parts, wishes)?);
        self.running()
    }

    /// The real cloudflared plays: how long it sleeps is its own draw.
    pub(crate) fn is_real(&self) -> bool {
        self.parts.cloudflared.is_some()
    }

    pub(crate) fn running(&self) -> Result<std::cell::Ref<'_, Lab>> {
        std::cell::Ref::filter_map(self.lab.borrow(), Option::as_ref).map_err(|_| anyhow::anyhow!("no lab"))
    }
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario { name: "phantom", play: phantom, long: false },
    Scenario { name: "asleep", play: asleep, long: false },
    Scenario { name: "frozen", play: frozen, long: false },
    Scenario { name: "network-down", play: network_down, long: false },
    Scenario { name: "edge-blocked", play: edge_blocked, long: false },
    Scenario { name: "udp-blocked", play: udp_blocked, long: false },
    Scenario { name: "wrong-secret", play: wrong_secret, long: false },
    Scenario { name: "bad-config", play: bad_config, long: false },
    Scenario { name: "operator-stop", play: operator_stop, long: false },
    Scenario { name: "admin-restart", play: admin_restart, long: false },
    Scenario { name: "origin-down", play: origin_down, long: false },
    Scenario { name: "bad-input", play: bad_input, long: true },
    Scenario { name: "second-outage", play: second_outage, long: false },
    Scenario { name: "killed-mid-remedy", play: killed_mid_remedy, long: false },
    Scenario { name: "unit-failed", play: unit_failed, long: false },
    Scenario { name: "healthy", play: healthy, long: false },
    Scenario { name: "package", play: package, long: false },
    Scenario { name: "polkit", play: polkit, long: false },
    Scenario { name: "watch-only", play: watch_only, long: false },
    Scenario { name: "remote-managed", play: remote_managed, long: false },
    Scenario { name: "secrets", play: secrets, long: false },
    Scenario { name: "daemon", play: daemon, long: false },
    Scenario { name: "disk-full", play: disk_full, long: false },
    Scenario { name: "orders", play: orders, long: false },
    Scenario { name: "commands", play: commands, long: false },
    Scenario { name: "followed", play: followed, long: false },
    Scenario { name: "alerts", play: alerts, long: false },
    Scenario { name: "rpm", play: rpm, long: false },
    Scenario { name: "journald", play: journald, long: false },
    Scenario { name: "reboot", play: reboot, long: false },
    Scenario { name: "audits", play: audits, long: false },
    Scenario { name: "held-by-host", play: held_by_host, long: false },
    Scenario { name: "tunnel-deleted", play: tunnel_deleted, long: false },
    Scenario { name: "api-unreadable", play: api_unreadable, long: false },
    Scenario { name: "dns-missing", play: dns_missing, long: false },
    Scenario { name: "dns-grey", play: dns_grey, long: false },
    Scenario { name: "dns-elsewhere", play: dns_elsewhere, long: false },
    Scenario { name: "dns-split-horizon", play: dns_split_horizon, long: false },
    Scenario { name: "edge-direct", play: edge_direct, long: false },
    Scenario { name: "api-misrouted", play: api_misrouted, long: true },
    Scenario { name: "api-phantom", play: api_phantom, long: true },
    Scenario { name: "phantom-unnoticed", play: lessons::phantom_unnoticed, long: true },
    Scenario { name: "forgotten", play: lessons::forgotten, long: false },
    Scenario { name: "loss-http2", play: lessons::loss_http2, long: true },
    Scenario { name: "loss-quic", play: lessons::loss_quic, long: false },
    Scenario { name: "asleep-3min", play: lessons::asleep_3min, long: true },
    Scenario { name: "asleep-5min", play: lessons::asleep_5min, long: true },
    Scenario { name: "fallback-patient", play: lessons::fallback_patient, long: true },
    Scenario { name: "stop-asleep", play: lessons::stop_asleep, long: false },
    Scenario { name: "refused-quic", play: lessons::refused_quic, long: false },
];

pub(crate) const UNIT: &str = "cloudflared.service";
pub const OPENED: &str = "190ebf81b21098e83e77715e7331559a";
pub const ORDERED: &str = "1d821be27819d07f107ae1aef91070aa";
pub const FINISHED: &str = "133f9548ce84ed40daac4707f8d9df48";
pub(crate) const HELD: &str = "32d527bf2f988d15cb710873edc93f8d";
pub(crate) const CLOSED: &str = "333a85eccf86b5e47fd8f0b31756746c";

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn tunnel(lab: &Lab) -> Result<Value> {
    lab.status()?["tunnels"].get(0).cloned().context("status shows no tunnel")
}

pub(crate) fn cause(lab: &Lab) -> Result<String> {
    Ok(tunnel(lab)?["cause"].as_str().unwrap_or("").to_owned())
}

/// Waits until the tunnel is proven healthy, and the process old enough to be judged.
pub fn settle(lab: &Lab) -> Result<()> {
    wait("healthy", seconds(60), || Ok(cause(lab).unwrap_or_default() == "Healthy"))?;
    // A registration needs 60 s before its absence at the edge means anything.
    wait("a process of 65 s", seconds(90), || {
        let age = lab.sh("ps -o etimes= -p $(systemctl show -P MainPID cloudflared)")?;
        Ok(65 <= age.trim().parse::<u64>().unwrap_or(0))
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

fn healthy(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    sleep(seconds(60));
    ensure!(invocation(&lab)? == before);
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    ensure!(lab.metric("tunnelwarden_verdict{tunnel=\"cloudflared.service\",verdict=\"healthy\"}")? == 1.0);
    ensure!(lab.metric("tunnelwarden_connector_connections{")? == 4.0);
    ensure!(lab.sh("curl -sf http://127.0.0.1:9733/healthz")?.trim() == "ok");
    ensure!(lab.sh("tunnelwarden explain")?.contains("Healthy"));
    Ok(())
}

fn phantom(stage: &Stage<'_>) -> Result<()> {
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

fn asleep(stage: &Stage<'_>) -> Result<()> {
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

fn frozen(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.sh("kill -STOP $(systemctl show -P MainPID cloudflared)")?;
    wait_cause(&lab, "ConnectorFrozen", 40)?;
    one_cure(&lab, "SwiftRestart", "ConnectorFrozen")
}

fn network_down(stage: &Stage<'_>) -> Result<()> {
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
    wait("healthy again", seconds(120), || Ok(cause(&lab)? == "Healthy"))
}

fn edge_blocked(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.block("tcp")?;
    lab.far_nft("add rule inet lab incoming udp dport 7844 drop")?;
    lab.edge("forget")?;
    wait_cause(&lab, "EdgeBlocked", 60)?;
    sleep(seconds(40));
    ensure!(invocation(&lab)? == before, "cloudflared was restarted with 7844 shut");
    no_remedy(&lab)?;
    ensure!(lab.explain()?.contains("7844"), "{}", lab.explain()?);
    let reachable = "tunnelwarden_edge_reachable{region=\"region1.v2.argotunnel.com\",transport=\"http2\"}";
    ensure!(lab.metric(reachable)? == 0.0);
    Ok(())
}

fn udp_blocked(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { protocol: "auto", warden: false, ..Wishes::default() })?;
    lab.block("udp")?;
    lab.sh("systemctl restart --no-block cloudflared")?;
    lab.install()?;
    wait_cause(&lab, "QuicBlocked", 60)?;
    sleep(seconds(45));
    no_remedy(&lab)?;
    ensure!(lab.explain()?.contains("TUNNEL_TRANSPORT_PROTOCOL=http2"), "{}", lab.explain()?);
    ensure!(lab.show(UNIT, "NRestarts")?.parse::<u32>()? >= 2, "the stock unit did not loop");
    Ok(())
}

fn wrong_secret(stage: &Stage<'_>) -> Result<()> {
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

fn bad_config(stage: &Stage<'_>) -> Result<()> {
    let config_tail = "  - hostname: last.example.com\n    service: http://127.0.0.1:8080\n";
    let lab = stage.boot(&Wishes { config_tail, ..Wishes::default() })?;
    wait_cause(&lab, "ConfigInvalid", 60)?;
    sleep(seconds(30));
    no_remedy(&lab)?;
    ensure!(lab.explain()?.contains("last ingress rule"), "{}", lab.explain()?);
    Ok(())
}

fn operator_stop(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.sh("systemctl stop cloudflared")?;
    wait_cause(&lab, "OperatorStopped", 20)?;
    sleep(seconds(60));
    ensure!(lab.show(UNIT, "ActiveState")? == "inactive", "it was started again");
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    lab.sh("systemctl start cloudflared")?;
    wait("healthy again", seconds(60), || Ok(cause(&lab)? == "Healthy"))
}

fn admin_restart(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.sh("systemctl restart cloudflared")?;
    sleep(seconds(2));
    wait("healthy again", seconds(60), || Ok(cause(&lab)? == "Healthy"))?;
    sleep(seconds(20));
    no_remedy(&lab)?;
    ensure!(lab.events(OPENED)?.is_empty(), "an incident was opened");
    let series = "tunnelwarden_unit_restarts_total{by=\"other\",tunnel=\"cloudflared.service\"}";
    ensure!(lab.metric(series)? == 1.0, "it is not counted as somebody else's");
    Ok(())
}

fn origin_down(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.sh("systemctl stop origin")?;
    wait_cause(&lab, "OriginDown", 60)?;
    sleep(seconds(45));
    ensure!(invocation(&lab)? == before, "cloudflared was restarted for its origin");
    no_remedy(&lab)?;
    lab.sh("systemctl start origin")?;
    wait("healthy again", seconds(60), || Ok(cause(&lab)? == "Healthy"))
}

fn second_outage(stage: &Stage<'_>) -> Result<()> {
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

fn killed_mid_remedy(stage: &Stage<'_>) -> Result<()> {
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
    wait("healthy again", seconds(90), || Ok(cause(&lab)? == "Healthy"))?;
    sleep(seconds(20));
    ensure!(lab.events(ORDERED)?.len() == 1, "a second remedy was ordered");
    Ok(())
}

fn unit_failed(stage: &Stage<'_>) -> Result<()> {
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

fn package(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    ensure!(lab.show("tunnelwarden", "ActiveState")? == "active", "not started after install");
    ensure!(lab.show("tunnelwarden", "UnitFileState")? == "enabled", "not enabled after install");
    lab.sh("echo '# mine' >> /etc/tunnelwarden/tunnelwarden.toml")?;
    let before = lab.show("tunnelwarden", "InvocationID")?;
    lab.install()?;
    ensure!(lab.show("tunnelwarden", "InvocationID")? != before, "not restarted by the upgrade");
    ensure!(
        lab.sh("tail -n 1 /etc/tunnelwarden/tunnelwarden.toml")?.contains("# mine"),
        "the config was not kept"
    );
    wait("it watches", seconds(20), || Ok(lab.status().is_ok()))?;
    lab.sh("dpkg -r tunnelwarden")?;
    ensure!(
        !lab.try_sh("systemctl is-active -q tunnelwarden")?.status.success(),
        "still active after removal"
    );
    ensure!(
        lab.try_sh("test -e /etc/tunnelwarden/tunnelwarden.toml")?.status.success(),
        "the config went with removal"
    );
    lab.sh("dpkg -P tunnelwarden")?;
    for path in ["/etc/tunnelwarden", "/var/lib/tunnelwarden", "/usr/bin/tunnelwarden"] {
        ensure!(!lab.try_sh(&format!("test -e {path}"))?.status.success(), "{path} is left after purge");
    }
    Ok(())
}

fn polkit(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait("healthy", seconds(60), || Ok(cause(&lab).unwrap_or_default() == "Healthy"))?;
    let may = |line: &str| -> Result<bool> {
        let line = format!("setpriv --reuid=tunnelwarden --regid=tunnelwarden --clear-groups {line}");
        Ok(lab.try_sh(&line)?.status.success())
    };
    ensure!(may("systemctl --no-ask-password restart cloudflared.service")?, "may not restart cloudflared");
    ensure!(!may("systemctl --no-ask-password stop cloudflared.service")?, "may stop cloudflared");
    ensure!(!may("systemctl --no-ask-password restart cloudflared-update.service")?, "may start updates");
    ensure!(!may("systemctl --no-ask-password restart origin.service")?, "may restart others");
    ensure!(lab.status()?["powerless"].is_null(), "says that it may not act: {}", lab.status()?["powerless"]);
    lab.sh("rm /usr/share/polkit-1/rules.d/*tunnelwarden*; sleep 1; systemctl restart tunnelwarden")?;
    wait("it says that it only watches", seconds(30), || {
        Ok(lab
            .status()
            .is_ok_and(|status| status["powerless"].as_str().is_some_and(|why| why.contains("polkit"))))
    })?;
    ensure!(lab.metric("tunnelwarden_powerless")? == 1.0);
    // A loop that stands still is ended and begun anew by systemd.
    lab.sh("kill -STOP $(systemctl show -P MainPID tunnelwarden)")?;
    wait("the watchdog began it anew", seconds(150), || Ok(lab.show("tunnelwarden", "NRestarts")? == "1"))?;
    wait("it watches again", seconds(30), || Ok(lab.status().is_ok()))
}

/// A host that lets us only watch: it says so, names the cause of an outage and what it may not do, and touches nothing.
fn watch_only(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    let polkit = lab
        .sh("busctl get-property org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority \
                         org.freedesktop.PolicyKit1.Authority BackendVersion")?;
    let why = if polkit.contains("0.105") {
        "polkit 0.105 cannot allow single units"
    } else {
        lab.sh("rm /usr/share/polkit-1/rules.d/*tunnelwarden*; sleep 1; systemctl restart tunnelwarden")?;
        "polkit does not let us restart cloudflared.service"
    };
    settle(&lab)?;
    let powerless = lab.status()?["powerless"].clone();
    ensure!(powerless.as_str().is_some_and(|said| said.contains(why)), "says {powerless}, not: {why}");
    ensure!(lab.metric("tunnelwarden_powerless")? == 1.0);
    let before = invocation(&lab)?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 60)?;
    wait("it says what holds it back", seconds(30), || {
        Ok(lab.explain()?.contains("ObserveOnly") && lab.explain()?.contains(why))
    })?;
    sleep(seconds(45));
    no_remedy(&lab)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    // A person's word needs no polkit where that person is root.
    lab.sh("tunnelwarden pause --for 5m --reason 'by hand'; tunnelwarden resume")?;
    let refused = lab.try_sh("tunnelwarden restart --reason 'by hand'")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(69) && said.contains("ObserveOnly"), "{refused:?}");
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    Ok(())
}

/// A tunnel whose rules come from Cloudflare: no config.yml, nothing configured for us.
fn remote_managed(stage: &Stage<'_>) -> Result<()> {
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
    ensure!(tunnel(&lab)?["id"] == crate::host::TUNNEL, "the tunnel's id is not shown");
    ensure!(!tunnel(&lab)?["connector"]["version"].is_null(), "cloudflared's version is not shown");
    wait_cause(&lab, "Healthy", 30)
}

fn secrets(stage: &Stage<'_>) -> Result<()> {
    // The token of an old installation stands in its command line.
    let token = TOKEN;
    let command: &'static str = Box::leak(format!("tunnel run --token {token}").into_boxed_str());
    let settings = "[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [\"app.example.com\"]\n";
    let lab = stage.boot(&Wishes { command, settings, ..Wishes::default() })?;
    lab.sh("printf '[api]\\ntoken = \"cfut_0123456789abcdefghijklmnopqrstuvwxyzABCD\"\\n' > /etc/tunnelwarden/conf.d/oops.toml")?;
    let refused = lab.try_sh("tunnelwarden config check 2>&1")?;
    ensure!(refused.status.code() == Some(78), "a pasted token is no mistake: {refused:?}");
    lab.try_sh("systemctl reload tunnelwarden; sleep 3")?;
    lab.sh("rm /etc/tunnelwarden/conf.d/oops.toml")?;
    sleep(seconds(20));
    let lines = [
        "tunnelwarden status --json",
        "tunnelwarden status",
        "tunnelwarden explain",
        "tunnelwarden config show",
        "tunnelwarden config polkit",
        "curl -s http://127.0.0.1:9733/metrics",
        "curl -s http://127.0.0.1:9733/",
        "journalctl -u tunnelwarden -o verbose",
        "cat /var/lib/tunnelwarden/*",
    ];
    let mut all = String::from_utf8_lossy(&refused.stdout).into_owned();
    for line in lines {
        all.push_str(&String::from_utf8_lossy(&lab.try_sh(line)?.stdout));
    }
    ensure!(
        all.contains("11111111-2222-4333-8444-555555555555"),
        "the tunnel's id was not found in the token"
    );
    for secret in [token, &token[20..60], SECRET, "cfut_0123456789"] {
        ensure!(!all.contains(secret), "{secret} is in the output");
    }
    Ok(())
}

/// New names come with a reload, new units by themselves; the process stays.
fn other_tunnels_and_names(lab: &Lab) -> Result<()> {
    let pid = lab.show("tunnelwarden", "MainPID")?;
    let names = |lab: &Lab| Ok::<_, anyhow::Error>(tunnel(lab)?["names"].as_array().map_or(0, Vec::len));
    let one = "[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [\"app.example.com\"]\n";
    lab.write("/etc/tunnelwarden/conf.d/names.toml", one)?;
    lab.sh("systemctl reload tunnelwarden")?;
    wait("one name is watched", seconds(20), || Ok(names(lab).unwrap_or(0) == 1))?;
    lab.sh("rm /etc/tunnelwarden/conf.d/names.toml; systemctl reload tunnelwarden")?;
    wait("two names are watched again", seconds(20), || Ok(names(lab).unwrap_or(0) == 2))?;
    let tunnels = |lab: &Lab| lab.status().map(|status| status["tunnels"].as_array().map_or(0, Vec::len));
    lab.sh("cp /etc/systemd/system/cloudflared.service /etc/systemd/system/cloudflared-b.service; systemctl daemon-reload")?;
    wait("a new unit is found", seconds(20), || Ok(tunnels(lab).unwrap_or(0) == 2))?;
    // It was never started, so systemd cannot be asked about it; the other one may be acted on all the same.
    ensure!(lab.metric("tunnelwarden_powerless")? == 0.0, "{}", lab.status()?["powerless"]);
    lab.sh("rm /etc/systemd/system/cloudflared-b.service; systemctl daemon-reload")?;
    wait("a unit that went is forgotten", seconds(20), || Ok(tunnels(lab).unwrap_or(0) == 1))?;
    ensure!(lab.show("tunnelwarden", "MainPID")? == pid, "tunnelwarden was restarted");
    wait("healthy after all that", seconds(60), || Ok(cause(lab).unwrap_or_default() == "Healthy"))
}

fn daemon(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait("healthy", seconds(60), || Ok(cause(&lab).unwrap_or_default() == "Healthy"))?;
    // Bad settings keep the running ones; nobody dies.
    lab.sh("mkdir -p /etc/tunnelwarden/conf.d; printf '[judge]\\nrounds = 0\\n' > /etc/tunnelwarden/conf.d/bad.toml; systemctl reload tunnelwarden; sleep 2")?;
    ensure!(lab.metric("tunnelwarden_config_reload_success")? == 0.0, "a bad reload is not shown");
    lab.sh("printf 'mode = \"observe\"\\n' > /etc/tunnelwarden/conf.d/bad.toml; systemctl reload tunnelwarden; sleep 2")?;
    ensure!(lab.metric("tunnelwarden_config_reload_success")? == 1.0);
    ensure!(lab.status()?["mode"] == "observe", "the new mode is not in force");
    lab.sh("rm /etc/tunnelwarden/conf.d/bad.toml; systemctl reload tunnelwarden; sleep 1")?;
    lab.sh("curl -sf http://127.0.0.1:9733/metrics | promtool check metrics")?;
    other_tunnels_and_names(&lab)?;
    // The page is for this host only.
    let host = "curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' http://127.0.0.1:9733/status";
    ensure!(lab.sh(host)?.trim() == "403", "a foreign Host is answered");
    // A new systemd, a new bus.
    lab.sh("systemctl daemon-reexec")?;
    sleep(seconds(2));
    lab.sh("systemctl restart dbus")?;
    sleep(seconds(15));
    lab.sh("systemctl restart cloudflared")?;
    wait("healthy after a new bus", seconds(60), || Ok(cause(&lab).unwrap_or_default() == "Healthy"))?;
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    // A broken memory watches, and restarts nothing.
    lab.sh("systemctl stop tunnelwarden; echo 'version = 1\ngarbage' > /var/lib/tunnelwarden/state.toml; systemctl start tunnelwarden")?;
    wait("memory is lost", seconds(20), || Ok(lab.metric("tunnelwarden_memory_lost").unwrap_or(0.0) == 1.0))?;
    lab.sh("rm /var/lib/tunnelwarden/*.broken-1; systemctl reload tunnelwarden; sleep 2")?;
    ensure!(lab.metric("tunnelwarden_memory_lost")? == 0.0, "the loss cannot be accepted");
    Ok(())
}
