//! One tunnel connection: dial, register, serve, and the words for every way it can end.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    dial::{Dialer, Link, go_quic},
    ingress::Ingress,
    log::Fields,
    proxy::{self, Via},
    settings::Protocol,
    state::{State, Up},
};
use crate::wire::{Registration, SNI_QUIC, ToConnector, ToEdge, read_frame, write_frame};

const RPC_WAIT: Duration = Duration::from_secs(5);
/// How long an HTTP/2 connection lingers after a refusal.
const REFUSAL_LINGER: Duration = Duration::from_secs(2);
pub const CURVES: &str = "Tunnel connection curve preferences: [X25519MLKEM768 CurveID(65074) CurveP256]";
const CONTROL: &str = "control stream encountered a failure while serving";
const ACCEPT: &str = "accept stream listener encountered a failure while serving";
const CLOSED: &str = "connection with edge closed";

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The edge was not reached.
    Dial(String),
    /// The registration was refused or not answered.
    Refused(String),
    /// The connection, registered or nearly, went away.
    Lost(String),
    /// We were told to stop.
    Stopped,
}

impl End {
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Dial(error) | Self::Refused(error) | Self::Lost(error) => Some(error),
            Self::Stopped => None,
        }
    }
}

/// One attempt to serve on one edge address.
pub struct Tunnel {
    pub state: Arc<State>,
    pub index: usize,
    pub edge: SocketAddr,
    pub protocol: Protocol,
}

impl Tunnel {
    /// Serves until the connection ends, and logs what cloudflared logs then.
    pub async fn serve(&self, dialer: &Dialer) -> End {
        self.state.log.info(CURVES, self.fields());
        let dialled = tokio::select! {
            dialled = dialer.dial(self.edge, self.protocol) => dialled,
            () = self.state.stopped() => return End::Stopped,
        };
        let end = match dialled {
            Ok(link) => self.speak(link).await,
            Err(error) => End::Dial(error),
        };
        self.state.set_up(self.index, None);
        self.explain(&end).await;
        self.as_logged(end)
    }

    pub fn fields(&self) -> Fields {
        vec![("connIndex", self.index.into()), ("event", 0.into()), ("ip", self.edge.ip().to_string().into())]
    }

    async fn speak(&self, link: Link) -> End {
        let Link { mut reader, mut writer, quic } = link;
        let registration = Registration {
            tunnel_id: self.state.credentials.tunnel_id.clone(),
            secret: self.state.credentials.secret.clone(),
            connector_id: self.state.connector_id.clone(),
            conn_index: u8::try_from(self.index).unwrap_or(u8::MAX),
        };
        let call = async {
            write_frame(&mut writer, &ToEdge::Register(registration)).await?;
            read_frame::<ToConnector>(&mut reader).await
        };
        let answer = tokio::select! {
            answer = timeout(RPC_WAIT, call) => answer,
            () = self.state.stopped() => return End::Stopped,
        };
        let end = match answer {
            Ok(Ok(Some(ToConnector::Accepted { connection, location }))) => {
                self.registered(&connection, &location);
                self.answer_edge(reader, writer).await
            }
            Ok(Ok(Some(ToConnector::Refused { text, .. }))) => self.refused(text),
            Ok(Ok(_) | Err(_)) => End::Lost(CLOSED.into()),
            Err(_) => self.refused("context deadline exceeded".into()),
        };
        let Some((connection, endpoint)) = quic else { return end };
        let end = match (end, connection.close_reason()) {
            (End::Lost(_), Some(reason)) => End::Lost(go_quic(&reason, SNI_QUIC)),
            (end, _) => end,
        };
        connection.close(0_u8.into(), b"");
        // The farewell needs a moment to leave, and nobody waits long for it.
        let _ = timeout(Duration::from_millis(200), endpoint.wait_idle()).await;
        end
    }

