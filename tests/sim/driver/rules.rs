//! The rules that nothing may make the warden break.

use std::time::Duration;

use tunnelwarden::warden::remedy::Remedy;
use tunnelwarden::warden::tunnel::Phase;

use super::Run;
use crate::incidents::Cure;

/// The loop wakes at least once a second while anything is under way.
const LATE: Duration = Duration::from_secs(2);

impl Run<'_> {
    pub(super) fn check_act(&mut self, remedy: Remedy) {
        let now = self.world.now;
        if self.faults.memory_lost {
            self.violate("acted although its memory was lost");
        }
        let kept = self.kept_elsewhere.as_ref().unwrap_or(&self.kept);
        if !kept.values().any(|history| history.in_flight.is_some_and(|flight| flight.at == self.now().boot))
        {
            self.violate("acted before the charge was kept");
        }
        if self.acting_until.is_some() {
            self.violate("two remedies at once");
        }
        let hour = self.course.acts.iter().filter(|(at, _, _)| now - at < 3_600.0).count();
        if 3 <= hour {
            self.violate("above the budget of an hour");
        }
        let pause = [0.0, 300.0, 600.0, 1_200.0][self.course.acts.len().min(3)];
        if self.course.acts.last().is_some_and(|(at, _, _)| now < at + pause) {
            self.violate("within the cooldown");
        }
        if self.asking {
            return;
        }
        if self.warden.paused().is_some_and(|pause| self.now().boot < pause.until) {
            self.violate("acted while paused");
        }
        if self.world.upgrading {
            self.violate("acted during an upgrade");
        }
        if self.world.operator_stopped {
            self.violate("acted against an operator");
        }
        if self.incident.hopeless_from + 30.0 <= now && now < self.incident.hopeless_until {
            self.violate(&format!("{} for what no restart can mend", remedy.name()));
        }
        if self.world.comes_and_goes() && self.faults.none() && self.incident.cure == Cure::Never {
            self.violate(&format!("{} for another connector's fault", remedy.name()));
        }
        if self.blocked_since + 15.0 <= now && 0 < self.dials && self.faults.none() {
            self.violate("ordered a process that could not come up");
        }
        // Of its share beside an ill replica only the counters tell, if they arrive.
        let told = self.faults.none() || !self.world.beside_ill_replica();
        if told && self.world.carries() && self.world.held > 0 {
            self.violate("ended live connections");
        }
        if self.incident.cure == Cure::Healthy {
            self.violate("acted in a healthy world");
        }
    }

    pub(super) fn check_end(&mut self) {
        let Cure::Within(bound) = self.incident.cure else { return self.check_phase() };
        // An act that came within its bound, or nothing to cure any more.
        let deadline = self.incident.curable_from + f64::from(bound);
        let acted = self.course.acts.iter().any(|(at, _, could)| *could && *at <= deadline);
        let alone = self.course.acts.is_empty() && self.world.served();
        if self.faults.none() && !acted && !alone {
            let held: Vec<_> = self
                .warden
                .tunnels()
                .flat_map(|tunnel| tunnel.holds.iter().map(|held| held.hold.name()))
                .collect();
            let acts: Vec<_> = self.course.acts.iter().map(|(at, _, _)| *at).collect();
            let verdict = self.verdict();
            self.violate(&format!(
                "not treated by {deadline:.1} s: acts {acts:?}, {verdict}, held by {held:?}"
            ));
        }
        self.check_phase();
    }

    fn check_phase(&mut self) {
        let now = self.now().boot;
        let late = self.warden.tunnels().any(|tunnel| match tunnel.phase {
            Phase::Watching => false,
            Phase::LastLook { give_up, .. } | Phase::Acting { give_up, .. } => give_up + LATE < now,
            // A cure that has begun to show may be watched for a minute more.
            Phase::Verifying { give_up, .. } => give_up + LATE + Duration::from_secs(60) < now,
        });
        if late {
            self.violate("a phase that does not end");
        }
    }
}
