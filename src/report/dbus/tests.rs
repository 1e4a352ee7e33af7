use std::os::unix::net::UnixStream;

use super::*;
use crate::report::snapshot::About;
use crate::warden::machine::{Memory, Warden};
use crate::warden::policy::Policy;

/// Both ends of a connection without a bus between: nobody vouches for who calls.
async fn pair(asks: mpsc::Sender<Ask>) -> (Connection, Connection) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_, picture) = watch::channel(Picture { mode: "remedy".into(), ..Picture::default() });
    let served = Warden1::new(asks, picture);
    let guid = zbus::Guid::generate();
    let server = connection::Builder::unix_stream(ours).server(guid).p2p().serve_at(PATH, served).build();
    let client = connection::Builder::unix_stream(theirs).p2p().build();
    tokio::try_join!(server, client).unwrap()
}

/// A loop that answers `Status` and counts how often it was asked.
fn answering(asked: Arc<std::sync::atomic::AtomicUsize>) -> mpsc::Sender<Ask> {
    let (asks, mut inbox) = mpsc::channel(8);
    tokio::spawn(async move {
        let warden = Warden::new(Policy::shipped(), Memory::default());
        let about = About { started: Duration::ZERO, tunnels: Vec::new() };
        while let Some(ask) = inbox.recv().await {
            match ask {
                Ask::Status(reply) => {
                    asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    drop(reply.send(Box::new(Status::new(&warden, &about, clock::now()))));
                }
                Ask::Order(..) => panic!("an order of somebody unknown came through"),
                Ask::Metrics(_) | Ask::Health(_) => panic!("not asked for over the bus"),
            }
        }
    });
    asks
}

async fn call(
    client: &Connection,
    method: &str,
    body: &(impl serde::Serialize + zbus::Type),
) -> zbus::Result<String> {
    let reply = client.call_method(None::<&str>, PATH, Some(NAME), method, body).await?;
    Ok(reply.body().deserialize::<String>().unwrap_or_default())
}

#[tokio::test]
async fn a_flood_of_reads_costs_the_loop_a_few_answers() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (_server, client) = pair(answering(Arc::clone(&asked))).await;
    let began = Instant::now();
    for _ in 0..500 {
        let json = call(&client, "Status", &()).await.unwrap();
        assert!(json.contains("\"tunnels\":[]"), "{json}");
    }
    let spans = began.elapsed().as_millis() / FRESH.as_millis() + 1;
    let asked = asked.load(std::sync::atomic::Ordering::SeqCst);
    assert!(u128::try_from(asked).unwrap() <= spans, "{asked} answers in {spans} spans");
}

#[tokio::test]
async fn nobody_unknown_orders_anything() {
    let (_server, client) = pair(answering(Arc::default())).await;
    let until = 4_000_000_000_000_000_u64;
    for error in [
        call(&client, "Pause", &(until, "work")).await.unwrap_err(),
        call(&client, "Restart", &("cloudflared.service", "work")).await.unwrap_err(),
        call(&client, "ForceRestart", &("cloudflared.service", "work")).await.unwrap_err(),
        call(&client, "Resume", &()).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("NotAuthorized"), "{error}");
    }
    let two_lines = call(&client, "Restart", &("cloudflared.service", "a\nb")).await.unwrap_err();
    assert!(two_lines.to_string().contains("InvalidArgument"), "{two_lines}");
    let stranger = call(&client, "Diagnose", &"cloudflared.service").await.unwrap_err();
    assert!(stranger.to_string().contains("no tunnel is called"), "{stranger}");
    let nobody = call(&client, "Explain", &"cloudflared.service").await.unwrap_err();
    assert!(nobody.to_string().contains("no tunnel is called"), "{nobody}");
}

/// `systemd/org.tunnelwarden.Warden1.xml` is what the bus shows.
#[tokio::test]
async fn the_shipped_description_is_what_is_served() {
    let (_server, client) = pair(answering(Arc::default())).await;
    let reply = client
        .call_method(None::<&str>, PATH, Some("org.freedesktop.DBus.Introspectable"), "Introspect", &())
        .await
        .unwrap();
    let xml: String = reply.body().deserialize().unwrap();
    let (begin, end) = ("<interface name=\"org.tunnelwarden.Warden1\">", "</interface>");
    let ours = xml.split(begin).nth(1).unwrap().split(end).next().unwrap();
    let shipped = include_str!("../../../systemd/org.tunnelwarden.Warden1.xml");
    let shipped = shipped.split(begin).nth(1).unwrap().split(end).next().unwrap();
    assert_eq!(plain(ours), plain(shipped), "served:{ours}");
}

/// Without comments and layout.
fn plain(xml: &str) -> Vec<String> {
    let mut lines: Vec<_> = xml.lines().map(|line| line.trim().to_owned()).collect();
    lines.retain(|line| line.starts_with('<') && !line.starts_with("<!--"));
    lines
}
