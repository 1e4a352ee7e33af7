//! cloudflared as the world has it: its dials, its pauses, what it notices and what it does not.

use tunnelwarden::warden::evidence::{Active, Line, Transport};

use super::{Door, NEVER, Way, World, edge_address};

/// How long a dial waits for an answer, in seconds.
const QUIC_DIAL: f64 = 5.0;
const TCP_DIAL: f64 = 15.0;

impl World {
    pub(super) fn attempt(&mut self) {
        self.sleeping = false;
        let transport = if self.quic { Transport::Quic } else { Transport::Http2 };
        let starting = self.unit.active == Active::Activating;
        if !std::mem::take(&mut self.dialling) {
            self.said.push(Line::Attempt);
            self.dial_lost = false;
            // Without a way out at all it fails at once.
            if self.link && matches!(self.way(), Way::Lost | Way::Mute) {
                (self.dialling, self.dial_began) = (true, self.now);
                self.attempt_at = self.now + if self.quic { QUIC_DIAL } else { TCP_DIAL };
                return;
            }
        }
        let stale = self.known_addresses != self.addresses;
        if self.way() != Way::Open || self.dial_lost || stale || (starting && !self.dns) {
            let to = Some(edge_address(self.known_addresses));
            self.said.push(Line::DialFailed { transport: Some(transport), to, untrusted: false });
            return self.retry();
        }
        let door = match self.door {
            Door::Open if self.process_secret != self.secret => Door::Unauthorized,
            door @ (Door::Open | Door::Unauthorized | Door::Busy) => door,
        };
        match door {
            Door::Open => {
                (self.held, self.routed, self.tries, self.peers_dead) = (4, true, 0, false);
                self.registered_at = self.now;
                self.quic_worked |= self.quic;
                self.said.push(Line::Registered(Some(transport)));
                if starting {
                    self.start_limit_at = NEVER;
                    self.state(Active::Active, "running");
                    self.finish_job();
                }
            }
            Door::Unauthorized => {
                self.refused += 1;
                if self.quic {
                    self.said.push(Line::RefusedUnnamed);
                } else {
                    let text = "Unauthorized: Invalid tunnel secret".into();
                    self.said.push(Line::Refused { unauthorized: true, text });
                }
                self.retry();
            }
            Door::Busy => {
                self.refused += 1;
                self.said.push(Line::Refused { unauthorized: false, text: "server busy".into() });
                self.retry();
            }
        }
    }

    /// A dial that is under way by TCP gets through with its next packet, if there is one.
    pub(super) fn way_opens(&mut self) {
        if !self.dialling || self.quic {
            return;
        }
        let packets = [1.0, 3.0, 7.0].map(|after| self.dial_began + after);
        match packets.into_iter().find(|at| self.now <= *at) {
            Some(at) => self.attempt_at = at,
            None => self.dial_lost = true,
        }
    }

    /// The announced wait, and on http2 the supervisor's silent one.
    fn retry(&mut self) {
        // Its words say up to 1m4s, and it waits for half of that at most.
        let announced = self.rng.between(0.0, 2f64.powi(self.tries.min(5) as i32));
        let silent = 10.0 * 2f64.powi(self.tries.min(5) as i32);
        let starting = self.unit.active == Active::Activating;
        let silent = if self.quic || starting { 0.0 } else { self.rng.between(0.0, silent) };
        self.tries += 1;
        self.sleeping = !self.quic && !starting;
        self.attempt_at = self.now + 0.5 + announced + silent;
    }

    /// cloudflared notices that its connections are gone.
    pub(super) fn lose(&mut self) {
        if self.held == 0 || self.frozen {
            return;
        }
        self.held = 0;
        self.routed = false;
        self.said.push(Line::Lost);
        self.retry();
    }
}
