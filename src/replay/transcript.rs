//! What the judge made of the past, change by change.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::warden::cause::Cause;
use crate::warden::diagnosis::Verdict;
use crate::warden::note::{Happening, Note};
use crate::warden::rails::Hold;
use crate::warden::remedy::Remedy;

/// One change, with its second.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Verdict { verdict: Verdict, explanation: String },
    Held { hold: Hold, until_s: Option<f64>, detail: String },
    Ordered { remedy: Remedy, cause: Cause },
    Opened { cause: Cause },
    Closed { outcome: &'static str },
}

/// All changes in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    pub changes: Vec<(f64, Change)>,
}

#[derive(Serialize)]
struct Act {
    at_s: f64,
    remedy: &'static str,
    cause: &'static str,
}

#[derive(Serialize)]
struct Held {
    at_s: f64,
    hold: &'static str,
    until_s: Option<f64>,
}

impl Transcript {
    /// The causes in order of appearance, sustained or not; `Unknown` where there was none.
    pub fn causes(&self) -> Vec<&'static str> {
        let mut causes: Vec<_> = self.verdicts().map(|verdict| name(*verdict)).collect();
        causes.dedup();
        causes
    }

    /// The remedies it would have ordered: when, which, why.
    pub fn acts(&self) -> impl Iterator<Item = (f64, Remedy, Cause)> {
        self.changes.iter().filter_map(|(at, change)| match change {
            Change::Ordered { remedy, cause } => Some((*at, *remedy, *cause)),
            Change::Verdict { .. } | Change::Held { .. } | Change::Opened { .. } | Change::Closed { .. } => {
                None
            }
        })
    }

    /// Takes in what the judge said aloud, as far as verdicts and acts do not say it already.
    pub(super) fn take(&mut self, at: f64, note: &Note) {
        let change = match note.happening {
            Happening::IncidentOpened { cause, .. } => Change::Opened { cause },
            Happening::IncidentClosed { closing, .. } => Change::Closed { outcome: closing.name() },
            Happening::CauseChanged { .. }
            | Happening::RemedyOrdered { .. }
            | Happening::RemedyFinished { .. }
            | Happening::RemedyHeld { .. }
            | Happening::Escalated { .. }
            | Happening::SenseBlind { .. }
            | Happening::SenseSees { .. } => return,
        };
        self.changes.push((at, change));
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.changes.iter().filter_map(|(_, change)| match change {
            Change::Verdict { verdict, .. } => Some(verdict),
            Change::Held { .. } | Change::Ordered { .. } | Change::Opened { .. } | Change::Closed { .. } => {
                None
            }
        })
    }

    /// For people: one line per change. `origin` is the Unix time of second 0 where times of day are wanted.
    pub fn text(&self, origin: Option<Duration>) -> String {
        let mut text = String::new();
        let clock = |at: f64| match origin {
            None => format!("{at:>8.1} s"),
            Some(origin) => {
                let at = origin.as_secs_f64() + at;
                let time = jiff::Timestamp::from_second(at as i64);
                time.map_or_else(|_| format!("{at:.0}"), |time| time.to_string())
            }
        };
        for (at, change) in &self.changes {
            let line = match change {
                Change::Verdict { verdict, explanation } => format!("{:<20} {explanation}", name(*verdict)),
                Change::Held { hold, until_s, detail } => {
                    let until =
                        until_s.map_or(String::new(), |until| format!(" until {}", clock(until).trim()));
                    let detail = if detail.is_empty() { hold.reason() } else { detail };
                    format!("{:<20} {}{until}: {detail}", "held by", hold.name())
                }
                Change::Ordered { remedy, cause } => {
                    format!("{:<20} {} because of {}", "WOULD ORDER", remedy.name(), cause.name())
                }
                Change::Opened { cause } => format!("{:<20} {}", "incident opened", cause.name()),
                Change::Closed { outcome } => format!("{:<20} {outcome}", "incident closed"),
            };
            let _ = writeln!(text, "{}  {line}", clock(*at));
        }
        text
    }

    /// For machines: an object per line for every change, and last the summary.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for (at, change) in &self.changes {
            let at_s = tenth(*at);
            let line = match change {
                Change::Verdict { verdict, explanation } => {
                    json!({"at_s": at_s, "verdict": verdict.health.name(),
                    "cause": verdict.cause.map(Cause::name), "explanation": explanation})
                }
                Change::Held { hold, until_s, detail } => json!({"at_s": at_s, "hold": hold.name(),
                    "until_s": until_s.map(tenth), "detail": detail}),
                Change::Ordered { remedy, cause } => {
                    json!({"at_s": at_s, "remedy": remedy.name(), "cause": cause.name()})
                }
                Change::Opened { cause } => {
                    json!({"at_s": at_s, "incident": "opened", "cause": cause.name()})
                }
                Change::Closed { outcome } => {
                    json!({"at_s": at_s, "incident": "closed", "outcome": outcome})
                }
            };
            let _ = writeln!(text, "{line}");
        }
        let acts: Vec<_> = self
            .acts()
            .map(|(at, remedy, cause)| Act { at_s: tenth(at), remedy: remedy.name(), cause: cause.name() })
            .collect();
        let holds: Vec<_> = self
            .changes
            .iter()
            .filter_map(|(at, change)| match change {
                Change::Held { hold, until_s, .. } => {
                    Some(Held { at_s: tenth(*at), hold: hold.name(), until_s: until_s.map(tenth) })
                }
                Change::Verdict { .. }
                | Change::Ordered { .. }
                | Change::Opened { .. }
                | Change::Closed { .. } => None,
            })
            .collect();
        let verdict = self.verdicts().last().map_or("Unknown", |verdict| verdict.health.name());
        let last = json!({"causes": self.causes(), "acts": acts, "holds": holds, "verdict": verdict});
        let _ = writeln!(text, "{last}");
        text
    }
}

fn name(verdict: Verdict) -> &'static str {
    verdict.cause.map_or("Unknown", Cause::name)
}

fn tenth(at: f64) -> f64 {
    (at * 10.0).round() / 10.0
}
