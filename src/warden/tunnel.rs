//! One tunnel's record: what was seen, what is concluded, what is under way.

mod senses;

use std::collections::BTreeSet;
use std::time::Duration;

use super::cause::Cause;
use super::diagnosis::{Health, Verdict};
use super::evidence::{
    Active, Answer, Evidence, Finding, HostEvidence, Line, NameTrack, Ready, ReadySight, UnitSight,
};
use super::facts::{Facts, Shaken};
use super::history::{History, Latch};
use super::incident::Incident;
use super::looks::Looks;
use super::name::PROOF_ROUNDS;
use super::policy::Policy;
use super::rails::{Held, Hold};
use super::remedy::Remedy;
use super::time::Now;
use super::track::{EdgeTrack, FULL, Origin, Track};
use senses::SENSES;

/// What is under way. Every phase but watching ends by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Watching,
    /// No rail objects; everything is looked at once more at `look_at`.
    LastLook {
        remedy: Remedy,
        cause: Cause,
        look_at: Duration,
        /// When it was asked for.
        asked: Option<Duration>,
        looked: bool,
        give_up: Duration,
    },
    /// systemd is at it.
    Acting {
        remedy: Remedy,
        cause: Cause,
        since: Duration,
        give_up: Duration,
    },
    /// Done; the cure is to be proven from the edge.
    Verifying {
        remedy: Remedy,
        cause: Cause,
        since: Duration,
        give_up: Duration,
    },
}

/// How long a sense has been blind, and whether people were told.
#[derive(Clone, Copy, Debug)]
pub struct Blindness {
    pub since: Duration,
    pub told: bool,
}

/// Everything about one tunnel.
#[derive(Clone, Debug)]
pub struct Tunnel {
    pub unit: String,
    pub evidence: Evidence,
    pub track: Track,
    pub history: History,
    pub phase: Phase,
    pub verdict: Verdict,
    /// The verdict has stood since.
    pub since: Duration,
    /// Its cause has, whatever it left of the tunnel's health.
    pub(super) cause_since: Duration,
    /// The verdict in words, as it was when something was last said. Whoever asks later has it put into words anew.
    explanation: String,
    pub holds: Vec<Held>,
    /// Not healthy, by something that is an incident, since.
    pub trouble_since: Option<Duration>,
    /// Healthy without a break since.
    pub good_since: Option<Duration>,
    pub(super) look_again: Option<Duration>,
    pub(super) held_told: BTreeSet<Hold>,
    pub(super) hurried: bool,
    /// Since when each sense is blind, in the order of [`Self::blindness`].
    pub(super) blind: [Option<Blindness>; SENSES],
    pub(super) unknown_since: Option<Duration>,
    pub(super) watched_since: Duration,
    /// When the explanation was last put into words.
    explained_at: Duration,
    /// To be judged anew by then, whatever happens.
    pub(super) wake: Duration,
}

const CALM_WAKEUP: Duration = Duration::from_secs(10);
const TROUBLE_WAKEUP: Duration = Duration::from_secs(1);

/// journald passes a line on within half a second; one that takes longer than this says that it cannot keep up.
const JOURNAL_LATE: Duration = Duration::from_secs(5);
/// An Unknown shorter than this pauses a suspicion; longer, it ends it.
pub(super) const UNKNOWN_PAUSES: Duration = Duration::from_secs(60);
/// The edge caches absence for some seconds; health that is younger proves nothing.
const NEGATIVE_CACHE: Duration = Duration::from_secs(15);
const PROOF_WITHOUT_NAMES: Duration = Duration::from_secs(60);

impl Tunnel {
    pub(super) fn new(unit: String, history: History, now: Now) -> Self {
        Self {
            unit,
            evidence: Evidence::default(),
            track: Track::default(),
            history,
            phase: Phase::Watching,
            verdict: Verdict::UNKNOWN,
            since: now.boot,
            cause_since: now.boot,
            explanation: "Unknown, so nothing is done: nothing was looked at yet.".into(),
            holds: Vec::new(),
            trouble_since: None,
            good_since: None,
            look_again: None,
            held_told: BTreeSet::new(),
            hurried: false,
            blind: [None; SENSES],
            unknown_since: None,
            watched_since: now.boot,
            explained_at: now.boot,
            wake: now.boot,
        }
    }

    /// When this judgement is out of date, if nothing happens before.
    pub(super) fn next_judgement(&self, now: Now) -> Duration {
        let phase = match &self.phase {
            Phase::Watching => None,
            Phase::LastLook { asked: None, look_at, .. } => Some(*look_at),
            Phase::LastLook { give_up, .. }
            | Phase::Acting { give_up, .. }
            | Phase::Verifying { give_up, .. } => Some(*give_up),
        };
        let holds = self.holds.iter().filter_map(|held| held.until);
        let pace = if self.verdict.health == Health::Healthy { CALM_WAKEUP } else { TROUBLE_WAKEUP };
        let proof = self.good_since.map(|good| [good + NEGATIVE_CACHE, good + PROOF_WITHOUT_NAMES]);
        let times = phase.into_iter().chain(holds).chain(proof.into_iter().flatten());
        // What has passed was judged by.
        times.filter(|at| now.boot < *at).fold(now.boot + pace, Duration::min)
    }

