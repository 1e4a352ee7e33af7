//! The calls on the control stream: register, unregister, and the connector's own rules.

use std::{rc::Rc, time::Duration};

use capnp::Error;
use capnp_rpc::{new_client, rpc_twoparty_capnp::Side};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
};
use uuid::Uuid;

use super::{
    AbortOnDrop, Reader, Refusal, Writer, rpc,
    tunnel_capnp::{connection_response, registration_server},
};

/// What a retryable refusal asks the connector to wait; cloudflared has waits of its own.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who wants to serve which tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    pub account: String,
    pub tunnel_id: Uuid,
    pub secret: Vec<u8>,
    pub connector_id: Uuid,
    /// 0 to 3.
    pub conn_index: u8,
    pub previous_attempts: u8,
    pub version: String,
    pub features: Vec<String>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("tunnel_id", &self.tunnel_id)
            .field("connector_id", &self.connector_id)
            .field("conn_index", &self.conn_index)
            .finish_non_exhaustive()
    }
}

/// What an accepted connector is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    pub connection: Uuid,
    pub location: String,
    /// The rules come from Cloudflare.
    pub remotely_managed: bool,
}

/// A call of a connector, to be answered by the edge. Left unanswered it hangs.
pub enum Ask {
    Register(Registration, oneshot::Sender<Result<Details, Refusal>>),
    Unregister(oneshot::Sender<()>),
    /// JSON of the rules in effect.
    LocalConfiguration(Vec<u8>),
}

/// Serves a control stream until it ends; what is no Cap'n Proto ends it.
pub async fn serve(reader: Reader, writer: Writer, asks: mpsc::UnboundedSender<Ask>) {
    let desk: registration_server::Client = new_client(Desk(asks));
    // However it ended, the connection has no control any more.
    let _ = rpc(reader, writer, Side::Server, Some(desk.client)).await;
}

struct Desk(mpsc::UnboundedSender<Ask>);

impl registration_server::Server for Desk {
    async fn register_connection(
        self: Rc<Self>,
        params: registration_server::RegisterConnectionParams,
        mut results: registration_server::RegisterConnectionResults,
    ) -> Result<(), Error> {
        let registration = read(params.get()?)?;
        let (answer_to, answer) = oneshot::channel();
        let _ = self.0.send(Ask::Register(registration, answer_to));
        let answer = answer.await.map_err(gone)?;
        let mut result = results.get().init_result().init_result();
        match answer {
            Ok(details) => {
                let mut told = result.init_connection_details();
                told.set_uuid(details.connection.as_bytes());
                told.set_location_name(&details.location);
                told.set_tunnel_is_remotely_managed(details.remotely_managed);
            }
            Err(refusal) => {
                let mut told = result.reborrow().init_error();
                told.set_cause(&refusal.text);
                told.set_should_retry(refusal.retryable);
                if refusal.retryable {
                    told.set_retry_after(i64::try_from(RETRY_AFTER.as_nanos()).unwrap_or(i64::MAX));
                }
            }
        }
        Ok(())
    }

    async fn unregister_connection(
        self: Rc<Self>,
        _: registration_server::UnregisterConnectionParams,
        _: registration_server::UnregisterConnectionResults,
    ) -> Result<(), Error> {
        let (done_to, done) = oneshot::channel();
        let _ = self.0.send(Ask::Unregister(done_to));
        done.await.map_err(gone)
    }

    async fn update_local_configuration(
        self: Rc<Self>,
        params: registration_server::UpdateLocalConfigurationParams,
        _: registration_server::UpdateLocalConfigurationResults,
    ) -> Result<(), Error> {
        let _ = self.0.send(Ask::LocalConfiguration(params.get()?.get_config()?.to_vec()));
        Ok(())
    }
}

fn read(params: registration_server::register_connection_params::Reader<'_>) -> Result<Registration, Error> {
    let (auth, options) = (params.get_auth()?, params.get_options()?);
    let client = options.get_client()?;
    let features = client.get_features()?;
    Ok(Registration {
        account: auth.get_account_tag()?.to_string()?,
        tunnel_id: id(params.get_tunnel_id()?)?,
        secret: auth.get_tunnel_secret()?.to_vec(),
        connector_id: id(client.get_client_id()?)?,
        conn_index: params.get_conn_index(),
        previous_attempts: options.get_num_previous_attempts(),
        version: client.get_version()?.to_string()?,
        features: features.iter().map(|feature| Ok(feature?.to_string()?)).collect::<Result<_, Error>>()?,
    })
}

fn id(bytes: &[u8]) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|error| Error::failed(error.to_string()))
}

fn gone(_: oneshot::error::RecvError) -> Error {
    Error::disconnected("the connection ends".into())
}

/// The connector's end of a control stream. Dropping it ends the stream.
pub struct Client {
    edge: registration_server::Client,
    _running: AbortOnDrop<()>,
}

