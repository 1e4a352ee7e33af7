//! What each tool costs while nothing is wrong: five names every 15 s, side by side on one machine.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{install_monit, table};
use crate::host::{Lab, Parts, Wishes, wait};

const FIVE: &[&str] =
    &["app.example.com", "api.example.com", "www.example.com", "auth.example.com", "db.example.com"];
const SPAN: Duration = Duration::from_secs(120);

/// One look at a service.
pub(super) struct Look {
    pub(super) cpu_s: f64,
    switches: f64,
}

/// A service and the package it comes in.
struct Tool {
    name: &'static str,
    /// As the kernel calls it.
    process: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { name: "tunnelwarden", process: "tunnelwarden", package: "tunnelwarden" },
    Tool { name: "monit", process: "monit", package: "monit" },
    Tool { name: "blackbox_exporter", process: "prometheus-blac", package: "prometheus-blackbox-exporter" },
    Tool { name: "its Prometheus", process: "prometheus", package: "prometheus" },
];

pub(super) fn measure(parts: &Parts) -> Result<()> {
    let lab = Lab::start(parts, &Wishes { names: FIVE, ..Wishes::default() })?;
    install_monit(&lab, FIVE, 15)?;
    install_blackbox(&lab)?;
    wait("healthy", Duration::from_secs(60), || {
        Ok(lab.status().is_ok_and(|status| status["tunnels"][0]["cause"] == "Healthy"))
    })?;
    // Past the start: caches filled, the grace over.
    sleep(Duration::from_secs(90));
    println!("idle: {} names every 15 s, over {} s", FIVE.len(), SPAN.as_secs());
    let began = Instant::now();
    let before = TOOLS.iter().map(|tool| look(&lab, tool.process)).collect::<Result<Vec<_>>>()?;
    sleep(SPAN);
    let after = TOOLS.iter().map(|tool| look(&lab, tool.process)).collect::<Result<Vec<_>>>()?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!(
        "  {:<20} {:>10} {:>10} {:>12} {:>12} {:>14}",
        "tool", "anon MiB", "RSS MiB", "CPU s/min", "switches/s", "installed MB"
    );
    let mut ours = None;
    for (tool, (before, after)) in TOOLS.iter().zip(before.iter().zip(&after)) {
        let (anon, rss) = memory(&lab, tool.process)?;
        let row = [
            anon,
            rss,
            (after.cpu_s - before.cpu_s) / minutes,
            (after.switches - before.switches) / minutes / 60.0,
            installed(&lab, tool.package)?,
        ];
        println!(
            "  {:<20} {:>10.2} {:>10.2} {:>12.4} {:>12.2} {:>14.1}",
            tool.name, row[0], row[1], row[2], row[3], row[4]
        );
        match ours {
            None => ours = Some(row),
            Some(own) => println!(
                "  {:<20} {:>10.2} {:>10.2} {:>12.2} {:>12.2} {:>14.2}",
                "   ours to it",
                own[0] / row[0],
                own[1] / row[1],
                own[2] / row[2],
                own[3] / row[3],
                own[4] / row[4]
            ),
        }
    }
    let own = ours.context("nothing measured")?;
    table::limit("anonymous memory", own[0], "MiB", 3.0);
    table::limit("resident memory", own[1], "MiB", 14.0);
    table::limit("CPU", own[2], "s/min", 0.06);
    table::limit("voluntary switches", own[3], "/s", 5.0);
    table::limit("installed", own[4], "MB", 10.0);
    let start = start(&lab)?;
    table::limit("exec to READY, median of 5", start.exec_to_ready, "ms", 100.0);
    println!("  with systemd's own sandbox before it: {:.0} ms", start.fork_to_ready);
    Ok(())
}

