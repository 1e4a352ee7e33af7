//! What a container cannot play, played by the machine of `vm` itself. One lab serves all: none of these may order a remedy.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::host::{Lab, Parts, Wishes, wait};
use crate::scenarios::{OPENED, Scenario, Stage, cause, invocation, no_remedy, seconds, settle};
use crate::vm::HOME;

/// In the order in which they are played; the first one makes the lab.
const ALL: &[Scenario] = &[
    Scenario { name: "vm-boot", play: boot, long: true },
    Scenario { name: "vm-clock", play: clock, long: true },
    Scenario { name: "vm-loss", play: loss, long: true },
    Scenario { name: "vm-suspend", play: suspend, long: true },
    Scenario { name: "vm-memory", play: memory, long: true },
];

/// The first one, and those whose name holds one of the filters.
pub fn chosen(filters: &[String]) -> Vec<&'static Scenario> {
    let meant = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    ALL.iter().enumerate().filter(|(at, scenario)| *at == 0 || meant(scenario.name)).map(|(_, s)| s).collect()
}

/// What the lab is made from, here.
pub fn parts() -> Result<Parts> {
    let bin = PathBuf::from(HOME);
    let deb = bin.join("tunnelwarden.deb");
    ensure!(deb.exists(), "this machine was not made for the lab, and would be rebuilt");
    let scratch = Path::new("/var/tmp/lab").to_owned();
    Ok(Parts { tree: "/".into(), deb, rpm: None, bin, scratch })
}

/// Tells the operator of the lab a number beside the result.
fn note(scenario: &str, what: &str) {
    println!("lab: {scenario:<20} {what}");
}

fn boot(stage: &Stage<'_>) -> Result<()> {
    // A wildcard is served and not asked: the memory scenario has names under it.
    let names = &["app.example.com", "api.example.com", "*.example.com"];
    let lab = stage.boot_here(&Wishes { names, ..Wishes::default() })?;
    settle(&lab)?;
    ensure!(lab.visit("app.example.com")?.0 == 200, "visitors are not served");
    no_remedy(&lab)
}

/// How long each cause was seen, in the order of their first showing.
struct Seen(Vec<(String, Duration)>);

impl Seen {
    fn watch(lab: &Lab, lasting: Duration) -> Result<Self> {
        let (began, mut seen) = (Instant::now(), Self(Vec::new()));
        let mut at = began;
        while began.elapsed() < lasting {
            let now = cause(lab)?;
            let passed = at.elapsed();
            at += passed;
            match seen.0.iter_mut().find(|(known, _)| *known == now) {
                Some((_, total)) => *total += passed,
                None => seen.0.push((now, passed)),
            }
            sleep(Duration::from_millis(500));
        }
        Ok(seen)
    }

    fn told(&self) -> String {
        let each = self.0.iter().map(|(cause, lasted)| format!("{cause} {:.0} s", lasted.as_secs_f64()));
        each.collect::<Vec<_>>().join(", ")
    }
}

fn healthy_again(lab: &Lab, limit: u64) -> Result<()> {
    wait("healthy again", seconds(limit), || Ok(cause(lab).unwrap_or_default() == "Healthy"))
}

/// The clock is set an hour ahead, and back. Nothing follows from that, and what cloudflared says is still heard.
fn clock(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    healthy_again(&lab, 60)?;
    let (before, opened) = (invocation(&lab)?, lab.events(OPENED)?.len());
    for (by, index) in [("+1 hour", 0), ("-1 hour", 1)] {
        lab.sh(&format!("date -s '{by}'"))?;
        let seen = Seen::watch(&lab, seconds(45))?;
        note("vm-clock", &format!("after {by}: {}", seen.told()));
        for (cause, lasted) in &seen.0 {
            ensure!(
                cause == "Healthy" || cause == "Unknown" && *lasted < seconds(40),
                "after {by}: {}",
                seen.told()
            );
        }
        ensure!(cause(&lab)? == "Healthy", "not healthy after {by}: {}", lab.explain()?);
        no_remedy(&lab)?;
        ensure!(lab.events(OPENED)?.len() == opened, "an incident was opened after {by}");
        let lines =
            "tunnelwarden_journal_lines_total{meaning=\"lost_connection\",tunnel=\"cloudflared.service\"}";
        let heard = lab.metric(lines)?;
        lab.edge(&format!("drop {index}"))?;
        wait("a lost connection is heard of", seconds(60), || Ok(heard < lab.metric(lines)?))?;
        healthy_again(&lab, 60)?;
    }
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    no_remedy(&lab)
}

