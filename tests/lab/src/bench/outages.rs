//! The same outage, once with tunnelwarden and once with monit: how long until a restart, how long until visitors are back.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{install_monit, table};
use crate::host::{Lab, NAMES, Parts, Wishes};
use crate::scenarios::settle;

/// One way to break a tunnel, and what we promise for it.
struct Outage {
    name: &'static str,
    wishes: fn() -> Wishes,
    play: fn(&Lab) -> Result<Moments>,
    /// From the moment counted to the restart, s.
    ordered_within: f64,
}

/// When the clocks of an outage begin, ms since 1970.
struct Moments {
    broken: i64,
    /// From here on a restart helps: what "order" is counted from. `None` = from the first 1033 that a visitor got.
    curable: Option<i64>,
}

const ALL: &[Outage] = &[
    Outage { name: "phantom", wishes: Wishes::default, play: phantom, ordered_within: 27.0 },
    Outage { name: "frozen", wishes: Wishes::default, play: frozen, ordered_within: 25.0 },
    Outage { name: "unit failed", wishes: Wishes::default, play: unit_failed, ordered_within: 3.0 },
    Outage { name: "asleep", wishes: sleepy, play: asleep, ordered_within: 30.0 },
];

/// A long silent back-off, as a refusal of some minutes brings about.
fn sleepy() -> Wishes {
    Wishes { env: vec![("STANDIN_SUPERVISOR_WAIT", "250".to_owned())], ..Wishes::default() }
}

fn phantom(lab: &Lab) -> Result<Moments> {
    let broken = now();
    lab.edge("blackhole")?;
    Ok(Moments { broken, curable: None })
}

fn frozen(lab: &Lab) -> Result<Moments> {
    let broken = now();
    lab.sh("kill -STOP $(systemctl show -P MainPID cloudflared)")?;
    Ok(Moments { broken, curable: Some(broken) })
}

fn unit_failed(lab: &Lab) -> Result<Moments> {
    lab.sh("mkdir -p /run/systemd/system/cloudflared.service.d; \
            printf '[Service]\\nRestart=no\\n' > /run/systemd/system/cloudflared.service.d/z.conf; systemctl daemon-reload")?;
    let broken = now();
    lab.sh("systemctl kill -s KILL cloudflared")?;
    Ok(Moments { broken, curable: Some(broken) })
}

fn asleep(lab: &Lab) -> Result<Moments> {
    let broken = now();
    lab.edge("refuse")?;
    sleep(Duration::from_secs(60));
    let curable = now();
    lab.edge("accept")?;
    Ok(Moments { broken, curable: Some(curable) })
}

/// What came of it; seconds.
struct Measured {
    /// Restarts ordered before one could help.
    useless: usize,
    ordered: Option<f64>,
    /// From the order to the first 200.
    served: Option<f64>,
    outage: Option<f64>,
}

