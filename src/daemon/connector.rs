//! The probe of one connector: its unit, and `/ready` of the process that the unit runs.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::discover::Found;
use crate::sense::journal::Told;
use crate::sense::ready::{self, Answered, Where};
use crate::sense::tunnel::Mine;
use crate::warden::event::Event;
use crate::warden::evidence::{Blind, Finding, Ready, ReadySight, Seen, UnitSight};

/// In calm, the unit is read this often besides systemd's signals.
const UNIT_REREAD: Duration = Duration::from_secs(60);
/// systemd answers in milliseconds. One that does not must leave `/ready` its time, also in a last look.
const UNIT_LIMIT: Duration = Duration::from_millis(1500);
/// In calm, the counters come with each sixth look.
const COUNTERS_EACH: u32 = 6;
pub(super) const READY_LIMIT: Duration = Duration::from_secs(2);

/// What is known of one connector from look to look.
pub(super) struct Connector {
    unit: String,
    port: Where,
    events: mpsc::Sender<Event>,
    told: watch::Receiver<Told>,
    know: watch::Sender<Mine>,
    /// As the unit last said.
    process: Process,
    /// When it said so; `None` where it is to be asked in any case.
    read: Option<Instant>,
    answered: Answered,
    /// It was connected when it was last looked at.
    well: bool,
    turn: u32,
}

#[derive(Default)]
struct Process {
    /// The unit's life, as systemd names it.
    life: Option<String>,
    up: bool,
}

impl Connector {
    /// `know` hears what is known of the process.
    pub(super) fn new(
        found: &Found,
        events: mpsc::Sender<Event>,
        told: watch::Receiver<Told>,
        know: watch::Sender<Mine>,
    ) -> Self {
        let (unit, port) = (found.unit.clone(), found.port.clone());
        let process = Process::default();
        Self { unit, port, events, told, know, process, read: None, answered: None, well: false, turn: 0 }
    }

    /// Looks once, and takes no longer than `limit`. `unit` reads the unit, where that is due.
    pub(super) async fn look(
        &mut self,
        limit: Duration,
        hurry: bool,
        unit: impl Future<Output = Seen<UnitSight>>,
    ) {
        let began = Instant::now();
        // systemd's signals tell of every change; in calm the unit itself is read anew now and then only.
        let calm = self.well && !hurry;
        let read = match self.read.take().filter(|at| calm && at.elapsed() < UNIT_REREAD) {
            Some(at) => Some(at),
            None => self.read(unit).await,
        };
        self.turn = self.turn.wrapping_add(1);
        let counters = !calm || self.turn.is_multiple_of(COUNTERS_EACH);
        let told = self.told.borrow().clone();
        let Process { life, up } = &self.process;
        let sight = if *up {
            let limit = limit.saturating_sub(began.elapsed()).min(READY_LIMIT);
            ready::look(&self.port, &mut self.answered, &told, life.as_deref(), counters, limit).await
        } else {
            Err(Blind::NotFound)
        };
        self.know.send_replace(whose(&told, life.as_deref(), *up, sight.as_ref().ok()));
        self.well = sight.as_ref().is_ok_and(|sight| matches!(sight.ready, Ready::Connections(1..)));
        self.read = read;
        self.tell(Finding::Ready(sight)).await;
    }

    /// Reads the unit. Where systemd does not answer, the process that was known last may still do.
    async fn read(&mut self, unit: impl Future<Output = Seen<UnitSight>>) -> Option<Instant> {
        let seen = timeout(UNIT_LIMIT, unit).await.unwrap_or(Err(Blind::TimedOut));
        let read = seen.as_ref().ok().map(|unit| {
            let life = unit.invocation.map(|life| life.to_string());
            self.process = Process { life, up: unit.main_pid != 0 };
            Instant::now()
        });
        self.tell(Finding::Unit(seen)).await;
        read
    }

    async fn tell(&self, finding: Finding) {
        // The loop is gone only when we are going down.
        let _ = self.events.send(Event::Observed { unit: self.unit.clone(), finding }).await;
    }
}

/// What is known of the process in this life of the unit.
fn whose(told: &Told, life: Option<&str>, up: bool, sight: Option<&ReadySight>) -> Mine {
    if !up {
        return Mine { connector: None, connections: Some(0) };
    }
    let of_this_life = told.invocation.is_some() && told.invocation.as_deref() == life;
    let said = told.connector.clone().filter(|_| of_this_life);
    let connections = sight.and_then(|sight| match sight.ready {
        Ready::Connections(n) => Some(n),
        Ready::Refused | Ready::Silent => None,
    });
    Mine { connector: sight.and_then(|sight| sight.connector.clone()).or(said), connections }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::warden::evidence::{Active, Invocation};

    /// A cloudflared with four connections.
    async fn cloudflared(listener: TcpListener) {
        let body = "{\"status\":200,\"readyConnections\":4,\"connectorId\":\"0e9a4f7c-31e5-4d4f-9d5e-3f1c2b7a8d90\"}";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        while let Ok((mut stream, _)) = listener.accept().await {
            let _asked = stream.read(&mut [0; 2048]).await;
            stream.write_all(answer.as_bytes()).await.ok();
        }
    }

    #[tokio::test]
    async fn a_systemd_that_does_not_answer_is_told_of_and_the_process_asked_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let configured = Some(listener.local_addr().unwrap());
        tokio::spawn(cloudflared(listener));
        let (events, mut heard) = mpsc::channel(8);
        let mut connector = Connector {
            unit: "cloudflared.service".into(),
            port: Where { configured, uid: rustix::process::getuid().as_raw() },
            events,
            told: watch::channel(Told::default()).1,
            know: watch::channel(Mine::default()).0,
            process: Process::default(),
            read: None,
            answered: None,
            well: false,
            turn: 0,
        };
        let up = UnitSight {
            active: Active::Active,
            main_pid: 7,
            invocation: Some(Invocation(1)),
            ..UnitSight::stock()
        };
        let mut told = async || match heard.recv().await {
            Some(Event::Observed { finding: Finding::Unit(seen), .. }) => {
                ("unit", seen.map(|unit| unit.main_pid))
            }
            Some(Event::Observed { finding: Finding::Ready(seen), .. }) => {
                let connections = seen.map(|sight| match sight.ready {
                    Ready::Connections(n) => u32::from(n),
                    Ready::Refused | Ready::Silent => 0,
                });
                ("ready", connections)
            }
            other => panic!("{other:?}"),
        };
        let last_look = Duration::from_secs(2);
        connector.look(last_look, true, ready(Ok(up))).await;
        assert_eq!((told().await, told().await), (("unit", Ok(7)), ("ready", Ok(4))));
        for limit in [READY_LIMIT * 2, last_look] {
            let frame = limit + Duration::from_millis(100);
            timeout(frame, connector.look(limit, true, pending())).await.expect("it is cut off by its frame");
            assert_eq!((told().await, told().await), (("unit", Err(Blind::TimedOut)), ("ready", Ok(4))));
        }
    }
}
