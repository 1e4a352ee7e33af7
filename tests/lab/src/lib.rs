//! The lab of tunnelwarden: stand-ins for cloudflared and for Cloudflare's edge.
//!
//! `connector` plays cloudflared, `edge` plays the far side, and `wire` is the only thing the two share.

pub mod connector;
pub mod edge;
pub mod pki;
pub mod wire;