pub(super) fn measure(parts: &Parts) -> Result<()> {
    println!(
        "outages: from the moment a restart can help (phantom: from the first 1033 a visitor got); names looked at every 15 s"
    );
    let plays: Vec<(&Outage, bool)> =
        ALL.iter().flat_map(|outage| [(outage, true), (outage, false)]).collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<Measured>>>> = Mutex::new(plays.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((at, (outage, warden))) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, plays.get(at)?)))
                {
                    let measured = play(parts, outage, *warden);
                    if let Ok(mut results) = results.lock() {
                        results[at] = Some(measured);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    println!(
        "  {:<12} {:<13} {:>8} {:>12} {:>14} {:>10}",
        "outage", "tool", "useless", "ordered s", "then 200 in s", "outage s"
    );
    let mut ours = Vec::new();
    for ((outage, warden), result) in plays.iter().zip(results) {
        let tool = if *warden { "tunnelwarden" } else { "monit" };
        let result = result.context("not played")?.with_context(|| format!("{} with {tool}", outage.name))?;
        let text =
            |value: Option<f64>| value.map_or_else(|| "never".to_owned(), |value| format!("{value:.1}"));
        println!(
            "  {:<12} {:<13} {:>8} {:>12} {:>14} {:>10}",
            outage.name,
            tool,
            result.useless,
            text(result.ordered),
            text(result.served),
            text(result.outage)
        );
        match (*warden, ours.last()) {
            (true, _) => ours.push((outage, result)),
            (false, Some((_, own))) => {
                if let (Some(own), Some(other)) = (own.outage, result.outage) {
                    println!("  {:<12} tunnelwarden's outage is {:.2} of monit's", "", own / other);
                }
            }
            (false, None) => (),
        }
    }
    for (outage, measured) in ours {
        let ordered = measured.ordered.unwrap_or(f64::INFINITY);
        table::limit(&format!("{}: restart ordered after", outage.name), ordered, "s", outage.ordered_within);
        let swift = ["phantom", "frozen", "asleep"].contains(&outage.name);
        if swift {
            table::limit(
                &format!("{}: swift restart, then 200", outage.name),
                measured.served.unwrap_or(f64::INFINITY),
                "s",
                2.0,
            );
        }
    }
    Ok(())
}

fn play(parts: &Parts, outage: &Outage, warden: bool) -> Result<Measured> {
    let lab = Lab::start(parts, &Wishes { warden, ..(outage.wishes)() })?;
    if warden {
        settle(&lab)?;
    } else {
        crate::host::wait("a visitor is served", Duration::from_secs(60), || {
            Ok(lab.visit(NAMES[0])?.0 == 200)
        })?;
        install_monit(&lab, NAMES, 15)?;
        sleep(Duration::from_secs(70));
    }
    ensure!(lab.visit(NAMES[0])?.0 == 200, "not served before the outage");
    let moments = (outage.play)(&lab)?;
    let began = Instant::now();
    let mut back = 0;
    while began.elapsed() < Duration::from_secs(180) && back < 10 {
        let served = lab.visit(NAMES[0])?.0 == 200;
        // Not before the outage was felt: a frozen process keeps its visitors waiting first.
        back = if served && Duration::from_secs(20) < began.elapsed() { back + 1 } else { 0 };
        sleep(Duration::from_millis(200));
    }
    read(&lab, &moments)
}

fn read(lab: &Lab, moments: &Moments) -> Result<Measured> {
    let answers = public(lab, moments.broken)?;
    let first_error = answers.iter().find(|(_, status)| *status == 530).map(|(at, _)| *at);
    let from = moments.curable.or(first_error).context("nobody saw an error")?;
    let orders = orders(lab, moments.broken)?;
    let ordered = orders.iter().copied().find(|at| from <= *at);
    let served = ordered.and_then(|ordered| {
        answers.iter().find(|(at, status)| ordered <= *at && *status == 200).map(|(at, _)| *at)
    });
    let back = answers.iter().find(|(at, status)| from <= *at && *status == 200).map(|(at, _)| *at);
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1_000.0;
    Ok(Measured {
        useless: orders.iter().filter(|at| **at < from).count(),
        ordered: ordered.map(|at| seconds(from, at)),
        served: ordered.zip(served).map(|(ordered, served)| seconds(ordered, served)),
        outage: back.map(|back| seconds(from, back)),
    })
}

/// When PID 1 began to stop or start cloudflared on somebody's order, ms. A restart of a running unit begins with its stop.
fn orders(lab: &Lab, since: i64) -> Result<Vec<i64>> {
    const STOPPING: &str = "de5b426a63be47a7b6ac3eaac82e2f6f";
    const STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";
    let line = format!(
        "journalctl -q -o json --output-fields=MESSAGE_ID,JOB_TYPE --since=@{} _PID=1 UNIT=cloudflared.service \
         MESSAGE_ID={STOPPING} MESSAGE_ID={STARTING} || true",
        since / 1_000
    );
    let mut orders = Vec::new();
    let mut stopping = false;
    for line in lab.sh(&line)?.lines() {
        let entry: Value = serde_json::from_str(line)?;
        let at =
            entry["__REALTIME_TIMESTAMP"].as_str().and_then(|at| at.parse::<i64>().ok()).unwrap_or(0) / 1_000;
        let stop = entry["MESSAGE_ID"] == STOPPING;
        // The start that belongs to a stop is the same restart.
        if since <= at && (stop || !stopping) {
            orders.push(at);
        }
        stopping = stop;
    }
    Ok(orders)
}

/// What visitors got, whenever it changed: ms and status.
fn public(lab: &Lab, since: i64) -> Result<Vec<(i64, u64)>> {
    let text = fs::read_to_string(lab.dir.join("edge-events.jsonl"))?;
    let mut answers = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)?;
        let at = event["unix_ms"].as_i64().unwrap_or(0);
        if event["event"] == "public" && since <= at && event["host"] == NAMES[0] {
            answers.push((at, event["status"].as_u64().unwrap_or(0)));
        }
    }
    Ok(answers)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
