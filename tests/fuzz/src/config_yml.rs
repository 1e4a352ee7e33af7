//! A `config.yml` of anybody's making. What is told of it is short and on one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

use tunnelwarden::client::cloudflared_config::{hostnames, parse};

fuzz_target!(|text: &str| {
    match parse(Path::new("config.yml"), text) {
        Ok(config) => drop(hostnames(&config.ingress)),
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 500 && !told.contains('\n'), "{told:?}");
        }
    }
});