impl Client {
    /// Must be called inside a `LocalSet`.
    pub fn new(reader: Reader, writer: Writer) -> Self {
        let mut system = rpc(reader, writer, Side::Client, None);
        let edge = system.bootstrap(Side::Server);
        let running = spawn_local(async move {
            // Calls in flight learn it by themselves.
            let _ = system.await;
        });
        Self { edge, _running: AbortOnDrop(running) }
    }

    /// Asks to serve a tunnel on this connection.
    ///
    /// # Errors
    /// The stream ended, or spoke something else.
    pub async fn register(&self, registration: &Registration) -> Result<Result<Details, Refusal>, Error> {
        let mut request = self.edge.register_connection_request();
        let mut params = request.get();
        params.set_tunnel_id(registration.tunnel_id.as_bytes());
        params.set_conn_index(registration.conn_index);
        let mut auth = params.reborrow().init_auth();
        auth.set_account_tag(&registration.account);
        auth.set_tunnel_secret(&registration.secret);
        let mut options = params.init_options();
        options.set_num_previous_attempts(registration.previous_attempts);
        let mut client = options.init_client();
        client.set_client_id(registration.connector_id.as_bytes());
        client.set_version(&registration.version);
        client.set_arch("linux_amd64");
        let count = u32::try_from(registration.features.len()).unwrap_or(0);
        let mut features = client.init_features(count);
        for (at, feature) in (0..count).zip(&registration.features) {
            features.set(at, feature);
        }
        let response = request.send().promise.await?;
        Ok(match response.get()?.get_result()?.get_result().which()? {
            connection_response::result::ConnectionDetails(details) => {
                let details = details?;
                Ok(Details {
                    connection: id(details.get_uuid()?)?,
                    location: details.get_location_name()?.to_string()?,
                    remotely_managed: details.get_tunnel_is_remotely_managed(),
                })
            }
            connection_response::result::Error(error) => {
                let error = error?;
                Err(Refusal { text: error.get_cause()?.to_string()?, retryable: error.get_should_retry() })
            }
        })
    }

    /// Asks to be taken out of the route.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn unregister(&self) -> Result<(), Error> {
        self.edge.unregister_connection_request().send().promise.await.map(drop)
    }

    /// Tells the rules in effect.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn tell_configuration(&self, config: &[u8]) -> Result<(), Error> {
        let mut request = self.edge.update_local_configuration_request();
        request.get().set_config(config);
        request.send().promise.await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> Registration {
        Registration {
            account: "a".into(),
            tunnel_id: Uuid::from_u128(1),
            secret: b"secret".to_vec(),
            connector_id: Uuid::from_u128(2),
            conn_index: 3,
            previous_attempts: 4,
            version: "2026.8.2".into(),
            features: vec!["allow_remote_config".into()],
        }
    }

    fn ends(stream: tokio::io::DuplexStream) -> (Reader, Writer) {
        let (reader, writer) = tokio::io::split(stream);
        (Box::new(reader), Box::new(writer))
    }

    #[tokio::test]
    async fn a_registration_arrives_whole_and_its_answers_too() {
        let answers = [
            Ok(Details { connection: Uuid::from_u128(5), location: "fra08".into(), remotely_managed: true }),
            Err(Refusal { text: "Unauthorized: no".into(), retryable: true }),
        ];
        tokio::task::LocalSet::new()
            .run_until(async {
                let (near, far) = tokio::io::duplex(4096);
                let ((reader, writer), (asks_to, mut asks)) = (ends(far), mpsc::unbounded_channel());
                let _serving = AbortOnDrop(spawn_local(serve(reader, writer, asks_to)));
                let (reader, writer) = ends(near);
                let client = Client::new(reader, writer);
                for answer in answers {
                    let told = answer.clone();
                    let edge = async {
                        let Some(Ask::Register(registration, answer_to)) = asks.recv().await else {
                            panic!("another call")
                        };
                        answer_to.send(told).unwrap();
                        registration
                    };
                    let somebody = somebody();
                    let (got, heard) = tokio::join!(client.register(&somebody), edge);
                    assert_eq!((got.unwrap(), &heard), (answer, &somebody));
                }
            })
            .await;
    }

    #[tokio::test]
    async fn garbage_ends_the_stream() {
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\0\x02\0"]
        {
            let (mut near, far) = tokio::io::duplex(4096);
            let (reader, writer) = ends(far);
            tokio::io::AsyncWriteExt::write_all(&mut near, garbage).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut near).await.unwrap();
            let serving = serve(reader, writer, mpsc::unbounded_channel().0);
            tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap();
        }
    }

    #[test]
    fn a_registration_never_prints_its_secret() {
        assert!(!format!("{:?}", somebody()).contains("115"));
    }
}
