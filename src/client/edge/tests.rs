use std::net::{Ipv4Addr, UdpSocket};

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::family::{Plan, Routes, choose, native};
use super::*;
use crate::client::tls::testing::Authority;

const NAME: &str = "probe.cftunnel.com";
const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(300);

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn tcp_edge(tls: rustls::ServerConfig) -> SocketAddr {
    tcp_edge_at(0, tls).await
}

async fn tcp_edge_at(port: u16, tls: rustls::ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind(local(port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _end = stream.read(&mut [0; 16]).await;
            }
        }
    });
    address
}

fn quic_edge(tls: rustls::ServerConfig) -> SocketAddr {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, local(0)).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                tokio::spawn(async move { connection.closed().await });
            }
        }
    });
    address
}

fn verified(reach: &Reach) -> Option<bool> {
    match reach {
        Reach::Reachable { verified, .. } => Some(*verified),
        Reach::Refused
        | Reach::TimedOut
        | Reach::Unreachable
        | Reach::Silent
        | Reach::TlsFailed(_)
        | Reach::ClockWrong { .. }
        | Reach::Failed(_) => None,
    }
}

#[tokio::test]
async fn both_transports_reach_a_good_edge() {
    let authority = Authority::new();
    let tcp = tcp_edge(authority.server(NAME, (2020, 2040), &[])).await;
    let reach = dial::dial(&authority.tls, Transport::Http2, tcp, LIMIT).await;
    assert_eq!(verified(&reach), Some(true), "{reach:?}");
    let quic = quic_edge(authority.server(NAME, (2020, 2040), &[b"argotunnel"]));
    let reach = dial::dial(&authority.tls, Transport::Quic, quic, LIMIT).await;
    assert_eq!(verified(&reach), Some(true), "{reach:?}");
}

#[tokio::test]
async fn a_strange_certificate_is_recorded_and_lets_pass() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tcp = tcp_edge(theirs.server(NAME, (2020, 2040), &[])).await;
    let reach = dial::dial(&ours.tls, Transport::Http2, tcp, LIMIT).await;
    assert_eq!(verified(&reach), Some(false), "{reach:?}");
    let quic = quic_edge(theirs.server(NAME, (2020, 2040), &[b"argotunnel"]));
    let reach = dial::dial(&ours.tls, Transport::Quic, quic, LIMIT).await;
    assert_eq!(verified(&reach), Some(false), "{reach:?}");
}

#[tokio::test]
async fn dates_out_of_range_point_at_the_clock() {
    let authority = Authority::new();
    for years in [(2000, 2010), (2090, 2095)] {
        let tcp = tcp_edge(authority.server(NAME, years, &[])).await;
        let reach = dial::dial(&authority.tls, Transport::Http2, tcp, LIMIT).await;
        assert!(matches!(reach, Reach::ClockWrong { .. }), "{reach:?}");
        assert!(reach.open());
    }
}

#[tokio::test]
async fn refused() {
    let authority = Authority::new();
    let tcp = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap();
    assert_eq!(dial::dial(&authority.tls, Transport::Http2, tcp, LIMIT).await, Reach::Refused);
    let udp = UdpSocket::bind(local(0)).unwrap().local_addr().unwrap();
    let start = Instant::now();
    assert_eq!(dial::dial(&authority.tls, Transport::Quic, udp, LIMIT).await, Reach::Refused);
    assert!(start.elapsed() < Duration::from_secs(2), "told at once, not by the limit");
}