    /// Keeps what is to be said at this moment.
    pub(super) fn explain(&mut self, explanation: String, now: Now) {
        self.explanation = explanation;
        self.explained_at = now.boot;
    }

    /// The words for what is said at this moment.
    pub(super) fn words(&self, now: Now) -> &str {
        debug_assert_eq!(self.explained_at, now.boot, "something is said in the words of another moment");
        &self.explanation
    }

    /// The verdict in words, as it was when something was last said.
    pub fn last_words(&self) -> &str {
        &self.explanation
    }

    /// Takes in a finding. True if it can change the verdict at once.
    pub(super) fn fold(&mut self, now: Now, finding: Finding) -> bool {
        match finding {
            Finding::Unit(seen) => {
                // Of a unit that is not up each look counts.
                let counts = seen.as_ref().is_ok_and(|unit| !unit.up());
                let known = self.evidence.unit.repeats(now, &seen, Duration::MAX);
                match seen {
                    Ok(unit) => self.fold_unit(now, unit),
                    Err(blind) => self.evidence.unit.put(now, Err(blind)),
                }
                return counts || !known;
            }
            Finding::Log(entry) => {
                let urgent = !matches!(
                    entry.line,
                    Line::Other | Line::Attempt | Line::DialFailed { .. } | Line::OriginDown | Line::Lost
                );
                // What was written before we came is history, not lag.
                let awaited = self.watched_since <= entry.at;
                if awaited && JOURNAL_LATE < now.since(entry.at) {
                    self.evidence.log.late = Some(now.boot);
                }
                self.evidence.log.put(entry);
                return urgent;
            }
            Finding::Journal(seen) => {
                let known = self.evidence.journal.repeats(now, &seen, Duration::MAX);
                self.evidence.journal.put(now, seen);
                return !known;
            }
            Finding::JournalGap => self.evidence.log.gap = Some(now.boot),
            Finding::Ready(Ok(sight)) => {
                let held = match sight.ready {
                    Ready::Connections(held) => Some(held),
                    Ready::Refused | Ready::Silent => None,
                };
                // A look that finds none is one more that does. What is counted beside them says something only where
                // names fail.
                let same = held.is_some_and(|held| 0 < held) && held == self.connections();
                let known = same && (self.at_peace() || self.ready_says(&sight));
                self.track.ready(now, &sight, self.evidence.setup.connections.unwrap_or(FULL));
                self.evidence.ready.put(now, Ok(sight));
                return !known;
            }
            Finding::Ready(Err(blind)) => {
                self.track.ready_blind(now);
                self.evidence.ready.put(now, Err(blind));
            }
            Finding::Name { hostname, sight } => {
                let peace = self.at_peace();
                let name = self.evidence.names.entry(hostname).or_default();
                let known_good = name.known_good();
                name.put(now, sight);
                return !(peace && known_good && name.known_good());
            }
            Finding::Route { hostname, seen } => {
                self.evidence.routes.entry(hostname).or_default().put(now, seen);
            }
            Finding::Elsewhere { hostname, seen } => {
                self.evidence.elsewhere.entry(hostname).or_default().put(now, seen);
            }
            Finding::Files(files) => {
                let before = self.evidence.files.as_ref().and_then(|before| before.changed);
                if before != files.changed {
                    self.track.files_changed =
                        files.changed.map(|changed| now.boot_of(changed).min(now.boot));
                }
                self.evidence.files = Some(files);
                self.try_files();
            }
            Finding::Setup(setup) => self.evidence.setup = setup,
            Finding::Tunnel(seen) => self.evidence.tunnel.put(now, seen),
        }
        true
    }

    /// The last look at `/ready` saw exactly this.
    fn ready_says(&self, sight: &ReadySight) -> bool {
        self.evidence.ready.latest.as_ref().is_some_and(|(_, seen)| seen.as_ref() == Ok(sight))
    }

    /// All is well, and nothing is under way that waits for a look.
    fn at_peace(&self) -> bool {
        let open = self.history.incident.as_ref().is_some_and(Incident::open);
        self.verdict.health == Health::Healthy
            && matches!(self.phase, Phase::Watching)
            && !open
            && self.track.names_bad_since.is_none()
            && self.track.life.is_none_or(|life| life.through)
    }

    fn fold_unit(&mut self, now: Now, unit: UnitSight) {
        let before = self.evidence.unit.standing(now, Duration::MAX).map(|(_, unit)| unit);
        let known = unit.invocation.and_then(|invocation| self.history.life(invocation));
        // The first life since the order is ours, and what begins while our hands are at it; whoever begins the next one is
        // somebody else.
        let at_it = matches!(self.phase, Phase::Acting { .. });
        let ordered = self.history.in_flight.is_some_and(|flight| {
            let first = self.track.life.is_none_or(|life| life.began < flight.at);
            flight.before != unit.invocation && (at_it || first)
        });
        // A life that is remembered began before us.
        let ours = ordered && known.is_none();
        let remembered = known.map(|life| (life.watched_whole, life.through));
        let life = self.track.life.map(|life| life.invocation);
        self.track.unit(now, before, &unit, ours, remembered);
        if life != self.track.life.map(|life| life.invocation) {
            // What the last process said of itself is not true of this one.
            self.evidence.ready.latest = None;
            self.try_files();
        }
        match unit.active {
            Active::Inactive | Active::Failed | Active::Activating => self.track.zero(now),
            Active::Active | Active::Deactivating | Active::Other => (),
        }
        self.evidence.unit.put(now, Ok(unit));
    }

