//! Prometheus text, as `/metrics` gives it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    tunnelwarden::client::cloudflared::fuzz(200, data);
});
