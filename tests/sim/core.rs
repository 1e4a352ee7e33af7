//! The judge, from the sources that the daemon is built of.

#[path = "../../src/warden/mod.rs"]
pub mod warden;
