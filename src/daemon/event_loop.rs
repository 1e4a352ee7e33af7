//! The loop: it only carries. Events in, commands out; nothing slow inside.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::executor::Executor;
use crate::clock;
use crate::config::Settings;
use crate::report::http::{Ask, Health};
use crate::report::notify;
use crate::report::snapshot::{About, Status};
use crate::warden::evidence::Sense;
use crate::warden::machine::{Event, Warden};

/// What comes to the loop from outside the senses.
#[derive(Debug)]
pub(super) enum Signal {
    /// New settings were read; the policy is in an event of its own.
    About(About),
    /// What a process said of itself.
    Known {
        unit: String,
        id: Option<String>,
        version: Option<String>,
    },
    /// Everything has to begin anew, under these settings.
    Anew(Box<Settings>),
    Stop,
}

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum Ended {
    Stop,
    Anew(Box<Settings>),
}

/// Turns until told to stop.
pub(super) async fn turn(
    warden: &mut Warden,
    executor: &mut Executor,
    mut about: About,
    mut events: mpsc::Receiver<Event>,
    mut asks: mpsc::Receiver<Ask>,
    mut signals: mpsc::Receiver<Signal>,
) -> Ended {
    let watchdog = notify::watchdog_period().unwrap_or(Duration::MAX);
    let mut fed = Instant::now();
    let mut line = String::new();
    loop {
        let now = clock::now();
        let wakeup = Instant::now() + warden.next_wakeup(now).saturating_sub(now.boot);
        let event = tokio::select! {
            biased;
            signal = signals.recv() => match signal {
                Some(Signal::About(new)) => {
                    about = new;
                    executor.rename(&about);
                    Event::Woke
                }
                Some(Signal::Known { unit, id, version }) => {
                    for tunnel in about.tunnels.iter_mut().filter(|tunnel| tunnel.unit == unit) {
                        tunnel.id = tunnel.id.take().or(id.clone());
                        tunnel.version = version.clone().or(tunnel.version.take());
                    }
                    Event::Woke
                }
                Some(Signal::Anew(settings)) => return Ended::Anew(settings),
                Some(Signal::Stop) | None => return Ended::Stop,
            },
            event = events.recv() => match event {
                Some(event) => event,
                None => return Ended::Stop,
            },
            ask = asks.recv() => {
                if let Some(ask) = ask {
                    answer(warden, executor, &about, ask);
                }
                continue;
            }
            () = sleep_until(wakeup) => Event::Woke,
        };
        executor.saw(&event);
        let commands = warden.handle(event, clock::now());
        for command in commands {
            if executor.start(warden, command) == ControlFlow::Break(()) {
                return Ended::Stop;
            }
        }
        if watchdog / 2 <= fed.elapsed() {
            fed = Instant::now();
            notify::watchdog();
        }
        let latest = summary(warden);
        if latest != line {
            notify::status(&latest);
            line = latest;
        }
    }
}

fn answer(warden: &Warden, executor: &Executor, about: &About, ask: Ask) {
    // Whoever asked may be gone by now; that is their choice.
    let heard = match ask {
        Ask::Metrics(tx) => tx.send(executor.metrics().scrape(warden, about, clock::now())).is_ok(),
        Ask::Status(tx) => tx.send(Box::new(Status::new(warden, about, clock::now()))).is_ok(),
        Ask::Health(tx) => tx.send(health(warden)).is_ok(),
    };
    if !heard {
        tracing::debug!("somebody asked and did not wait for the answer");
    }
}

fn health(warden: &Warden) -> Health {
    let host = warden.host();
    let host_blind = host.control.blind().is_some() && host.edge.blind().is_some();
    let mut tunnels = warden.tunnels().peekable();
    let none = tunnels.peek().is_none();
    let tunnels_blind = tunnels.all(|tunnel| {
        let senses = tunnel.blindness();
        senses.iter().all(|(sense, blind)| blind.is_some() || *sense == Sense::Journal)
    });
    if host_blind && tunnels_blind && !none { Health::AllBlind } else { Health::Deciding }
}

/// One line for `systemctl status`.
fn summary(warden: &Warden) -> String {
    let mut parts: Vec<_> = warden
        .tunnels()
        .map(|tunnel| {
            let cause = tunnel.verdict.cause.map_or("", |cause| cause.name());
            let verdict = tunnel.verdict.health.name();
            let what = if cause.is_empty() || cause == verdict {
                verdict.into()
            } else {
                format!("{verdict}, {cause}")
            };
            format!("{}: {what}", tunnel.unit)
        })
        .collect();
    if parts.is_empty() {
        parts.push("no unit on this host runs a tunnel".into());
    }
    if warden.policy().powerless.is_some() {
        parts.push("only watching".into());
    }
    parts.join("; ")
}
