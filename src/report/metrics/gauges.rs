//! What is set from the warden when it is read.

use prometheus::{Encoder as _, TextEncoder};

use super::{Metrics, name_of, names};
use crate::report::snapshot::{About, asked_for, sensed};
use crate::warden::cause::Cause;
use crate::warden::diagnosis::Health;
use crate::warden::evidence::{Active, Reach, Sense};
use crate::warden::history::{DAY, HOUR};
use crate::warden::machine::Warden;
use crate::warden::rails::Hold;
use crate::warden::time::Now;
use crate::warden::tunnel::Tunnel;

impl Metrics {
    /// Sets the gauges from the warden and writes everything in Prometheus' text form 0.0.4.
    pub fn scrape(&self, warden: &Warden, about: &About, now: Now) -> String {
        let policy = warden.policy();
        self.mode.with_label_values(&["remedy"]).set(i64::from(!policy.observe_only));
        self.mode.with_label_values(&["observe"]).set(i64::from(policy.observe_only));
        self.powerless.set(i64::from(!policy.powerless.is_empty()));
        self.memory_lost.set(i64::from(warden.memory_lost().is_some()));
        self.cycles.inc_by(warden.cycles().saturating_sub(self.cycles.get()));
        self.edge_reachable.reset();
        if let Some((_, Ok(edge))) = &warden.host().edge.latest {
            for link in &edge.links {
                // By either family of addresses.
                let gauge =
                    self.edge_reachable.with_label_values(&[link.region.as_str(), link.transport.word()]);
                gauge.set(gauge.get().max(i64::from(link.reach == Reach::Reachable)));
            }
        }
        for tunnel in warden.tunnels() {
            self.tunnel(warden, tunnel, name_of(about, &tunnel.unit), now);
        }
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => {
                // It writes nothing else.
                let mut text = String::from_utf8(text).unwrap_or_default();
                names::write(&mut text, warden, about);
                text
            }
            Err(error) => format!("# {error}\n"),
        }
    }

    fn tunnel(&self, warden: &Warden, tunnel: &Tunnel, name: &str, now: Now) {
        let policy = warden.policy();
        for health in Health::ALL {
            let is = tunnel.verdict.health == health;
            self.verdict.with_label_values(&[name, health.label()]).set(i64::from(is));
        }
        for cause in Cause::all() {
            let is = tunnel.verdict.cause == Some(cause);
            self.cause.with_label_values(&[name, cause.label()]).set(i64::from(is));
        }
        let open = tunnel.history.incident.as_ref().is_some_and(|incident| incident.open());
        self.incident_open.with_label_values(&[name]).set(i64::from(open));
        for hold in Hold::ALL {
            let is = tunnel.holds.iter().any(|held| held.hold == hold);
            self.hold.with_label_values(&[name, hold.label()]).set(i64::from(is));
        }
        let until = tunnel.holds.iter().filter_map(|held| held.until).max();
        let until = until.map_or(0.0, |until| now.wall_of(until).as_secs_f64());
        self.hold_until.with_label_values(&[name]).set(until);
        let left = |limit: u32, window| i64::from(limit.saturating_sub(tunnel.history.spent(now, window)));
        self.budget.with_label_values(&[name, "hour"]).set(left(policy.per_hour, HOUR));
        self.budget.with_label_values(&[name, "day"]).set(left(policy.per_day, DAY));
        // Where nobody wants it there is no such sense, and nobody to be alarmed.
        let there = |sense| asked_for(warden, tunnel, sense);
        if let Some(facts) = warden.facts(&tunnel.unit, now).filter(|_| there(Sense::StatusPage)) {
            let open = i64::try_from(facts.announced.len()).unwrap_or(i64::MAX);
            self.cloudflare_incidents.with_label_values(&[name]).set(open);
        }
        let connections = tunnel.connections().map_or(-1, i64::from);
        self.connections.with_label_values(&[name]).set(connections);
        let unit = tunnel.evidence.unit.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok());
        let active = unit.is_some_and(|unit| unit.active == Active::Active);
        self.unit_active.with_label_values(&[name]).set(i64::from(active));
        for (sense, blind, seen) in sensed(warden, tunnel).filter(|(sense, ..)| there(*sense)) {
            let labels = [name, sense.word()];
            // Who has no public name misses none; nor does who stopped the unit miss its port.
            let misses = blind.is_some() && tunnel.has_to_see_by(sense);
            self.sense_blind.with_label_values(&labels).set(i64::from(misses));
            let seen = seen.map_or(0.0, |at| now.wall_of(at).as_secs_f64());
            self.sense_seen.with_label_values(&labels).set(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::warden::event::Event;
    use crate::warden::machine::Memory;
    use crate::warden::policy::Policy;

    #[test]
    fn who_has_no_public_name_is_not_blind_to_it() {
        let metrics = Metrics::new();
        let mut warden = Warden::new(Policy::shipped(), Memory::default());
        let now = Now { boot: Duration::from_secs(900), wall: Duration::from_secs(1_800_000_000) };
        let about = About { started: now.wall, tunnels: Vec::new() };
        let mut appear = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            drop(warden.handle(Event::Tunnel { unit: "a.service".into(), names }, now));
            metrics.scrape(&warden, &about, now)
        };
        let blind = |text: &str, sense: &str, is: u8| {
            let line = format!("tunnelwarden_sense_blind{{sense=\"{sense}\",tunnel=\"a.service\"}} {is}");
            assert!(text.lines().any(|had| had == line), "{line}\n{text}");
        };
        let text = appear(&[]);
        blind(&text, "public", 0);
        blind(&text, "dns", 0);
        blind(&text, "unit", 1);
        blind(&appear(&["app.example.com"]), "public", 1);
    }
}
