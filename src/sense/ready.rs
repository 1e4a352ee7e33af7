//! cloudflared's own `/ready` and the counters of its `/metrics`. Its port moves at a restart, and whatever listens
//! on a port is believed only if the socket belongs to the unit's user.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::journal::Told;
use crate::client::cloudflared::{self, AskError, SocketError};
use crate::warden::evidence::{Blind, Counters, Ready, ReadySight, Seen};

/// Where the port may be, and whose it must be.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// Set in tunnelwarden's or cloudflared's configuration.
    pub configured: Option<SocketAddr>,
    /// User of the unit; root if it names none.
    pub uid: u32,
}

/// Where a connector has answered, and in which life of its unit: there it is asked again, also when it answers no more.
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
    let (addr, sight) = find(place, here, told, invocation, counters, limit).await?;
    if let (Some(life), Ready::Connections(_)) = (invocation, sight.ready) {
        *answered = Some((life.to_owned(), addr));
    }
    Ok(sight)
}

async fn find(
    place: &Where,
    here: Option<SocketAddr>,
    told: &Told,
    invocation: Option<&str>,
    counters: bool,
    limit: Duration,
) -> Seen<(SocketAddr, ReadySight)> {
    let of_this_life = told.invocation.is_some() && told.invocation.as_deref() == invocation;
    let named = told.metrics.as_deref().filter(|_| of_this_life).and_then(address).or(here);
    if let Some(addr) = named.or(place.configured) {
        return Ok((addr, ask(place, told, addr, named.is_some(), counters, limit).await?));
    }
    // The journal does not name it (lost, or not readable): the usual ports, matched by the connector's id.
    for port in cloudflared::PORTS {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let each = limit / 5;
        let Ok(sight) = ask(place, told, addr, false, counters, each).await else { continue };
        let known = told.connector.as_deref().filter(|_| of_this_life);
        let matches = known.is_none() || sight.connector.as_deref() == known;
        if matches && matches!(sight.ready, Ready::Connections(_)) {
            return Ok((addr, sight));
        }
    }
    Err(Blind::NotFound)
}

async fn ask(
    place: &Where,
    told: &Told,
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
    let expected = told.connector.as_deref().filter(|_| of_this_life);
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
pub(super) fn address(text: &str) -> Option<SocketAddr> {
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
