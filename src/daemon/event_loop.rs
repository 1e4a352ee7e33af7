//! The loop: it only carries. Events in, commands out; nothing slow inside.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::executor::Executor;
use crate::clock;
use crate::report::ask::{Ask, Health, Order, Refusal};
use crate::report::dbus::Picture;
use crate::report::notify;
use crate::report::snapshot::{About, FindingStatus, Status};
use crate::warden::event::Event;
use crate::warden::evidence::Sense;
use crate::warden::machine::Warden;
use crate::warden::operator::{Pause, Request};
use crate::warden::rails::Held;
use crate::warden::time::Now;

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
    /// Why Cloudflare's API cannot be read; `None` once it can.
    Api {
        unit: String,
        trouble: Option<String>,
    },
    /// What the audits have to say of a unit.
    Audited {
        unit: String,
        findings: Vec<FindingStatus>,
    },
    /// Everything has to begin anew.
    Anew,
    Stop,
}

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum Ended {
    Stop,
    Anew,
}

/// Whoever gives an order waits for two seconds; the disk is waited for as long as leaves room for the answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Turns until told to stop.
pub(super) async fn turn(
    warden: &mut Warden,
    executor: &mut Executor,
    mut about: About,
    mut events: mpsc::Receiver<Event>,
    mut asks: mpsc::Receiver<Ask>,
    mut signals: mpsc::Receiver<Signal>,
    picture: watch::Sender<Picture>,
) -> Ended {
    let watchdog = notify::watchdog_period().unwrap_or(Duration::MAX);
    // Each life feeds it at once: however short they are, together they must not look like one that stands still.
    notify::watchdog();
    let mut fed = Instant::now();
    let mut line = String::new();
    loop {
        let now = clock::now();
        let wakeup = Instant::now() + warden.next_wakeup(now).saturating_sub(now.boot);
        let event = tokio::select! {
            biased;
            signal = signals.recv() => match signal {
                Some(Signal::About(new)) => {
                    about = new.after(about);
                    executor.rename(&about);
                    Event::Woke
                }
                Some(Signal::Known { unit, id, version }) => {
                    about.learn(&unit, id, version);
                    Event::Woke
                }
                Some(Signal::Api { unit, trouble }) => {
                    about.read_api(&unit, trouble.as_deref());
                    continue;
                }
                Some(Signal::Audited { unit, findings }) => {
                    about.audited(&unit, findings);
                    Event::Woke
                }
                Some(Signal::Anew) => return Ended::Anew,
                Some(Signal::Stop) | None => return Ended::Stop,
            },
            (charging, kept) = executor.charged() => match executor.act(warden, charging, kept) {
                Some(not_done) => not_done,
                None => continue,
            },
            event = events.recv() => match event {
                Some(event) => event,
                None => return Ended::Stop,
            },
            // Before those who ask: however many they are, they keep nobody from deciding.
            () = sleep_until(wakeup) => Event::Woke,
            ask = asks.recv() => {
                match ask {
                    // Whoever was told that we do not turn must not find it done later.
                    Some(Ask::Order(_, reply)) if reply.is_closed() => {
                        tracing::warn!("an order came too late to be carried out: whoever gave it waits no more");
                    }
                    Some(Ask::Order(order, reply)) => {
                        let (event, answer) = take_order(warden, &about, order);
                        if let Some(event) = event
                            && carry_out(warden, executor, event).is_break()
                        {
                            return Ended::Stop;
                        }
                        let answer = answer.map(|unit| incident_of(warden, unit.as_deref()));
                        let kept = executor.kept(ANSWERED_WITHIN);
                        tokio::spawn(async move {
                            // Who was told so finds it after a crash, unless the disk takes nothing.
                            kept.await;
                            if reply.send(answer).is_err() {
                                tracing::debug!("somebody ordered and did not wait for the answer");
                            }
                        });
                        show(&picture, warden, &about);
                    }
                    Some(ask) => answer(warden, executor, &about, ask),
                    None => (),
                }
                continue;
            }
        };
        executor.saw(&event);
        if carry_out(warden, executor, event).is_break() {
            return Ended::Stop;
        }
        show(&picture, warden, &about);
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

/// Passes on what the bus shows, if it changed.
fn show(picture: &watch::Sender<Picture>, warden: &Warden, about: &About) {
    let new = Picture::of(warden, about, clock::now());
    picture.send_if_modified(|old| {
        let changed = *old != new;
        *old = new;
        changed
    });
}

fn carry_out(warden: &mut Warden, executor: &mut Executor, event: Event) -> ControlFlow<()> {
    for command in warden.handle(event, clock::now()) {
        executor.start(warden, command)?;
    }
    ControlFlow::Continue(())
}

/// Longer pauses are forgotten ones.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What an order comes to: an event for the warden, and the unit whose incident is the answer.
fn take_order(
    warden: &Warden,
    about: &About,
    order: Order,
) -> (Option<Event>, Result<Option<String>, Refusal>) {
    let now = clock::now();
    match order {
        Order::Pause { until, reason, by } => {
            let left = until.saturating_sub(now.wall);
            if left.is_zero() || LONGEST_PAUSE < left {
                let why = "a pause ends in the future, at most 30 days from now".into();
                return (None, Err(Refusal::Invalid(why)));
            }
            let pause = Pause { until: now.boot + left, reason: format!("by {by}: {reason}") };
            (Some(Event::Paused(pause)), Ok(None))
        }
        Order::Resume { by } => (Some(Event::Resumed { by }), Ok(None)),
        Order::Restart { tunnel, reason, by, force } => {
            let Some(unit) = unit_of(warden, about, &tunnel) else {
                return (None, Err(Refusal::UnknownTunnel(tunnel)));
            };
            let request = Request { unit: unit.clone(), reason, by, force };
            let refusal = warden.refusal(&request, now);
            if !refusal.is_empty() {
                return (None, Err(Refusal::Held(refusal.iter().map(|held| held_line(held, now)).collect())));
            }
            (Some(Event::Requested(request)), Ok(Some(unit)))
        }
    }
}

fn unit_of(warden: &Warden, about: &About, wanted: &str) -> Option<String> {
    let named = about.tunnels.iter().find(|tunnel| tunnel.name == wanted);
    let unit = named.map_or(wanted, |tunnel| tunnel.unit.as_str());
    warden.tunnels().find(|tunnel| tunnel.unit == unit).map(|tunnel| tunnel.unit.clone())
}

fn held_line(held: &Held, now: Now) -> String {
    let until = held.until.map(|until| format!(" until {}", clock::rfc3339(now.wall_of(until))));
    let detail = if held.detail.is_empty() { String::new() } else { format!(" ({})", held.detail) };
    format!("{}{}: {}{detail}\n", held.hold.name(), until.unwrap_or_default(), held.hold.reason())
}

fn incident_of(warden: &Warden, unit: Option<&str>) -> String {
    let tunnel = unit.and_then(|unit| warden.tunnels().find(|tunnel| tunnel.unit == unit));
    let incident = tunnel.and_then(|tunnel| tunnel.history.incident.as_ref());
    incident.map(|incident| incident.id.clone()).unwrap_or_default()
}

fn answer(warden: &Warden, executor: &Executor, about: &About, ask: Ask) {
    // Whoever asked may be gone by now; that is their choice.
    let heard = match ask {
        Ask::Metrics(tx) => tx.send(executor.metrics().scrape(warden, about, clock::now())).is_ok(),
        Ask::Status(tx) => tx.send(Box::new(Status::new(warden, about, clock::now()))).is_ok(),
        Ask::Health(tx) => tx.send(health(warden)).is_ok(),
        // Taken by the loop itself, which may change the warden.
        Ask::Order(..) => true,
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
        // What was written, and what DNS and Cloudflare keep, is not enough to decide by.
        let enough = |sense: &Sense| !matches!(sense, Sense::Journal | Sense::Tunnel | Sense::Dns);
        senses.iter().all(|(sense, blind)| blind.is_some() || !enough(sense))
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
    if !warden.policy().powerless.is_empty() {
        parts.push("only watching".into());
    }
    parts.join("; ")
}
