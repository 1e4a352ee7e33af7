//! Connections that are lost, and how a connector comes back or does not.

use std::{net::TcpStream, time::Duration};

use tokio::time::sleep;

use crate::support::{Far, Near, eventually, origin};

#[tokio::test]
async fn dropped_connections_come_back_after_the_supervisors_wait() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[("STANDIN_SUPERVISOR_WAIT", "3")]).await;
    far.order("drop").await;
    assert_eq!(far.visit("/", "*/*").await, (530, "error code: 1033".into()));
    eventually("it serves again", || far.shows(200)).await;
    let log = near.log();
    assert!(log.contains(" INF Lost connection with the edge connIndex="), "{log}");
    assert!(
        log.contains(" ERR Connection terminated error=\"connection with edge closed\" connIndex="),
        "{log}"
    );
    let names: Vec<_> =
        far.events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    for name in ["registered", "lost", "route_down", "route_up", "public"] {
        assert!(names.iter().any(|seen| seen == name), "no {name} in {names:?}");
    }
}

#[tokio::test]
async fn a_lost_quic_connection_tries_again_soon() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "quic", origin(), &[("STANDIN_SUPERVISOR_WAIT", "600")]).await;
    far.order("drop").await;
    eventually("connection 0 is back", || async { near.ready() == Some((200, 1)) }).await;
    assert!(near.log().contains("failed to accept QUIC stream: Application error 0x0 (remote)"));
}

#[tokio::test]
async fn a_black_hole_is_not_noticed_on_http2_and_stopping_takes_the_grace() {
    let far = Far::start(&[]).await;
    let mut near = Near::start_connected(&far, "http2", origin(), &[]).await;
    far.order("blackhole").await;
    assert!(far.shows(530).await);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(near.ready(), Some((200, 4)));
    near.signal(libc::SIGTERM);
    sleep(Duration::from_secs(2)).await;
    assert!(near.is_running());
    assert_eq!(near.ready(), Some((503, 0)));
    assert_eq!(near.end().await, (Some(0), None));
    // New connections are fine.
    let _again = Near::start_connected(&far, "http2", origin(), &[]).await;
    assert!(far.shows(200).await);
}

#[tokio::test]
async fn a_black_hole_is_noticed_on_quic() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "quic", origin(), &[]).await;
    far.order("blackhole").await;
    eventually("it has noticed", || async { near.log().contains("timeout: no recent network activity") })
        .await;
    eventually("it serves again", || far.shows(200)).await;
}

#[tokio::test]
async fn asleep_after_a_refusal_until_killed() {
    let far = Far::start(&[]).await;
    let mut near =
        Near::start_connected(&far, "http2", origin(), &[("STANDIN_SUPERVISOR_WAIT", "600")]).await;
    far.order("refuse").await;
    assert!(TcpStream::connect(far.tunnel).is_err());
    let terminated = || async { near.log().matches("ERR Connection terminated").count() == 4 };
    eventually("all four wait", terminated).await;
    assert!(near.local("/metrics").contains("\ncloudflared_tunnel_ha_connections 0\n"));
    far.order("accept").await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!((far.routed().await, near.ready()), (0, Some((503, 0))));
    near.signal(libc::SIGTERM);
    sleep(Duration::from_secs(1)).await;
    assert!(near.is_running());
    near.signal(libc::SIGTERM);
    assert_eq!(near.end().await, (None, Some(libc::SIGTERM)));
}

#[tokio::test]
async fn a_refused_edge_at_the_start_is_dialled_again() {
    let far = Far::start(&[]).await;
    far.order("refuse").await;
    let near = Near::start(&far, "http2", origin(), &[]);
    let refused =
        format!("error=\"DialContext error: dial tcp {}: connect: connection refused\"", far.tunnel);
    eventually("it was refused", || async { near.log().contains(&refused) }).await;
    assert!(near.log().contains("INF Retrying connection in up to 2s connIndex=0"));
    far.order("accept").await;
    eventually("it is served", || far.shows(200)).await;
}

#[tokio::test]
async fn a_frozen_connector_leaves_the_route() {
    let far = Far::start(&["--silence-limit", "2"]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[("STANDIN_SUPERVISOR_WAIT", "0.1")]).await;
    near.signal(libc::SIGSTOP);
    eventually("the route is gone", || async { far.routed().await == 0 }).await;
    assert!(far.shows(530).await);
    near.signal(libc::SIGCONT);
    eventually("it serves again", || far.shows(200)).await;
}

#[tokio::test]
async fn mute_and_forgotten_connections_look_ready() {
    let far = Far::start(&[]).await;
    let near = Near::start_connected(&far, "http2", origin(), &[]).await;
    far.order("mute").await;
    eventually("no route", || far.shows(530)).await;
    far.order("accept").await;
    eventually("the route is back", || far.shows(200)).await;
    far.order("forget").await;
    assert!(far.shows(530).await);
    assert_eq!(near.ready(), Some((200, 4)));
    assert_eq!(near.log().matches("Registered tunnel").count(), 4);
}
