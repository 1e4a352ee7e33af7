//! systemd as the world has it: starts, ends, jobs.

use tunnelwarden::warden::evidence::{Active, Invocation, Job, Line};

use super::{After, NEVER, Way, World, boot};

/// How long the stock unit lets a start take, and pauses before the next.
const START_LIMIT: f64 = 15.0;
const RESTART_PAUSE: f64 = 5.0;
const GRACE: f64 = 30.0;

impl World {
    pub(super) fn state(&mut self, active: Active, sub: &str) {
        self.unit.active = active;
        sub.clone_into(&mut self.unit.sub);
        self.unit.since = boot(self.now);
    }

    pub(super) fn start(&mut self) {
        self.lives += 1;
        self.unit.invocation = Some(Invocation(self.lives));
        self.connector = Invocation(self.lives).to_string();
        self.unit.main_pid = 100 + u32::try_from(self.lives % 30_000).unwrap_or(0);
        self.unit.started = Some(boot(self.now));
        self.unit.result = "success".into();
        self.starts.push(self.now);
        (self.held, self.routed, self.frozen, self.peers_dead, self.sleeping) =
            (0, false, false, false, false);
        (self.tries, self.requests, self.refused, self.quic_worked) = (0, 0, 0, false);
        (self.erred, self.came_back) = (false, 0);
        (self.known_addresses, self.process_secret) = (self.addresses, self.file_secret);
        self.said.push(Line::StartJob);
        self.state(Active::Activating, "start");
        if !self.config_ok {
            self.said.push(Line::ConfigInvalid("the last ingress rule must match all URLs".into()));
            self.unit.exit_status = Some(1);
            self.unit.result = "exit-code".into();
            self.after = After::AutoRestart;
            self.end_at = self.now + 0.1;
            return;
        }
        self.unit.exit_status = None;
        self.start_limit_at = if self.endless { NEVER } else { self.now + START_LIMIT };
        let dns = if self.dns { 0.3 } else { 10.0 };
        self.attempt_at = self.now + dns;
        self.dialling = false;
    }

    pub(super) fn ended(&mut self, result: &str) {
        self.unit.main_pid = 0;
        self.unit.result = result.to_owned();
        (self.held, self.routed, self.frozen) = (0, false, false);
        (self.attempt_at, self.notice_at, self.edge_notice_at) = (NEVER, NEVER, NEVER);
        (self.end_at, self.start_limit_at) = (NEVER, NEVER);
        match std::mem::replace(&mut self.after, After::Rest) {
            After::Start => self.start(),
            After::Rest if self.operator_stopped => {
                self.state(Active::Inactive, "dead");
                self.finish_job();
            }
            After::Rest | After::AutoRestart => {
                self.said.push(Line::EndedByItself);
                if self.restarts {
                    self.state(Active::Activating, "auto-restart");
                    self.auto_restart_at = self.now + RESTART_PAUSE;
                } else {
                    self.state(Active::Failed, "failed");
                }
                self.finish_job();
            }
        }
    }

    pub(super) fn finish_job(&mut self) {
        if self.unit.job.take().is_some() {
            self.job_done_at = Some(self.now);
        }
    }

    /// SIGTERM: how long it takes to end.
    pub(super) fn stop(&mut self, after: After) {
        self.after = after;
        (self.auto_restart_at, self.start_limit_at) = (NEVER, NEVER);
        if self.unit.main_pid == 0 {
            self.ended("success");
            return;
        }
        let slow =
            !self.frozen && (self.peers_dead || (self.sleeping && !self.quic) || self.way() != Way::Open);
        let takes = if slow { GRACE } else { 0.2 };
        self.unit.result = "success".into();
        self.said.push(Line::GracefulStop);
        self.state(Active::Deactivating, "stop-sigterm");
        (self.attempt_at, self.notice_at) = (NEVER, NEVER);
        self.routed &= !self.peers_dead;
        self.end_at = self.now + takes;
    }

    /// `systemctl restart`, whoever gives it.
    pub(crate) fn restart(&mut self, swift: bool) {
        self.unit.job = Some(Job::Restart);
        self.stop(After::Start);
        if swift && self.now + 1.0 < self.end_at {
            self.end_at = self.now + 1.05;
        }
    }

    /// `systemctl reset-failed; systemctl start`.
    pub(crate) fn start_order(&mut self) {
        self.unit.job = Some(Job::Start);
        if self.unit.main_pid == 0 {
            self.auto_restart_at = NEVER;
            self.start();
        } else {
            self.finish_job();
        }
    }
}
