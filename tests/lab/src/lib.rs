//! The lab of tunnelwarden: stand-ins for cloudflared and for Cloudflare's edge.
//!
//! `connector` plays cloudflared, `edge` plays the far side, and `wire` is the only thing the two share. `host` boots a
//! throw-away Debian with both and the package under test, and `scenarios` are the stories that play there.

mod bad_input;
pub mod bench;
pub mod connector;
pub mod edge;
pub mod pki;
pub mod wire;

pub mod host;
pub mod scenarios;
pub mod shell;
mod surfaces;
pub mod timeline;
mod upheaval;
