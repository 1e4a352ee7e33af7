//! Where a public name leads, as DNS and Cloudflare's records say. None of it is ever a reason to restart.

use core::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Answer, Blind, Seen};
use super::time::Now;

/// What the names of tunnels end with, after the tunnel's id.
pub const TUNNELS: &str = ".cfargotunnel.com";

/// What a resolver says of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// To Cloudflare's proxies.
    Edge,
    /// There is no such name, or it has no address.
    Missing,
    /// To a tunnel's own name, past Cloudflare's proxies: the record is not proxied, and nobody can follow it.
    Grey(String),
    /// Nowhere near Cloudflare.
    Elsewhere(IpAddr),
}

impl Route {
    /// What an answer means: the names on the way to the addresses, and the addresses. One of the edge's is enough:
    /// somebody may balance between Cloudflare and another place.
    pub fn of(aliases: &[String], addresses: &[IpAddr], is_edge: impl Fn(IpAddr) -> bool) -> Self {
        if let Some(grey) = aliases.iter().find_map(|alias| Self::of_alias(alias)) {
            return grey;
        }
        match addresses.first() {
            Some(first) if !addresses.iter().any(|address| is_edge(*address)) => Self::Elsewhere(*first),
            Some(_) | None => Self::Edge,
        }
    }

    /// What an alias alone means, if it means anything: that of a proxied record is never shown.
    pub fn of_alias(alias: &str) -> Option<Self> {
        let name = alias.trim_end_matches('.').to_ascii_lowercase();
        name.ends_with(TUNNELS).then(|| Self::Grey(alias.to_owned()))
    }
}

/// What Cloudflare keeps of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// A proxied CNAME to this tunnel.
    Ours,
    /// A CNAME to the tunnel with this id.
    OtherTunnel(String),
    /// A CNAME to this tunnel that is not proxied.
    Grey(String),
    /// A record of another kind, or with another target: `A 192.0.2.1`.
    Elsewhere(String),
}

impl Kept {
    /// What a record means for a tunnel; `None` where it does not say where a visitor goes: another type, or a CNAME that
    /// may lead to another of our names, which has a record of its own.
    pub fn of(kind: &str, content: &str, proxied: Option<bool>, tunnel: &str) -> Option<Self> {
        let content = content.trim_end_matches('.').to_ascii_lowercase();
        match (kind, content.strip_suffix(TUNNELS)) {
            ("CNAME", Some(id)) if !id.eq_ignore_ascii_case(tunnel) => Some(Self::OtherTunnel(id.to_owned())),
            ("CNAME", Some(_)) if proxied == Some(false) => Some(Self::Grey(content)),
            ("CNAME", Some(_)) => Some(Self::Ours),
            ("A" | "AAAA", _) => Some(Self::Elsewhere(format!("{kind} {content}"))),
            (_, _) => None,
        }
    }

    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<Fault<'_>> {
        match self {
            Self::Ours => None,
            Self::OtherTunnel(id) => Some(Fault::OtherTunnel(id)),
            Self::Grey(target) => Some(Fault::Grey(target)),
            Self::Elsewhere(record) => Some(Fault::Record(record)),
        }
    }
}

/// What is said of a name in one word.
pub const WORDS: [&str; 3] = ["routed", "misrouted", "missing"];

/// One look at where a name leads. What is `None` is not known and says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSight {
    /// By this host's own resolver.
    pub inside: Option<Route>,
    /// By a resolver outside, where one is set.
    pub outside: Option<Route>,
    pub kept: Option<Kept>,
}

/// Why visitors do not get from a name to this tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// There is no such name; `outside` if a resolver there says so, too.
    Missing {
        outside: bool,
    },
    Grey(&'a str),
    OtherTunnel(&'a str),
    Record(&'a str),
    Address(IpAddr),
}

impl RouteSight {
    /// What is wrong, if anything is. The record itself knows best, then the world's view, then our own: a name that is
    /// answered otherwise inside this network is nobody's fault.
    pub fn fault(&self) -> Option<Fault<'_>> {
        if let Some(kept) = &self.kept {
            let unseen = (self.outside == Some(Route::Missing)).then_some(Fault::Missing { outside: true });
            return kept.fault().or(unseen);
        }
        let outside = self.outside.is_some();
        match self.outside.as_ref().or(self.inside.as_ref())? {
            Route::Edge => None,
            Route::Missing => Some(Fault::Missing { outside }),
            Route::Grey(target) => Some(Fault::Grey(target)),
            Route::Elsewhere(address) if !outside && is_private(*address) => None,
            Route::Elsewhere(address) => Some(Fault::Address(*address)),
        }
    }

    /// The word in JSON and labels, one of [`WORDS`].
    pub fn word(&self) -> &'static str {
        match self.fault() {
            Some(Fault::Missing { .. }) => "missing",
            Some(Fault::Grey(_) | Fault::OtherTunnel(_) | Fault::Record(_) | Fault::Address(_)) => {
                "misrouted"
            }
            None => "routed",
        }
    }
}

