//! What the real cloudflared taught: how late it notices, how long it sleeps, what it does not say. The stand-in has to do the same.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::thread::sleep;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::host::{Lab, Wishes, wait};
use crate::scenarios::{
    CLOSED, ORDERED, Stage, UNIT, invocation, no_remedy, one_cure, one_cure_or_alone, seconds, settle,
    wait_cause, wait_healthy,
};

/// Status and connections of `/ready`; zeros while nobody answers.
fn ready(lab: &Lab) -> (u16, u64) {
    let line = "curl -s -m 2 -w '\\n%{http_code}' http://127.0.0.1:20241/ready";
    let said = lab.try_sh(line).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    let (body, status) = said.rsplit_once('\n').unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    (status.parse().unwrap_or(0), body["readyConnections"].as_u64().unwrap_or(0))
}

fn all_four(lab: &Lab) -> Result<()> {
    wait("four connections", seconds(60), || Ok(ready(lab) == (200, 4)))
}

/// cloudflared's lines since its start.
fn log(lab: &Lab) -> Result<String> {
    lab.sh("journalctl -q -o cat _SYSTEMD_UNIT=cloudflared.service")
}

/// Seconds until `/ready` counts no connection any more.
fn notices(lab: &Lab, limit: u64) -> Result<f64> {
    let began = Instant::now();
    wait("it notices", seconds(limit), || Ok(ready(lab).1 == 0))?;
    Ok(began.elapsed().as_secs_f64())
}

/// A dead peer whose TCP lives is never noticed on HTTP/2: no line, and four connections all the time.
pub(crate) fn phantom_unnoticed(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { warden: false, ..Wishes::default() })?;
    all_four(&lab)?;
    sleep(seconds(10));
    let before = log(&lab)?;
    lab.edge("blackhole")?;
    for _ in 0..20 {
        sleep(seconds(10));
        ensure!(ready(&lab) == (200, 4), "/ready says {:?}", ready(&lab));
        ensure!(lab.visit("app.example.com")?.0 == 530, "visitors are served");
    }
    let after = log(&lab)?;
    ensure!(after == before, "it wrote: {}", after.strip_prefix(&before).unwrap_or(&after));
    Ok(())
}

/// The edge forgot the route, and the transport is well.
pub(crate) fn forgotten(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.edge("forget")?;
    wait_cause(&lab, "ConnectorPhantom", 40)?;
    ensure!(ready(&lab) == (200, 4), "/ready says {:?}", ready(&lab));
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}

/// Packets vanish, both ways: TCP's keepalive needs nine times 15 s and one more to say so.
pub(crate) fn loss_http2(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { warden: false, ..Wishes::default() })?;
    all_four(&lab)?;
    sleep(seconds(10));
    lab.lose("tcp")?;
    let took = notices(&lab, 240)?;
    ensure!((120.0..200.0).contains(&took), "noticed after {took:.0} s");
    ensure!(log(&lab)?.contains("Lost connection with the edge"), "it does not say so");
    Ok(())
}

/// QUIC knows after its five seconds of silence.
pub(crate) fn loss_quic(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { protocol: "quic", warden: false, ..Wishes::default() })?;
    all_four(&lab)?;
    sleep(seconds(10));
    lab.lose("udp")?;
    let took = notices(&lab, 60)?;
    ensure!(took < 15.0, "noticed after {took:.0} s");
    ensure!(log(&lab)?.contains("timeout: no recent network activity"), "it does not say so");
    lab.unblock()?;
    wait("it serves again", seconds(120), || Ok(lab.visit("app.example.com")?.0 == 200))
}

pub(crate) fn asleep_3min(stage: &Stage<'_>) -> Result<()> {
    asleep_after(stage, 180)
}

pub(crate) fn asleep_5min(stage: &Stage<'_>) -> Result<()> {
    asleep_after(stage, 300)
}

/// However long it sleeps after an outage: nothing is done while that lasts, and visitors are served soon after.
fn asleep_after(stage: &Stage<'_>, outage: u64) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    lab.edge("refuse")?;
    sleep(seconds(outage));
    no_remedy(&lab)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted with the edge out of reach");
    lab.edge("accept")?;
    let began = Instant::now();
    wait("visitors are served", seconds(75), || Ok(lab.visit("app.example.com")?.0 == 200))?;
    ensure!(lab.events(ORDERED)?.is_empty() || seconds(10) < began.elapsed(), "it was given no time");
    wait("the incident is closed", seconds(90), || Ok(!lab.events(CLOSED)?.is_empty()))?;
    one_cure_or_alone(&lab, true, "SwiftRestart", "ConnectorAsleep")
}

/// UDP is shut, and the unit may start for minutes: the ninth dial that fails brings HTTP/2, and nobody disturbs the wait.
pub(crate) fn fallback_patient(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { protocol: "auto", warden: false, ..Wishes::default() })?;
    lab.block("udp")?;
    lab.write("/etc/systemd/system/cloudflared.service.d/patient.conf", "[Service]\nTimeoutStartSec=300\n")?;
    lab.sh("systemctl daemon-reload")?;
    lab.sh("systemctl restart --no-block cloudflared")?;
    let began = Instant::now();
    lab.install()?;
    wait("it serves", seconds(280), || Ok(lab.visit("app.example.com")?.0 == 200))?;
    let took = began.elapsed().as_secs();
    ensure!((60..280).contains(&took), "served after {took} s");
    ensure!(log(&lab)?.contains("Switching to fallback protocol http2"), "not by the fallback");
    ensure!(lab.show(UNIT, "NRestarts")? == "0", "systemd restarted it");
    wait_healthy(&lab, 60)?;
    no_remedy(&lab)
}

/// A stop while all connections sleep on HTTP/2 waits for the sleep or the grace period, and ends well.
pub(crate) fn stop_asleep(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    lab.edge("refuse")?;
    wait("all four sleep", seconds(180), || {
        Ok(4 <= log(&lab)?.matches("Connection terminated").count() && ready(&lab).1 == 0)
    })?;
    let began = Instant::now();
    lab.sh("systemctl stop cloudflared")?;
    let took = began.elapsed().as_secs();
    ensure!(took <= 40, "the stop took {took} s");
    ensure!(lab.show(UNIT, "Result")? == "success", "the stop failed: {}", lab.show(UNIT, "Result")?);
    wait_cause(&lab, "OperatorStopped", 30)?;
    lab.edge("accept")?;
    sleep(seconds(30));
    ensure!(lab.show(UNIT, "ActiveState")? == "inactive", "it was started again");
    no_remedy(&lab)
}

/// A refusal on QUIC hides its text: the counters alone tell it from a dead network, and no restart can help.
pub(crate) fn refused_quic(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes { protocol: "quic", ..Wishes::default() })?;
    settle(&lab)?;
    lab.edge("reject Unauthorized: Tunnel not found")?;
    lab.edge("drop")?;
    wait_cause(&lab, "RegistrationRefused", 90)?;
    sleep(seconds(45));
    let log = log(&lab)?;
    ensure!(log.contains("control stream encountered a failure while serving"), "it does not say so");
    ensure!(!log.contains("Unauthorized"), "it says why");
    no_remedy(&lab)?;
    lab.edge("unreject")?;
    wait_healthy(&lab, 180)
}
