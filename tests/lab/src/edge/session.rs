//! One connector's connection, from its registration to its end, whatever the transport.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
    time::{Instant, interval, timeout},
};

use super::hub::{Door, Hub, Order, Transport};
use crate::wire::{Response, ToConnector, ToEdge, read_frame, write_frame};

const REGISTRATION_WAIT: Duration = Duration::from_secs(15);
const PING_EVERY: Duration = Duration::from_secs(1);
const COLOS: [&str; 4] = ["fra08", "ams07", "ams14", "ams01"];

/// What a session must know besides its stream.
pub struct Session {
    pub hub: Arc<Hub>,
    pub peer: SocketAddr,
    pub transport: Transport,
    /// A connector silent for this long is lost.
    pub silence_limit: Duration,
}

impl Session {
    /// Serves the connection until either side ends it. A frame that is not ours ends only this connection.
    pub async fn serve<R, W>(self, mut reader: R, mut writer: W)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        let first = timeout(REGISTRATION_WAIT, read_frame(&mut reader)).await;
        let Ok(Ok(Some(ToEdge::Register(registration)))) = first else { return };
        let mut door = self.hub.door();
        // Answering late is not wanted either: the connector has given up by then.
        if *door.borrow() == Door::RegistrationMute {
            let _ = timeout(REGISTRATION_WAIT, read_frame::<ToEdge>(&mut reader)).await;
            return;
        }
        if let Err(refusal) = self.hub.judge(&registration) {
            let answer = ToConnector::Refused { text: refusal.text, retryable: refusal.retryable };
            let _ = self.write(&mut writer, &answer).await;
            // The connector closes; closing first could overtake the answer.
            let _ = timeout(REGISTRATION_WAIT, read_frame::<ToEdge>(&mut reader)).await;
            return;
        }
        let (orders_to, orders) = mpsc::unbounded_channel();
        let location = COLOS[usize::from(registration.conn_index) % COLOS.len()].to_owned();
        let (id, config) = self.hub.add(&registration, self.transport, orders_to);
        let accepted = ToConnector::Accepted { connection: id.clone(), location };
        let mut greeting = vec![accepted];
        greeting.extend(config.map(|(version, config)| ToConnector::Configuration { version, config }));
        let why = self.run(&id, greeting, reader, &mut writer, orders, &mut door).await;
        self.hub.remove(&id, why);
        let _ = timeout(PING_EVERY, tokio::io::AsyncWriteExt::shutdown(&mut writer)).await;
    }

    async fn run<R, W>(
        &self,
        id: &str,
        greeting: Vec<ToConnector>,
        mut reader: R,
        writer: &mut W,
        mut orders: mpsc::UnboundedReceiver<Order>,
        door: &mut watch::Receiver<Door>,
    ) -> &'static str
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        for frame in greeting {
            if self.write(writer, &frame).await.is_err() {
                return "closed";
            }
        }
        // Reading a frame cannot be interrupted half-way, so it has a task of its own.
        let (frames_to, mut frames) = mpsc::channel(8);
        let reading = AbortOnDrop(tokio::spawn(async move {
            while let Ok(Some(frame)) = read_frame::<ToEdge>(&mut reader).await {
                if frames_to.send(frame).await.is_err() {
                    return;
                }
            }
        }));
        let mut waiting: HashMap<u64, oneshot::Sender<Response>> = HashMap::new();
        let mut ticks = interval(PING_EVERY);
        let (mut heard, mut seq) = (Instant::now(), 0);
        loop {
            if *door.borrow_and_update() == Door::Mute {
                self.hub.set_routed(id, false);
                if !self.wait_for_voice(door, &mut orders).await {
                    return "dropped";
                }
                self.hub.set_routed(id, true);
                heard = Instant::now();
            }
            let written = tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Close) | None => return "dropped",
                    Some(Order::Freeze) => {
                        self.hub.gate.bury(self.peer);
                        drop(reading);
                        waiting.clear();
                        until_closed(&mut orders).await;
                        return "dropped";
                    }
                    Some(Order::Carry(request, answer)) => {
                        waiting.retain(|_, answer| !answer.is_closed());
                        waiting.insert(request.id, answer);
                        self.write(writer, &ToConnector::Request(request)).await
                    }
                    Some(Order::Configure(version, config)) => {
                        self.write(writer, &ToConnector::Configuration { version, config }).await
                    }
                },
                frame = frames.recv() => match frame {
                    None => return "closed",
                    Some(ToEdge::Pong { .. }) => {
                        heard = Instant::now();
                        Ok(())
                    }
                    Some(ToEdge::Response(response)) => {
                        if let Some(answer) = waiting.remove(&response.id) {
                            let _ = answer.send(response);
                        }
                        Ok(())
                    }
                    Some(ToEdge::Unregister) => {
                        self.hub.set_routed(id, false);
                        self.write(writer, &ToConnector::Unregistered).await
                    }
                    // Once is enough.
                    Some(ToEdge::Register(_)) => return "garbage",
                },
                _ = ticks.tick() => {
                    if heard.elapsed() > self.silence_limit {
                        return "silent";
                    }
                    seq += 1;
                    self.write(writer, &ToConnector::Ping { seq }).await
                }
                _ = door.changed() => Ok(()),
            };
            if written.is_err() {
                return if heard.elapsed() > PING_EVERY * 2 { "silent" } else { "closed" };
            }
        }
    }

    /// Waits until the edge answers again; false if the connection is to be closed meanwhile.
    async fn wait_for_voice(
        &self,
        door: &mut watch::Receiver<Door>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> bool {
        tokio::select! {
            result = door.wait_for(|door| *door != Door::Mute) => result.is_ok(),
            () = until_closed(orders) => false,
        }
    }

    async fn write(&self, writer: &mut (impl AsyncWrite + Unpin), frame: &ToConnector) -> io::Result<()> {
        timeout(self.silence_limit, write_frame(writer, frame))
            .await
            .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
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

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