impl Fault<'_> {
    /// Such an answer shows that a visitor gets there all the same.
    pub(super) fn disproven_by(self, answer: Answer) -> bool {
        match self {
            // Asked at the edge's own addresses a name answers though the world cannot find it.
            Self::Missing { outside } => !outside && answer == Answer::Served,
            Self::Grey(_) | Self::OtherTunnel(_) | Self::Record(_) => match answer {
                Answer::Served | Answer::OriginError | Answer::Unexpected => true,
                Answer::TunnelError
                | Answer::DnsError
                | Answer::EdgeError
                | Answer::Access
                | Answer::Challenge
                | Answer::Cached
                | Answer::Blind => false,
            },
            // Whatever is answered is answered by the edge, so the address is one of its own.
            Self::Address(_) => answer != Answer::Blind,
        }
    }

    /// In words, of the name `name`.
    pub fn words(self, name: &str) -> String {
        match self {
            Self::Missing { outside: true } => format!("{name} does not exist for the resolver outside"),
            Self::Missing { outside: false } => format!("{name} does not exist for this host's resolver"),
            Self::Grey(target) => format!("{name} is a CNAME to {target} that is not proxied (grey cloud)"),
            Self::OtherTunnel(id) => format!("the record of {name} leads to another tunnel, {id}"),
            Self::Record(record) => format!("the record of {name} is {record}"),
            Self::Address(address) => format!("{name} resolves to {address}, which is not Cloudflare's"),
        }
    }
}

/// Addresses that only a network of its own can mean: what is answered inside it, or by a proxy with made-up ones.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [a, b, ..] = four.octets();
            four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_unspecified()
                || (a == 100 && b & 0xc0 == 64)
                || (a == 198 && b & 0xfe == 18)
        }
        IpAddr::V6(six) => {
            six.is_loopback() || six.is_unspecified() || six.is_unique_local() || six.is_unicast_link_local()
        }
    }
}

/// The record of where one name leads.
#[derive(Clone, Debug, Default)]
pub struct RouteTrack {
    /// The last sight, and when it was taken.
    pub sight: Option<(Duration, RouteSight)>,
    /// Why the latest look saw nothing, if it did not.
    pub blind: Option<Blind>,
    /// Sights in a row with the same fault, or with none.
    pub streak: u32,
}

impl RouteTrack {
    pub(super) fn put(&mut self, now: Now, seen: Seen<RouteSight>) {
        match seen {
            Ok(sight) => {
                let same = self.sight.as_ref().is_some_and(|(_, before)| before.fault() == sight.fault());
                self.streak = if same { self.streak.saturating_add(1) } else { 1 };
                self.sight = Some((now.boot, sight));
                self.blind = None;
            }
            Err(blind) => self.blind = Some(blind),
        }
    }

