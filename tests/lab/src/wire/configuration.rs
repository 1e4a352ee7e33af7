//! A push of the remotely managed configuration. On HTTP/2 it is a request with JSON, on QUIC a call on a stream of its own.

use std::rc::Rc;

use capnp::Error;
use capnp_rpc::{new_client, rpc_twoparty_capnp::Side};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reader, Writer, rpc, tunnel_capnp::configuration_manager};

/// What is pushed, and on HTTP/2 the body itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    pub version: i32,
    pub config: Value,
}

/// What became of a push, and on HTTP/2 the answer's body itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub last_applied_version: i32,
    pub err: Option<String>,
}

/// Pushes over a stream opened for it.
///
/// # Errors
/// The stream ended, or the connector speaks something else.
pub async fn push(reader: Reader, writer: Writer, push: &Push) -> Result<Applied, Error> {
    let mut system = rpc(reader, writer, Side::Client, None);
    let connector: configuration_manager::Client = system.bootstrap(Side::Server);
    let mut request = connector.update_configuration_request();
    request.get().set_version(push.version);
    request.get().set_config(push.config.to_string().as_bytes());
    let answer = async {
        let answer = request.send().promise.await?;
        let result = answer.get()?.get_result()?;
        let err = result.get_err()?.to_string()?;
        Ok(Applied {
            last_applied_version: result.get_latest_applied_version(),
            err: Some(err).filter(|err| !err.is_empty()),
        })
    };
    tokio::select! {
        answer = answer => answer,
        ended = system => Err(ended.err().unwrap_or_else(|| Error::disconnected("no answer".into()))),
    }
}

/// Serves such a stream until it ends.
pub async fn serve(reader: Reader, writer: Writer, apply: impl Fn(Push) -> Applied + 'static) {
    let manager: configuration_manager::Client = new_client(Manager(apply));
    // The edge has its answer, or does not want it.
    let _ = rpc(reader, writer, Side::Server, Some(manager.client)).await;
}

struct Manager<F>(F);

impl<F: Fn(Push) -> Applied + 'static> configuration_manager::Server for Manager<F> {
    async fn update_configuration(
        self: Rc<Self>,
        params: configuration_manager::UpdateConfigurationParams,
        mut results: configuration_manager::UpdateConfigurationResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let config = serde_json::from_slice(params.get_config()?);
        let config = config.map_err(|error| Error::failed(error.to_string()))?;
        let applied = self.0(Push { version: params.get_version(), config });
        let mut result = results.get().init_result();
        result.set_latest_applied_version(applied.last_applied_version);
        result.set_err(applied.err.as_deref().unwrap_or_default());
        Ok(())
    }
}
