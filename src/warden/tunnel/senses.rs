//! What the senses of one tunnel see at all.

use std::time::Duration;

use super::super::cause::Cause;
use super::super::evidence::{Answer, Blind, Sense};
use super::Tunnel;

/// Senses that look at one tunnel; the others look at the host.
pub(super) const SENSES: usize = 6;

impl Tunnel {
    /// Why each sense of this tunnel cannot see, if it cannot.
    pub fn blindness(&self) -> [(Sense, Option<Blind>); SENSES] {
        let mut looked = self.evidence.names.values().filter_map(|name| name.latest.as_ref()).peekable();
        let public = if self.evidence.names.is_empty() {
            Some(Blind::NotFound)
        } else if looked.peek().is_none() {
            Some(Blind::NotYet)
        } else if looked.all(|(_, sight)| sight.answer == Answer::Blind) {
            Some(Blind::Unreachable)
        } else {
            None
        };
        // Without credentials nobody looks.
        let records = if self.reads_records() { self.evidence.tunnel.blind() } else { Some(Blind::NotFound) };
        [
            (Sense::Unit, self.evidence.unit.blind()),
            (Sense::Journal, self.evidence.journal.blind()),
            (Sense::Ready, self.evidence.ready.blind()),
            (Sense::Public, public),
            (Sense::Dns, self.dns_blind()),
            (Sense::Tunnel, records),
        ]
    }

    /// There is something that this sense should see: a process, a name, a record.
    pub fn has_to_see_by(&self, sense: Sense) -> bool {
        match sense {
            Sense::Ready => !matches!(self.verdict.cause, Some(Cause::OperatorStopped | Cause::UnitMissing)),
            Sense::Public | Sense::Dns => !self.evidence.names.is_empty(),
            Sense::Tunnel => self.reads_records(),
            Sense::Unit | Sense::Journal | Sense::Control | Sense::Edge | Sense::Host | Sense::StatusPage => {
                true
            }
        }
    }

    /// Blind if no name's way could be seen.
    fn dns_blind(&self) -> Option<Blind> {
        if self.evidence.names.is_empty() {
            return Some(Blind::NotFound);
        }
        let mut last = Blind::NotYet;
        for route in self.evidence.routes.values() {
            last = route.blind?;
        }
        Some(last)
    }

    /// Cloudflare's records are looked at, which needs credentials.
    pub fn reads_records(&self) -> bool {
        self.evidence.tunnel.latest.is_some()
    }

    /// When a sense of this tunnel last saw something.
    pub fn seen_at(&self, sense: Sense) -> Option<Duration> {
        match sense {
            Sense::Unit => self.evidence.unit.seen_at,
            Sense::Journal => self.evidence.journal.seen_at,
            Sense::Ready => self.evidence.ready.seen_at,
            Sense::Public => self.evidence.names.values().filter_map(|name| name.seen_at).max(),
            Sense::Dns => {
                let sights = self.evidence.routes.values().filter_map(|route| route.sight.as_ref());
                sights.map(|(at, _)| *at).max()
            }
            Sense::Tunnel => self.evidence.tunnel.seen_at,
            Sense::Control | Sense::Edge | Sense::Host | Sense::StatusPage => None,
        }
    }
}