fn install_blackbox(lab: &Lab) -> Result<()> {
    let targets = FIVE.iter().map(|name| format!("'https://{name}/'")).collect::<Vec<_>>().join(", ");
    lab.write(
        "/etc/prometheus/prometheus.yml",
        &format!(
            "global:\n  scrape_interval: 15s\nscrape_configs:\n  - job_name: names\n    metrics_path: /probe\n\
             \x20   params: {{ module: [http_2xx] }}\n    static_configs: [ {{ targets: [ {targets} ] }} ]\n\
             \x20   relabel_configs:\n\
             \x20     - {{ source_labels: [__address__], target_label: __param_target }}\n\
             \x20     - {{ target_label: __address__, replacement: '127.0.0.1:9115' }}\n"
        ),
    )?;
    lab.sh("systemctl unmask -q prometheus prometheus-blackbox-exporter; \
         systemctl start prometheus prometheus-blackbox-exporter")
        .map(drop)
}

/// CPU and voluntary switches of a service since its start, ended helpers included.
pub(super) fn look(lab: &Lab, process: &str) -> Result<Look> {
    // user, system, and both of ended children, in ticks of 10 ms; the name before them may hold spaces.
    let stat = lab.sh(&format!("sed 's/.*) //' /proc/$(pgrep -xo {process})/stat"))?;
    let ticks = stat.split(' ').skip(11).take(4).map(str::parse::<f64>).sum::<Result<f64, _>>();
    let cpu_s = ticks.with_context(|| format!("{process} has no CPU time"))? / 100.0;
    let line = format!(
        "cat /proc/$(pgrep -xo {process})/task/*/status | \
         awk '/^voluntary_ctxt_switches/ {{ sum += $2 }} END {{ print sum }}'"
    );
    let switches = lab.sh(&line)?.trim().parse().with_context(|| format!("{process} has no switches"))?;
    Ok(Look { cpu_s, switches })
}

/// Anonymous and resident memory, MiB.
pub(super) fn memory(lab: &Lab, process: &str) -> Result<(f64, f64)> {
    let text = lab.sh(&format!("cat /proc/$(pgrep -xo {process})/status"))?;
    let kib = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    let mib = |name: &str| kib(name).map(|kib| kib / 1024.0).with_context(|| format!("{process}: no {name}"));
    Ok((mib("RssAnon:")?, mib("VmRSS:")?))
}

/// Size on disk after installation, MB.
fn installed(lab: &Lab, package: &str) -> Result<f64> {
    let kib: f64 = lab.sh(&format!("dpkg-query -W -f '${{Installed-Size}}' {package}"))?.trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// How long a start takes, ms.
struct Start {
    /// From our program's first moment to READY=1.
    exec_to_ready: f64,
    /// From systemd's fork to READY=1: its sandbox is set up in between.
    fork_to_ready: f64,
}

/// Notes the moment of exec, as systemd tells only that of its fork.
const STAMPED: &str = "[Service]\nExecStart=\nExecStart=/bin/bash -c 'echo $EPOCHREALTIME > \
    /run/tunnelwarden/exec; exec /usr/bin/tunnelwarden run'\n";

/// Medians of five.
fn start(lab: &Lab) -> Result<Start> {
    lab.write("/etc/systemd/system/tunnelwarden.service.d/stamped.conf", STAMPED)?;
    lab.sh("systemctl daemon-reload")?;
    let (mut exec, mut fork) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        lab.sh("systemctl restart tunnelwarden")?;
        let us = |property: &str| -> Result<f64> { Ok(lab.show("tunnelwarden", property)?.parse()?) };
        fork.push((us("ActiveEnterTimestampMonotonic")? - us("ExecMainStartTimestampMonotonic")?) / 1e3);
        let ready = lab.sh(
            "date +%s.%6N -d \"$(systemctl show --value --timestamp=us -p ActiveEnterTimestamp tunnelwarden)\"",
        )?;
        let began = lab.sh("cat /run/tunnelwarden/exec")?;
        exec.push((ready.trim().parse::<f64>()? - began.trim().parse::<f64>()?) * 1e3);
        sleep(Duration::from_secs(4));
    }
    lab.sh("rm /etc/systemd/system/tunnelwarden.service.d/stamped.conf; systemctl daemon-reload")?;
    Ok(Start { exec_to_ready: table::median(exec), fork_to_ready: table::median(fork) })
}
