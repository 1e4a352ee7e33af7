//! Our own dial to Cloudflare's tunnel edge, as cloudflared's pre-checks do it: a handshake, and closed right after.

mod dial;
mod family;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use self::family::{Plan, Routes, choose};
use super::dns::{Dns, DnsFailure, Location};
use super::tls::Tls;

/// How cloudflared reaches the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// UDP 7844.
    Quic,
    /// TCP 7844.
    Http2,
}

/// Which addresses a cloudflared dials, as its `--edge-ip-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The family that this host's resolver puts first; from IPv6 it goes over to IPv4, and never the other way.
    Auto,
    V4,
    V6,
    /// As `Auto`, or by IPv4 alone as before 2026.4.0: which is not known.
    Unknown,
}

/// What to dial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSettings {
    /// As cloudflared's `--region`: `us`, `fed`; the world otherwise.
    pub region: Option<String>,
}

/// Whether a dial got through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The handshake was completed. `verified`: this system trusts the certificate; not required, as the edge may
    /// chain to roots that only cloudflared carries.
    Reachable { verified: bool, took: Duration },
    /// Answered by a refusal or a reset.
    Refused,
    /// Nothing came back at all.
    TimedOut,
    /// No route, or this host's own firewall.
    Unreachable,
    /// Connected, and then nothing came back.
    Silent,
    /// The handshake was broken off or is not TLS; why.
    TlsFailed(String),
    /// The handshake was completed with a certificate outside its dates: it is old, or our clock is wrong.
    ClockWrong { took: Duration },
    /// Anything else, in the system's words.
    Failed(String),
}

impl Reach {
    /// The way to the edge is open.
    pub fn open(&self) -> bool {
        match self {
            Self::Reachable { .. } | Self::ClockWrong { .. } => true,
            Self::Refused
            | Self::TimedOut
            | Self::Unreachable
            | Self::Silent
            | Self::TlsFailed(_)
            | Self::Failed(_) => false,
        }
    }
}

/// One region by one transport and one family: the dial that got through, or else the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `region1.v2.argotunnel.com`, say.
    pub region: String,
    pub transport: Transport,
    /// Where the dial went.
    pub address: SocketAddr,
    pub reach: Reach,
}

/// What became of the edge's names just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeDns {
    Resolved,
    Failed(DnsFailure),
}

/// Our dials to every region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSight {
    pub dns: EdgeDns,
    /// Some of what was dialled comes from our memory, because the names do not resolve now.
    pub from_memory: bool,
    /// What the names give just now, as cloudflared would see it if it started; of both regions and families.
    pub addresses: Vec<IpAddr>,
    /// A process that starts now with [`Family::Auto`] begins with IPv6.
    pub begins_with_v6: bool,
    /// Empty if no address was ever known.
    pub links: Vec<Link>,
}

/// The edge has two; an answer with many must not make us dial the world.
const MOST_REGIONS: usize = 4;
/// Ten of each family in each region.
const MOST_ADDRESSES: usize = 80;

/// A region with its addresses.
type Regions = BTreeMap<String, Vec<SocketAddr>>;

/// Dials the edge and remembers the addresses it last resolved, so that a dead resolver does not look like a dead edge.
#[derive(Debug)]
pub struct EdgeDialer {
    tls: Tls,
    dns: Arc<Dns>,
    settings: EdgeSettings,
    known: Mutex<Regions>,
    turn: AtomicUsize,
    /// This host had a route for IPv4 at some time.
    had_v4: AtomicBool,
}

impl EdgeDialer {
    /// Opens nothing yet.
    pub fn new(tls: &Tls, dns: Arc<Dns>, settings: EdgeSettings) -> Self {
        let (known, turn) = (Mutex::default(), AtomicUsize::new(0));
        Self { tls: tls.clone(), dns, settings, known, turn, had_v4: AtomicBool::new(false) }
    }

    /// Dials every region by both transports together, and by the families that `wanted` asks for; names, a first and a
    /// second address within `limit`.
    pub async fn dial(&self, limit: Duration, wanted: &BTreeSet<Family>) -> EdgeSight {
        let until = Instant::now() + limit;
        let mut addresses = Vec::new();
        let (dns, regions, from_memory) = match self.resolve(limit / 3).await {
            Ok(fresh) => {
                *self.known() = fresh.clone();
                addresses.extend(fresh.values().flatten().map(SocketAddr::ip).take(MOST_ADDRESSES));
                (EdgeDns::Resolved, fresh, false)
            }
            Err(failure) => {
                let known = self.known().clone();
                let from_memory = !known.is_empty();
                (EdgeDns::Failed(failure), known, from_memory)
            }
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let routes = Routes::to(regions.values().flatten());
        let had_v4 = self.had_v4.fetch_or(routes.v4, Ordering::Relaxed) || routes.v4;
        let plan = Plan::of(wanted, routes, had_v4);
        let dials = regions.iter().flat_map(|(region, addresses)| {
            choose(addresses, plan, turn).into_iter().flat_map(|chosen| {
                [Transport::Quic, Transport::Http2]
                    .map(|transport| self.links(region.clone(), transport, chosen.clone(), until))
            })
        });
        let links = join_all(dials).await.into_iter().flatten().collect();
        EdgeSight { dns, from_memory, addresses, begins_with_v6: routes.begins_with_v6(), links }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Regions> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn resolve(&self, limit: Duration) -> Result<Regions, DnsFailure> {
        let until = Instant::now() + limit;
        let service = service_name(self.settings.region.as_deref());
        let locations = self.dns.srv(&service, limit).await?;
        let left = until.saturating_duration_since(Instant::now());
        let lookups = locations.iter().take(MOST_REGIONS).map(|location| self.region(location, left));
        let found = match timeout_at(until, join_all(lookups)).await {
            Ok(found) => found,
            Err(_) => return Err(DnsFailure::TimedOut),
        };
        // cloudflared does not start with one region alone.
        found.into_iter().collect()
    }

    async fn region(
        &self,
        location: &Location,
        limit: Duration,
    ) -> Result<(String, Vec<SocketAddr>), DnsFailure> {
        let found = self.dns.addresses(&location.target, limit).await?;
        let addresses = found.addresses.into_iter().map(|ip| SocketAddr::new(ip, location.port)).collect();
        Ok((location.target.clone(), addresses))
    }

    /// Dials one address after the other until one answers.
    async fn links(
        &self,
        region: String,
        transport: Transport,
        addresses: Vec<SocketAddr>,
        until: Instant,
    ) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            let share = until.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let reach = dial::dial(&self.tls, transport, address, share).await;
            let open = reach.open();
            let link = Link { region: region.clone(), transport, address, reach };
            match links.iter_mut().find(|link| link.address.is_ipv4() == address.is_ipv4()) {
                Some(known) if open => *known = link,
                Some(_) => (),
                None => links.push(link),
            }
            if open {
                break;
            }
        }
        links
    }
}

/// The name under which the edge's regions are found.
fn service_name(region: Option<&str>) -> String {
    match region.filter(|region| !region.is_empty()) {
        Some(region) => format!("_{region}-v2-origintunneld._tcp.argotunnel.com"),
        None => "_v2-origintunneld._tcp.argotunnel.com".into(),
    }
}

#[cfg(test)]
mod tests;
