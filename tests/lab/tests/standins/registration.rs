//! Registrations that are refused, unanswered or answered late.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Far, Near, eventually, origin};

#[tokio::test]
async fn unauthorized_is_told_on_http2_and_hidden_on_quic() {
    let far = Far::start(&[]).await;
    far.order("reject Unauthorized: Tunnel not found").await;
    let mut http2 = Near::start(&far, "http2", origin(), &[]);
    let mut quic = Near::start(&far, "quic", origin(), &[]);
    let told =
        "ERR Register tunnel error from server side error=\"Unauthorized: Tunnel not found\" connIndex=0";
    eventually("the refusal is told", || async { http2.log().contains(told) }).await;
    let hidden =
        "ERR Serve tunnel error error=\"control stream encountered a failure while serving\" connIndex=0";
    eventually("the refusal is hidden", || async { quic.log().contains(hidden) }).await;
    assert!(!quic.log().contains("Unauthorized"));
    assert!(http2.is_running() && quic.is_running());
    for near in [&http2, &quic] {
        let fail = "register_fail{error=\"server_error\",rpcName=\"registerConnection\"}";
        assert!(near.local("/metrics").contains(fail));
        assert_eq!(near.ready(), Some((503, 0)));
    }
    far.order("unreject").await;
    eventually("it is served", || far.shows(200)).await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_other_refusals_end_the_start() {
    let far = Far::start(&[]).await;
    far.order("secret c29tZXRoaW5nIGVsc2U=").await;
    let near = Near::start(&far, "http2", origin(), &[]);
    eventually("refused", || async { near.log().contains("Unauthorized: Invalid tunnel secret") }).await;
    far.order("reject --retryable Failed to get tunnel details: internal error").await;
    let mut other = Near::start(&far, "http2", origin(), &[]);
    assert_eq!(other.end().await, (Some(1), None));
    assert!(other.log().ends_with("\nFailed to get tunnel details: internal error\n"), "{}", other.log());
}

#[tokio::test]
async fn an_unanswered_registration_times_out() {
    let far = Far::start(&[]).await;
    far.order("mute registration").await;
    let mut near = Near::start(&far, "http2", origin(), &[]);
    assert_eq!(near.end().await, (Some(1), None));
    assert!(
        near.log().contains("ERR Initiating shutdown error=\"context deadline exceeded\""),
        "{}",
        near.log()
    );
}

#[tokio::test]
async fn a_duplicate_is_told_on_http2_and_tried_again() {
    let far = Far::start(&[]).await;
    far.order("reject EDUPCONN").await;
    let near = Near::start(&far, "http2", origin(), &[]);
    let told = "ERR Unable to establish connection. error=\"already connected to this server, trying another address\" connIndex=0";
    eventually("it is told", || async { near.log().contains(told) }).await;
    assert!(near.local("/metrics").contains("register_fail{error=\"dup_edge_conn\""));
    far.order("unreject").await;
    eventually("it is served", || far.shows(200)).await;
}

#[tokio::test]
async fn a_late_answer_is_waited_for() {
    let far = Far::start(&[]).await;
    far.order("late 2").await;
    let begin = Instant::now();
    for protocol in ["http2", "quic"] {
        let _near = Near::start_connected(&far, protocol, origin(), &[]).await;
    }
    assert!(Duration::from_secs(4) <= begin.elapsed(), "{:?}", begin.elapsed());
    assert_eq!(far.order("late never").await["ok"], false);
}
