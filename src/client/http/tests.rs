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
    /// Answers with the second where the first form of an error page is not wanted.
    Choose(Vec<u8>, Vec<u8>),
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
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let bytes = match &act {
                Act::Say(bytes) => bytes,
                Act::Choose(_, problem) if request.contains("accept: application/problem+json") => problem,
                Act::Choose(page, _) => page,
                Act::Mute => std::future::pending().await,
            };
            heard.send(request).ok();
            stream.write_all(bytes).await.ok();
            stream.shutdown().await.ok();
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
    PublicTarget { resolve: vec![Ipv4Addr::LOCALHOST.into()], ..PublicTarget::of(url) }
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
    let Phases { dns, tcp, tls, first_byte } = sight.phases;
    assert_eq!(dns, None, "nothing was resolved");
    let told = [tcp, tls, first_byte].into_iter().flatten().collect::<Vec<_>>();
    assert!(
        told.len() == 3 && told.iter().sum::<Duration>() <= sight.latency,
        "{told:?} {:?}",
        sight.latency
    );
    assert_eq!(sight.marks.ray.as_deref(), Some("99bab003ad3211f1-LAX"));
    assert_eq!((sight.marks.server.as_deref(), sight.marks.cache), (Some("cloudflare"), None));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /health?a=b&tw="), "{request}");
    assert!(request.contains("cache-control: no-cache"), "{request}");
    assert!(request.contains("accept: */*"), "{request}");
    assert!(request.contains("user-agent: tunnelwarden/0.0.0"), "{request}");
    assert!(request.contains(&format!("host: app.test:{port}\r\n")), "{request}");
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
    let (ill, _ill_requests) = server(tls(), answer("530 x", EDGE, "error code: 1033")).await;
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

fn bytes(act: Act) -> Vec<u8> {
    let Act::Say(bytes) = act else { panic!("nothing to say") };
    bytes
}

#[tokio::test]
async fn a_page_over_an_error_is_asked_for_its_code_and_a_marked_one_is_not() {
    let authority = Authority::new();
    let tls = || authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let page = answer("530 x", EDGE, "<h1>We are back soon</h1>");
    let kind = format!("{EDGE}content-type: application/problem+json\r\n");
    let problem = answer("530 x", &kind, r#"{"cloudflare_error":true,"error_code":1033}"#);
    let (port, mut requests) = server(tls(), Act::Choose(bytes(page.clone()), bytes(problem))).await;
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!((sight.answer, sight.code), (Answer::TunnelError, Some(1033)));
    assert!(requests.recv().await.unwrap().contains("accept: */*"));
    assert!(requests.recv().await.unwrap().contains("accept: application/problem+json"));
    // An owner's page in every form tells nothing, and costs one more request.
    let (port, mut requests) = server(tls(), page).await;
    let sight = client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    assert_eq!((sight.answer, sight.code), (Answer::EdgeError, None));
    let marked = answer("530 x", EDGE, "error code: 1033");
    let (port, mut once) = server(tls(), marked).await;
    client(&authority).look(&target(port), &mut Known::default(), LIMIT).await;
    let count = |requests: &mut tokio::sync::mpsc::UnboundedReceiver<String>| {
        std::iter::from_fn(|| requests.try_recv().ok()).count()
    };
    assert_eq!((count(&mut requests), count(&mut once)), (2, 1));
}

#[tokio::test]
async fn what_is_expected_of_the_origin_tells_its_answer_from_another() {
    let authority = Authority::new();
    let tls = || authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let dynamic = format!("{EDGE}cf-cache-status: DYNAMIC\r\nx-app: mine\r\n");
    let look = async |act, expected: Expected| {
        let (port, _requests) = server(tls(), act).await;
        let target = PublicTarget { expected, ..target(port) };
        client(&authority).look(&target, &mut Known::default(), LIMIT).await
    };
    let ours = || Expected {
        status: vec![200],
        header: Some(("x-app".parse().unwrap(), "mine".into())),
        body: Some("all is well".into()),
    };
    let sight = look(answer("200 OK", &dynamic, "all is well"), ours()).await;
    assert_eq!(sight.answer, Answer::Served, "{}", sight.detail);
    let sight = look(answer("500 x", &dynamic, "all is well"), ours()).await;
    assert_eq!((sight.answer, sight.detail.as_str()), (Answer::Unexpected, "status 500, not 200"));
    let sight = look(answer("200 OK", EDGE, "all is well"), ours()).await;
    assert_eq!(sight.answer, Answer::Unexpected, "{}", sight.detail);
    let sight = look(answer("200 OK", &dynamic, "maintenance"), ours()).await;
    assert_eq!(sight.answer, Answer::Unexpected, "{}", sight.detail);
    assert!(!sight.detail.contains("all is well"), "{}", sight.detail);
    // The edge's own errors are what they are, whatever is expected.
    let sight = look(answer("530 x", EDGE, "error code: 1033"), ours()).await;
    assert_eq!(sight.answer, Answer::TunnelError);
    let busy = || Expected { status: vec![503], ..Expected::default() };
    assert_eq!(look(answer("503 x", &dynamic, ""), busy()).await.answer, Answer::Served);
    assert_eq!(look(answer("503 x", &dynamic, ""), ours()).await.answer, Answer::OriginError);
}

#[tokio::test]
async fn a_service_token_goes_to_its_own_name_alone_and_a_refused_one_is_said() {
    let authority = Authority::new();
    let tls = || authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let token = || ServiceToken::parse(&"id.access\nthe-secret".to_owned().into()).ok();
    let (port, mut requests) = server(tls(), answer("200 OK", EDGE, "hi")).await;
    let client = client(&authority);
    let with = |port| PublicTarget { access: token(), ..target(port) };
    assert_eq!(client.look(&with(port), &mut Known::default(), LIMIT).await.answer, Answer::Served);
    let request = requests.recv().await.unwrap();
    assert!(request.contains("cf-access-client-id: id.access\r\n"), "{request}");
    assert!(request.contains("cf-access-client-secret: the-secret\r\n"), "{request}");
    client.look(&target(port), &mut Known::default(), LIMIT).await;
    assert!(!requests.recv().await.unwrap().contains("cf-access"), "another look carries it");
    let refused = format!("{EDGE}cf-access-aud: 0\r\n");
    let (port, _requests) = server(tls(), answer("403 x", &refused, "")).await;
    let sight = client.look(&with(port), &mut Known::default(), LIMIT).await;
    assert_eq!(sight.answer, Answer::Access);
    assert!(
        sight.detail.contains("refuses the service token") && !format!("{sight:?}").contains("the-secret")
    );
}

#[tokio::test]
async fn the_other_family_is_tried_where_the_first_does_not_answer() {
    let authority = Authority::new();
    let tls = authority.server("app.test", (2020, 2040), &[b"http/1.1"]);
    let (port, _requests) = server(tls, answer("200 OK", EDGE, "hi")).await;
    // Nothing listens on ::1; the first is refused at once, whichever family it is of.
    for addresses in [["::1", "127.0.0.1"], ["127.0.0.1", "::1"]] {
        let resolve = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let target = PublicTarget { resolve, ..target(port) };
        let sight = client(&authority).look(&target, &mut Known::default(), LIMIT).await;
        assert_eq!(sight.answer, Answer::Served, "{addresses:?}: {}", sight.detail);
    }
}
