//! What Cloudflare announces of itself: a reason to wait, and a line in the timeline of an incident. Never a cause.

use serde::{Deserialize, Serialize};

use super::incident::Incident;
use super::time::Now;
use super::tunnel::Tunnel;

/// An incident that Cloudflare's status page has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its title: from outside, printable, one line, bounded.
    pub name: String,
    /// It names tunnels or Access.
    pub tunnels: bool,
    /// The locations (IATA codes) that it names.
    pub colos: Vec<String>,
}

impl Announcement {
    /// It may be what is seen here: it is about tunnels, or about a location that answers us.
    pub fn concerns<'a>(&self, mut colos: impl Iterator<Item = &'a str>) -> bool {
        self.tunnels || colos.any(|colo| self.colos.iter().any(|named| named == colo))
    }

    /// As it is told.
    pub fn words(&self) -> String {
        format!("Cloudflare announces \"{}\"", self.name)
    }
}

/// Writes into an open incident what is announced, each once. True if that is new.
pub(super) fn annotate(tunnel: &mut Tunnel, announced: &[String], now: Now) -> bool {
    let Some(incident) = tunnel.history.incident.as_mut().filter(|incident| incident.open()) else {
        return false;
    };
    let known = |incident: &Incident, words: &String| {
        incident.steps.iter().any(|step| step.what == "announced" && step.detail == *words)
    };
    let mut new = false;
    for words in announced {
        if !known(incident, words) {
            incident.note(now.wall, "announced", words.clone());
            new = true;
        }
    }
    new
}
