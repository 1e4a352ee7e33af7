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

/// The family of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    #[default]
    V4,
    V6,
}

impl Family {
    pub fn word(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// By which families a connector reaches the edge, as its `edge-ip-version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Families {
    /// `V4` before 2026.4.0, `Auto` since then: which is not known. IPv4 counts where the host has it.
    #[default]
    Unknown,
    V4,
    V6,
    /// It begins with the family that the host's resolver puts first. From IPv6 it goes over to IPv4, never the other way.
    Auto,
}

impl Families {
    /// The one that it never leaves.
    pub fn only(self) -> Option<Family> {
        match self {
            Self::V4 => Some(Family::V4),
            Self::V6 => Some(Family::V6),
            Self::Unknown | Self::Auto => None,
        }
    }
}

/// One dial to one region by one transport and one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub region: String,
    pub transport: Transport,
    #[serde(default)]
    pub family: Family,
    pub reach: Reach,
}

/// Our own dial to the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSight {
    /// The edge's names resolved just now, not from our memory.
    pub resolved: bool,
    pub links: Vec<Link>,
    /// With which family a process begins that takes what the resolver puts first.
    #[serde(default)]
    pub first: Family,
    /// What the edge's names give just now; empty if they do not resolve.
    pub addresses: Vec<IpAddr>,
    /// The certificate was refused because of its dates: our clock, or an interceptor.
    pub clock_suspect: bool,
}

impl EdgeSight {
    /// A connector of these families may come to use this one.
    pub fn uses(&self, families: Families, family: Family) -> bool {
        match families {
            Families::V4 => family == Family::V4,
            Families::V6 => family == Family::V6,
            Families::Auto => family == Family::V4 || self.first == Family::V6,
            Families::Unknown => family == Family::V4 || self.links.iter().all(|l| l.family != Family::V4),
        }
    }

