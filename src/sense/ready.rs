//! cloudflared's own `/ready` and the counters of its `/metrics`. Its port moves at a restart, and whatever listens
//! on a port is believed only if the socket belongs to the unit's user.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::journal::Told;
use crate::client::cloudflared::{self, AskError, SocketError};
use crate::warden::evidence::{Blind, Counters, Ready, ReadySight, Seen};

/// Where the port may be, and whose it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    /// Set in tunnelwarden's or cloudflared's configuration.
    pub configured: Option<SocketAddr>,
    /// User of the unit; root if it names none.
    pub uid: u32,
}

/// Where a connector has answered that was surely the unit's, and in which of its lives: there it is asked again, also when it
/// answers no more. What one of the usual ports answered is no ground for that: another of this user's may listen there.
pub type Answered = Option<(String, SocketAddr)>;

/// Looks once. `invocation` is the unit's present life as systemd names it; the counters cost a second question.
pub async fn look(
    place: &Where,
    answered: &mut Answered,
    told: &Told,
    invocation: Option<&str>,
    counters: bool,
    limit: Duration,
) -> Seen<ReadySight> {
    let here = answered.as_ref().filter(|(life, _)| Some(life.as_str()) == invocation).map(|(_, addr)| *addr);
    // What the journal says of another life is not true of this one.
    let told =
        Some(told).filter(|told| told.invocation.is_some() && told.invocation.as_deref() == invocation);
    let (addr, sight, sure) = find(place, here, told, counters, limit).await?;
    if let (Some(life), Ready::Connections(_), true) = (invocation, sight.ready, sure) {
        *answered = Some((life.to_owned(), addr));
    }
    Ok(sight)
}

/// Where it answered, what, and whether that is surely the unit's.
async fn find(
    place: &Where,
    here: Option<SocketAddr>,
    told: Option<&Told>,
    counters: bool,
    limit: Duration,
) -> Seen<(SocketAddr, ReadySight, bool)> {
    let known = told.and_then(|told| told.connector.as_deref());
    let named = told.and_then(|told| told.metrics.as_deref()).and_then(address).or(here);
    if let Some(addr) = named.or(place.configured) {
        return Ok((addr, ask(place, known, addr, named.is_some(), counters, limit).await?, true));
    }
    // The journal does not name it (lost, or not readable): the usual ports, matched by the connector's id. Where that is not
    // known either and several connectors answer, each may be another tunnel's.
    let mut found = None;
    for port in cloudflared::PORTS {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let each = limit / 5;
        let Ok(sight) = ask(place, None, addr, false, counters, each).await else { continue };
        if !matches!(sight.ready, Ready::Connections(_)) {
            continue;
        }
        match known {
            Some(known) if sight.connector.as_deref() == Some(known) => return Ok((addr, sight, true)),
            Some(_) => (),
            None if found.is_some() => return Err(Blind::NotFound),
            None => found = Some((addr, sight, false)),
        }
    }
    found.ok_or(Blind::NotFound)
}

async fn ask(
    place: &Where,
    expected: Option<&str>,
    addr: SocketAddr,
    of_this_life: bool,
    counters: bool,
    limit: Duration,
) -> Seen<ReadySight> {
    let sight =
        |ready| ReadySight { ready, connector: None, port_of_this_life: of_this_life, counters: None };
    match cloudflared::socket_owner(addr).map(|owner| owner.belongs_to(place.uid)) {
        Ok(Some(true)) => (),
        // Whose it is cannot be told, or it is somebody else's.
        Ok(Some(false) | None) => return Err(Blind::Forbidden),
        Err(SocketError::NotListening(_)) => return Ok(sight(Ready::Refused)),
        Err(SocketError::Table { .. }) => return Err(Blind::Forbidden),
    }
    let answer = match timeout(limit, cloudflared::ready(addr)).await {
        Err(_) | Ok(Err(AskError::TimedOut(_))) => return Ok(sight(Ready::Silent)),
        Ok(Err(AskError::Refused(_) | AskError::Reset(_))) => return Ok(sight(Ready::Refused)),
        Ok(Err(AskError::NotCloudflared { .. })) => return Err(Blind::Garbled),
        Ok(Err(AskError::Connect { .. })) => return Err(Blind::Unreachable),
        Ok(Ok(answer)) => answer,
    };
    if expected.is_some() && answer.connector_id.is_some() && expected != answer.connector_id.as_deref() {
        return Err(Blind::Garbled);
    }
    let counted = async {
        timeout(limit, cloudflared::counters(addr)).await.ok().and_then(Result::ok).map(|seen| Counters {
            total_requests: seen.total_requests,
            request_errors: seen.request_errors,
            register_success: seen.register_success,
            register_fail: seen.register_fail,
            quic_received: seen.quic_received,
        })
    };
    let counters = if counters { counted.await } else { None };
    let connector = answer.connector_id;
    Ok(ReadySight {
        ready: Ready::Connections(answer.connections),
        connector,
        port_of_this_life: true,
        counters,
    })
}

