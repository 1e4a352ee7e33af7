//! One look at each address, all together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Url;
use tokio::sync::Semaphore;

use crate::client::dns::{Addresses, Dns, DnsFailure};
use crate::client::http::{Known, PublicClient, PublicSight, PublicTarget};
use crate::daemon::expected;
use crate::daemon::survey::Here;

/// A person waits, and an address that is slower than this is worth knowing of.
const LIMIT: Duration = Duration::from_secs(10);
const DNS_LIMIT: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 16;

/// An address to look at.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) target: PublicTarget,
    /// The tunnel that it should lead to, where that is known.
    pub(super) tunnel: Option<String>,
}

impl Place {
    pub(super) fn new(url: Url, tunnel: Option<String>) -> Self {
        Self { target: PublicTarget::of(url), tunnel }
    }

    pub(super) fn hostname(&self) -> &str {
        self.target.url.host_str().unwrap_or_default()
    }
}

/// The names of a tunnel, as they are configured to be asked.
pub(super) fn places(here: &Here) -> Vec<Place> {
    let one = |name: &String| {
        let refined = here.probes.iter().find(|probe| probe.url.host().as_str() == name);
        let target = match refined {
            Some(probe) => {
                let expected = expected(probe);
                PublicTarget { expected, ..PublicTarget::of(probe.url.url().clone()) }
            }
            None => PublicTarget::https(name, "/").ok()?,
        };
        Some(Place { target, tunnel: here.id.clone() })
    };
    here.names.iter().filter_map(one).collect()
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) dns: Result<Addresses, DnsFailure>,
    pub(super) sight: PublicSight,
}

/// Looks at all of them, in their order.
pub(super) async fn all(client: &PublicClient, dns: &Arc<Dns>, places: Vec<Place>) -> Vec<Seen> {
    let slots = Semaphore::new(AT_ONCE);
    let one = async |place: Place| {
        // Never closed; without a slot it would only be sooner.
        let _slot = slots.acquire().await;
        let mut known = Known::default();
        let (dns, sight) = tokio::join!(
            dns.addresses(place.hostname(), DNS_LIMIT),
            client.look(&place.target, &mut known, LIMIT)
        );
        Seen { place, dns, sight }
    };
    join_all(places.into_iter().map(one)).await
}
