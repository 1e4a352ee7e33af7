//! A line of cloudflared's journal, as text and as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tunnelwarden::client::cloudflared_log::{meaning, parse};

fuzz_target!(|text: &str| {
    let line = parse(text);
    let _ = (line.error().len(), line.conn_index(), line.continuation());
    let found = meaning(&line);
    assert!(!found.label().is_empty());
});
