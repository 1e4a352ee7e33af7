//! One connector's connection, from its registration to its end, whatever the transport.

use std::{cell::Cell, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_local,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    carrier::{Carrier, Link},
    hub::{Door, Hub, Order, Route, Transport},
};
use crate::wire::{
    AbortOnDrop, Refusal,
    configuration::Push,
    registration::{self, Ask, Details, Registration},
};

/// A connector that does not register is sent away after this.
const REGISTRATION_WAIT: Duration = Duration::from_secs(15);
/// How long a refused connection is left open; the recorded ones closed after two seconds.
const REFUSAL_LINGER: Duration = Duration::from_secs(2);
/// Requests under way may end within this once their connection was unregistered.
const FAREWELL: Duration = Duration::from_secs(30);
const COLOS: [&str; 4] = ["fra08", "ams07", "ams14", "ams01"];

/// What a session must know besides its link.
pub struct Session {
    pub hub: Arc<Hub>,
    pub peer: SocketAddr,
    pub transport: Transport,
}

/// The connection's own life.
struct Live {
    driver: Pin<Box<dyn Future<Output = &'static str>>>,
    heard: Rc<Cell<Instant>>,
    asks: mpsc::UnboundedReceiver<Ask>,
    control: AbortOnDrop<()>,
    has_control: bool,
}

enum Happening {
    Ended(&'static str),
    /// The control stream ended, the transport did not.
    ControlEnded,
    Asked(Ask),
}

impl Live {
    async fn next(&mut self) -> Happening {
        tokio::select! {
            biased;
            Some(ask) = self.asks.recv() => Happening::Asked(ask),
            why = &mut self.driver => Happening::Ended(why),
            _ = &mut self.control.0, if self.has_control => {
                self.has_control = false;
                Happening::ControlEnded
            }
        }
    }

    /// Keeps the transport going for a while, deaf to what is asked. False if it ended.
    async fn linger(&mut self, while_: Duration) -> bool {
        tokio::select! {
            _ = &mut self.driver => false,
            () = sleep(while_) => true,
        }
    }
}

impl Session {
    /// Serves the connection until either side ends it. What is not the protocol ends only this connection.
    pub async fn serve(self, link: Link) {
        let Link { carrier, control: (reader, writer), driver, heard } = link;
        let (asks_to, asks) = mpsc::unbounded_channel();
        let control = AbortOnDrop(spawn_local(registration::serve(reader, writer, asks_to)));
        let mut live = Live { driver, heard, asks, control, has_control: true };
        let Ok(Some((registration, answer))) = timeout(REGISTRATION_WAIT, self.admit(&mut live)).await else {
            return carrier.close();
        };
        let (orders_to, orders) = mpsc::unbounded_channel();
        let route = Route { carrier: carrier.clone(), gone: CancellationToken::new(), busy: Arc::new(()) };
        let remote = self.hub.remote_config();
        let id = self.hub.add(&registration, self.transport, orders_to, route.clone());
        let location = COLOS[usize::from(registration.conn_index) % COLOS.len()].to_owned();
        let details = Details { connection: id, location, remotely_managed: remote.is_some() };
        let _ = answer.send(Ok(details));
        if let Some((version, config)) = remote {
            push(&carrier, version, config);
        }
        let why = self.run(id, live, &route, orders).await;
        self.hub.remove(id, why);
        carrier.close();
    }

    /// Hears the first registration that is accepted, and its answer's way back.
    async fn admit(
        &self,
        live: &mut Live,
    ) -> Option<(Registration, oneshot::Sender<Result<Details, Refusal>>)> {
        let mut unanswered = Vec::new();
        loop {
            match live.next().await {
                Happening::Ended(_) | Happening::ControlEnded => return None,
                Happening::Asked(Ask::Register(registration, answer)) => {
                    if *self.hub.door().borrow() == Door::RegistrationMute {
                        unanswered.push(answer);
                        continue;
                    }
                    if !live.linger(self.hub.lateness()).await || answer.is_closed() {
                        return None;
                    }
                    // It was under way when the edge began to refuse.
                    if *self.hub.door().borrow() == Door::Refusing {
                        return None;
                    }
                    let Err(refusal) = self.hub.judge(&registration) else {
                        return Some((registration, answer));
                    };
                    let _ = answer.send(Err(refusal));
                    live.linger(REFUSAL_LINGER).await;
                    return None;
                }
                Happening::Asked(Ask::Unregister(done)) => drop(done.send(())),
                Happening::Asked(Ask::LocalConfiguration(_)) => {}
            }
        }
    }

    async fn run(
        &self,
        id: uuid::Uuid,
        mut live: Live,
        route: &Route,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> &'static str {
        let mut door = self.hub.door();
        let mut unregistered = false;
        loop {
            if *door.borrow_and_update() == Door::Mute {
                self.hub.set_routed(id, false);
                if !wait_for_voice(&mut door, &mut orders).await {
                    return "dropped";
                }
                self.hub.set_routed(id, true);
                live.heard.set(Instant::now());
            }
            tokio::select! {
                happening = live.next() => match happening {
                    Happening::Ended(why) => return why,
                    Happening::ControlEnded if unregistered => {
                        self.see_off(&mut live, route).await;
                        return "unregistered";
                    }
                    Happening::ControlEnded => return "closed",
                    Happening::Asked(Ask::Unregister(done)) => {
                        unregistered = true;
                        self.hub.set_routed(id, false);
                        let _ = done.send(());
                    }
                    Happening::Asked(Ask::LocalConfiguration(config)) => self.hub.told(id, &config),
                    // Once is enough.
                    Happening::Asked(Ask::Register(..)) => return "garbage",
                },
                order = orders.recv() => match order {
                    Some(Order::Close) | None => return "dropped",
                    Some(Order::Freeze) => {
                        self.hub.gate.bury(self.peer);
                        route.gone.cancel();
                        until_closed(&mut orders).await;
                        return "dropped";
                    }
                    Some(Order::Configure(version, config)) => push(&route.carrier, version, config),
                },
                _ = door.changed() => {}
            }
        }
    }

    /// Lets requests under way end.
    async fn see_off(&self, live: &mut Live, route: &Route) {
        let until = Instant::now() + FAREWELL;
        // One is the hub's, one is ours.
        while Arc::strong_count(&route.busy) > 2 && Instant::now() < until {
            if !live.linger(Duration::from_millis(50)).await {
                return;
            }
        }
        // What the transport still holds leaves.
        live.linger(Duration::from_millis(20)).await;
    }
}

fn push(carrier: &Carrier, version: i32, config: serde_json::Value) {
    let carrier = carrier.clone();
    spawn_local(async move {
        // The connection has gone, or the connector says why not in its own log.
        let _ = carrier.configure(Push { version, config }).await;
    });
}

/// Waits until the edge answers again; false if the connection is to be closed meanwhile.
async fn wait_for_voice(
    door: &mut watch::Receiver<Door>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> bool {
    tokio::select! {
        result = door.wait_for(|door| *door != Door::Mute) => result.is_ok(),
        () = until_closed(orders) => false,
    }
}

/// Drops every order until the one to close.
async fn until_closed(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        if matches!(order, Order::Close) {
            return;
        }
    }
}
