//! What befalls a world: a script of turns, and what is right to do about it.

use crate::rng::Rng;
use crate::world::{Door, NEVER, Turn, Way, World};

/// What a restart can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// It helps from some moment on; to be ordered within so many seconds of it.
    Within(u32),
    /// Never: the fault is elsewhere.
    Never,
    /// Nothing is wrong.
    Healthy,
    /// cloudflared or systemd is at it; a restart is allowed where it can come up.
    Maybe,
}

pub(crate) struct Incident {
    pub(crate) name: &'static str,
    pub(crate) cure: Cure,
    pub(crate) turns: Vec<(f64, Turn)>,
    /// From here on a restart cures.
    pub(crate) curable_from: f64,
    /// From here on the evidence against a restart is there to be seen.
    pub(crate) hopeless_from: f64,
    /// And up to here.
    pub(crate) hopeless_until: f64,
    pub(crate) until: f64,
}

pub(crate) const KINDS: usize = 36;
/// Two probe rounds at their calm pace, what must be sustained, and the last look.
const PHANTOM: u32 = 15 + 12 + 6;

/// Picks a kind for this world and sets the world up for it.
pub(crate) fn befall(world: &mut World) -> Incident {
    let kind = world.rng.below(KINDS);
    of_kind(kind, world)
}

