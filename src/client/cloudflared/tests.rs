use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const ID: &str = "0e9a4f7c-31e5-4d4f-9d5e-3f1c2b7a8d90";

/// Answers each connection with these bytes, or keeps silent.
async fn serve(answer: Option<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _asked = stream.read(&mut [0; 2048]).await;
            match &answer {
                Some(bytes) => {
                    stream.write_all(bytes).await.ok();
                }
                None => std::future::pending().await,
            }
        }
    });
    address
}

async fn http(status: &str, body: &str) -> SocketAddr {
    let length = body.len();
    serve(Some(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes())).await
}

#[tokio::test]
async fn readiness() {
    let body = format!("{{\"status\":200,\"readyConnections\":4,\"connectorId\":\"{ID}\"}}\n");
    let found = ready(http("200 OK", &body).await).await.unwrap();
    assert_eq!(found, Ready { status: 200, connections: 4, connector_id: Some(ID.into()) });
    let body = "{\"status\":503,\"readyConnections\":0}";
    let found = ready(http("503 Service Unavailable", body).await).await.unwrap();
    assert_eq!(found, Ready { status: 503, connections: 0, connector_id: None });
}

#[tokio::test]
async fn not_cloudflared_at_all() {
    let many = "x".repeat(SMALL + 1);
    for (status, body) in [
        ("200 OK", "ready"),
        ("404 Not Found", "{}"),
        ("200 OK", "{\"status\":503,\"readyConnections\":0}"),
        ("200 OK", "{\"status\":200,\"readyConnections\":-1}"),
        ("200 OK", "{\"status\":200,\"readyConnections\":4,\"connectorId\":\"<script>\"}"),
        ("200 OK", many.as_str()),
    ] {
        let found = ready(http(status, body).await).await;
        assert!(matches!(found, Err(AskError::NotCloudflared { .. })), "{found:?}");
    }
    let found = ready(serve(Some(b"SSH-2.0-OpenSSH_9\r\n".to_vec())).await).await;
    assert!(matches!(found, Err(AskError::NotCloudflared { .. })), "{found:?}");
}

#[tokio::test]
async fn no_answer() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(ready(gone).await, Err(AskError::Refused(_))));
    assert!(matches!(ready(serve(Some(Vec::new())).await).await, Err(AskError::Reset(_))));
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    assert!(matches!(ready(serve(Some(half)).await).await, Err(AskError::Reset(_))));
    assert!(matches!(ready(serve(None).await).await, Err(AskError::TimedOut(_))));
}

#[tokio::test]
async fn metrics() {
    let text = "\
# HELP build_info Build and version information
build_info{goversion=\"go1.24\",revision=\"\",type=\"\",version=\"2026.8.2\"} 1
cloudflared_tunnel_ha_connections 4
cloudflared_tunnel_request_errors 2
cloudflared_tunnel_total_requests 1.234567e+06
cloudflared_tunnel_tunnel_register_fail{error=\"server_error\",rpcName=\"registerConnection\"} 3
cloudflared_tunnel_tunnel_register_fail{error=\"dup_edge_conn\",rpcName=\"registerConnection\"} 1
cloudflared_tunnel_tunnel_register_success{rpcName=\"registerConnection\"} 7
process_start_time_seconds 1.76390000012e+09
quic_client_receive_bytes{conn_index=\"0\"} 1.5e+06
quic_client_receive_bytes{conn_index=\"1\"} 250
quic_client_sent_bytes{conn_index=\"1\"} 9999
go_gc_duration_seconds{quantile=\"0\"} NaN
broken{
";
    let found = counters(http("200 OK", text).await).await.unwrap();
    let expected = Counters {
        total_requests: 1_234_567,
        request_errors: 2,
        register_success: 7,
        register_fail: 4,
        quic_received: Some(1_500_250),
    };
    assert_eq!(found, expected);
    let http2 = counters(http("200 OK", "cloudflared_tunnel_total_requests 1\n").await).await.unwrap();
    assert_eq!(http2.quic_received, None);
    let other = counters(http("200 OK", "node_load1 0.1\n").await).await;
    assert!(matches!(other, Err(AskError::NotCloudflared { .. })));
}

#[tokio::test]
async fn rules_in_effect() {
    let body = r#"{"version":-1,"config":{"ingress":[
        {"hostname":"app.example.com","path":null,"service":"http://127.0.0.1:80","Handlers":null,"originRequest":{}},
        {"hostname":"","path":"^/x","service":"http_status:503"}],"warp-routing":{},"originRequest":{}}}"#;
    let found = config(http("200 OK", body).await).await.unwrap();
    assert_eq!(found.version, -1);
    assert!(!found.private_network);
    assert_eq!(found.ingress[0].hostname.as_deref(), Some("app.example.com"));
    assert_eq!(found.ingress[1].path.as_deref(), Some("^/x"));
    assert!(config(http("500 x", "ERR: no").await).await.is_err());
}

proptest::proptest! {
    #[test]
    fn any_metrics_are_survived(text in "(cloudflared_tunnel_total_requests|[a-z{}\" 0-9.e+-]{0,30}\n){0,20}") {
        parse_counters(&text);
    }

    #[test]
    fn any_body_is_survived(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        parse_ready(200, &body);
        parse_config(&body);
    }
}
