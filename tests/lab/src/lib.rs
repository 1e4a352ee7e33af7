//! The lab of tunnelwarden: stand-ins for cloudflared and for Cloudflare's edge.
//!
//! `connector` plays cloudflared, `edge` plays the far side, and `wire` is the only thing the two share. `host` boots a
//! throw-away Debian with both and the package under test, and `scenarios` are the stories that play there. `vm` boots a whole
//! machine for those that a container cannot play, and `inside` are these.

mod alone;
mod bad_input;
pub mod bench;
mod beside;
mod commands;
pub mod compare;
pub mod connector;
pub mod edge;
mod names;
pub mod pki;
pub mod record;
mod records;
pub mod wire;

mod furnish;
pub mod host;
pub mod inside;
mod lessons;
pub mod scenarios;
mod set_up;
pub mod shell;
mod surfaces;
pub mod timeline;
mod upheaval;
pub mod vm;
