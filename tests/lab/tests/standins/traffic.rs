//! What passes: requests, bodies, pages of the edge itself, and garbage that must not.

use std::{io::Write, net::TcpStream, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};
use tunnelwarden_lab::connector::dial::{Dialer, Link};

use crate::support::{self, Far, HOST, Near, eventually, free_port, origin};

#[tokio::test]
async fn a_dead_origin_is_a_502_and_not_the_tunnels_fault() {
    let far = Far::start(&[]).await;
    for protocol in ["http2", "quic"] {
        let near = Near::start_connected(&far, protocol, free_port(), &[]).await;
        assert_eq!(far.visit("/", "*/*").await, (502, "error code: 502".into()));
        assert_eq!(near.ready(), Some((200, 4)));
        let words = "ERR  error=\"Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial tcp 127.0.0.1:";
        assert!(near.log().contains(words), "{}", near.log());
        drop(near);
        eventually("it has gone", || async { far.routed().await == 0 }).await;
    }
}

#[tokio::test]
async fn bodies_pass_both_ways_on_either_transport() {
    let far = Far::start(&[]).await;
    let origin = support::echo();
    let body: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    for protocol in ["http2", "quic"] {
        let near = Near::start_connected(&far, protocol, origin, &[]).await;
        let (status, echoed) = far.post(body.clone()).await;
        assert!(status == 200 && echoed == body, "{protocol}: {status}, {} bytes", echoed.len());
        drop(near);
        eventually("it has gone", || async { far.routed().await == 0 }).await;
    }
}

/// A visitor's TLS connection, on which he asks for a WebSocket; and what the edge says.
async fn upgrade(far: &Far) -> (Link, String) {
    let ca = far.path("pki/ca.pem").display().to_string();
    let mut link = Dialer::new(Some(&ca)).unwrap().dial_tcp(far.public, HOST).await.unwrap();
    let Link::Http2(stream) = &mut link else { panic!("not TCP") };
    let asked = format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: bGFi\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap().unwrap());
    }
    (link, String::from_utf8(head).unwrap().to_ascii_lowercase())
}

#[tokio::test]
async fn a_websocket_passes_both_ways_until_it_is_closed() {
    let far = Far::start(&[]).await;
    let origins = [support::echo(), origin()];
    for protocol in ["http2", "quic"] {
        let near = Near::start_connected(&far, protocol, origins[0], &[]).await;
        let (mut link, head) = upgrade(&far).await;
        assert!(head.starts_with("http/1.1 101 "), "{protocol}: {head}");
        assert!(head.contains("sec-websocket-accept: lab\r\n"), "{protocol}: {head}");
        let Link::Http2(stream) = &mut link else { panic!("not TCP") };
        let said: Vec<u8> = (0..300_000_u32).map(|byte| (byte % 251) as u8).collect();
        for part in [&b"ping"[..], &said, b"pong"] {
            let mut heard = vec![0; part.len()];
            let (mut reader, mut writer) = tokio::io::split(&mut *stream);
            let talk = async { tokio::join!(writer.write_all(part), reader.read_exact(&mut heard)) };
            let (sent, got) = timeout(Duration::from_secs(10), talk).await.unwrap();
            assert!(sent.is_ok() && got.is_ok() && heard == part, "{protocol}: {} bytes", part.len());
        }
        stream.shutdown().await.unwrap();
        let ended = timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
        assert!(matches!(ended, Ok(Ok(0))), "{protocol}: {ended:?}");
        drop(near);
        eventually("it has gone", || async { far.routed().await == 0 }).await;
        // An origin that speaks none answers as it would anyhow.
        let near = Near::start_connected(&far, protocol, origins[1], &[]).await;
        let (_link, head) = upgrade(&far).await;
        assert!(head.starts_with("http/1.1 200 "), "{protocol}: {head}");
        drop(near);
        eventually("it has gone", || async { far.routed().await == 0 }).await;
    }
}

#[tokio::test]
async fn pages_in_every_form() {
    let far = Far::start(&[]).await;
    let kind = |accept: &'static str| {
        let far = &far;
        async move {
            let response = far.response("/", accept).await;
            assert_eq!(response.status().as_u16(), 530);
            response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned()
        }
    };
    assert_eq!(kind("*/*").await, "text/plain");
    assert_eq!(kind("text/html,*/*;q=0.8").await, "text/html");
    assert_eq!(kind("application/json").await, "application/json");
    assert_eq!(kind("application/problem+json").await, "application/problem+json");
    assert_eq!(kind("text/markdown").await, "text/markdown");
    far.order("form html-old").await;
    assert!(far.visit("/", "*/*").await.1.contains("Argo Tunnel error | app.example.com"));
    for (page, status) in
        [("1016", 530), ("502", 502), ("cached", 200), ("challenge", 403), ("access", 302), ("522", 522)]
    {
        far.order(&format!("page {page} {HOST}")).await;
        assert!(far.shows(status).await, "{page}");
    }
    far.order("unpage").await;
    assert!(far.shows(530).await);
    assert_eq!(far.order("page nonsense").await["ok"], false);
    assert_eq!(far.visit("/cdn-cgi/trace", "*/*").await.0, 200);
}

#[tokio::test]
async fn garbage_on_the_tunnel_port_disturbs_nobody() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[]).await;
    TcpStream::connect(far.tunnel).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ca = far.path("pki/ca.pem").display().to_string();
    let dialer = Dialer::new(Some(&ca)).unwrap();
    drop(dialer.dial_tcp(far.tunnel, tunnelwarden_lab::wire::SNI_PROBE).await.unwrap());
    drop(dialer.dial_quic(far.tunnel, tunnelwarden_lab::wire::SNI_PROBE).await.unwrap());
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let garbage = [
        b"\xff\xff\xff\xff garbage".to_vec(),
        // Half a frame, and a list of headers longer than any.
        settings[..5].to_vec(),
        [&settings[..], b"\xff\xff\xff\x01\x04\0\0\0\x01"].concat(),
        [&settings[..], b"\0\x40\0\x01\0\0\0\0\x01", &[b'x'; 1 << 14]].concat(),
    ];
    for bytes in garbage {
        let link = dialer.dial_tcp(far.tunnel, tunnelwarden_lab::wire::SNI_H2).await.unwrap();
        let Link::Http2(mut stream) = link else { panic!("not TCP") };
        stream.write_all(&bytes).await.unwrap();
        // The edge may have hung up already.
        let _ = stream.shutdown().await;
        let link = dialer.dial_quic(far.tunnel, tunnelwarden_lab::wire::SNI_QUIC).await.unwrap();
        let Link::Quic(connection, _endpoint) = link else { panic!("not QUIC") };
        let (mut writer, _reader) = connection.open_bi().await.unwrap();
        writer.write_all(&bytes).await.unwrap();
        let _ = writer.finish();
        let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
        assert!(closed.is_ok(), "the edge keeps a connection that speaks garbage");
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!((near.ready(), far.routed().await), (Some((200, 4)), 4));
}
