//! A thousand names on one host, 60 s each, beside ten: what each costs, how even the looks are, and what trouble does to both.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{idle, table};
use crate::host::{Lab, Parts, Wishes, wait};
use crate::scenarios::ORDERED;

const MANY: usize = 1000;
const FEW: usize = 10;
/// Of the many, these resolve to where nobody answers.
const HANGING: usize = 100;
const SPAN: Duration = Duration::from_secs(120);
const PROCESS: &str = "tunnelwarden";
const SECOND: Duration = Duration::from_secs(1);

/// What a number of names costs in calm.
struct Cost {
    cores: f64,
    anon: f64,
    /// The same after all metrics were read.
    anon_read: f64,
    /// The most anonymous and file memory at once since the start.
    rss: f64,
    looks: f64,
}

pub(super) fn measure(parts: &Parts) -> Result<()> {
    let names = &["app.example.com", "api.example.com", "*.example.com"];
    let lab = Lab::start(parts, &Wishes { names, ..Wishes::default() })?;
    println!("scale: one look at each name every 60 s, over {} s", SPAN.as_secs());
    println!(
        "  {:<20} {:>10} {:>10} {:>16} {:>10} {:>10}",
        "names", "cores", "anon MiB", "after a scrape", "RSS MiB", "looks/s"
    );
    let mut costs = Vec::new();
    for names in [FEW, MANY] {
        watch(&lab, names)?;
        let cost = cost(&lab)?;
        println!(
            "  {names:<20} {:>10.4} {:>10.2} {:>16.2} {:>10.2} {:>10.2}",
            cost.cores, cost.anon, cost.anon_read, cost.rss, cost.looks
        );
        costs.push(cost);
    }
    let [few, many] = costs.as_slice() else { return Ok(()) };
    let each = |many: f64, few: f64| (many - few) * 1024.0 / (MANY - FEW) as f64;
    println!(
        "  each further name     {:.2} KiB, {:.2} KiB once its metrics were read, {:.1} us of a core each second",
        each(many.anon, few.anon),
        each(many.anon_read, few.anon_read),
        (many.cores - few.cores) * 1e6 / (MANY - FEW) as f64
    );
    table::limit("a core, 1,000 names", many.cores, "", 0.03);
    table::limit("anonymous memory, 1,000 names", many.anon_read.max(many.anon), "MiB", 24.0);
    table::limit("looks, 1,000 names", many.looks, "/s", 1.1 * MANY as f64 / 60.0);
    table::limit("oldest look, 1,000 names", oldest(&lab, |_| true)?, "s", 66.0);

    // In the order of the list the hanging ones are spread over the period.
    let hanging: Vec<_> = (0..HANGING).map(|number| name(number * MANY / HANGING)).collect();
    lab.sh(&format!("printf '%s\\n' '192.0.2.1 {}' >> /etc/hosts", hanging.join(" ")))?;
    sleep(SECOND * 150);
    let others = oldest(&lab, |name| !hanging.iter().any(|hung| hung == name))?;
    table::limit(&format!("oldest look beside {HANGING} that hang"), others, "s", 66.0);
    let (before, began) = (seen(&lab)?, Instant::now());
    sleep(SECOND * 60);
    println!("  with {HANGING} that hang     {:.2} looks/s", rate(&lab, before, began)?);
    lab.sh("sed -i '/^192.0.2.1/d' /etc/hosts")?;
    sleep(SECOND * 90);

    let (cpu, before, began) = (idle::look(&lab, PROCESS)?.cpu_s, seen(&lab)?, Instant::now());
    lab.edge("blackhole")?;
    wait("a remedy is ordered", SECOND * 180, || Ok(!lab.events(ORDERED)?.is_empty()))?;
    let took = began.elapsed().as_secs_f64();
    let cores = (idle::look(&lab, PROCESS)?.cpu_s - cpu) / took;
    println!(
        "  phantom, {MANY} names  ordered after {took:.1} s, {:.1} looks/s, {cores:.3} of a core meanwhile",
        rate(&lab, before, began)?
    );
    Ok(())
}

fn name(number: usize) -> String {
    format!("n{number:04}.example.com")
}

/// Watches so many names, until each was looked at and all is calm.
fn watch(lab: &Lab, names: usize) -> Result<()> {
    let listed: Vec<_> = (0..names).map(|number| format!("\"{}\"", name(number))).collect();
    lab.write(
        "/etc/tunnelwarden/conf.d/scale.toml",
        &format!(
            "[probe]\nperiod = \"60s\"\n[dns]\nranges = [\"10.99.0.0/16\", \"192.0.2.0/24\"]\n\
             [[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [{}]\n",
            listed.join(", ")
        ),
    )?;
    lab.sh("systemctl restart tunnelwarden")?;
    wait("healthy", SECOND * 90, || {
        Ok(lab.status().is_ok_and(|status| status["tunnels"][0]["cause"] == "Healthy"))
    })?;
    // Proven, the pace calm, and every name once in it.
    sleep(SECOND * 150);
    Ok(())
}

fn cost(lab: &Lab) -> Result<Cost> {
    let (anon, _) = idle::memory(lab, PROCESS)?;
    let before = seen(lab)?;
    // The question itself is read, too, and is no part of calm.
    sleep(SECOND * 2);
    let (cpu, began) = (idle::look(lab, PROCESS)?.cpu_s, Instant::now());
    sleep(SPAN);
    let cores = (idle::look(lab, PROCESS)?.cpu_s - cpu) / began.elapsed().as_secs_f64();
    let looks = rate(lab, before, began)?;
    let (anon_read, rss) = idle::memory(lab, PROCESS)?;
    Ok(Cost { cores, anon, anon_read, rss, looks })
}

/// Looks at names so far.
fn seen(lab: &Lab) -> Result<f64> {
    lab.metric("tunnelwarden_probe_seconds_count{")
}

fn rate(lab: &Lab, before: f64, began: Instant) -> Result<f64> {
    let looked = seen(lab)? - before;
    Ok(looked / began.elapsed().as_secs_f64())
}

/// Age of the oldest latest look among the chosen names, s.
fn oldest(lab: &Lab, chosen: impl Fn(&str) -> bool) -> Result<f64> {
    let names = lab.status()?["tunnels"][0]["names"].clone();
    let now = jiff::Timestamp::now();
    let mut oldest: f64 = 0.0;
    for name in names.as_array().context("no names")? {
        if chosen(name["hostname"].as_str().unwrap_or_default()) {
            let at: jiff::Timestamp = name["at"].as_str().context("a name was never looked at")?.parse()?;
            oldest = oldest.max((now - at).total(jiff::Unit::Second)?);
        }
    }
    Ok(oldest)
}
