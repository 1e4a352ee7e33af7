//! A status page of anybody's making. What is told of it is short and stays on its line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for one in tunnelwarden::client::status_page::read(data).unwrap_or_default() {
        assert!(!one.name.is_empty() && one.name.chars().count() <= 120, "{:?}", one.name);
        assert!(!one.name.contains(|c: char| c.is_control() || c == '"'), "{:?}", one.name);
        assert!(one.colos.iter().all(|colo| colo.len() == 3), "{:?}", one.colos);
    }
});
