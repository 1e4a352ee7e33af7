//! Follows Cloudflare's status page, where one is set: seldom in calm, once a minute while something is wrong.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::status_page::StatusPage;
use crate::sense::announcements;
use crate::sense::polling::{Pace, jittered};
use crate::warden::event::Event;
use crate::warden::evidence::HostFinding;

/// For one answer, connection included.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
const FIRST: Duration = Duration::from_secs(1);
const CALM: Duration = Duration::from_secs(600);
/// Never sooner than a minute after the last answer, whatever the jitter.
const HURRIED: Duration = Duration::from_secs(65);

/// Until the reins are dropped.
pub(super) async fn follow(page: StatusPage, events: mpsc::Sender<Event>, mut pace: watch::Receiver<Pace>) {
    sleep(FIRST).await;
    loop {
        let seen = announcements::look(&page, LIMIT).await;
        if events.send(Event::HostObserved(HostFinding::Announced(seen))).await.is_err() {
            return;
        }
        let asked = Instant::now();
        let (calm, hurried) = (asked + jittered(CALM), asked + jittered(HURRIED));
        loop {
            let until = if pace.borrow_and_update().hurry { hurried } else { calm };
            tokio::select! {
                () = sleep_until(until) => break,
                changed = pace.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::dns::Dns;
    use crate::client::fetch::testing::server;
    use crate::client::tls::testing::Authority;

    #[tokio::test]
    async fn the_page_is_asked_at_once_and_not_again_when_trouble_begins_a_moment_later() {
        let body = "{\"incidents\":[{\"name\":\"Tunnels\"}]}";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (url, mut requests) = server(answer.into_bytes()).await;
        let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
        let page = StatusPage::new(&Authority::new().tls, dns, "tunnelwarden/0", &url, LIMIT).unwrap();
        let (events, mut heard) = mpsc::channel(4);
        let (reins, pace) = watch::channel(Pace::default());
        let following = tokio::spawn(follow(page, events, pace));
        let Some(Event::HostObserved(HostFinding::Announced(Ok(said)))) = heard.recv().await else {
            panic!("nothing was announced")
        };
        assert!(said.len() == 1 && said[0].tunnels, "{said:?}");
        reins.send_modify(|pace| pace.hurry = true);
        sleep(Duration::from_millis(300)).await;
        assert!(requests.recv().await.is_some() && requests.try_recv().is_err(), "asked again at once");
        drop(reins);
        following.await.unwrap();
    }
}
