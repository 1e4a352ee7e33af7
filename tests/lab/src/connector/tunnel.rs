//! One tunnel connection: dial, register, serve, and the words for every way it can end.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc, task::spawn_local, time::timeout};
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use super::{
    VERSION,
    dial::{Dialer, Link, go_quic},
    ingress::Ingress,
    log::Fields,
    settings::Protocol,
    state::{State, Up},
    streams::Streams,
};
use crate::wire::{
    AbortOnDrop, SNI_QUIC,
    configuration::{Applied, Push},
    registration::{Client, Details, Registration},
};

const RPC_WAIT: Duration = Duration::from_secs(5);
const FEATURES: [&str; 6] = [
    "allow_remote_config",
    "serialized_headers",
    "support_datagram_v2",
    "support_quic_eof",
    "management_logs",
    "postquantum",
];
pub const CURVES: &str = "Tunnel connection curve preferences: [X25519MLKEM768 CurveID(65074) CurveP256]";
const CONTROL: &str = "control stream encountered a failure while serving";
const ACCEPT: &str = "accept stream listener encountered a failure while serving";
const CLOSED: &str = "connection with edge closed";
/// The edge's word for a connection of this index that it still has, and cloudflared's for it.
const EDUPCONN: &str = "EDUPCONN";
pub const DUPLICATE: &str = "already connected to this server, trying another address";

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
    /// Failed ones in a row before this one.
    pub previous_attempts: u8,
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
        // On HTTP/2 it counts itself as up while it tells its loss; so the last one is not told as an error either.
        let late = self.protocol == Protocol::Http2 && matches!(end, End::Lost(_));
        if !late {
            self.state.set_up(self.index, None);
        }
        self.explain(&end);
        self.state.set_up(self.index, None);
        self.as_logged(end)
    }

    pub fn fields(&self) -> Fields {
        vec![("connIndex", self.index.into()), ("event", 0.into()), ("ip", self.edge.ip().to_string().into())]
    }

    async fn speak(&self, link: Link) -> End {
        match link {
            Link::Http2(stream) => self.speak_http2(*stream).await,
            Link::Quic(connection, endpoint) => {
                self.state.set_quic(self.index, Some(connection.clone()));
                let end = self.speak_quic(&connection).await;
                self.state.set_quic(self.index, None);
                connection.close(0_u8.into(), b"");
                // The farewell needs a moment to leave, and nobody waits long for it.
                let _ = timeout(Duration::from_millis(200), endpoint.wait_idle()).await;
                end
            }
        }
    }

    /// We dialled, and are the server from now on.
    async fn speak_http2(&self, stream: TlsStream<TcpStream>) -> End {
        let (control_to, mut control) = mpsc::unbounded_channel();
        let service = self.streams().http2(control_to);
        let serving =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        let mut serving = AbortOnDrop(spawn_local(async move {
            // How it ended is the same to cloudflared.
            let _ = serving.await;
        }));
        let (reader, writer) = tokio::select! {
            Some(streams) = control.recv() => streams,
            _ = &mut serving.0 => return End::Lost(CLOSED.into()),
            () = self.state.stopped() => return End::Stopped,
        };
        let ended = async {
            let _ = (&mut serving.0).await;
        };
        tokio::pin!(ended);
        let end = self.hold(Client::new(reader, writer), &mut ended).await;
        if let End::Refused(error) = &end {
            self.state.log.error("failed to serve incoming request", error, vec![]);
            // The connection is the edge's to close.
            tokio::select! {
                () = ended => {}
                () = self.state.stopped() => {}
            }
        }
        end
    }

    async fn speak_quic(&self, connection: &quinn::Connection) -> End {
        let (writer, reader) = match connection.open_bi().await {
            Ok(streams) => streams,
            Err(error) => return End::Lost(go_quic(&error, SNI_QUIC)),
        };
        let _accepting = AbortOnDrop(spawn_local(self.streams().quic(connection.clone())));
        let closing = connection.clone();
        let ended = async move { drop(closing.closed().await) };
        tokio::pin!(ended);
        let end = self.hold(Client::new(Box::new(reader), Box::new(writer)), &mut ended).await;
        match (end, connection.close_reason()) {
            (End::Lost(_), Some(reason)) => End::Lost(go_quic(&reason, SNI_QUIC)),
            (end, _) => end,
        }
    }

    /// Registers, and holds the connection until it ends. An edge that is merely silent is never noticed here.
    async fn hold(&self, edge: Client, ended: &mut (impl Future<Output = ()> + Unpin)) -> End {
        let answer = tokio::select! {
            biased;
            answer = self.register(&edge) => answer,
            () = &mut *ended => return End::Lost(CLOSED.into()),
            () = self.state.stopped() => return End::Stopped,
        };
        let details = match answer {
            Ok(details) => details,
            Err(end) => return end,
        };
        self.registered(&details);
        if self.index == 0 && !details.remotely_managed {
            self.tell_rules(&edge).await;
        }
        tokio::select! {
            () = &mut *ended => return End::Lost(CLOSED.into()),
            () = self.state.stopped() => self.state.set_up(self.index, None),
        }
        tokio::select! {
            done = edge.unregister() => if done.is_ok() {
                self.state.log.info("Unregistered tunnel connection", self.fields());
            },
            () = &mut *ended => return End::Stopped,
        }
        // Ends the control stream; the edge closes when nothing is under way any more.
        drop(edge);
        ended.await;
        End::Stopped
    }

    async fn register(&self, edge: &Client) -> Result<Details, End> {
        let credentials = &self.state.credentials;
        let registration = Registration {
            account: credentials.account.clone(),
            tunnel_id: credentials.tunnel_id.parse().unwrap_or(Uuid::nil()),
            secret: credentials.secret.clone(),
            connector_id: self.state.connector_id.parse().unwrap_or(Uuid::nil()),
            conn_index: u8::try_from(self.index).unwrap_or(u8::MAX),
            previous_attempts: self.previous_attempts,
            version: VERSION.to_owned(),
            features: FEATURES.map(str::to_owned).to_vec(),
        };
        match timeout(RPC_WAIT, edge.register(&registration)).await {
            Ok(Ok(Ok(details))) => Ok(details),
            Ok(Ok(Err(refusal))) => Err(self.refused(refusal.text)),
            // The end of the connection tells more.
            Ok(Err(_)) => Err(End::Lost(CLOSED.into())),
            Err(_) => Err(self.refused("context deadline exceeded".into())),
        }
    }

    async fn tell_rules(&self, edge: &Client) {
        let rules = self.state.ingress.borrow().to_json()["config"].to_string();
        let counters = &self.state.counters;
        let told = timeout(RPC_WAIT, edge.tell_configuration(rules.as_bytes())).await;
        if !matches!(told, Ok(Ok(()))) {
            counters.config_push_errors.fetch_add(1, Ordering::Relaxed);
            self.state.log.error("unable to send local configuration", "context deadline exceeded", vec![]);
        }
        counters.config_pushes.fetch_add(1, Ordering::Relaxed);
    }

    fn streams(&self) -> Streams {
        Streams { state: Arc::clone(&self.state), index: self.index, edge: self.edge.ip().to_string() }
    }

    fn registered(&self, details: &Details) {
        let state = &self.state;
        state.counters.register_success.fetch_add(1, Ordering::Relaxed);
        if self.protocol == Protocol::Quic {
            state.quic_worked.store(true, Ordering::Relaxed);
        }
        state.set_up(self.index, Some(Up { protocol: self.protocol, edge: self.edge.ip().to_string() }));
        let mut fields = self.fields();
        fields.push(("connection", details.connection.to_string().into()));
        fields.push(("location", details.location.as_str().into()));
        fields.push(("protocol", self.protocol.name().into()));
        state.log.info("Registered tunnel connection", fields);
        if !state.connected_once.send_replace(true) {
            // Outside systemd there is nobody to tell.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
    }

    fn refused(&self, text: String) -> End {
        let counters = &self.state.counters;
        if text == EDUPCONN {
            counters.register_duplicate.fetch_add(1, Ordering::Relaxed);
            return End::Refused(DUPLICATE.into());
        }
        counters.register_fail.fetch_add(1, Ordering::Relaxed);
        End::Refused(text)
    }

    /// The lines before `Retrying connection`.
    fn explain(&self, end: &End) {
        match self.protocol {
            Protocol::Http2 => self.explain_http2(end),
            Protocol::Quic => self.explain_quic(end),
        }
    }

    fn explain_http2(&self, end: &End) {
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
            End::Refused(error) if error == DUPLICATE => {
                state.connection_error("Unable to establish connection.", Some(error), self.fields());
            }
            End::Refused(error) => {
                state.log.error("Register tunnel error from server side", error, self.fields());
            }
            End::Lost(error) => {
                state.log.info("Lost connection with the edge", vec![("connIndex", self.index.into())]);
                state.connection_error("Serve tunnel error", Some(error), self.fields());
            }
            End::Stopped => {}
        }
    }

    /// The line that comes after `Retrying connection`: that of the control stream, which learns it last.
    pub fn explain_stream(&self, end: &End) {
        if let (Protocol::Http2, End::Lost(_)) = (self.protocol, end) {
            let companion = "Error shutting down control stream: client disconnected";
            self.state.log.error("failed to serve incoming request", companion, vec![]);
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

/// Takes over a pushed configuration, unless it is older than what is there.
pub fn configure(state: &State, push: Push) -> Applied {
    let current = |err| Applied {
        last_applied_version: i32::try_from(state.ingress.borrow().version).unwrap_or(i32::MAX),
        err,
    };
    if state.ingress.borrow().version >= push.version.into() {
        return current(None);
    }
    let shown = vec![("config", push.config.to_string().into()), ("version", push.version.into())];
    match Ingress::parse(&push.config, push.version.into()) {
        Ok(ingress) => {
            state.ingress.send_replace(Arc::new(ingress));
            state.log.info("Updated to new configuration", shown);
            current(None)
        }
        Err(error) => {
            state.log.error("Failed to deserialize new configuration", &error, shown);
            current(Some(error))
        }
    }
}
