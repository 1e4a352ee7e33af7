//! What stands on cloudflared's port may answer: `/ready`, `/config`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u16, &[u8])| {
    tunnelwarden::client::cloudflared::fuzz(data.0, data.1);
});
