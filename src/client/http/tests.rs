use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::client::tls::testing::Authority;

const LIMIT: Duration = Duration::from_secs(5);

/// What the server does after the handshake.
#[derive(Clone)]
enum Act {
    /// Answers with these bytes and closes.
    Say(Vec<u8>),
    /// Reads and never answers.
    Mute,
}

fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

/// Serves on loopback; gives the port and the requests as they came.
async fn server(tls: rustls::ServerConfig, act: Act) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let (heard, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap_or(0);
            heard.send(String::from_utf8_lossy(&request[..n]).into_owned()).ok();
            match &act {
                Act::Say(bytes) => {
                    stream.write_all(bytes).await.ok();
                    stream.shutdown().await.ok();
                }
                Act::Mute => std::future::pending().await,
            }
        }
    });
    (port, requests)
}

fn client(authority: &Authority) -> PublicClient {
    let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
    PublicClient::new(&authority.tls, dns, "tunnelwarden/0.0.0").unwrap()
}

fn target(port: u16) -> PublicTarget {
    let url = Url::parse(&format!("https://app.test:{port}/health?a=b")).unwrap();
    PublicTarget { url, resolve: vec![Ipv4Addr::LOCALHOST.into()] }
}

const EDGE: &str = "server: cloudflare\r\ncf-ray: 99bab003ad3211f1-LAX\r\n";

#[tokio::test]
async fn looks_as_a_visitor() {
    let authority = Authority::new();
    let tls = authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let (port, mut requests) = server(tls, answer("530 x", EDGE, "error code: 1033")).await;
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!((sight.answer, sight.status, sight.code), (Answer::TunnelError, Some(530), Some(1033)));
    assert_eq!(sight.colo.as_deref(), Some("LAX"));
    assert_eq!(sight.http_version, Some("HTTP/1.1"));
    assert_eq!(sight.certificate_expiry, Some(2_208_988_800));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /health?a=b&tw="), "{request}");
    assert!(request.contains("cache-control: no-cache"), "{request}");
    assert!(request.contains("accept: */*"), "{request}");
    assert!(request.contains("user-agent: tunnelwarden/0.0.0"), "{request}");
}

#[tokio::test]
async fn each_look_has_its_own_connection_and_query() {
    let authority = Authority::new();
    let tls = authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let (port, mut requests) = server(tls, answer("200 OK", EDGE, "hi")).await;
    let (client, mut known) = (client(&authority), Known::default());
    for _ in 0..2 {
        assert_eq!(client.look(&target(port), &mut known, LIMIT).await.answer, Answer::Served);
    }
    assert_ne!(requests.recv().await.unwrap(), requests.recv().await.unwrap());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let authority = Authority::new();
    let tls = authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let login = format!("{EDGE}location: https://t.cloudflareaccess.com/cdn-cgi/access/login/x\r\n");
    let (port, _requests) = server(tls, answer("302 Found", &login, "")).await;
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!((sight.answer, sight.status), (Answer::Access, Some(302)));
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let authority = Authority::new();
    let tls = authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let body = "x".repeat(1 << 20);
    let (port, _requests) = server(tls, answer("500 x", EDGE, &body)).await;
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!(sight.answer, Answer::Served);
}

#[tokio::test]
async fn blind_for_a_reason() {
    let authority = Authority::new();
    let good = || authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let blind = |reason| Answer::Blind(reason);

    let (port, _r) = server(good(), Act::Mute).await;
    let sight =
        client(&authority).look(&target(port), &mut Known::default(), Duration::from_millis(300)).await;
    assert_eq!(sight.answer, blind(BlindReason::Timeout));

    let (port, _r) = server(authority.server("other.test", (2020, 2040), &[]), Act::Mute).await;
    assert_eq!(
        client(&authority).look(&target(port), &mut Known::default(), LIMIT).await.answer,
        blind(BlindReason::Tls)
    );

    let (port, _r) = server(authority.server("app.test", (2000, 2010), &[]), Act::Mute).await;
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!(sight.answer, blind(BlindReason::CertificateDates), "{}", sight.detail);

    let (port, _r) = server(good(), Act::Say(b"SSH-2.0-OpenSSH\r\n".to_vec())).await;
    assert_eq!(
        client(&authority).look(&target(port), &mut Known::default(), LIMIT).await.answer,
        blind(BlindReason::Garbled)
    );

    let (port, _r) = server(good(), answer("200 OK", "server: nginx\r\n", "portal")).await;
    assert_eq!(
        client(&authority).look(&target(port), &mut Known::default(), LIMIT).await.answer,
        blind(BlindReason::NotEdge)
    );

    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(
        client(&authority).look(&target(closed), &mut Known::default(), LIMIT).await.answer,
        blind(BlindReason::Connect)
    );

    let mut unresolved = target(closed);
    unresolved.resolve.clear();
    let sight = client(&authority).look(&unresolved, &mut Known::default(), LIMIT).await;
    assert_eq!(sight.answer, blind(BlindReason::Dns), "{}", sight.detail);
    assert!(sight.detail.contains("/nonexistent/resolv.conf"), "{}", sight.detail);
    assert!(matches!(
        client(&authority).control(&unresolved.url, LIMIT).await,
        ControlSight::Blind(BlindReason::Dns, _)
    ));
}

#[tokio::test]
async fn http_two() {
    let authority = Authority::new();
    let tls = Arc::new(authority.server("app.test", (2020, 2040), &[b"h2", b"http/1.1"]));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap();
        let answer = hyper::service::service_fn(|_| async {
            hyper::Response::builder()
                .status(530)
                .header("server", "cloudflare")
                .header("cf-ray", "99bab003ad3211f1-AMS")
                .body(http_body_util::Full::new(hyper::body::Bytes::from_static(b"error code: 1033")))
        });
        hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(hyper_util::rt::TokioIo::new(stream), answer)
            .await
            .ok();
    });
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!((sight.answer, sight.http_version), (Answer::TunnelError, Some("HTTP/2")), "{}", sight.detail);
}

#[tokio::test]
async fn a_name_is_resolved_by_our_own_resolver_and_anew_once_it_is_not_served() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{RData, RecordType};

    let authority = Authority::new();
    let tls = || authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let (port, _requests) = server(tls(), answer("200 OK", EDGE, "hi")).await;
    let (ill, _requests) = server(tls(), answer("530 x", EDGE, "error code: 1033")).await;
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    let dns = crate::client::dns::tests::server(move |asked, kind| match (asked, kind) {
        ("app.test", RecordType::A) => {
            counted.fetch_add(1, Ordering::Relaxed);
            Some(Ok(vec![RData::A(A(Ipv4Addr::LOCALHOST))]))
        }
        ("app.test", _) => Some(Ok(vec![])),
        _ => None,
    })
    .await;
    let client = PublicClient::new(&authority.tls, Arc::new(dns), "tunnelwarden/0.0.0").unwrap();
    let look = async |port, known: &mut Known| {
        let mut target = target(port);
        target.resolve.clear();
        client.look(&target, known, LIMIT).await.answer
    };
    let mut known = Known::default();
    for _ in 0..3 {
        assert_eq!(look(port, &mut known).await, Answer::Served);
    }
    assert_eq!(questions.load(Ordering::Relaxed), 1, "its record may be kept for a minute");
    for asked in [1, 2, 3] {
        assert_eq!(look(ill, &mut known).await, Answer::TunnelError);
        assert_eq!(questions.load(Ordering::Relaxed), asked);
    }
}
