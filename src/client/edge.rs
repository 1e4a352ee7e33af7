//! Our own dial to Cloudflare's tunnel edge, as cloudflared's pre-checks do it: a handshake, and closed right after.

mod dial;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

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

/// Which addresses to dial, as cloudflared's `--edge-ip-version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv6 first where this host has a route for it, then IPv4.
    #[default]
    Auto,
    V4,
    V6,
}

/// What to dial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSettings {
    /// As cloudflared's `--region`: `us`, `fed`; the world otherwise.
    pub region: Option<String>,
    pub family: Family,
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

/// One region by one transport: the dial that got through, or else the first one.
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
}

impl EdgeDialer {
    /// Opens nothing yet.
    pub fn new(tls: &Tls, dns: Arc<Dns>, settings: EdgeSettings) -> Self {
        Self { tls: tls.clone(), dns, settings, known: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// Dials every region by both transports together; names, a first and a second address within `limit`.
    pub async fn dial(&self, limit: Duration) -> EdgeSight {
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
        let dials = regions.iter().flat_map(|(region, addresses)| {
            let chosen = choose(addresses, self.settings.family, turn, has_v6_route);
            [Transport::Quic, Transport::Http2]
                .map(|transport| self.link(region.clone(), transport, chosen.clone(), until))
        });
        let links = join_all(dials).await.into_iter().flatten().collect();
        EdgeSight { dns, from_memory, addresses, links }
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

    async fn link(
        &self,
        region: String,
        transport: Transport,
        addresses: Vec<SocketAddr>,
        until: Instant,
    ) -> Option<Link> {
        let mut first = None;
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            let share = until.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let reach = dial::dial(&self.tls, transport, address, share).await;
            let open = reach.open();
            let link = Link { region: region.clone(), transport, address, reach };
            if open {
                return Some(link);
            }
            first.get_or_insert(link);
        }
        first
    }
}

/// The name under which the edge's regions are found.
fn service_name(region: Option<&str>) -> String {
    match region.filter(|region| !region.is_empty()) {
        Some(region) => format!("_{region}-v2-origintunneld._tcp.argotunnel.com"),
        None => "_v2-origintunneld._tcp.argotunnel.com".into(),
    }
}

/// The address to dial and the one to dial if it fails; others from turn to turn.
fn choose(
    addresses: &[SocketAddr],
    family: Family,
    turn: usize,
    has_v6_route: impl Fn(SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let (four, six): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.iter().partition(|a| a.is_ipv4());
    let pick = |list: &[SocketAddr], n: usize| list.get((turn + n) % list.len().max(1)).copied();
    let (first, second) = match family {
        Family::V4 => (pick(&four, 0), pick(&four, 1)),
        Family::V6 => (pick(&six, 0), pick(&six, 1)),
        Family::Auto => match pick(&six, 0) {
            Some(address) if has_v6_route(address) => (Some(address), pick(&four, 0).or(pick(&six, 1))),
            Some(_) | None if four.is_empty() => (pick(&six, 0), pick(&six, 1)),
            Some(_) | None => (pick(&four, 0), pick(&four, 1)),
        },
    };
    let second = second.filter(|address| Some(*address) != first);
    first.into_iter().chain(second).collect()
}

/// The kernel would know where to send it; nothing is sent.
fn has_v6_route(address: SocketAddr) -> bool {
    let any = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0);
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests;
