//! tunnelwarden watches cloudflared on one host, says what is wrong, and restarts it only when a restart can help.
//!
//! It runs in one direction: `sense` turns the world into findings, `warden` turns findings into a decision,
//! `act` carries the decision out, and `report` shows all of it.
//! `warden` is pure: it reads no clock, opens no file and awaits nothing, so every decision can be replayed.
//! Everything that can happen is a variant of `Event`, everything the daemon can do is a variant of `Command`, and
//! the loop between them fits on a screen.
//! When tunnelwarden cannot see, or cannot trust its memory, it keeps watching and restarts nothing.

pub mod act;
pub mod audit;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod replay;
pub mod report;
pub mod sense;
pub mod store;
pub mod warden;