#[tokio::test]
async fn silence() {
    let authority = Authority::new();
    let tcp = TcpListener::bind(local(0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    assert_eq!(dial::dial(&authority.tls, Transport::Http2, address, SHORT).await, Reach::Silent);
    let udp = UdpSocket::bind(local(0)).unwrap();
    let address = udp.local_addr().unwrap();
    assert_eq!(dial::dial(&authority.tls, Transport::Quic, address, SHORT).await, Reach::TimedOut);
}

#[tokio::test]
async fn no_tls_at_all() {
    let authority = Authority::new();
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let reach = dial::dial(&authority.tls, Transport::Http2, address, LIMIT).await;
    assert!(matches!(reach, Reach::TlsFailed(_)), "{reach:?}");
    let quic = quic_edge(authority.server(NAME, (2020, 2040), &[b"h3"]));
    let reach = dial::dial(&authority.tls, Transport::Quic, quic, LIMIT).await;
    assert!(matches!(reach, Reach::TlsFailed(_)), "{reach:?}");
}

#[tokio::test]
async fn a_dead_resolver_leaves_what_was_known() {
    let authority = Authority::new();
    let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
    let dialer = EdgeDialer::new(&authority.tls, dns, EdgeSettings::default());
    let sight = dialer.dial(SHORT, &BTreeSet::new()).await;
    assert!(matches!(sight.dns, EdgeDns::Failed(DnsFailure::NoResolver(_))), "{sight:?}");
    assert!(sight.links.is_empty() && !sight.from_memory);

    let tcp = tcp_edge(authority.server(NAME, (2020, 2040), &[])).await;
    dialer.known().insert("region1.v2.argotunnel.com".into(), vec![tcp]);
    let sight = dialer.dial(SHORT, &BTreeSet::new()).await;
    assert!(sight.from_memory);
    let open: Vec<_> = sight.links.iter().map(|l| (l.transport, l.reach.open())).collect();
    assert_eq!(open, [(Transport::Quic, false), (Transport::Http2, true)]);
}

#[test]
fn names_of_the_service() {
    assert_eq!(service_name(None), "_v2-origintunneld._tcp.argotunnel.com");
    assert_eq!(service_name(Some("")), "_v2-origintunneld._tcp.argotunnel.com");
    assert_eq!(service_name(Some("us")), "_us-v2-origintunneld._tcp.argotunnel.com");
}

#[test]
fn addresses_by_family_and_turn() {
    let addresses: Vec<SocketAddr> =
        ["198.51.100.1:7844", "198.51.100.2:7844", "[2001:db8::1]:7844"].map(|a| a.parse().unwrap()).into();
    let (a, b, six) = (addresses[0], addresses[1], addresses[2]);
    let plan = |v4, v6, v4_after_v6| Plan { v4, v6, v4_after_v6 };
    assert_eq!(choose(&addresses, plan(true, false, false), 0), [[a, b]]);
    assert_eq!(choose(&addresses, plan(true, false, false), 1), [[b, a]]);
    assert_eq!(choose(&addresses, plan(false, true, false), 7), [[six]]);
    assert_eq!(choose(&addresses, plan(false, true, true), 0), [[six, a]]);
    assert_eq!(choose(&addresses, plan(true, true, false), 1), [vec![six], vec![b, a]]);
    assert_eq!(choose(&addresses[..1], plan(false, true, false), 3), [[]; 0]);
    assert_eq!(choose(&[], plan(true, true, false), 3), [[]; 0]);
}

#[test]
fn no_family_is_dialled_that_nobody_uses() {
    let native = Routes { v4: true, v6: true, native_v6: true };
    let only_v4 = Routes { v4: true, v6: false, native_v6: false };
    let only_v6 = Routes { v4: false, v6: true, native_v6: true };
    let site_local = Routes { v4: true, v6: true, native_v6: false };
    let plan = |wanted: &[Family], routes, had_v4| {
        let Plan { v4, v6, v4_after_v6 } = Plan::of(&wanted.iter().copied().collect(), routes, had_v4);
        (v4, v6, v4_after_v6)
    };
    let (four, six, after) = ((true, false, false), (false, true, false), (false, true, true));
    for (wanted, routes, had_v4, expected) in [
        (Family::V4, native, true, four),
        (Family::V4, only_v6, true, four),
        (Family::V6, only_v4, true, six),
        (Family::Auto, native, true, after),
        (Family::Auto, only_v6, true, after),
        (Family::Auto, only_v4, true, four),
        (Family::Auto, site_local, true, four),
        (Family::Unknown, native, true, four),
        (Family::Unknown, only_v4, true, four),
        // Its route for IPv4 is lost, or there never was one.
        (Family::Unknown, only_v6, true, four),
        (Family::Unknown, only_v6, false, six),
    ] {
        assert_eq!(plan(&[wanted], routes, had_v4), expected, "{wanted:?} {routes:?} {had_v4}");
    }
    assert_eq!(plan(&[], native, true), four);
    assert_eq!(plan(&[Family::V4, Family::Auto], native, true), (true, true, false));
    assert!(native.begins_with_v6() && only_v6.begins_with_v6());
    assert!(!only_v4.begins_with_v6() && !site_local.begins_with_v6());
}

#[test]
fn what_comes_before_ipv4() {
    let is_native = |text: &str| native(text.parse().unwrap());
    assert!(is_native("2606:4700::1") && is_native("2a00:1450::1") && is_native("2001:4860::1"));
    for not in ["fd00::1", "fe80::1", "2002:c000:201::1", "2001:0:1::1", "::1"] {
        assert!(!is_native(not), "{not}");
    }
}

#[tokio::test]
async fn what_each_family_came_to_is_said() {
    let authority = Authority::new();
    let open = tcp_edge(authority.server(NAME, (2020, 2040), &[])).await;
    let six: SocketAddr = "[::1]:1".parse().unwrap();
    let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
    let dialer = EdgeDialer::new(&authority.tls, dns, EdgeSettings::default());
    let until = tokio::time::Instant::now() + LIMIT;
    let links = dialer.links("region1".into(), Transport::Http2, vec![six, open], until).await;
    let told: Vec<_> = links.iter().map(|link| (link.address, link.reach.open())).collect();
    assert_eq!(told, [(six, false), (open, true)]);
}

#[tokio::test]
async fn names_to_links() {
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use hickory_resolver::proto::rr::{RData, RecordType};

    use crate::client::dns::tests::{name, server};

    let authority = Authority::new();
    let port = quic_edge(authority.server(NAME, (2020, 2040), &[b"argotunnel"])).port();
    tcp_edge_at(port, authority.server(NAME, (2020, 2040), &[])).await;
    let dns = server(move |asked, kind| {
        let srv = |region: &str| RData::SRV(SRV::new(1, 1, port, name(region)));
        Some(match (asked, kind) {
            ("_v2-origintunneld._tcp.argotunnel.com", RecordType::SRV) => {
                Ok(vec![srv("region1.v2.argotunnel.com"), srv("region2.v2.argotunnel.com")])
            }
            (_, RecordType::A) => Ok(vec![RData::A(A(Ipv4Addr::LOCALHOST))]),
            _ => Ok(vec![]),
        })
    })
    .await;
    let dialer = EdgeDialer::new(&authority.tls, Arc::new(dns), EdgeSettings::default());
    let sight = dialer.dial(3 * LIMIT, &BTreeSet::new()).await;
    assert_eq!((&sight.dns, sight.from_memory), (&EdgeDns::Resolved, false));
    let links: Vec<_> =
        sight.links.iter().map(|l| (l.region.as_str(), l.transport, l.reach.open())).collect();
    let (one, two) = ("region1.v2.argotunnel.com", "region2.v2.argotunnel.com");
    let expected = [
        (one, Transport::Quic, true),
        (one, Transport::Http2, true),
        (two, Transport::Quic, true),
        (two, Transport::Http2, true),
    ];
    assert_eq!(links, expected, "{sight:?}");
}
