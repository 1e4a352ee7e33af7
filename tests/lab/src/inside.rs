//! What a container cannot play, played by the machine of `vm` itself. One lab serves all: none but `wake` may order a remedy.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::host::{Lab, Parts, Wishes, wait};
use crate::scenarios::{
    OPENED, ORDERED, Scenario, Stage, cause, invocation, no_remedy, one_cure, seconds, settle, tunnel,
    wait_healthy,
};
use crate::vm::HOME;

/// In the order in which they are played; the first one makes the lab.
const ALL: &[Scenario] = &[
    Scenario { name: "vm-boot", play: boot, long: true },
    Scenario { name: "vm-clock", play: clock, long: true },
    Scenario { name: "vm-loss", play: loss, long: true },
    Scenario { name: "vm-suspend", play: suspend, long: true },
    Scenario { name: "vm-wake", play: wake, long: true },
    Scenario { name: "vm-memory", play: memory, long: true },
];

/// The first one, and those whose name holds one of the filters.
pub fn chosen(filters: &[String]) -> Vec<&'static Scenario> {
    let meant = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    ALL.iter().enumerate().filter(|(at, scenario)| *at == 0 || meant(scenario.name)).map(|(_, s)| s).collect()
}

/// What the lab is made from, here.
pub fn parts() -> Result<Parts> {
    let home = PathBuf::from(HOME);
    ensure!(home.exists(), "this machine was not made for the lab, and would be changed for ever");
    let deb = "/root/tunnelwarden.deb".into();
    Ok(Parts {
        tree: "/".into(),
        deb,
        rpm: None,
        bin: home.clone(),
        cloudflared: None,
        scratch: home,
        record: false,
    })
}

/// A wildcard is served and not asked: one scenario has names under it. How long cloudflared sleeps is set: what it draws by itself
/// after several losses may be longer than patience.
pub fn wishes() -> Wishes {
    let names = &["app.example.com", "api.example.com", "*.example.com"];
    let env = vec![("STANDIN_SUPERVISOR_WAIT", "5".to_owned())];
    Wishes { names, env, standin: true, ..Wishes::default() }
}

/// Tells the operator of the lab a number beside the result.
fn note(scenario: &str, what: &str) {
    println!("lab: {scenario:<20} {what}");
}

fn boot(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot_here(&wishes())?;
    settle(&lab)?;
    wait("visitors are served", seconds(60), || Ok(lab.visit("app.example.com")?.0 == 200))?;
    no_remedy(&lab)
}

/// How long each cause was seen, or the verdict where none was named, in the order of their first showing.
struct Seen(Vec<(String, Duration)>);

