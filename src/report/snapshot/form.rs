//! The form of the picture, as JSON has it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::warden::diagnosis::Health;
use crate::warden::explain::span;

/// Everything that `/status` shows. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub mode: String,
    /// Why units of this host are only watched, if they are.
    pub powerless: Option<String>,
    pub since: String,
    pub paused_until: Option<String>,
    pub tunnels: Vec<TunnelStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TunnelStatus {
    pub name: String,
    pub unit: String,
    pub id: Option<String>,
    pub verdict: String,
    pub cause: Option<String>,
    pub since: String,
    pub explanation: String,
    pub advice: String,
    pub connector: Connector,
    pub unit_state: Option<UnitState>,
    pub names: Vec<Name>,
    pub edge: Vec<Edge>,
    pub holds: Vec<HoldStatus>,
    pub budget: Budget,
    pub incident: Option<IncidentStatus>,
    pub senses: Vec<SenseStatus>,
    /// What could not be read, each with what to do.
    #[serde(default)]
    pub unread: Vec<String>,
    /// What the audits have to say.
    #[serde(default)]
    pub findings: Vec<FindingStatus>,
    /// Worth a word, and no reason for anything.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A finding of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingStatus {
    pub audit: String,
    pub severity: String,
    pub rule: String,
    pub file: Option<String>,
    pub line: Option<u64>,
    pub what: String,
    pub fix: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connector {
    pub id: Option<String>,
    pub version: Option<String>,
    pub transport: Option<String>,
    pub connections: Option<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitState {
    pub active: String,
    pub sub: String,
    pub result: String,
    pub since: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Name {
    pub hostname: String,
    pub answer: String,
    pub status: Option<u16>,
    pub code: Option<u16>,
    pub at: Option<String>,
    pub latency_ms: Option<u64>,
    pub colo: Option<String>,
    /// `HTTP/2`, say.
    #[serde(default)]
    pub http: Option<String>,
    /// When the certificate that was shown ends.
    #[serde(default)]
    pub certificate_ends: Option<String>,
    /// Where DNS leads: `routed`, `misrouted`, `missing`; `None` while that is not known.
    #[serde(default)]
    pub route: Option<String>,
    /// What a prober elsewhere saw of it when it erred: `served` or `not_served`.
    #[serde(default)]
    pub elsewhere: Option<String>,
    /// What more there is to say of the answer.
    #[serde(default)]
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edge {
    pub region: String,
    pub transport: String,
    pub reachable: bool,
    pub at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldStatus {
    pub hold: String,
    pub until: Option<String>,
    pub reason: String,
}

/// Remedies left in the hour and in the day.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Budget {
    pub hour: u32,
    pub day: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentStatus {
    pub id: String,
    pub opened: String,
    pub cause: String,
    pub steps: Vec<StepStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepStatus {
    pub at: String,
    pub what: String,
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SenseStatus {
    pub sense: String,
    pub seen_at: Option<String>,
    /// Why it is blind, if it is.
    pub blind: Option<String>,
}

impl TunnelStatus {
    /// The tunnel is as it should be.
    pub fn healthy(&self) -> bool {
        self.verdict == Health::Healthy.name()
    }

    /// One paragraph: the sentence with its proof, what to do, what holds a remedy back and until when.
    pub fn explain(&self, now_wall: Duration) -> String {
        let mut text = format!("{} {}", self.explanation, self.advice);
        for hold in &self.holds {
            let until = match &hold.until {
                Some(until) => format!(" until {until}{}", remaining(until, now_wall)),
                None => String::new(),
            };
            text.push_str(&format!("\nHeld by {}{until}: {}.", hold.hold, hold.reason));
        }
        for note in &self.notes {
            text.push_str(&format!("\nNote: {note}."));
        }
        text
    }
}

fn remaining(until: &str, now_wall: Duration) -> String {
    let Ok(until) = until.parse::<jiff::Timestamp>() else { return String::new() };
    let until = Duration::from_millis(u64::try_from(until.as_millisecond()).unwrap_or(0));
    format!(" (in {})", span(until.saturating_sub(now_wall)))
}
