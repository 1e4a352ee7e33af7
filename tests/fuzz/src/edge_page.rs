//! What the edge may answer. A page that a success carries is never an error of the tunnel.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tunnelwarden::client::answer::{Answer, classify};

fuzz_target!(|data: (u16, u8, &[u8])| {
    let (status, kind, body) = data;
    let mut headers = HeaderMap::new();
    if kind & 1 != 0 {
        headers.insert("server", HeaderValue::from_static("cloudflare"));
        headers.insert("cf-ray", HeaderValue::from_static("8f00b2c3d4e5f607-FRA"));
    }
    let content = ["text/html; charset=UTF-8", "text/plain", "application/json", "text/markdown"];
    headers.insert("content-type", HeaderValue::from_static(content[usize::from(kind >> 1 & 3)]));
    if kind & 8 != 0 {
        headers.insert("cf-cache-status", HeaderValue::from_static("DYNAMIC"));
    }
    let (answer, _) = classify(status, &headers, body);
    assert!(answer != Answer::TunnelError || !(200..300).contains(&status), "{status} is no error");
    assert!(answer != Answer::TunnelError || kind & 1 != 0, "not the edge's word");
});
