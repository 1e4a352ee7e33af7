//! What happens to the world, and what comes of it at once.

use tunnelwarden::warden::evidence::{Job, Line};

use super::{After, Door, NEVER, Way, World};

/// What happens to the world, at its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Turn {
    Tcp(Way),
    Udp(Way),
    Dns(bool),
    Link(bool),
    Door(Door),
    Origin(bool),
    /// The edge closes all connections.
    Drop,
    /// Peers die, their TCP stays; the edge knows at once, http2 never.
    Zombie,
    /// The edge forgets the route, the connections stay.
    Forget,
    Freeze,
    Kill,
    Misroute(bool),
    EdgeErr(bool),
    BreakConfig,
    Replica(bool),
    /// This part of the requests goes to a replica that answers none: 1033.
    ReplicaIll(f64),
    OperatorStop,
    OperatorStart,
    OperatorRestart,
    /// The edge's addresses change; a process keeps those that it resolved at its start.
    Renumber,
    /// The edge takes another secret; connections stay.
    Rotate,
    /// The operator writes the new secret down.
    NewFile,
    /// A package manager is at work.
    Upgrading(bool),
    /// The host goes down and comes back.
    Reboot,
}

impl World {
    pub(crate) fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Tcp(way) => {
                self.tcp = way;
                self.path_changed(!self.quic, way);
            }
            Turn::Udp(way) => {
                self.udp = way;
                self.path_changed(self.quic, way);
            }
            Turn::Dns(ok) => self.dns = ok,
            Turn::Link(up) => {
                self.link = up;
                if up {
                    if self.held > 0 && !self.routed {
                        let notice = if self.quic { 1.0 } else { self.rng.between(8.0, 11.0) };
                        self.notice_at = self.now + notice;
                    }
                } else if self.held > 0 {
                    self.edge_notice_at = self.now + self.rng.between(2.0, 10.0);
                    if self.quic {
                        self.notice_at = self.now + self.rng.between(1.0, 2.0);
                    }
                }
            }
            Turn::Door(door) => self.door = door,
            Turn::Origin(ok) => self.origin = ok,
            Turn::Drop => self.lose(),
            Turn::Zombie if self.held > 0 => {
                (self.routed, self.peers_dead) = (false, true);
                if self.quic {
                    self.notice_at = self.now + 6.0;
                }
            }
            Turn::Forget => self.routed = false,
            Turn::Freeze if self.unit.main_pid != 0 => {
                self.frozen = true;
                (self.attempt_at, self.notice_at) = (NEVER, NEVER);
                self.edge_notice_at = self.now + self.rng.between(5.0, 30.0);
            }
            Turn::Kill if self.unit.main_pid != 0 => {
                self.after = After::AutoRestart;
                self.ended("signal");
            }
            Turn::Zombie | Turn::Freeze | Turn::Kill => (),
            Turn::Misroute(wrong) => self.misrouted = wrong,
            Turn::EdgeErr(errs) => self.edge_errs = errs,
            Turn::BreakConfig => self.config_ok = false,
            Turn::Replica(there) => (self.replica, self.replica_takes) = (there, 0.0),
            Turn::ReplicaIll(part) => (self.replica, self.replica_takes) = (true, part),
            Turn::OperatorStop => {
                (self.operator_stopped, self.down_by_wish) = (true, true);
                self.said.push(Line::StopJob);
                self.unit.job = Some(Job::Stop);
                self.stop(After::Rest);
            }
            Turn::OperatorStart => {
                (self.operator_stopped, self.down_by_wish) = (false, false);
                self.start_order();
            }
            Turn::OperatorRestart => self.restart(false),
            Turn::Renumber => {
                self.addresses += 1;
                self.lose();
            }
            Turn::Rotate => self.secret += 1,
            Turn::NewFile => {
                self.file_secret = self.secret;
                self.files_changed = Some(self.now);
            }
            Turn::Upgrading(on) => self.upgrading = on,
            Turn::Reboot => {
                (self.after, self.operator_stopped) = (After::Rest, true);
                self.unit.job = None;
                self.ended("success");
                self.operator_stopped = false;
                self.said.clear();
                self.auto_restart_at = self.now + 8.0;
            }
        }
    }

    fn path_changed(&mut self, ours: bool, way: Way) {
        if ours && way == Way::Open {
            self.way_opens();
        }
        if !ours || self.held == 0 {
            return;
        }
        match way {
            Way::Open | Way::Mute => (),
            Way::Refused => self.notice_at = self.now + 0.2,
            Way::Lost => {
                self.edge_notice_at = self.now + self.rng.between(2.0, 15.0);
                let notice =
                    if self.quic { self.rng.between(5.0, 6.0) } else { self.rng.between(149.0, 152.0) };
                self.notice_at = self.now + notice;
            }
        }
    }
}
