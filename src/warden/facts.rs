//! Evidence → facts: the part of what was seen that is fresh. Age is checked here and nowhere else.

mod life;
mod patience;

use std::time::Duration;

use super::announcement::Announcement;
use super::evidence::{
    Active, Answer, Control, EdgeSight, Elsewhere, Evidence, Families, Family, HostEvidence, HostSight,
    LogTrack, Ready, ReadySight, Transport, TunnelSight, UnitSight,
};
use super::looks::{Looks, Tally};
use super::policy::Policy;
use super::time::Now;
use super::track::{COMES_AND_GOES, EdgeTrack, Life, Origin, Track};
use life::set_transport;
pub use patience::SILENCE_AT_MOST;

/// Fresh facts about one tunnel and its host. Borrowed: made anew for each judgement.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub now: Now,
    pub unit: Option<&'a UnitSight>,
    pub ready: Option<&'a ReadySight>,
    /// When the connections were read.
    pub ready_at: Option<Duration>,
    /// Connections held, where known. A unit that is not up holds none.
    pub connections: Option<u8>,
    pub looks: Looks<'a>,
    pub tally: Tally,
    /// cloudflared itself says that an origin does not answer.
    pub origin_reported: bool,
    /// Some name's answer came through the tunnel: the origin's own, or a connector's word that it is down.
    pub through: bool,
    /// What probers elsewhere see of each name; fresh ones only.
    pub elsewhere: Vec<(&'a str, &'a Elsewhere)>,
    /// Names we were asked to watch.
    pub names_known: usize,
    pub control: Option<Control>,
    /// The control probe looked and could not.
    pub control_blind: bool,
    /// What our dials find on its way; nothing if it goes another.
    pub edge: Option<&'a EdgeSight>,
    pub host: Option<HostSight>,
    /// What was last seen of it, though it could not be looked at since: for what speaks against an act.
    pub host_stands: Option<HostSight>,
    pub log: &'a LogTrack,
    pub journal_readable: bool,
    pub files: Option<&'a super::evidence::FilesSight>,
    pub private_network: Option<bool>,
    /// It connects to addresses set by hand.
    pub own_edge: bool,
    /// It connects to another region than the one we dial.
    pub other_region: bool,
    /// By which it reaches the edge.
    pub families: Families,
    /// Forced by the set-up; `None` is auto.
    pub forced: Option<Transport>,
    pub track: &'a Track,
    pub edge_track: &'a EdgeTrack,
    pub policy: &'a Policy,
    /// Refused for good until a registration or a newer file.
    pub latched: bool,
    /// systemd is carrying out a remedy of ours.
    pub ours_at_work: bool,
    /// Open incidents at Cloudflare that may have to do with this tunnel.
    pub announced: Vec<&'a Announcement>,
    /// What Cloudflare's records say, and when they said it.
    pub tunnel: Option<(Duration, &'a TunnelSight)>,
    /// Our own footing was lost a moment ago.
    pub shaken: Option<Shaken>,
}

/// What makes all that was seen before doubtful for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaken {
    /// The loop did not turn when it should have: the host slept, or is overloaded.
    StoodStill { at: Duration, lasted: Duration },
    /// The wall clock jumped; times in the journal cannot be placed.
    ClockJumped { at: Duration, by: Duration },
}

impl Shaken {
    /// When it happened (time since boot).
    pub fn at(self) -> Duration {
        match self {
            Self::StoodStill { at, .. } | Self::ClockJumped { at, .. } => at,
        }
    }
}

/// Why no cause that leads to an act is concluded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    Shaken(Shaken),
    JournalBlind,
    JournalGap(Duration),
    JournalLate(Duration),
}

/// Doubt passes after this time; by then every sense has looked anew.
const DOUBT_FOR: Duration = Duration::from_secs(30);
/// What Cloudflare's records say is asked for seldom.
const TUNNEL_AGE: Duration = Duration::from_secs(300);

/// In calm the status page is asked each ten minutes.
const ANNOUNCED_AGE: Duration = Duration::from_secs(900);

/// Probers elsewhere are asked each 20 s, of names that err.
const ELSEWHERE_AGE: Duration = Duration::from_secs(60);

/// A package manager at work is believed to be for so long where nobody can look.
const HOST_STANDS: Duration = Duration::from_secs(300);

/// systemd does not answer while it reads all its units anew. That it had nothing to tell of this one is likelier than not for so
/// long: one look that got lost, at the pace of trouble.
const UNIT_LATE: Duration = Duration::from_secs(8);

/// Twice what QUIC itself waits for before it gives a connection up.
const QUIC_SILENCE: Duration = Duration::from_secs(10);

/// cloudflared has told of an origin that is down not longer ago than this, by a line or by a count.
const ORIGIN_RECENT: Duration = Duration::from_secs(90);