    fn registered(&self, connection: &str, location: &str) {
        let state = &self.state;
        state.counters.register_success.fetch_add(1, Ordering::Relaxed);
        if self.protocol == Protocol::Quic {
            state.quic_worked.store(true, Ordering::Relaxed);
        }
        state.set_up(self.index, Some(Up { protocol: self.protocol, edge: self.edge.ip().to_string() }));
        let mut fields = self.fields();
        fields.push(("connection", connection.into()));
        fields.push(("location", location.into()));
        fields.push(("protocol", self.protocol.name().into()));
        state.log.info("Registered tunnel connection", fields);
        if !state.connected_once.send_replace(true) {
            // Outside systemd there is nobody to tell.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
    }

    fn refused(&self, text: String) -> End {
        self.state.counters.register_fail.fetch_add(1, Ordering::Relaxed);
        End::Refused(text)
    }

    /// Serves a registered connection. An edge that is merely silent is never noticed here.
    async fn answer_edge<R, W>(&self, mut reader: R, mut writer: W) -> End
    where
        R: tokio::io::AsyncRead + Send + Unpin + 'static,
        W: tokio::io::AsyncWrite + Send + Unpin,
    {
        let (frames_to, mut frames) = mpsc::channel(16);
        let reading = tokio::spawn(async move {
            while let Ok(Some(frame)) = read_frame::<ToConnector>(&mut reader).await {
                if frames_to.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let (answers_to, mut answers) = mpsc::unbounded_channel();
        let mut unregistering = false;
        let end = loop {
            let outgoing = tokio::select! {
                frame = frames.recv() => match frame {
                    None if unregistering => break End::Stopped,
                    None => break End::Lost(CLOSED.into()),
                    Some(ToConnector::Ping { seq }) => ToEdge::Pong { seq },
                    Some(ToConnector::Unregistered) => {
                        self.state.log.info("Unregistered tunnel connection", self.fields());
                        break End::Stopped;
                    }
                    Some(ToConnector::Request(request)) => {
                        let (state, answers_to) = (Arc::clone(&self.state), answers_to.clone());
                        let via = Via { index: self.index, edge: self.edge.ip().to_string(), protocol: self.protocol };
                        tokio::spawn(async move {
                            // The connection has gone meanwhile.
                            let _ = answers_to.send(proxy::answer(&state, via, request).await);
                        });
                        continue;
                    }
                    Some(ToConnector::Configuration { version, config }) => {
                        self.configure(version, &config);
                        continue;
                    }
                    // Neither belongs here; a peer that talks nonsense is not to be served.
                    Some(ToConnector::Accepted { .. } | ToConnector::Refused { .. }) => break End::Lost(CLOSED.into()),
                },
                Some(response) = answers.recv() => ToEdge::Response(response),
                () = self.state.stopped(), if !unregistering => {
                    unregistering = true;
                    self.state.set_up(self.index, None);
                    ToEdge::Unregister
                }
            };
            if write_frame(&mut writer, &outgoing).await.is_err() {
                break if unregistering { End::Stopped } else { End::Lost(CLOSED.into()) };
            }
        };
        reading.abort();
        end
    }

    fn configure(&self, version: i64, config: &Value) {
        if self.state.ingress.borrow().version >= version {
            return;
        }
        let shown = vec![("config", config.to_string().into()), ("version", version.into())];
        match Ingress::parse(config, version) {
            Ok(ingress) => {
                self.state.ingress.send_replace(Arc::new(ingress));
                self.state.log.info("Updated to new configuration", shown);
            }
            Err(error) => self.state.log.error("Failed to deserialize new configuration", &error, shown),
        }
    }

    /// The lines before `Retrying connection`.
    async fn explain(&self, end: &End) {
        match self.protocol {
            Protocol::Http2 => self.explain_http2(end).await,
            Protocol::Quic => self.explain_quic(end),
        }
    }

    async fn explain_http2(&self, end: &End) {
        let state = &self.state;
        match end {
            End::Dial(error) => {
                state.connection_error(
                    "Unable to establish connection with Cloudflare edge",
                    Some(error),
                    self.fields(),
                );
                state.connection_error("Serve tunnel error", Some(error), self.fields());
            }
            End::Refused(error) => {
                state.log.error("failed to serve incoming request", error, vec![]);
                tokio::select! {
                    () = sleep(REFUSAL_LINGER) => {}
                    () = state.stopped() => return,
                }
                state.log.error("Register tunnel error from server side", error, self.fields());
            }
            End::Lost(error) => {
                state.log.info("Lost connection with the edge", vec![("connIndex", self.index.into())]);
                state.connection_error("Serve tunnel error", Some(error), self.fields());
                let companion = "Error shutting down control stream: client disconnected";
                state.log.error("failed to serve incoming request", companion, vec![]);
            }
            End::Stopped => {}
        }
    }

    fn explain_quic(&self, end: &End) {
        let state = &self.state;
        let served = |text: &str| {
            state.connection_error("failed to serve tunnel connection", Some(text), self.fields());
            state.connection_error("Serve tunnel error", Some(text), self.fields());
        };
        let datagrams =
            |text: &str| state.log.error("failed to run the datagram handler", text, self.fields());
        match end {
            End::Dial(error) => {
                state.connection_error("Failed to dial a quic connection", Some(error), self.fields());
            }
            // The cause is nowhere to be read, at any log level.
            End::Refused(_) => {
                datagrams("context canceled");
                served(CONTROL);
            }
            End::Lost(error) => {
                let accept = format!("failed to accept QUIC stream: {error}");
                state.log.error("failed to accept incoming stream requests", &accept, self.fields());
                datagrams(error);
                served(ACCEPT);
            }
            End::Stopped => {
                datagrams("context canceled");
                served(ACCEPT);
            }
        }
    }

    /// The error as the supervisor will name it.
    fn as_logged(&self, end: End) -> End {
        match (self.protocol, end) {
            (Protocol::Quic, End::Refused(_)) => End::Refused(CONTROL.into()),
            (Protocol::Quic, End::Lost(_)) => End::Lost(ACCEPT.into()),
            (Protocol::Quic | Protocol::Http2, end) => end,
        }
    }
}