/// `127.0.0.1:20241`, `localhost:20241`, `[::]:20241`; an unspecified address is reached by loopback.
pub fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim_end_matches("/metrics");
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)));
    }
    let addr: SocketAddr = text.parse().ok()?;
    match addr.ip() {
        ip if !ip.is_unspecified() => Some(addr),
        std::net::IpAddr::V4(_) => Some(SocketAddr::from(([127, 0, 0, 1], addr.port()))),
        std::net::IpAddr::V6(_) => Some(SocketAddr::from(([127, 0, 0, 1], addr.port()))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const ID: &str = "0e9a4f7c-31e5-4d4f-9d5e-3f1c2b7a8d90";
    const LIMIT: Duration = Duration::from_millis(500);

    /// A connector with four connections, until the flag is raised: then it keeps silent.
    async fn connector(listener: TcpListener, silent: tokio::sync::watch::Receiver<bool>) {
        connector_called(ID, listener, silent).await;
    }

    async fn connector_called(
        id: &str,
        listener: TcpListener,
        mut silent: tokio::sync::watch::Receiver<bool>,
    ) {
        let body = format!("{{\"status\":200,\"readyConnections\":4,\"connectorId\":\"{id}\"}}\n");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        while let Ok((mut stream, _)) = listener.accept().await {
            if *silent.borrow_and_update() {
                std::future::pending::<()>().await;
            }
            let _asked = stream.read(&mut [0; 2048]).await;
            stream.write_all(answer.as_bytes()).await.ok();
        }
    }

    fn mine(configured: Option<SocketAddr>) -> Where {
        Where { configured, uid: rustix::process::getuid().as_raw() }
    }

    #[tokio::test]
    async fn a_configured_port_is_this_lifes_once_it_answered_whatever_the_journal_says_of_the_last() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = mine(Some(listener.local_addr().unwrap()));
        let (freeze, silent) = tokio::sync::watch::channel(false);
        tokio::spawn(connector(listener, silent));
        // Of this life the journal has not said anything yet.
        let told =
            Told { invocation: Some("before".into()), connector: Some("another".into()), ..Told::default() };
        let mut answered = None;
        for _ in 0..2 {
            let seen = look(&place, &mut answered, &told, Some("now"), false, LIMIT).await;
            assert_eq!(seen.unwrap().ready, Ready::Connections(4));
        }
        freeze.send_replace(true);
        let seen = look(&place, &mut answered, &told, Some("now"), false, LIMIT).await.unwrap();
        assert!(seen.ready == Ready::Silent && seen.port_of_this_life, "{seen:?}");
        // A life later it may be anybody.
        let seen = look(&place, &mut answered, &told, Some("later"), false, LIMIT).await.unwrap();
        assert!(seen.ready == Ready::Silent && !seen.port_of_this_life, "{seen:?}");
    }

    #[tokio::test]
    async fn a_usual_port_that_another_may_have_is_not_held_on_to() {
        let mut listeners = Vec::new();
        for port in cloudflared::PORTS {
            listeners.extend(TcpListener::bind(("127.0.0.1", port)).await);
        }
        listeners.truncate(2);
        let (_reins, silent) = tokio::sync::watch::channel(false);
        let another = listeners.pop().expect("a usual port is free");
        tokio::spawn(connector(listeners.pop().expect("two usual ports are free"), silent.clone()));
        let answers_later = async move {
            connector_called("9d2c7b1a-31e5-4d4f-9d5e-3f1c2b7a8d90", another, silent).await;
        };
        let mut answered = None;
        let seen = look(&mine(None), &mut answered, &Told::default(), Some("now"), false, LIMIT * 5).await;
        assert_eq!((seen.unwrap().ready, answered.is_none()), (Ready::Connections(4), true));
        // By the connector's id it is known.
        let told = Told { invocation: Some("now".into()), connector: Some(ID.into()), ..Told::default() };
        look(&mine(None), &mut answered, &told, Some("now"), false, LIMIT * 5).await.unwrap();
        assert!(answered.is_some());
        // Of two that answer each may be another tunnel's: to take one's word for the other would end the wrong process.
        tokio::spawn(answers_later);
        let seen = look(&mine(None), &mut None, &Told::default(), Some("now"), false, LIMIT * 5).await;
        assert_eq!(seen, Err(Blind::NotFound));
        let seen = look(&mine(None), &mut None, &told, Some("now"), false, LIMIT * 5).await.unwrap();
        assert_eq!(seen.connector.as_deref(), Some(ID));
    }
}
