//! What Cloudflare's API may answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u16, &[u8])| {
    tunnelwarden::client::cloudflare_api::fuzz(data.0, data.1);
});
