//! What the latest looks at the public names say together.

use super::evidence::{Answer, Evidence, NameSight, NameTrack};
use super::policy::Policy;
use super::route::{Fault, RouteTrack};
use super::time::Now;

/// How many names give each answer, by looks that are fresh. Most rules ask for one of these numbers.
#[derive(Clone, Copy, Debug)]
pub struct Tally([usize; Answer::ALL.len()]);

impl Tally {
    /// Names whose answer is `answer`.
    pub fn answering(&self, answer: Answer) -> usize {
        self.0[answer as usize]
    }

    /// Some name's answer is `answer`.
    pub fn any(&self, answer: Answer) -> bool {
        0 < self.answering(answer)
    }

    /// Some answer says something about a visitor's way.
    pub fn any_conclusive(&self) -> bool {
        Answer::ALL.into_iter().any(|answer| answer.conclusive() && self.any(answer))
    }

    /// Every conclusive name, and at least one, gives `answer`.
    pub fn all(&self, answer: Answer) -> bool {
        let speaks_against = |other: Answer| other != answer && other.conclusive() && self.any(other);
        self.any(answer) && !Answer::ALL.into_iter().any(speaks_against)
    }

    /// Some name's answer came through the tunnel (see [`Answer::through`]).
    pub(super) fn through(&self, reported: bool) -> bool {
        Answer::ALL.into_iter().any(|answer| answer.through(reported) && self.any(answer))
    }
}

/// The fresh looks at the public names, and where the names lead.
#[derive(Clone, Debug)]
pub struct Looks<'a> {
    /// Every name with a fresh look.
    pub names: Vec<(&'a str, &'a NameTrack, &'a NameSight)>,
    pub tally: Tally,
    /// Of those names that say something of this connector: not of one that never worked.
    pub witnesses: Tally,
    /// Names that lead elsewhere, whatever they answer.
    faults: Vec<(&'a str, Fault<'a>)>,
}

impl<'a> Looks<'a> {
    pub(super) fn of(evidence: &'a Evidence, policy: &Policy, now: Now) -> Self {
        let mut tally = Tally([0; Answer::ALL.len()]);
        let mut witnesses = tally;
        let name = |(name, track): (&'a String, &'a NameTrack)| {
            let sight = track.fresh(now, policy.name_age)?;
            tally.0[sight.answer as usize] += 1;
            witnesses.0[sight.answer as usize] += usize::from(!track.never_worked(now));
            Some((name.as_str(), track, sight))
        };
        let fault = |(name, track): (&'a String, &'a RouteTrack)| {
            Some((name.as_str(), track.fault(now, policy.route_age)?))
        };
        let names = evidence.names.iter().filter_map(name).collect();
        Self { names, tally, witnesses, faults: evidence.routes.iter().filter_map(fault).collect() }
    }

    /// Answers that say something about a visitor's way.
    pub fn conclusive(&self) -> impl Iterator<Item = (&'a str, &'a NameTrack, &'a NameSight)> {
        self.names.iter().copied().filter(|(_, _, sight)| sight.answer.conclusive())
    }

    /// Names that lead elsewhere, unless their own answer disproves it.
    pub fn astray(&self) -> impl Iterator<Item = (&'a str, Fault<'a>)> {
        self.faults.iter().copied().filter(|(name, fault)| {
            let looked = self.names.iter().find(|(looked, _, _)| looked == name);
            looked.is_some_and(|(_, _, sight)| !fault.disproven_by(sight.answer))
        })
    }

    /// Some name leads elsewhere, and every name that gives 1033 does.
    pub(super) fn led_astray(&self) -> bool {
        let astray: Vec<_> = self.astray().map(|(name, _)| name).collect();
        let ours = |(name, _, sight): &(&str, &NameTrack, &NameSight)| {
            sight.answer == Answer::TunnelError && !astray.contains(name)
        };
        !astray.is_empty() && !self.names.iter().any(ours)
    }
}
