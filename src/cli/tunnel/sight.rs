//! One look at a tunnel in Cloudflare's records.

use crate::client::cloudflare_api::{Account, ApiError, CloudflareApi, Connector, Tunnel};
use crate::daemon::survey::Here;

/// A tunnel that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: String,
    /// If a unit of this host runs it.
    pub(super) here: Option<Here>,
}

impl Wanted {
    pub(super) fn title(&self) -> String {
        match self.here.as_ref().filter(|here| here.name != self.id) {
            Some(here) => format!("{} ({})", self.id, here.name),
            None => self.id.clone(),
        }
    }
}

/// What the records say.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) account: Account,
    pub(super) tunnel: Tunnel,
    pub(super) connectors: Vec<Connector>,
}

/// Asks; without an account, in all that the credentials reach.
pub(super) async fn look(api: &CloudflareApi, account: Option<&str>, id: &str) -> Result<Sight, ApiError> {
    let (account, tunnel) = match account {
        Some(account) => {
            let tunnel = api.tunnel(account, id).await?;
            (Account { id: account.to_owned(), name: None }, tunnel)
        }
        None => api.find_tunnel(id).await?,
    };
    let connectors = api.connections(&account.id, id).await?;
    Ok(Sight { account, tunnel, connectors })
}
