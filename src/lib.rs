//! tunnelwarden
pub mod client;
