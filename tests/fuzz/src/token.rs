//! Tokens, credentials files and command lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tunnelwarden::client::cloudflared_config::{Launch, TokenSight, is_tunnel_run, tunnel_of_credentials};

fuzz_target!(|text: &str| {
    let _ = TokenSight::of(text);
    let _ = tunnel_of_credentials(text);
    let words: Vec<&str> = text.split(' ').collect();
    let _ = Launch::of(&words, &words);
    let _ = is_tunnel_run(&words);
});
