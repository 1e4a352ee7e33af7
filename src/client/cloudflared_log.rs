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

pub use failure::{DialFailure, EndOfConnection, FinalError};
pub use line::{Form, Level, Parsed, parse};
pub use meaning::{DnsStep, Meaning, Precheck, Settings, Transport};
pub use systemd_line::{SystemdLine, SystemdMeaning, systemd_meaning};
pub use table::meaning;

/// Longest piece of foreign text a meaning carries, in bytes.
pub const TEXT_LIMIT: usize = 300;

/// `text`, cut to [`TEXT_LIMIT`] at a character boundary, control characters replaced by spaces.
fn bounded(text: &str) -> String {
    let end = (0..=TEXT_LIMIT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