/// A bad line for a minute: nearly a third of what is sent is lost, the rest is late. The connections live.
fn loss(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    healthy_again(&lab, 60)?;
    let before = invocation(&lab)?;
    lab.sh("tc qdisc add dev eth0 root netem loss 30% delay 100ms")?;
    let seen = Seen::watch(&lab, seconds(60));
    let lost = lab.sh("tc -s qdisc show dev eth0")?;
    lab.sh("tc qdisc del dev eth0 root")?;
    let dropped = lost.split("dropped ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("none");
    note("vm-loss", &format!("{dropped} packets lost: {}", seen?.told()));
    ensure!(dropped.parse::<u32>().is_ok_and(|lost| 0 < lost), "nothing was lost: {lost}");
    healthy_again(&lab, 90)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)
}

/// The machine sleeps for a minute (ACPI S3, to memory) and its own clock wakes it. The first time nothing else happens; the
/// second time the edge has ended all connections meanwhile, as it does with a host that is silent. Only the edge sleeps too,
/// so it ends them just before.
fn suspend(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    healthy_again(&lab, 60)?;
    let before = invocation(&lab)?;
    for (how, command) in [("with its connections", None), ("without", Some("drop"))] {
        if let Some(command) = command {
            lab.edge(command)?;
        }
        let (began, uptime) = (Instant::now(), uptime()?);
        lab.sh("rtcwake -m mem -s 60")?;
        // The time since boot counts sleep; ours stands still meanwhile.
        let slept = self::uptime()?.saturating_sub(uptime).saturating_sub(began.elapsed());
        let seen = Seen::watch(&lab, seconds(45))?;
        note("vm-suspend", &format!("slept {} s, woke {how}: {}", slept.as_secs(), seen.told()));
        ensure!(seconds(45) < slept, "it did not sleep");
        no_remedy(&lab)?;
        healthy_again(&lab, 90)?;
    }
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    no_remedy(&lab)
}

fn uptime() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").context("no uptime")?;
    let first = text.split(' ').next().unwrap_or("");
    Ok(Duration::from_secs_f64(first.parse().with_context(|| format!("{text:?} has no uptime"))?))
}

const WATCHED: usize = 300;
const LINES: u32 = 20_000;

/// Under its own limit, which this kernel enforces: many names, and a flood of cloudflared's lines.
fn memory(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    let hog = lab.try_sh("systemd-run --wait -p MemoryMax=16M -p MemorySwapMax=0 tail /dev/zero")?;
    let said = String::from_utf8_lossy(&hog.stderr).into_owned();
    ensure!(said.contains("oom-kill"), "MemoryMax= is not enforced here: {said}");
    ensure!(lab.show("tunnelwarden", "MemoryMax")? == (128 << 20).to_string(), "not its own limit");
    let names: Vec<_> = (0..WATCHED).map(|number| format!("\"n{number}.example.com\"")).collect();
    let names = names.join(", ");
    let flood = "cloudflared-flood.service";
    lab.write(
        &format!("/etc/systemd/system/{flood}"),
        &format!("[Service]\nType=oneshot\nLogRateLimitIntervalSec=0\nExecStart=/usr/local/bin/lab flood {LINES} 0\n"),
    )?;
    lab.write(
        "/etc/tunnelwarden/conf.d/memory.toml",
        &format!(
            "[probe]\nperiod = \"60s\"\n[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [{names}]\n\
             [[tunnel]]\nunit = \"{flood}\"\nhostnames = [\"app.example.com\"]\n"
        ),
    )?;
    lab.sh("systemctl daemon-reload; systemctl reload tunnelwarden")?;
    let served = "grep -c '^tunnelwarden_name_up.* 1$'";
    wait("all names are served", seconds(150), || {
        let up = lab.try_sh(&format!("curl -sf http://127.0.0.1:9733/metrics | {served}"))?;
        Ok(WATCHED <= String::from_utf8_lossy(&up.stdout).trim().parse().unwrap_or(0))
    })?;
    lab.sh(&format!("systemctl start {flood}"))?;
    let heard = format!("tunnelwarden_journal_lines_total{{meaning=\"origin_error\",tunnel=\"{flood}\"}}");
    wait("the flood is heard", seconds(90), || Ok(f64::from(LINES) <= lab.metric(&heard).unwrap_or(0.0)))?;
    let group = "/sys/fs/cgroup/system.slice/tunnelwarden.service";
    let number = |line: &str| -> Result<u64> {
        let text = lab.sh(line)?;
        text.trim().parse().with_context(|| format!("{line}: {text:?}"))
    };
    let peak = number(&format!("cat {group}/memory.peak"))?;
    let anon = number(&format!("awk '/^anon / {{ print $2 }}' {group}/memory.stat"))?;
    let hits =
        number(&format!("awk '/^(high|max|oom) / {{ n += $2 }} END {{ print n }}' {group}/memory.events"))?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    note("vm-memory", &format!("peak {:.1} MiB of 128, anonymous {:.1} MiB", mib(peak), mib(anon)));
    ensure!(peak < 64 << 20 && hits == 0, "it came near its limit");
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    no_remedy(&lab)
}
