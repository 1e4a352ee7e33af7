//! A span of the calendar, and the time at which its window opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;

use tunnelwarden::client::calendar::{Span, Windows};

fuzz_target!(|data: (u32, &str)| {
    if let Ok(span) = Span::parse(data.1) {
        let windows = Windows { forbid: vec![span], allow: Vec::new() };
        let now = Duration::from_secs(data.0.into());
        assert!(windows.shut_until(now).is_none_or(|opens| now < opens));
    }
});