/// The incident of that kind.
pub(crate) fn of_kind(kind: usize, world: &mut World) -> Incident {
    let rng = &mut world.rng;
    let at = rng.between(75.0, 110.0);
    let lasts = rng.between(20.0, 420.0);
    let mut incident = Incident {
        name: "",
        cure: Cure::Maybe,
        turns: Vec::new(),
        curable_from: NEVER,
        hopeless_from: NEVER,
        hopeless_until: NEVER,
        until: at + 420.0,
    };
    let both = |way| [Turn::Tcp(way), Turn::Udp(way)];
    match kind {
        0 | 1 => {
            world.quic = false;
            let turn = if kind == 0 { Turn::Zombie } else { Turn::Forget };
            incident.name = if kind == 0 { "phantom (dead peers)" } else { "phantom (forgotten route)" };
            incident.cure = Cure::Within(PHANTOM);
            incident.turns.push((at, turn));
            incident.curable_from = at;
        }
        2 => {
            world.quic = true;
            incident.name = "phantom (forgotten route, QUIC)";
            incident.cure = Cure::Within(PHANTOM);
            incident.turns.push((at, Turn::Forget));
            incident.curable_from = at;
        }
        3 => {
            incident.name = "dead peers noticed";
            world.quic = true;
            incident.turns.push((at, Turn::Zombie));
        }
        4 | 5 => {
            let way = if kind == 4 { Way::Refused } else { Way::Lost };
            incident.name = if kind == 4 { "7844 refused, then healed" } else { "7844 silent, then healed" };
            incident.turns.extend(both(way).map(|turn| (at, turn)));
            incident.turns.extend(both(Way::Open).map(|turn| (at + lasts, turn)));
            // Patience on QUIC, one round of dials, what must be sustained.
            incident.cure = Cure::Within(45 + 20);
            incident.curable_from = at + lasts;
            incident.until = at + lasts + 420.0;
        }
        6 => {
            incident.name = "dropped, edge open";
            incident.turns.push((at, Turn::Drop));
        }
        7 => {
            incident.name = "link down";
            incident.turns.extend([(at, Turn::Link(false)), (at + lasts, Turn::Link(true))]);
            incident.until = at + lasts + 420.0;
        }
        8 => {
            incident.name = "frozen";
            incident.cure = Cure::Within(25 + 6);
            incident.turns.push((at, Turn::Freeze));
            incident.curable_from = at;
        }
        9 => {
            incident.name = "killed";
            incident.turns.push((at, Turn::Kill));
        }
        10 => {
            incident.name = "unit failed";
            world.restarts = false;
            incident.cure = Cure::Within(8);
            incident.turns.push((at, Turn::Kill));
            incident.curable_from = at;
        }
        11 => {
            incident.name = "bad config after a restart";
            incident.cure = Cure::Never;
            incident.turns.extend([(at, Turn::BreakConfig), (at + 1.0, Turn::OperatorRestart)]);
            incident.hopeless_from = at + 1.0;
        }
        12 => {
            incident.name = "credentials rejected, running";
            incident.cure = Cure::Never;
            incident.turns.extend([(at, Turn::Door(Door::Unauthorized)), (at, Turn::Drop)]);
            // QUIC does not say why: the evidence is five minutes of refusals.
            incident.hopeless_from = at + if world.quic { 330.0 } else { 70.0 };
        }
        13 => {
            incident.name = "retryable refusal";
            incident.turns.extend([
                (at, Turn::Door(Door::Busy)),
                (at, Turn::Drop),
                (at + 60.0, Turn::Door(Door::Open)),
            ]);
        }
        14 => {
            incident.name = "UDP shut on a QUIC connector";
            world.quic = true;
            world.endless = false;
            world.unit.start_limit = Some(std::time::Duration::from_secs(15));
            incident.cure = Cure::Never;
            incident.turns.push((at, Turn::Udp(Way::Lost)));
            incident.hopeless_from = at;
        }
        15 => {
            incident.name = "stopped by an operator in an outage";
            incident.turns.extend([(at, Turn::Drop), (at + 5.0, Turn::OperatorStop)]);
            if rng.chance(0.5) {
                incident.turns.push((at + 200.0, Turn::OperatorStart));
            }
        }
        16 => {
            incident.name = "upgrade";
            incident.cure = Cure::Healthy;
            incident.turns.push((at, Turn::OperatorRestart));
            incident.until = at + 180.0;
        }
        17 => {
            incident.name = "origin down";
            incident.cure = Cure::Never;
            incident.turns.extend([(at, Turn::Origin(false)), (at + lasts, Turn::Origin(true))]);
            incident.hopeless_from = at;
        }
        18 => {
            incident.name = "edge errs";
            incident.cure = Cure::Never;
            incident.turns.extend([(at, Turn::EdgeErr(true)), (at + lasts, Turn::EdgeErr(false))]);
            incident.hopeless_from = at;
        }
        19 => {
            incident.name = "edge mute";
            incident.cure = Cure::Never;
            incident.turns.extend(both(Way::Mute).map(|turn| (at, turn)));
            incident.turns.push((at, Turn::Drop));
            incident.hopeless_from = at + 60.0;
        }
        20 => {
            incident.name = "replica covers";
            incident.turns.push((at - 1.0, Turn::Replica(true)));
            incident.turns.extend(both(Way::Refused).map(|turn| (at, turn)));
            incident.turns.extend(both(Way::Open).map(|turn| (at + lasts, turn)));
            incident.until = at + lasts + 300.0;
        }
        21 => {
            // The edge cannot be resolved: connections stay, and a new process could not come up.
            incident.name = "resolver dead, then dropped";
            incident.turns.extend([
                (at, Turn::Dns(false)),
                (at + 20.0, Turn::Drop),
                (at + lasts, Turn::Dns(true)),
            ]);
            incident.until = at + lasts + 420.0;
        }
        22 => {
            // From this host alone it looks as a phantom does: one try is allowed.
            incident.name = "record moved away";
            incident.turns.extend([(at, Turn::Misroute(true)), (at + lasts, Turn::Misroute(false))]);
        }
        23 if rng.chance(0.2) => {
            // The edge forgets the route again and again: cooldown and budget are all that stands between us and a storm.
            incident.name = "relapses for hours";
            let every = rng.between(90.0, 400.0);
            incident.turns.extend((0..30).map(|n| (at + f64::from(n) * every, Turn::Forget)));
            incident.until = at + 30.0 * every;
        }
        24 => {
            // Only a new process asks the resolver again.
            incident.name = "edge renumbered";
            // It goes on dialling, and each dial is given its time.
            incident.cure = Cure::Within(30 + 40);
            incident.turns.push((at, Turn::Renumber));
            incident.curable_from = at;
        }
        25 => {
            // The file comes later than the edge's new secret: until then no restart can help.
            incident.name = "credentials rotated";
            incident.turns.extend([
                (at, Turn::Rotate),
                (at + 1.0, Turn::Drop),
                (at + 330.0 + lasts, Turn::NewFile),
            ]);
            incident.hopeless_from = at + if world.quic { 330.0 } else { 70.0 };
            incident.hopeless_until = at + 330.0 + lasts;
            incident.until = incident.hopeless_until + 300.0;
        }
        26 => {
            incident.name = "upgrade by package";
            incident.cure = Cure::Healthy;
            incident.turns.extend([
                (at, Turn::Upgrading(true)),
                (at + 5.0, Turn::OperatorRestart),
                (at + 40.0, Turn::Upgrading(false)),
            ]);
            incident.until = at + 200.0;
        }
        27 => {
            incident.name = "reboot in an outage";
            incident.turns.extend([(at, Turn::Forget), (at + lasts / 4.0, Turn::Reboot)]);
        }
        28 => {
            // Gone before anybody could do anything about it: an act would only end live connections.
            incident.name = "edge blip";
            incident.cure = Cure::Never;
            let blip = rng.between(2.0, 20.0);
            incident.turns.extend([(at, Turn::Misroute(true)), (at + blip, Turn::Misroute(false))]);
        }
        29 => {
            // Another connector of the tunnel is ill: this one answers its part, and nothing here can mend the rest.
            incident.name = "replica ill";
            incident.cure = Cure::Never;
            let part = rng.between(0.2, 0.9);
            incident.turns.extend([(at, Turn::ReplicaIll(part)), (at + lasts, Turn::Replica(true))]);
            incident.until = at + lasts + 120.0;
        }
        30 => {
            // Whoever comes from here lands there: from this host alone it looks as a phantom does.
            incident.name = "replica ill and nearer";
            incident.turns.extend([(at, Turn::ReplicaIll(1.0)), (at + lasts, Turn::Replica(false))]);
        }
        31 => {
            incident.name = "replica covers, then fails";
            incident.turns.push((at - 1.0, Turn::Replica(true)));
            incident.turns.extend(both(Way::Refused).map(|turn| (at, turn)));
            incident.turns.push((at + lasts / 2.0, Turn::Replica(false)));
            incident.turns.extend(both(Way::Open).map(|turn| (at + lasts, turn)));
            incident.cure = Cure::Within(45 + 20);
            incident.curable_from = at + lasts;
            incident.until = at + lasts + 420.0;
        }
        32 => {
            // While the replica serves, nothing is wrong for a visitor; then a phantom is uncovered.
            incident.name = "phantom behind a replica";
            incident.turns.extend([
                (at - 1.0, Turn::Replica(true)),
                (at, Turn::Forget),
                (at + lasts, Turn::Replica(false)),
            ]);
            incident.cure = Cure::Within(PHANTOM);
            incident.curable_from = at + lasts;
            incident.until = at + lasts + 420.0;
        }
        33 => {
            incident.name = "both ill";
            incident.turns.extend(both(Way::Refused).map(|turn| (at, turn)));
            incident.turns.push((at + 5.0, Turn::ReplicaIll(rng.between(0.2, 0.9))));
            incident.turns.extend(both(Way::Open).map(|turn| (at + lasts, turn)));
            incident.until = at + lasts + 420.0;
        }
        34 => {
            // It opens for a moment, again and again: an act that fell into it would find the door shut.
            incident.name = "7844 flaps";
            let (mut when, times) = (at, 2 + rng.below(5));
            for _ in 0..times {
                incident.turns.extend(both(Way::Refused).map(|turn| (when, turn)));
                when += rng.between(10.0, 90.0);
                incident.turns.extend(both(Way::Open).map(|turn| (when, turn)));
                when += rng.between(3.0, 40.0);
            }
            incident.until = when + 420.0;
        }
        _ => {
            incident.name = "healthy";
            incident.cure = Cure::Healthy;
            incident.until = at + 120.0;
        }
    }
    incident.turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    incident
}

