//! The edge: our own dials to it, and the control name beside it.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The two transports of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    Quic,
    Http2,
}

impl Transport {
    /// What cloudflared's `protocol` sets; `None` is auto, and whatever else it takes for that.
    pub fn of_setting(word: &str) -> Option<Self> {
        match word {
            "quic" => Some(Self::Quic),
            // The oldest way is served by http2 since cloudflared 2021.
            "http2" | "h2mux" => Some(Self::Http2),
            _ => None,
        }
    }

    /// The word that cloudflared and our labels use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Http2 => "http2",
        }
    }
}

/// The control probe: is this host's own way out working?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    Answered,
    Failing,
}

/// Whether a dial got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    Reachable,
    /// Answered by a reset or a refusal.
    Refused,
    TimedOut,
    /// No route, or this host's own firewall.
    Unreachable,
    /// Connected and then nothing came back.
    Silent,
    /// The handshake was broken off.
    BrokenOff,
}

/// One dial to one region by one transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub region: String,
    pub transport: Transport,
    pub reach: Reach,
}

/// Our own dial to the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSight {
    /// The edge's names resolved just now, not from our memory.
    pub resolved: bool,
    pub links: Vec<Link>,
    /// What the edge's names give just now; empty if they do not resolve.
    pub addresses: Vec<IpAddr>,
    /// The certificate was refused because of its dates: our clock, or an interceptor.
    pub clock_suspect: bool,
}

impl EdgeSight {
    /// At least one region answers on this transport.
    pub fn reachable(&self, transport: Transport) -> bool {
        self.links.iter().any(|l| l.transport == transport && l.reach == Reach::Reachable)
    }

    /// It was tried on this transport and no region answered.
    pub fn dead(&self, transport: Transport) -> bool {
        self.links.iter().any(|l| l.transport == transport) && !self.reachable(transport)
    }

    /// Nothing answers on any transport.
    pub fn all_dead(&self) -> bool {
        !self.links.is_empty() && self.links.iter().all(|l| l.reach != Reach::Reachable)
    }

    /// It connects, and then never says anything.
    pub fn unresponsive(&self) -> bool {
        self.all_dead() && self.links.iter().any(|l| l.reach == Reach::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_that_was_not_tried_is_neither_dead_nor_alive() {
        let link = |region: &str, reach| Link { region: region.into(), transport: Transport::Http2, reach };
        let links = vec![link("region1", Reach::TimedOut), link("region2", Reach::Refused)];
        let mut sight = EdgeSight { resolved: true, links, addresses: Vec::new(), clock_suspect: false };
        assert!(sight.dead(Transport::Http2) && sight.all_dead() && !sight.unresponsive());
        assert!(!sight.dead(Transport::Quic) && !sight.reachable(Transport::Quic));
        // One region is enough.
        sight.links.push(link("region1", Reach::Reachable));
        assert!(sight.reachable(Transport::Http2) && !sight.dead(Transport::Http2) && !sight.all_dead());
        sight.links.clear();
        assert!(!sight.all_dead(), "nothing was tried");
    }
}
