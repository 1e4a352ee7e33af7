//! Which families of addresses are dialled: those that somebody uses, and that this host has a way to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::Family;

/// Where this host has a route to. The kernel is asked; nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Routes {
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// From an address that resolvers put before IPv4.
    pub(super) native_v6: bool,
}

impl Routes {
    pub(super) fn to<'a>(mut addresses: impl Iterator<Item = &'a SocketAddr> + Clone) -> Self {
        let v4 = addresses.clone().find(|address| address.is_ipv4()).and_then(source);
        let v6 = addresses.find(|address| address.is_ipv6()).and_then(source);
        let native = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if native(ip));
        Self { v4: v4.is_some(), v6: v6.is_some(), native_v6: v6.is_some_and(native) }
    }

    /// RFC 6724, by which resolvers sort: what can be reached at all first, then native IPv6, then IPv4.
    pub(super) fn begins_with_v6(self) -> bool {
        self.native_v6 || (self.v6 && !self.v4)
    }
}

/// The address from which this host would send there.
fn source(to: &SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|from| from.ip())
}

/// Global, and neither 6to4 nor Teredo.
pub(super) fn native(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    first & 0xe000 == 0x2000 && first != 0x2002 && (first, second) != (0x2001, 0)
}

/// The families to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// IPv4 where IPv6 does not answer.
    pub(super) v4_after_v6: bool,
}

impl Plan {
    /// No more than somebody uses: each dial wakes this host, and the edge.
    pub(super) fn of(wanted: &BTreeSet<Family>, routes: Routes, had_v4: bool) -> Self {
        let wants = |family| wanted.contains(&family);
        let unknown = wanted.is_empty() || wants(Family::Unknown);
        // A route that is lost is the finding; one that never was is none.
        let without_v4 = routes.v6 && !had_v4;
        let begins_with_v6 = routes.begins_with_v6();
        let v4 = wants(Family::V4) || (unknown && !without_v4) || (wants(Family::Auto) && !begins_with_v6);
        let v6 = wants(Family::V6) || (unknown && without_v4) || (wants(Family::Auto) && begins_with_v6);
        Self { v4, v6, v4_after_v6: wants(Family::Auto) && begins_with_v6 && !v4 }
    }
}

/// For each family the address to dial and the one to dial if it fails; others from turn to turn.
pub(super) fn choose(addresses: &[SocketAddr], plan: Plan, turn: usize) -> Vec<Vec<SocketAddr>> {
    let (four, six): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.iter().partition(|a| a.is_ipv4());
    let pick = |list: &[SocketAddr], n: usize| list.get((turn + n) % list.len().max(1)).copied();
    let v4 = plan.v4.then(|| (pick(&four, 0), pick(&four, 1)));
    let v6 = plan.v6.then(|| {
        let other = pick(&four, 0).filter(|_| plan.v4_after_v6);
        (pick(&six, 0), other.or(pick(&six, 1)))
    });
    let tries = |(first, second): (Option<SocketAddr>, Option<SocketAddr>)| {
        let second = second.filter(|address| Some(*address) != first);
        first.into_iter().chain(second).collect::<Vec<_>>()
    };
    [v6, v4].into_iter().flatten().map(tries).filter(|tries| !tries.is_empty()).collect()
}
