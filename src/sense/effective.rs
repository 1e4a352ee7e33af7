//! What cloudflared itself says of its set-up: the rules in effect (its own, or those pushed from Cloudflare).

use std::net::SocketAddr;

use super::journal::Told;
use super::ready::{Where, address};
use crate::client::cloudflared::{self, EffectiveConfig};
use crate::client::cloudflared_config::hostnames;

/// The names and routes in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// They came from Cloudflare; a local file's rules do not count.
    pub remote: bool,
    pub names: Vec<String>,
    pub private_network: bool,
    /// All that was answered, and where.
    pub config: EffectiveConfig,
    pub address: SocketAddr,
}

/// Asks for them. `None` where the port is not known, is not the unit's, or does not say.
pub async fn look(place: &Where, told: &Told) -> Option<Effective> {
    let addr = told.metrics.as_deref().and_then(address).or(place.configured)?;
    let owner = cloudflared::socket_owner(addr).ok()?;
    if owner.belongs_to(place.uid) != Some(true) {
        return None;
    }
    let config = cloudflared::config(addr).await.ok()?;
    let mut names = hostnames(&config.ingress);
    names.sort();
    names.dedup();
    let private_network = config.private_network;
    Some(Effective { remote: 0 <= config.version, names, private_network, config, address: addr })
}
