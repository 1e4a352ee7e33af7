//! Deadlines, limits, and a network that fails.

use tokio::net::TcpListener;

use super::server::{Act, answer, client, good, server, token, words};
use super::*;

#[tokio::test]
async fn a_slow_answer() {
    let server = server(|_| Act::Mute).await;
    let settings = ApiSettings { request: Duration::from_millis(100), ..server.settings() };
    let start = Instant::now();
    let error = client(Some(token()), &settings).tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    assert!(matches!(error, ApiError::Timeout), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    words(&error);
}

#[tokio::test]
async fn a_call_ends_in_the_middle_of_its_pages() {
    let server = server(|target| match target.contains("page=1&") {
        true => answer(
            200,
            "",
            r#"{"success":true,"result":[{"id":"a"}],"result_info":{"per_page":1,"count":1}}"#,
        ),
        false => Act::Mute,
    })
    .await;
    let settings = ApiSettings { call: Duration::from_secs(1), ..server.settings() };
    let error = client(Some(token()), &settings).accounts().await.unwrap_err();
    assert!(matches!(error, ApiError::Timeout), "{error:?}");
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn without_time_nothing_is_spent() {
    let server = server(|_| good("[]")).await;
    let budget = Budget::AtMost { requests: 1, per: Duration::from_secs(300) };
    let api = client(Some(token()), &ApiSettings { budget, call: Duration::ZERO, ..server.settings() });
    for _ in 0..2 {
        let error = api.zones("a").await.unwrap_err();
        assert!(matches!(error, ApiError::Timeout), "{error:?}");
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_off() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"success\":tr";
    let cut = server(|_| Act::Say(whole.into())).await;
    let error = cut.api().tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    assert!(matches!(error, ApiError::CutOff { status: 200, .. }), "{error:?}");
    words(&error);
    for garbage in ["", "SSH-2.0-OpenSSH\r\n"] {
        let server = server(|_| Act::Say(garbage.into())).await;
        let error = server.api().tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
        assert!(matches!(error, ApiError::Unreachable(_)), "{error:?}");
        assert!(!words(&error).contains(ACCOUNT));
    }
}

#[tokio::test]
async fn an_answer_without_end() {
    let body = "x".repeat(5 * 1024 * 1024);
    let server = server(move |_| answer(200, "", &body)).await;
    let error = server.api().tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    assert!(matches!(error, ApiError::TooLarge), "{error:?}");
}

#[tokio::test]
async fn nobody_there() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let settings = ApiSettings { base: format!("http://{closed}"), ..ApiSettings::default() };
    let error = client(Some(token()), &settings).tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    assert!(matches!(error, ApiError::Unreachable(_)), "{error:?}");
    words(&error);
    // No resolver: said so, and not as an edge that is slow.
    let settings = ApiSettings { base: "https://api.example.com".into(), ..ApiSettings::default() };
    let error = client(Some(token()), &settings).ips().await.unwrap_err();
    assert!(words(&error).contains("/nonexistent/resolv.conf"), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = server(|_| answer(302, "location: /client/v4/ips\r\n", "")).await;
    let error = server.api().tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    assert!(matches!(error, ApiError::NotJson { status: 302 }), "{error:?}");
    assert_eq!(server.heard().len(), 1);
}

/// A 429 with these headers silences for so many seconds, give or take what a busy machine needs.
async fn silences(headers: &'static str, seconds: u64) {
    let text = "More than 1200 requests per 300 seconds reached.";
    let server = server(move |_| answer(429, headers, text)).await;
    let api = server.api();
    let start = Instant::now();
    let error = api.tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    let ApiError::RateLimited { until } = error else { panic!("{error:?}") };
    let again = api.zones("example.com").await.unwrap_err();
    assert!(matches!(again, ApiError::Silenced { until: still } if still == until), "{again:?}");
    assert_eq!(api.silenced(), Some(until));
    assert_eq!(server.heard().len(), 1, "a silenced client asks nothing");
    assert!(again.to_string().ends_with("s more"), "{again}");
    words(&again);
    let lasts = until.duration_since(start).as_secs();
    assert!((seconds..seconds + 20).contains(&lasts), "{headers}: {lasts} s");
}

#[tokio::test]
async fn too_many_requests() {
    silences("", 300).await;
    silences("retry-after: 17\r\n", 17).await;
    let date = "date: Mon, 23 Nov 2026 10:00:00 GMT\r\nretry-after: Mon, 23 Nov 2026 10:02:00 GMT\r\n";
    silences(date, 120).await;
    // Without the server's own time a date means nothing: our clock may be wrong.
    silences("retry-after: Mon, 23 Nov 2026 10:02:00 GMT\r\n", 300).await;
    silences("retry-after: soon\r\n", 300).await;
    silences("retry-after: 18446744073709551615\r\n", 3600).await;
}

#[tokio::test]
async fn the_silence_ends() {
    let limited = std::sync::atomic::AtomicBool::new(true);
    let server = server(move |_| match limited.swap(false, std::sync::atomic::Ordering::Relaxed) {
        true => answer(429, "retry-after: 1\r\n", ""),
        false => good("[]"),
    })
    .await;
    let api = server.api();
    api.zones("a").await.unwrap_err();
    api.zones("a").await.unwrap_err();
    tokio::time::sleep_until(api.silenced().unwrap()).await;
    assert_eq!(api.silenced(), None);
    assert_eq!(api.zones("a").await.unwrap(), []);
}

#[tokio::test]
async fn the_last_allowed_request_silences() {
    let server = server(|_| answer(200, "ratelimit: \"default\";r=0;t=30\r\n", r#"{"result":[]}"#)).await;
    let api = server.api();
    assert_eq!(api.allowance(), None);
    assert_eq!(api.zones("a").await.unwrap(), []);
    assert_eq!(api.allowance().unwrap().remaining, Some(0));
    let error = api.zones("a").await.unwrap_err();
    assert!(matches!(error, ApiError::Silenced { .. }), "{error:?}");
}

#[tokio::test]
async fn a_budget() {
    let server = server(|_| good("[]")).await;
    let budget = Budget::AtMost { requests: 2, per: Duration::from_secs(300) };
    let api = client(Some(token()), &ApiSettings { budget, ..server.settings() });
    let start = Instant::now();
    for _ in 0..2 {
        api.zones("a").await.unwrap();
    }
    let error = api.zones("a").await.unwrap_err();
    let ApiError::Budget { until } = error else { panic!("{error:?}") };
    assert!((300..320).contains(&until.duration_since(start).as_secs()));
    assert_eq!(server.heard().len(), 2);
    words(&error);
}

#[tokio::test]
async fn over_https_by_our_own_resolver() {
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{RData, RecordType};
    use std::net::Ipv4Addr;

    let authority = crate::client::tls::testing::Authority::new();
    let tls = Arc::new(authority.server("api.test", (2020, 2040), &[b"h2", b"http/1.1"]));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        // One connection only: the second page must come over the first one's.
        let stream = listener.accept().await.unwrap().0;
        let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap();
        let answer = hyper::service::service_fn(async |request: hyper::Request<_>| {
            let _: &hyper::body::Incoming = request.body();
            assert_eq!(request.headers()["authorization"], format!("Bearer {}", super::TOKEN));
            let info = r#"{"per_page":1,"count":1,"total_count":2}"#;
            let body = format!(r#"{{"success":true,"result":[{{"id":"a"}}],"result_info":{info}}}"#);
            let body = http_body_util::Full::new(hyper::body::Bytes::from(body));
            Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
        });
        hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(hyper_util::rt::TokioIo::new(stream), answer)
            .await
            .ok();
    });
    let dns = crate::client::dns::tests::server(|asked, kind| match (asked, kind) {
        ("api.test", RecordType::A) => Some(Ok(vec![RData::A(A(Ipv4Addr::LOCALHOST))])),
        _ => Some(Ok(vec![])),
    })
    .await;
    let settings = ApiSettings { base: format!("https://api.test:{port}/v4/"), ..ApiSettings::default() };
    let api =
        CloudflareApi::new(&authority.tls, Arc::new(dns), "tunnelwarden/0.0.0", Some(token()), &settings);
    assert_eq!(api.unwrap().accounts().await.unwrap().len(), 2);
}

#[tokio::test]
async fn every_request_is_counted_and_nothing_else() {
    let server = server(|target| match target.starts_with("/zones?") {
        true => good("[]"),
        false => refused(404, 1003, "Tunnel not found"),
    })
    .await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let count = Count(Box::new(move |asked, outcome| told.lock().unwrap().push((asked, outcome))));
    let budget = Budget::AtMost { requests: 2, per: Duration::from_secs(300) };
    let api = client(Some(token()), &ApiSettings { budget, ..server.settings() }).counted(count);
    api.zones("a").await.unwrap();
    api.tunnel("a", "..").await.unwrap_err();
    api.tunnel("a", "b").await.unwrap_err();
    api.tunnel("a", "b").await.unwrap_err();
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard, [(Asked::Zones, Outcome::Answered), (Asked::Tunnel, Outcome::NotFound)]);
}