    /// What was wrong in two looks, the last of them not older than `max_age`.
    pub(super) fn fault(&self, now: Now, max_age: Duration) -> Option<Fault<'_>> {
        let (at, sight) = self.sight.as_ref()?;
        sight.fault().filter(|_| 2 <= self.streak && now.since(*at) <= max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(inside: Route, outside: Option<Route>, kept: Option<Kept>) -> RouteSight {
        RouteSight { inside: Some(inside), outside, kept }
    }

    #[test]
    fn the_record_knows_best_then_the_world_then_this_host() {
        let there = || Route::Elsewhere("192.0.2.1".parse().unwrap());
        let home = || Route::Elsewhere("10.1.2.3".parse().unwrap());
        let fault = |inside, outside, kept| sight(inside, outside, kept).word();
        assert_eq!(fault(Route::Edge, None, None), "routed");
        assert_eq!(fault(there(), None, None), "misrouted");
        assert_eq!(fault(Route::Missing, None, None), "missing");
        // Split horizon: the world is right, or we cannot know.
        assert_eq!(fault(home(), None, None), "routed");
        assert_eq!(fault(home(), Some(Route::Edge), None), "routed");
        assert_eq!(fault(Route::Missing, Some(Route::Edge), None), "routed");
        assert_eq!(fault(Route::Edge, Some(Route::Missing), None), "missing");
        assert_eq!(fault(Route::Edge, Some(home()), None), "misrouted");
        // The record.
        assert_eq!(fault(there(), None, Some(Kept::Ours)), "routed");
        assert_eq!(fault(Route::Edge, None, Some(Kept::OtherTunnel("x".into()))), "misrouted");
        assert_eq!(fault(Route::Edge, Some(Route::Missing), Some(Kept::Ours)), "missing");
        assert_eq!(RouteSight::default().word(), "routed");
    }

    #[test]
    fn one_look_is_no_fault_and_a_blind_one_ends_none() {
        let now = |at: u64| Now { boot: Duration::from_secs(at), wall: Duration::from_secs(at) };
        let age = Duration::from_secs(60);
        let mut track = RouteTrack::default();
        let grey = || Ok(sight(Route::Grey("x.cfargotunnel.com".into()), None, None));
        track.put(now(1), grey());
        assert_eq!(track.fault(now(1), age), None);
        track.put(now(2), grey());
        track.put(now(3), Err(Blind::TimedOut));
        assert!(track.fault(now(3), age).is_some() && track.blind == Some(Blind::TimedOut));
        assert_eq!(track.fault(now(63), age), None, "it is old");
        track.put(now(64), Ok(sight(Route::Edge, None, None)));
        assert_eq!((track.fault(now(64), age), track.blind), (None, None));
        track.put(now(65), grey());
        assert_eq!(track.fault(now(65), age), None, "it is the first of its kind");
    }

    #[test]
    fn addresses_of_inner_networks_lead_nowhere_wrong() {
        let inner = "10.0.0.1 127.0.0.1 169.254.1.1 0.0.0.0 100.64.0.1 100.127.0.1 198.18.0.1 198.19.0.1 ::1 :: fd00::1 fe80::1";
        let outer =
            "100.63.0.1 100.128.0.1 101.64.0.1 198.17.0.1 198.20.0.1 199.18.0.1 192.0.2.1 2001:db8::1";
        let word = |address: &str| sight(Route::Elsewhere(address.parse().unwrap()), None, None).word();
        inner.split(' ').for_each(|address| assert_eq!(word(address), "routed", "{address}"));
        outer.split(' ').for_each(|address| assert_eq!(word(address), "misrouted", "{address}"));
    }

    #[test]
    fn an_answer_that_comes_through_disproves_a_wrong_record_and_no_error_of_the_edge_does() {
        for fault in [Fault::Grey("x"), Fault::OtherTunnel("x"), Fault::Record("x")] {
            let disproving: Vec<_> =
                Answer::ALL.into_iter().filter(|answer| fault.disproven_by(*answer)).collect();
            assert_eq!(disproving, [Answer::Served, Answer::OriginError, Answer::Unexpected]);
        }
        let missing = |outside| {
            Answer::ALL.into_iter().filter(move |answer| Fault::Missing { outside }.disproven_by(*answer))
        };
        assert_eq!((missing(false).collect::<Vec<_>>(), missing(true).count()), (vec![Answer::Served], 0));
        let address = Fault::Address("192.0.2.1".parse().unwrap());
        assert!(
            Answer::ALL.into_iter().all(|answer| address.disproven_by(answer) == (answer != Answer::Blind))
        );
    }

    #[test]
    fn records_say_where_a_visitor_goes() {
        let of = |kind, content, proxied| Kept::of(kind, content, proxied, "aB");
        assert_eq!(of("CNAME", "Ab.CFArgoTunnel.com.", Some(true)), Some(Kept::Ours));
        assert_eq!(of("CNAME", "ab.cfargotunnel.com", None), Some(Kept::Ours));
        assert_eq!(
            of("CNAME", "ab.cfargotunnel.com", Some(false)),
            Some(Kept::Grey("ab.cfargotunnel.com".into()))
        );
        assert_eq!(of("CNAME", "cd.cfargotunnel.com", Some(false)), Some(Kept::OtherTunnel("cd".into())));
        assert_eq!(of("CNAME", "www.example.com", Some(true)), None);
        assert_eq!(of("A", "192.0.2.1", Some(true)), Some(Kept::Elsewhere("A 192.0.2.1".into())));
        assert_eq!(of("AAAA", "2001:db8::1", None), Some(Kept::Elsewhere("AAAA 2001:db8::1".into())));
        assert_eq!(of("TXT", "x", None), None);
        // Of two faults the record's own is named.
        let other = Some(Kept::OtherTunnel("x".into()));
        assert_eq!(sight(Route::Edge, Some(Route::Missing), other).fault(), Some(Fault::OtherTunnel("x")));
    }

    #[test]
    fn resolvers_say_where_a_name_leads() {
        let edge: IpAddr = "192.0.2.9".parse().unwrap();
        let [one, two] = ["198.51.100.1", "198.51.100.2"].map(|address| address.parse::<IpAddr>().unwrap());
        let of = |alias: &str, addresses: &[IpAddr]| {
            Route::of(&[alias.into()], addresses, |address| address == edge)
        };
        assert_eq!(of("x.example.com", &[one, two]), Route::Elsewhere(one));
        assert_eq!(of("x.example.com", &[one, edge]), Route::Edge, "somebody balances");
        assert_eq!(of("x.CFArgoTunnel.com.", &[one]), Route::Grey("x.CFArgoTunnel.com.".into()));
        assert_eq!(Route::of_alias("x.example.com"), None);
    }
}