    /// The dials that such a connector could make, too.
    pub fn links_of(&self, families: Families) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| self.uses(families, link.family))
    }

    fn dials(&self, transport: Transport, families: Families) -> impl Iterator<Item = &Link> {
        self.links_of(families).filter(move |link| link.transport == transport)
    }

    /// At least one region answers on this transport, by a family that the connector uses.
    pub fn reachable(&self, transport: Transport, families: Families) -> bool {
        self.dials(transport, families).any(|link| link.reach == Reach::Reachable)
    }

    /// It was tried on this transport, by a family that the connector uses, and no region answered.
    pub fn dead(&self, transport: Transport, families: Families) -> bool {
        self.dials(transport, families).next().is_some() && !self.reachable(transport, families)
    }

    /// The family by which such a connector gets there, or else the one that it begins with.
    pub fn family(&self, transport: Transport, families: Families) -> Family {
        if let Some(only) = families.only() {
            return only;
        }
        let tried = || self.dials(transport, families);
        let through = tried().filter(|link| link.reach == Reach::Reachable).map(|link| link.family);
        let first = if self.first == Family::V6 { through.max() } else { through.min() };
        let begins = tried().map(|link| link.family).find(|family| *family == self.first);
        first.or(begins).or_else(|| tried().map(|link| link.family).next()).unwrap_or_default()
    }

    /// A process that starts now gets there: the family that it begins with answers, or fails at once and the next one
    /// answers. Some time goes by until a family that keeps silent is given up.
    pub fn opens(&self, transport: Transport, families: Families) -> bool {
        let auto = families == Families::Auto;
        let begins = || self.dials(transport, families).filter(|link| !auto || link.family == self.first);
        let at_once = |link: &Link| matches!(link.reach, Reach::Refused | Reach::Unreachable);
        let goes_over = || begins().next().is_some() && begins().all(at_once);
        begins().any(|link| link.reach == Reach::Reachable)
            || (goes_over() && self.reachable(transport, families))
    }

    /// Nothing answers on any transport, by the families that the connector uses.
    pub fn all_dead(&self, families: Families) -> bool {
        let mut links = self.links_of(families).peekable();
        links.peek().is_some() && links.all(|link| link.reach != Reach::Reachable)
    }

    /// It connects, and then never says anything.
    pub fn unresponsive(&self, families: Families) -> bool {
        self.all_dead(families) && self.links_of(families).any(|link| link.reach == Reach::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIC: Transport = Transport::Quic;
    const HTTP2: Transport = Transport::Http2;

    fn sight(first: Family, links: &[(Transport, Family, Reach)]) -> EdgeSight {
        let link = |(transport, family, reach): &(Transport, Family, Reach)| Link {
            region: "region1".into(),
            transport: *transport,
            family: *family,
            reach: *reach,
        };
        let links = links.iter().map(link).collect();
        EdgeSight { resolved: true, links, first, addresses: Vec::new(), clock_suspect: false }
    }

    #[test]
    fn what_cloudflareds_protocol_sets() {
        let words = ["quic", "http2", "h2mux", "auto", "", "QUIC"];
        let set = [Some(QUIC), Some(HTTP2), Some(HTTP2), None, None, None];
        assert_eq!(words.map(Transport::of_setting), set);
    }

    #[test]
    fn a_transport_that_was_not_tried_is_neither_dead_nor_alive() {
        let any = Families::Unknown;
        let dead = [(HTTP2, Family::V4, Reach::TimedOut), (HTTP2, Family::V4, Reach::Refused)];
        let seen = sight(Family::V4, &dead);
        assert!(seen.dead(HTTP2, any) && seen.all_dead(any) && !seen.unresponsive(any));
        assert!(!seen.dead(QUIC, any) && !seen.reachable(QUIC, any));
        // One region is enough.
        let seen = sight(Family::V4, &[dead[0], dead[1], (HTTP2, Family::V4, Reach::Reachable)]);
        assert!(seen.reachable(HTTP2, any) && !seen.dead(HTTP2, any) && !seen.all_dead(any));
        assert!(!sight(Family::V4, &[]).all_dead(any), "nothing was tried");
    }

    #[test]
    fn a_family_that_a_connector_does_not_use_says_nothing_of_its_way() {
        let both = |first, four, six| sight(first, &[(HTTP2, Family::V4, four), (HTTP2, Family::V6, six)]);
        let (ok, silent, refused) = (Reach::Reachable, Reach::TimedOut, Reach::Refused);
        // What begins first; what answers by IPv4 and by IPv6; for whom it is reachable; who gets there at once.
        let all = [Families::V4, Families::V6, Families::Auto, Families::Unknown];
        for (first, four, six, reachable, opens) in [
            (Family::V6, ok, ok, [true, true, true, true], [true, true, true, true]),
            (Family::V6, silent, ok, [false, true, true, false], [false, true, true, false]),
            (Family::V6, ok, silent, [true, false, true, true], [true, false, false, true]),
            (Family::V6, ok, refused, [true, false, true, true], [true, false, true, true]),
            (Family::V4, silent, ok, [false, true, false, false], [false, true, false, false]),
            (Family::V4, refused, ok, [false, true, false, false], [false, true, false, false]),
            (Family::V4, ok, silent, [true, false, true, true], [true, false, true, true]),
        ] {
            let seen = both(first, four, six);
            assert_eq!(all.map(|families| seen.reachable(HTTP2, families)), reachable, "{seen:?}");
            assert_eq!(all.map(|families| seen.opens(HTTP2, families)), opens, "{seen:?}");
            assert_eq!(all.map(|families| !seen.dead(HTTP2, families)), reachable, "{seen:?}");
            assert_eq!(all.map(|families| !seen.all_dead(families)), reachable, "{seen:?}");
        }
        // A host that has IPv6 alone.
        let seen = sight(Family::V6, &[(HTTP2, Family::V6, ok)]);
        assert!(seen.reachable(HTTP2, Families::Unknown) && !seen.reachable(HTTP2, Families::V4));
        assert!(!seen.dead(HTTP2, Families::V4), "it was not tried");
    }

    #[test]
    fn by_which_family_a_connector_gets_there() {
        let both = |first, four, six| sight(first, &[(QUIC, Family::V4, four), (QUIC, Family::V6, six)]);
        let (ok, silent) = (Reach::Reachable, Reach::TimedOut);
        let auto = |first, four, six| both(first, four, six).family(QUIC, Families::Auto);
        assert_eq!(auto(Family::V6, ok, ok), Family::V6);
        assert_eq!(auto(Family::V6, ok, silent), Family::V4);
        assert_eq!(auto(Family::V6, silent, silent), Family::V6);
        assert_eq!(auto(Family::V4, silent, ok), Family::V4);
        assert_eq!(both(Family::V6, silent, ok).family(QUIC, Families::V4), Family::V4);
        assert_eq!(both(Family::V4, ok, ok).family(QUIC, Families::V6), Family::V6);
    }
}
