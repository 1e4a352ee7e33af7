//! Our own dial to the edge, as cloudflared's pre-checks do it.

use crate::client::edge::{EdgeDns, EdgeSight as Dialled, Reach as Reached, Transport as By};
use crate::warden::evidence::{EdgeSight, Link, Reach, Transport};

/// A dial, in the warden's words.
pub fn sight(dialled: &Dialled) -> EdgeSight {
    let links = dialled.links.iter().map(|link| Link {
        region: link.region.clone(),
        transport: match link.transport {
            By::Quic => Transport::Quic,
            By::Http2 => Transport::Http2,
        },
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
        addresses: dialled.addresses.clone(),
        clock_suspect: dialled.links.iter().any(|link| matches!(link.reach, Reached::ClockWrong { .. })),
    }
}
