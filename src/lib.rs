//! tunnelwarden watches cloudflared on one host, says what is wrong, and restarts it only when a restart can help.
//!
//! It runs in one direction: `sense` turns the world into findings, `warden` turns findings into a decision,
//! `act` carries the decision out, and `report` shows all of it.

pub mod clock;
pub mod report;
pub mod warden;
