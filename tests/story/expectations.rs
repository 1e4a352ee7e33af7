//! What is expected of the warden: the lines of a story with an arrow.

use tunnelwarden::warden::explain::explain;

use super::{STEP, UNIT, World, seconds};

impl World {
    /// What is expected by now; `Err` says what was found instead.
    pub(crate) fn check(&mut self, words: &[&str]) -> Result<(), String> {
        let tunnel = self.warden.tunnels().next().unwrap();
        let explanation = explain(tunnel.verdict, &self.warden.facts(UNIT, self.now()).unwrap());
        let cause = tunnel.verdict.cause.map_or("Unknown", |cause| cause.name());
        let holds: Vec<_> = tunnel.holds.iter().map(|held| held.hold.name()).collect();
        let found = match words {
            ["cause", wanted] if cause == *wanted => return Ok(()),
            ["health", wanted] if tunnel.verdict.health.name() == *wanted => return Ok(()),
            ["hold", wanted] if holds.contains(wanted) => return Ok(()),
            ["hold", wanted, "until", span]
                if tunnel.holds.iter().any(|held| {
                    let until = held.until.map(|until| until.saturating_sub(self.base));
                    held.hold.name() == *wanted
                        && until.is_some_and(|until| until.abs_diff(seconds(span)) < STEP * 6)
                }) =>
            {
                return Ok(());
            }
            ["hold", wanted, "without", "end"]
                if tunnel.holds.iter().any(|held| held.hold.name() == *wanted && held.until.is_none()) =>
            {
                return Ok(());
            }
            ["hold", wanted, "because", why @ ..]
                if tunnel
                    .holds
                    .iter()
                    .any(|held| held.hold.name() == *wanted && held.detail.contains(&why.join(" "))) =>
            {
                return Ok(());
            }
            ["no", "hold", wanted] if !holds.contains(wanted) => return Ok(()),
            ["unknown"] if cause == "Unknown" => return Ok(()),
            ["says", wanted @ ..] if explanation.contains(&wanted.join(" ")) => return Ok(()),
            ["acts"] if self.acts.is_empty() => return Ok(()),
            ["acts", wanted @ ..] if self.acts == *wanted => return Ok(()),
            ["still", "open"] if self.opened == 1 && self.closed.is_empty() => return Ok(()),
            ["closed", wanted] if self.closed.last() == Some(wanted) => return Ok(()),
            ["closed", wanted, "as", cause]
                if self.closed.last() == Some(wanted) && self.closed_as == Some(*cause) =>
            {
                return Ok(());
            }
            ["stopped", "as", wanted] if self.stopped_as == Some(*wanted) => return Ok(()),
            ["steps", what, n] if self.steps(what) == n.parse::<usize>().unwrap() => return Ok(()),
            ["opened", n] if self.opened == n.parse::<usize>().unwrap() => return Ok(()),
            ["escalated", n] if self.escalated == n.parse::<usize>().unwrap() => return Ok(()),
            ["refused", "because", words @ ..] if self.refused_because == words.join(" ") => return Ok(()),
            ["refused", wanted @ ..] if self.refused == *wanted => return Ok(()),
            ["senses", wanted @ ..] if self.senses_told == *wanted => return Ok(()),
            ["hurry"] if self.hurried => return Ok(()),
            ["no", "hurry"] if !self.hurried => return Ok(()),
            ["notes", wanted @ ..] if self.notes(&wanted.join(" ")) => return Ok(()),
            ["said", words @ ..] if self.said.iter().any(|said| said.contains(&words.join(" "))) => {
                return Ok(());
            }
            ["written", "at", "most", n] if self.written <= n.parse().unwrap() => return Ok(()),
            ["not", "told", wanted] if !self.told(wanted, "") => return Ok(()),
            ["told", wanted] if self.told(wanted, "") => return Ok(()),
            ["told", wanted, "saying", words @ ..] if self.told(wanted, &words.join(" ")) => return Ok(()),
            _ => (cause, &tunnel.holds, &self.acts, &self.closed, self.opened, self.escalated, &explanation),
        };
        Err(format!("cause, holds, acts, closed, opened, escalated, explanation: {found:?}"))
    }

    /// It was said that this hold holds, in these words among others.
    fn told(&self, hold: &str, words: &str) -> bool {
        self.holds_told.iter().any(|(told, text)| *told == hold && text.contains(words))
    }
}