    /// The present process has tried the files that were there when it began: only newer ones are worth another try.
    fn try_files(&mut self) {
        let files = self.evidence.files.as_ref().and_then(|files| files.changed);
        let (Some(latch), Some(life)) = (&mut self.history.latch, self.track.life) else { return };
        if self.track.files_changed.is_some_and(|changed| changed <= life.began) {
            latch.tried |= latch.files < files;
            latch.files = latch.files.max(files);
        }
    }

    /// Somebody else has begun another process since the remedy under way was ordered.
    pub(super) fn overtaken(&self) -> bool {
        let (life, flight) = (self.track.life, self.history.in_flight);
        life.zip(flight).is_some_and(|(life, flight)| life.origin == Origin::Other && flight.at < life.began)
    }

    /// The names that are to be watched; those that are gone are forgotten.
    pub(super) fn watch_names(&mut self, names: &[String]) {
        self.evidence.names.retain(|name, _| names.contains(name));
        self.evidence.routes.retain(|name, _| names.contains(name));
        self.evidence.elsewhere.retain(|name, _| names.contains(name));
        for name in names {
            self.evidence.names.entry(name.clone()).or_default();
        }
    }

    /// `looks` are this tunnel's of this moment: they cost the most to put together, and are shared.
    pub(super) fn facts<'a>(
        &'a self,
        looks: Looks<'a>,
        now: Now,
        policy: &'a Policy,
        host: &'a HostEvidence,
        edge_track: &'a EdgeTrack,
        shaken: Option<Shaken>,
    ) -> Facts<'a> {
        let mut facts = Facts::new(now, policy, &self.evidence, looks, host, &self.track, edge_track);
        facts.latched = self.history.latch.is_some();
        // systemd may still be at it when we have stopped waiting.
        let stands = |before| facts.unit.is_some_and(|unit| unit.invocation == before);
        let pending =
            self.history.in_flight.is_some_and(|flight| flight.before.is_some() && stands(flight.before));
        facts.ours_at_work = pending || matches!(self.phase, Phase::Acting { .. });
        facts.shaken = shaken;
        facts
    }

    /// Remembers refused credentials that only the counters told of. True if that is new.
    pub(super) fn latch(&mut self, now: Now) -> bool {
        let new = self.history.latch.is_none();
        if new {
            let files = self.evidence.files.as_ref().and_then(|files| files.changed);
            self.history.latch = Some(Latch { at: now.boot, files, tried: false });
        }
        new
    }

    /// The names' answers, or the connections where no name says anything, have been good for long enough.
    pub fn proven(&self, now: Now) -> bool {
        let Some(good) = self.good_since else { return false };
        let served =
            |name: &&NameTrack| name.latest.as_ref().is_some_and(|(_, sight)| sight.answer == Answer::Served);
        if self.evidence.names.values().any(NameTrack::broken_and_unseen) {
            return false;
        }
        let streaks = self.evidence.names.values().filter(served).map(|name| name.streak);
        match streaks.min() {
            Some(least) => NEGATIVE_CACHE <= now.since(good) && PROOF_ROUNDS <= least,
            // What it held before it fell silent proves nothing.
            None => self.connections().is_some() && PROOF_WITHOUT_NAMES <= now.since(good),
        }
    }

    /// What a remedy rests on was looked at since then, whatever came of it: a look that got lost confirms nothing. The unit was
    /// seen, too.
    pub(super) fn seen_anew(&self, host: &HostEvidence, since: Duration) -> bool {
        let unit = self.evidence.unit.latest.as_ref();
        let up = unit.is_some_and(|(_, seen)| seen.as_ref().is_ok_and(UnitSight::up));
        // Where it was never looked at before, there is nothing to see.
        let ready = self.evidence.ready.latest.as_ref().filter(|_| up);
        let name = self.evidence.names.values().filter_map(|name| Some(name.latest.as_ref()?.0)).max();
        let edge = host.edge.latest.as_ref();
        let looks =
            [unit.and(self.evidence.unit.seen_at), ready.map(|(at, _)| *at), name, edge.map(|(at, _)| *at)];
        looks.into_iter().flatten().all(|at| since <= at)
    }

    /// The connections it holds, as last read.
    pub fn connections(&self) -> Option<u8> {
        match self.evidence.ready.latest.as_ref()?.1.as_ref().ok()?.ready {
            Ready::Connections(n) => Some(n),
            Ready::Refused | Ready::Silent => None,
        }
    }
}

#[cfg(test)]
mod tests;
