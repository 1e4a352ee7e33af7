//! Our own dial to the edge, as cloudflared's pre-checks do it.

use crate::client::cloudflared_binary::Version;
use crate::client::edge::{
    EdgeDns, EdgeSight as Dialled, Family as Wanted, Reach as Reached, Transport as By,
};
use crate::warden::evidence::{EdgeSight, Families, Family, Link, Reach, Transport};

/// A dial, in the warden's words.
pub fn sight(dialled: &Dialled) -> EdgeSight {
    let links = dialled.links.iter().map(|link| Link {
        region: link.region.clone(),
        transport: match link.transport {
            By::Quic => Transport::Quic,
            By::Http2 => Transport::Http2,
        },
        family: if link.address.is_ipv4() { Family::V4 } else { Family::V6 },
        reach: match &link.reach {
            Reached::Reachable { .. } => Reach::Reachable,
            Reached::Refused => Reach::Refused,
            Reached::TimedOut => Reach::TimedOut,
            Reached::Unreachable => Reach::Unreachable,
            Reached::Silent => Reach::Silent,
            Reached::ClockWrong { .. } | Reached::TlsFailed(_) | Reached::Failed(_) => Reach::BrokenOff,
        },
    });
    EdgeSight {
        resolved: matches!(dialled.dns, EdgeDns::Resolved),
        links: links.collect(),
        first: if dialled.begins_with_v6 { Family::V6 } else { Family::V4 },
        addresses: dialled.addresses.clone(),
        clock_suspect: dialled.links.iter().any(|link| matches!(link.reach, Reached::ClockWrong { .. })),
    }
}

/// With this version of cloudflared, `auto` became what it does unless it is told otherwise.
const AUTO_SINCE: Version = Version(2026, 4, 0);

/// By which families a cloudflared reaches the edge that was not told; `version` as its journal has it.
pub fn families(version: Option<&str>) -> Families {
    match version.and_then(|version| version.parse().ok()) {
        Some(version) if AUTO_SINCE <= version => Families::Auto,
        Some(_) => Families::V4,
        None => Families::Unknown,
    }
}

/// What is to be dialled for a connector.
pub fn wanted(families: Families) -> Wanted {
    match families {
        Families::Auto => Wanted::Auto,
        Families::V4 => Wanted::V4,
        Families::V6 => Wanted::V6,
        Families::Unknown => Wanted::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cloudflared_does_untold_depends_on_its_version() {
        let cases = [
            (Some("2026.4.0"), Families::Auto),
            (Some("2026.8.2"), Families::Auto),
            (Some("2026.3.0"), Families::V4),
            (Some("2024.12.2"), Families::V4),
            (Some("DEV"), Families::Unknown),
            (None, Families::Unknown),
        ];
        for (version, expected) in cases {
            assert_eq!(families(version), expected, "{version:?}");
        }
    }
}
