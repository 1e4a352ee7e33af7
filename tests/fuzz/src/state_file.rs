//! A state file that somebody else wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    tunnelwarden::store::fuzz_state(data);
});