impl Seen {
    fn watch(lab: &Lab, lasting: Duration) -> Result<Self> {
        let (began, mut seen) = (Instant::now(), Self(Vec::new()));
        let mut at = began;
        while began.elapsed() < lasting {
            let now = tunnel(lab)?;
            let now = now["cause"].as_str().or(now["verdict"].as_str()).unwrap_or("nothing").to_owned();
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

/// The clock is set an hour ahead, and back. Nothing follows from that, and what cloudflared says is still heard.
fn clock(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    wait_healthy(&lab, 60)?;
    let (before, opened) = (invocation(&lab)?, lab.events(OPENED)?.len());
    for (by, index) in [("+1 hour", 0), ("-1 hour", 1)] {
        lab.sh(&format!("date -s '{by}'"))?;
        let seen = Seen::watch(&lab, seconds(40))?;
        note("vm-clock", &format!("after {by}: {}", seen.told()));
        for (cause, lasted) in &seen.0 {
            ensure!(
                cause == "Healthy" || cause == "Unknown" && *lasted < seconds(35),
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
        wait_healthy(&lab, 60)?;
    }
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    no_remedy(&lab)
}

/// A bad line for a minute: nearly a third of what is sent is lost, the rest is late. The connections live.
fn loss(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    wait_healthy(&lab, 60)?;
    let before = invocation(&lab)?;
    lab.sh("tc qdisc add dev eth0 root netem loss 30% delay 100ms")?;
    let seen = Seen::watch(&lab, seconds(60));
    let lost = lab.sh("tc -s qdisc show dev eth0")?;
    lab.sh("tc qdisc del dev eth0 root")?;
    let dropped = lost.split("dropped ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("none");
    note("vm-loss", &format!("{dropped} packets lost: {}", seen?.told()));
    ensure!(dropped.parse::<u32>().is_ok_and(|lost| 0 < lost), "nothing was lost: {lost}");
    wait_healthy(&lab, 90)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    no_remedy(&lab)
}

/// The machine really sleeps (ACPI S3, to memory) and its own clock wakes it. The first time nothing else happens; the second
/// time it has no connection when it wakes, as the edge ends those of a silent host. This edge sleeps too, so it ends them
/// just before.
fn suspend(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    wait_healthy(&lab, 60)?;
    let before = invocation(&lab)?;
    for (nap, command) in [(30, "status"), (60, "drop")] {
        lab.edge(command)?;
        let (began, uptime) = (Instant::now(), uptime()?);
        lab.sh(&format!("rtcwake -m mem -s {nap}"))?;
        // The time since boot counts sleep; ours stands still meanwhile.
        let slept = self::uptime()?.saturating_sub(uptime).saturating_sub(began.elapsed());
        let seen = Seen::watch(&lab, seconds(40))?;
        note("vm-suspend", &format!("slept {} s after {command:?}: {}", slept.as_secs(), seen.told()));
        ensure!(seconds(20) < slept, "it did not sleep");
        no_remedy(&lab)?;
        wait_healthy(&lab, 90)?;
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

const WATCHED: usize = 1000;
const LINES: u32 = 10_000;
/// An emulated processor is too slow to ask so many in a usual period, and the stand-in edge to answer them.
const SLOWLY: &str = "[probe]\nperiod = \"10m\"\nperiod_down = \"10m\"\ntimeout = \"30s\"\n";

/// Under its own limit, which this kernel enforces: many names, and a flood of cloudflared's lines.
fn memory(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    let ordered = lab.events(ORDERED)?.len();
    let hog = lab.try_sh("systemd-run --wait -p MemoryMax=16M -p MemorySwapMax=0 tail /dev/zero")?;
    let said = String::from_utf8_lossy(&hog.stderr).into_owned();
    ensure!(said.contains("oom-kill"), "MemoryMax= is not enforced here: {said}");
    ensure!(lab.show("tunnelwarden", "MemoryMax")? == (128 << 20).to_string(), "not its own limit");
    let names: Vec<_> = (0..WATCHED).map(|number| format!("\"n{number}.example.com\"")).collect();
    let names = names.join(", ");
    lab.write(
        "/etc/tunnelwarden/conf.d/memory.toml",
        &format!("{SLOWLY}[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [{names}]\n"),
    )?;
    lab.sh("systemctl reload tunnelwarden")?;
    let mut answers = Vec::new();
    wait("all names are asked", seconds(480), || {
        answers = tunnel(&lab)?["names"].as_array().cloned().unwrap_or_default();
        Ok(answers.iter().filter(|name| !name["at"].is_null()).count() == WATCHED)
    })?;
    let served = answers.iter().filter(|name| name["answer"] == "served").count();
    ensure!(0 < served, "no name is served: {}", lab.explain()?);
    let heard = "tunnelwarden_journal_lines_total{meaning=\"origin_error\",tunnel=\"cloudflared.service\"}";
    let before = lab.metric(heard)?;
    // journald asks the kernel whose line it is.
    lab.sh(&format!(
        "echo 0 > /sys/fs/cgroup/system.slice/cloudflared.service/cgroup.procs; systemd-cat /usr/local/bin/lab flood {LINES} 0"
    ))?;
    wait("the flood is heard", seconds(240), || Ok(before + f64::from(LINES) <= lab.metric(heard)?))?;
    let group = "/sys/fs/cgroup/system.slice/tunnelwarden.service";
    let number = |line: &str| -> Result<u64> {
        let text = lab.sh(line)?;
        text.trim().parse().with_context(|| format!("{line}: {text:?}"))
    };
    let peak = number(&format!("cat {group}/memory.peak"))?;
    let anon = number(&format!("awk '/^anon / {{ print $2 }}' {group}/memory.stat"))?;
    let events = "awk '/^(high|max|oom) / { n += $2 } END { print n }'";
    let hits = number(&format!("{events} {group}/memory.events"))?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let held = format!("peak {:.1} MiB of 128, anonymous {:.1} MiB", mib(peak), mib(anon));
    note("vm-memory", &format!("{held}; {served} of {WATCHED} names served, {LINES} lines heard"));
    ensure!(peak < 64 << 20 && hits == 0, "it came near its limit");
    ensure!(anon < 24 << 20, "a thousand names take too much");
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    ensure!(lab.events(ORDERED)?.len() == ordered, "a remedy was ordered");
    Ok(())
}

/// For so long after it stood still tunnelwarden trusts nothing that it saw.
const DOUBT: Duration = seconds(30);

/// The tunnel dies as the machine wakes up. What was seen before and right after that proves nothing: it waits, says why, and
/// then cures it.
fn wake(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.running()?;
    wait_healthy(&lab, 90)?;
    no_remedy(&lab)?;
    let uptime = uptime()?;
    let began = Instant::now();
    lab.sh("rtcwake -m mem -s 30")?;
    let woke = Instant::now();
    let slept = self::uptime()?.saturating_sub(uptime).saturating_sub(began.elapsed());
    ensure!(seconds(20) < slept, "it did not sleep");
    lab.edge("blackhole")?;
    wait("it says that it stood still", seconds(20), || Ok(lab.explain()?.contains("stood still")))?;
    wait("visitors get 1033", seconds(20), || Ok(lab.visit("app.example.com")?.0 == 530))?;
    wait("a remedy is ordered", seconds(150), || Ok(!lab.events(ORDERED)?.is_empty()))?;
    let waited = woke.elapsed();
    note("vm-wake", &format!("slept {} s; a remedy {} s after it woke", slept.as_secs(), waited.as_secs()));
    // tunnelwarden may have woken before whoever put the machine to sleep.
    ensure!(DOUBT <= waited + seconds(3), "ordered {} s after it woke", waited.as_secs());
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")
}
