//! One outage, told as a timeline that a person can follow.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::{Lab, Parts, Wishes};
use crate::scenarios::{FINISHED, ORDERED, settle};

/// Plays the phantom outage. True if it was cured.
pub fn play(parts: &Parts, once: bool) -> Result<bool> {
    say("     ", "booting a throw-away Debian with systemd, cloudflared and tunnelwarden");
    let lab = Lab::start(parts, &Wishes::default())?;
    say("     ", "waiting until the tunnel has carried visitors for a minute");
    settle(&lab)?;
    let (status, _) = lab.visit("app.example.com")?;
    say("     ", &format!("a visitor of https://app.example.com gets {status}"));
    println!();
    lab.edge("blackhole")?;
    let began = Instant::now();
    let at = |began: Instant| format!("{:>4.1}s", began.elapsed().as_secs_f64());
    say(
        &at(began),
        "the path to the edge dies silently; cloudflared notices nothing and says it holds 4 connections",
    );
    let (mut seen, mut cause, mut ordered, mut back) = (0, String::new(), false, None);
    while began.elapsed() < Duration::from_secs(150) {
        let (status, body) = lab.visit("app.example.com")?;
        if status != seen {
            seen = status;
            let what = if body.contains("1033") { "Error 1033" } else { body.lines().next().unwrap_or("") };
            say(&at(began), &format!("a visitor gets {status} ({})", what.trim()));
            if status == 200 && ordered {
                back = Some(began.elapsed());
            }
        }
        if !ordered && let Some(event) = lab.events(ORDERED)?.first() {
            ordered = true;
            say(
                &at(began),
                &format!("tunnelwarden orders {}", event["TUNNELWARDEN_REMEDY"].as_str().unwrap_or("")),
            );
        }
        let tunnel = lab.status()?["tunnels"][0].clone();
        let now = tunnel["cause"].as_str().unwrap_or("").to_owned();
        if now != cause {
            cause = now;
            let why = tunnel["explanation"].as_str().unwrap_or("");
            let what = match cause.as_str() {
                "" => format!("tunnelwarden has no cause yet: {why}"),
                cause => format!("tunnelwarden concludes {cause}: {why}"),
            };
            say(&at(began), &what);
        }
        if let Some(event) = lab.events(FINISHED)?.first() {
            say(
                &at(began),
                &format!("tunnelwarden has proof from the edge: {}", event["TUNNELWARDEN_OUTCOME"]),
            );
            break;
        }
        sleep(Duration::from_millis(200));
    }
    println!();
    let cured = lab.events(FINISHED)?.first().is_some_and(|event| event["TUNNELWARDEN_OUTCOME"] == "Cured");
    match back {
        Some(back) if cured => {
            println!("Visitors were served again {:.1} s after the path died.", back.as_secs_f64())
        }
        _ => println!("The outage was NOT cured."),
    }
    println!("\n$ tunnelwarden explain\n{}", lab.explain()?);
    if !once {
        println!("The lab stays up until Ctrl-C. Look around with:");
        println!("  ip netns exec {} true   # the far side", lab.name);
        println!("  nsenter -a -t {} tunnelwarden status", lab.pid1());
        println!("  nsenter -n -t {} curl -s http://127.0.0.1:9733/metrics", lab.pid1());
        wait_for_interrupt();
    }
    Ok(cured)
}

/// Columns of a terminal.
const WIDTH: usize = 100;

/// One line of the story, broken at words and set in under its beginning.
fn say(when: &str, what: &str) {
    let mut line = format!("{when} ");
    let indent = line.chars().count();
    for word in what.split_whitespace() {
        if WIDTH < line.chars().count() + 1 + word.chars().count() {
            println!("{line}");
            line = " ".repeat(indent);
        }
        line.push(' ');
        line.push_str(word);
    }
    println!("{line}");
}

/// Sleeps until SIGINT or SIGTERM; the lab is taken down by its owner afterwards.
fn wait_for_interrupt() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => (),
            _ = term.recv() => (),
        }
    });
}