impl<'a> Facts<'a> {
    /// Reads the fresh part out of the evidence.
    pub fn new(
        now: Now,
        policy: &'a Policy,
        evidence: &'a Evidence,
        looks: Looks<'a>,
        host: &'a HostEvidence,
        track: &'a Track,
        edge_track: &'a EdgeTrack,
    ) -> Self {
        let unit = unit(evidence, now);
        let ready = evidence.ready.fresh(now, policy.ready_age);
        let colos = || looks.names.iter().filter_map(|(_, _, sight)| sight.colo.as_deref());
        let announced = host.announced.fresh(now, ANNOUNCED_AGE).into_iter().flatten();
        let announced = announced.filter(|one| one.concerns(colos())).collect();
        let origin_reported = origin_reported(track, &evidence.log, now);
        let control_blind =
            matches!(host.control.latest, Some((_, Err(blind))) if blind != super::evidence::Blind::NotYet);
        Self {
            now,
            unit,
            ready,
            ready_at: ready.and_then(|ready| match (ready.ready, track.held) {
                (Ready::Silent, Some((at, _))) if track.silent == 1 => Some(at),
                (Ready::Connections(_) | Ready::Refused | Ready::Silent, _) => evidence.ready.seen_at,
            }),
            connections: connections(unit, ready, track),
            tally: looks.tally,
            origin_reported,
            through: looks.tally.through(origin_reported),
            looks,
            elsewhere: evidence
                .elsewhere
                .iter()
                .filter_map(|(name, slot)| Some((name.as_str(), slot.standing(now, ELSEWHERE_AGE)?.1)))
                .collect(),
            names_known: evidence.names.len(),
            control: host.control.fresh(now, policy.edge_age).copied(),
            control_blind,
            edge: host.edge.fresh(now, policy.edge_age).filter(|_| !evidence.setup.other_region),
            host: host.host.fresh(now, policy.edge_age).copied(),
            host_stands: host.host.standing(now, HOST_STANDS).map(|(_, host)| *host),
            log: &evidence.log,
            journal_readable: evidence.journal.blind().is_none(),
            files: evidence.files.as_ref(),
            private_network: evidence.setup.private_network,
            forced: evidence.setup.transport.or_else(|| set_transport(track, &evidence.log, now)),
            own_edge: evidence.setup.own_edge,
            other_region: evidence.setup.other_region,
            families: evidence.setup.families,
            track,
            edge_track,
            policy,
            latched: false,
            ours_at_work: false,
            announced,
            tunnel: evidence.tunnel.standing(now, TUNNEL_AGE),
            shaken: None,
        }
    }

    /// Why the senses cannot be trusted with a conclusion that would lead to an act.
    pub fn doubt(&self) -> Option<Doubt> {
        let recent = |at: &Duration| self.now.since(*at) <= DOUBT_FOR;
        if let Some(shaken) = self.shaken.filter(|shaken| recent(&shaken.at())) {
            return Some(Doubt::Shaken(shaken));
        }
        if !self.journal_readable {
            return Some(Doubt::JournalBlind);
        }
        let gap = self.log.gap.filter(recent).map(Doubt::JournalGap);
        gap.or_else(|| self.log.late.filter(recent).map(Doubt::JournalLate))
    }

    /// When the edge last took it in: by the journal, or by its own count where a log level leaves registrations out.
    pub fn accepted(&self) -> Option<Duration> {
        self.log.registered.max(self.track.accepted)
    }

    /// How long ago something happened.
    pub fn age(&self, at: Option<Duration>) -> Option<Duration> {
        at.map(|at| self.now.since(at))
    }

    /// It happened within the last `span`.
    pub fn within(&self, at: Option<Duration>, span: Duration) -> bool {
        self.age(at).is_some_and(|age| age <= span)
    }

    pub fn life(&self) -> Option<&Life> {
        self.track.life.as_ref()
    }

    /// A prober elsewhere is served a name that gives 1033 here.
    pub fn served_elsewhere(&self) -> bool {
        self.looks.names.iter().any(|(name, _, sight)| {
            let served = |(of, seen): &(&str, &Elsewhere)| of == name && seen.served;
            sight.answer == Answer::TunnelError && self.elsewhere.iter().any(served)
        })
    }

    /// Some name leads elsewhere, and every name that gives 1033 does.
    pub fn led_astray(&self) -> bool {
        self.connections != Some(0) && self.looks.led_astray()
    }

    /// A name says that its origin is down, and cloudflared says so too.
    pub fn origin_down(&self) -> bool {
        self.tally.any(Answer::OriginError) && self.origin_reported
    }

    /// This host's own way out works: the control name answers, or any edge page reaches us.
    pub fn way_out(&self) -> bool {
        self.control == Some(Control::Answered) || self.tally.any_conclusive()
    }

    /// The family by which the connector gets to the edge, or else begins.
    pub fn family(&self) -> Family {
        self.begins_by(self.transport())
    }

    /// Our own dial in the connector's transport and family gets through to at least one region.
    pub fn dial_ok(&self) -> bool {
        self.edge.is_some_and(|edge| edge.reachable(self.transport(), self.families))
    }

    /// Since when that dial gets through, as last seen.
    pub fn dial_ok_since(&self) -> Option<Duration> {
        let since = self.edge_track.ok_since(self.transport(), self.family());
        since.filter(|_| !self.other_region)
    }

