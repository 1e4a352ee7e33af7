//! tunnelwarden watches cloudflared on one host, says what is wrong, and restarts it only when a restart can help.
pub mod warden;