/// Faults of our own, on top of an incident.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// This part of our looks is blind.
    pub(crate) blind: f64,
    /// The daemon dies then, and is back two seconds later.
    pub(crate) crash_at: Option<f64>,
    pub(crate) clock_jump_at: Option<f64>,
    pub(crate) memory_lost: bool,
    /// A person asks for a restart then.
    pub(crate) asked_at: Option<f64>,
    /// A person pauses us then, for five minutes.
    pub(crate) paused_at: Option<f64>,
    /// This part of what the senses say never arrives.
    pub(crate) lost: f64,
    pub(crate) full: Option<FullDisk>,
}

/// The disk takes nothing for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FullDisk {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// The runtime directory takes it.
    pub(crate) elsewhere: bool,
    /// And the daemon dies in the middle of it.
    pub(crate) crash_at: Option<f64>,
}

impl Faults {
    pub(crate) fn none(self) -> bool {
        self.blind == 0.0
            && self.crash_at.is_none()
            && self.clock_jump_at.is_none()
            && self.asked_at.is_none()
            && self.paused_at.is_none()
            && !self.memory_lost
            && self.lost == 0.0
            && self.full.is_none()
    }

    pub(crate) fn of(rng: &mut Rng) -> Self {
        let mut faults = Self::default();
        if rng.chance(0.7) {
            return faults;
        }
        match rng.below(8) {
            6 => faults.lost = rng.between(0.02, 0.3),
            7 => faults.full = Some(FullDisk::of(rng)),
            4 => faults.asked_at = Some(rng.between(60.0, 400.0)),
            5 => faults.paused_at = Some(rng.between(60.0, 200.0)),
            0 => faults.blind = rng.between(0.05, 0.6),
            1 => faults.crash_at = Some(rng.between(60.0, 400.0)),
            2 => faults.clock_jump_at = Some(rng.between(60.0, 300.0)),
            _ => faults.memory_lost = true,
        }
        faults
    }
}

impl FullDisk {
    fn of(rng: &mut Rng) -> Self {
        let from = rng.between(0.0, 150.0);
        let to = from + rng.between(30.0, 600.0);
        let crash_at = rng.chance(0.5).then(|| rng.between(from, to));
        Self { from, to, elsewhere: rng.chance(0.5), crash_at }
    }
}
