//! The address that metrics and the page are served at.

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

/// An address that this host does not have yet is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Listens there. `None`: this host does not have the address, which may come with its network.
///
/// # Errors
/// It cannot be had at all.
pub(super) async fn listen(address: SocketAddr) -> Result<Option<TcpListener>> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            tracing::warn!("cannot listen on {address} (http.listen) yet, trying again: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Listens there as soon as that is possible.
pub(super) async fn listen_some_time(address: SocketAddr) -> TcpListener {
    loop {
        sleep(AGAIN).await;
        if let Ok(listener) = TcpListener::bind(address).await {
            tracing::info!("listening on {address} (http.listen)");
            return listener;
        }
    }
}

/// Whether we could listen at `new` once we do not listen at `old` any more.
///
/// # Errors
/// Why not.
pub(super) async fn listenable(old: SocketAddr, new: SocketAddr) -> Result<()> {
    if old == new {
        return Ok(());
    }
    // All addresses of a port are taken as long as we ourselves have one of them, and the other way round.
    let ours = old.port() == new.port() && (old.ip().is_unspecified() || new.ip().is_unspecified());
    match TcpListener::bind(new).await {
        Err(error) if ours && error.kind() == ErrorKind::AddrInUse => Ok(()),
        tried => tried.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_our_own_is_no_reason_against_another_address_on_it() {
        let ours = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = ours.local_addr().unwrap();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], here.port()));
        assert!(TcpListener::bind(everywhere).await.is_err(), "nothing to be shown here");
        assert!(listenable(here, everywhere).await.is_ok());
        assert!(listenable(here, here).await.is_ok());
        let of_another = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(listenable(here, of_another).await.is_ok(), "free by now");
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(listenable(here, held.local_addr().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn an_address_that_is_not_there_yet_is_no_reason_not_to_watch() {
        // TEST-NET-1: no host has it.
        let absent = SocketAddr::from(([192, 0, 2, 1], 9733));
        assert!(listen(absent).await.unwrap().is_none());
        assert!(
            listenable(SocketAddr::from(([127, 0, 0, 1], 9733)), absent).await.is_err(),
            "a mistake, most likely"
        );
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(listen(held.local_addr().unwrap()).await.is_err());
    }
}
