//! What cloudflared (and systemd, speaking about its unit) says in the journal: one line in, one meaning out.
//!
//! Pure text work, no I/O. Only structure is trusted: a meaning is found by the *start* of the message and, where
//! it matters, the start of the `error` field, never by a word somewhere in the line. Visitors choose words in
//! debug lines (URL, User-Agent), so debug lines mean nothing here except the one that is listed.

mod failure;
mod line;
mod meaning;
mod systemd_line;
mod table;

use super::origin_address::without_passwords;
pub use failure::{DialFailure, EndOfConnection, FinalError};
pub use line::{Form, Level, Parsed, parse};
pub use meaning::{DnsStep, Meaning, Precheck, Settings, Transport};
pub use systemd_line::{SystemdLine, SystemdMeaning, systemd_meaning};
pub use table::meaning;

/// Longest piece of foreign text a meaning carries, in bytes.
pub const TEXT_LIMIT: usize = 300;

/// `text`, cut to [`TEXT_LIMIT`] at a character boundary, control characters replaced by spaces. Of an address with a name and
/// a password in it, as an ingress rule may have, only what comes behind them is kept.
fn bounded(text: &str) -> String {
    let text = without_passwords(text);
    let end = (0..=TEXT_LIMIT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Every word that a line's meaning is counted under, cloudflared's own and systemd's about it.
pub const LABELS: [&str; 60] = [
    "starting",
    "version",
    "settings",
    "connector_id",
    "initial_protocol",
    "metrics_server",
    "attempt",
    "registering",
    "registered",
    "unregistered",
    "lost_connection",
    "dial_failed",
    "retrying",
    "terminated",
    "fallback_to_http2",
    "fallback_to_quic",
    "refused",
    "control_stream_failed",
    "edge_duplicate",
    "addresses_exhausted",
    "dns_failed",
    "config_error",
    "credentials_error",
    "usage_error",
    "metrics_port_taken",
    "no_ingress",
    "config_updated",
    "config_refused",
    "origin_error",
    "request_ended",
    "graceful_shutdown",
    "fatal_shutdown",
    "server_stopped",
    "precheck",
    "precheck_done",
    "event_dropped",
    "crashed",
    "companion",
    "noise",
    "unknown",
    "unit_starting",
    "unit_started",
    "unit_start_failed",
    "unit_stopping",
    "unit_stopped",
    "unit_reloading",
    "unit_reloaded",
    "unit_main_exited",
    "unit_failed",
    "unit_deactivated",
    "unit_skipped",
    "unit_restart_scheduled",
    "unit_start_timed_out",
    "unit_stop_timed_out",
    "unit_start_limit_hit",
    "unit_spawn_failed",
    "unit_out_of_memory",
    "unit_signal_sent",
    "unit_noise",
    "unit_unknown",
];

#[cfg(test)]
mod tests;