    /// None of our dials gets through, of those that the connector could make, too.
    pub fn edge_dead(&self) -> bool {
        self.edge.is_some_and(|edge| edge.all_dead(self.families))
    }

    /// How long that dial has worked without a break.
    pub fn dial_ok_for(&self) -> Option<Duration> {
        if !self.dial_ok() {
            return None;
        }
        self.age(self.dial_ok_since())
    }

    /// Our dial failed in the course of this trouble.
    pub fn dial_failed_lately(&self) -> bool {
        let failed = self.edge_track.failed(self.transport(), self.family());
        let trouble = self.track.zero_since.unwrap_or(self.now.boot);
        failed.is_some_and(|at| trouble.saturating_sub(Duration::from_secs(60)) <= at)
    }

    /// How long R has been 0.
    pub fn zero_for(&self) -> Option<Duration> {
        if self.connections != Some(0) { None } else { self.age(self.track.zero_since) }
    }

    /// The process counts as running: active, or starting for ever and at it for longer than the fallback takes.
    pub fn running(&self) -> bool {
        self.unit.is_some_and(|unit| unit.up() || self.endless_start_over(unit))
    }

    fn endless_start_over(&self, unit: &UnitSight) -> bool {
        unit.active == Active::Activating
            && unit.main_pid != 0
            && unit.start_limit.is_none()
            && self.now.since(unit.since) > FALLBACK_OVER
    }

    /// The family by which a connector of this transport gets to the edge, or else begins.
    fn begins_by(&self, transport: Transport) -> Family {
        let seen = self.edge.map(|edge| edge.family(transport, self.families));
        seen.or(self.families.only()).unwrap_or_default()
    }

    /// How long nothing has come from the edge by QUIC, as far as cloudflared's counters are fresh.
    pub fn quic_silent_for(&self) -> Option<Duration> {
        let received = self.track.received?;
        let by_quic = self.transport_of_life().or(self.forced) == Some(Transport::Quic);
        let fresh = self.within(Some(received.looked), self.policy.ready_age);
        (by_quic && fresh).then(|| received.looked.saturating_sub(received.since))
    }

    /// Its QUIC connections are kept alive each second, and nothing comes on any: whatever it believes, there is no path.
    pub fn quic_dead(&self) -> bool {
        self.quic_silent_for().is_some_and(|silent| QUIC_SILENCE <= silent)
    }

    /// The unit gives a start at least this long.
    pub fn may_start_for(&self, span: Duration) -> bool {
        self.unit.is_some_and(|unit| unit.start_limit.is_none_or(|limit| span <= limit))
    }

    /// A registration happened not longer ago than this; the edge may still be learning of it.
    pub fn registered_within(&self, span: Duration) -> bool {
        // Connections that were there when we came are as old as the journal says, where it says anything of this life.
        let before_us = self.life().filter(|life| life.origin == Origin::Before);
        // Who saw it without any knows when it was connected.
        let told = self.track.zero_seen.is_none()
            && before_us.is_some_and(|life| self.log.registered.is_some_and(|at| life.began <= at));
        self.within(self.log.registered, span) || (!told && self.within(self.track.connected_since, span))
    }

    /// Names have twice come back from 1033 lately while the connections of this process stood. A lost route does not
    /// return by itself: something beside this connector answers for them now and then.
    pub fn comes_and_goes(&self) -> bool {
        let came_back = self.life().and_then(|life| life.came_back);
        came_back.is_some_and(|(at, times)| 2 <= times && self.now.since(at) < COMES_AND_GOES)
    }
}

/// Nine QUIC dials and the jitter between them take at most 235 s; a start that lasts longer is no fallback.
pub const FALLBACK_OVER: Duration = Duration::from_secs(360);

/// cloudflared itself says that an origin does not answer.
pub(super) fn origin_reported(track: &Track, log: &LogTrack, now: Now) -> bool {
    let recent = |at: Duration| now.since(at) <= ORIGIN_RECENT;
    track.requests_failed.is_some_and(recent) || log.origin_down.is_some_and(recent)
}

/// The unit as systemd has it, where that is known.
pub(super) fn unit(evidence: &Evidence, now: Now) -> Option<&UnitSight> {
    evidence.unit.fresh(now, Duration::MAX).or_else(|| evidence.unit.late(now, UNIT_LATE))
}

/// The connections held, where known.
pub(super) fn connections(unit: Option<&UnitSight>, ready: Option<&ReadySight>, track: &Track) -> Option<u8> {
    let unit = unit?;
    let told = ready.and_then(|sight| match sight.ready {
        Ready::Connections(n) => Some(n),
        // A host that stalls for a moment is silent once.
        Ready::Silent if track.silent == 1 => track.held.map(|(_, n)| n),
        Ready::Refused | Ready::Silent => None,
    });
    match unit.active {
        Active::Inactive | Active::Failed => Some(0),
        // READY=1 follows the first registration, so that a starting unit holds none unless it says otherwise.
        Active::Activating if unit.main_pid == 0 => Some(0),
        Active::Activating => told.or(Some(0)),
        Active::Active | Active::Deactivating | Active::Other => told,
    }
}
