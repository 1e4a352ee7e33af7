//! The journal: a backlog read against a loop in C, and a flood followed by the running daemon.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Readers, table};
use crate::host::{Lab, Parts, Wishes, wait};

const BACKLOG: u64 = 200_000;
const FLOOD: u64 = 200_000;
const PER_SECOND: u64 = 10_000;
const UNIT: &str = "cloudflared-flood.service";

pub(super) fn measure(parts: &Parts, readers: &Readers) -> Result<()> {
    let settings = "[[tunnel]]\nunit = \"cloudflared-flood.service\"\nhostnames = [\"app.example.com\"]\n";
    let lab = Lab::start(parts, &Wishes { settings, warden: false, ..Wishes::default() })?;
    // journald would drop most of it.
    lab.write(
        "/etc/systemd/journald.conf.d/bench.conf",
        "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=1G\n",
    )?;
    lab.sh("mkdir -p /var/log/journal; systemctl restart systemd-journald")?;
    flood(&lab, BACKLOG, 0)?;
    sleep(Duration::from_secs(2));
    println!("journal: a backlog of {BACKLOG} entries of one unit");
    let first = lab.sh(&format!("journalctl -q -o json --output-fields=_PID -u {UNIT} | head -n 1"))?;
    let first: Value = serde_json::from_str(&first)?;
    let cursor = first["__CURSOR"].as_str().context("no cursor")?.to_owned();
    lab.bring(&readers.c, "/root/journal-c")?;
    lab.bring(&readers.own, "/root/journal-own")?;
    let (mut c, mut all, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        c.push(speed(&lab.sh(&format!("/root/journal-c {UNIT}"))?)?);
        all.push(speed(&lab.sh(&format!("/root/journal-c {UNIT} all"))?)?);
        own.push(speed(&lab.sh(&format!("/root/journal-own {UNIT} '{cursor}'"))?)?);
    }
    let (c, all, own) = (table::median(c), table::median(all), table::median(own));
    println!(
        "  C, the message alone: {c:.0} entries/s; C, our matches and all fields: {all:.0}; ours: {own:.0}"
    );
    table::floor("ours to C, the message alone, medians of 7", own / c, "", 0.8);
    table::floor("ours to C, our matches and all fields", own / all, "", 0.8);
    follow(&lab)
}

/// The running daemon follows a flood; its own counter must know every line.
fn follow(lab: &Lab) -> Result<()> {
    lab.install()?;
    wait("tunnelwarden is up", Duration::from_secs(30), || Ok(lab.status().is_ok()))?;
    sleep(Duration::from_secs(5));
    let (before, anon_before) = (lines(lab)?, anon(lab)?);
    println!("journal: {FLOOD} lines followed by the daemon at {PER_SECOND}/s");
    flood(lab, FLOOD, PER_SECOND)?;
    sleep(Duration::from_secs(3));
    let heard = lines(lab)? - before;
    table::floor("lines heard, of those written", heard, "lines", FLOOD as f64);
    table::limit("growth of anonymous memory", anon(lab)? - anon_before, "MiB", 1.0);
    Ok(())
}

/// cloudflared's own lines of a request that failed, from a unit of that name. `rate` 0 = as fast as journald takes them.
fn flood(lab: &Lab, lines: u64, rate: u64) -> Result<()> {
    lab.write(
        &format!("/etc/systemd/system/{UNIT}"),
        &format!(
            "[Service]\nType=oneshot\nLogRateLimitIntervalSec=0\nExecStart=/usr/local/bin/lab flood {lines} {rate}\n"
        ),
    )?;
    lab.sh(&format!("systemctl daemon-reload; systemctl start {UNIT}")).map(drop)
}

/// Lines of the flood that the daemon has understood.
fn lines(lab: &Lab) -> Result<f64> {
    lab.metric(&format!("tunnelwarden_journal_lines_total{{meaning=\"origin_error\",tunnel=\"{UNIT}\"}}"))
}

fn anon(lab: &Lab) -> Result<f64> {
    let text =
        lab.sh("awk '/^RssAnon/ { print $2 }' /proc/$(systemctl show -P MainPID tunnelwarden)/status")?;
    Ok(text.trim().parse::<f64>()? / 1024.0)
}

/// `entries seconds`, as both readers print it.
fn speed(text: &str) -> Result<f64> {
    let mut words = text.split_whitespace().map(str::parse::<f64>);
    let (Some(Ok(entries)), Some(Ok(seconds))) = (words.next(), words.next()) else {
        anyhow::bail!("a reader printed {text:?}");
    };
    anyhow::ensure!(BACKLOG as f64 <= entries, "only {entries} entries were read");
    Ok(entries / seconds)
}
