//! Asks the services behind the rules whether they take connections.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::audit::ingress::{Ingress, Origin, Sight};

/// For one origin, its name included; all are asked at once.
const LIMIT: Duration = Duration::from_secs(3);

/// Where the rules run, as far as it decides what this host can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Here,
    /// A file that was named may be for another host or a container.
    Perhaps,
    Elsewhere,
}

/// Looks at every origin of the rules once.
pub(super) async fn look(ingress: &Ingress, runs: Runs) -> Vec<(Origin, Sight)> {
    let origins: BTreeSet<Origin> = ingress.rules().iter().filter_map(|rule| rule.origin()).collect();
    join_all(origins.into_iter().map(|origin| async move {
        let sight = one(&origin, runs).await;
        (origin, sight)
    }))
    .await
}

async fn one(origin: &Origin, runs: Runs) -> Sight {
    if runs == Runs::Elsewhere {
        return Sight::Unknown("the rules run in a cluster".into());
    }
    let sight = match timeout(LIMIT, ask(origin, runs)).await {
        Ok(sight) => sight,
        Err(_) => Sight::Silent,
    };
    match sight {
        Sight::Answers | Sight::Unknown(_) => sight,
        Sight::Unresolved(_) | Sight::Refused | Sight::Silent | Sight::Failed(_) if origin.in_a_cluster() => {
            Sight::Unknown("a name of a cluster".into())
        }
        Sight::Unresolved(_) | Sight::Refused | Sight::Silent | Sight::Failed(_) => sight,
    }
}

async fn ask(origin: &Origin, runs: Runs) -> Sight {
    match origin {
        Origin::Unix(path) => match UnixStream::connect(path).await {
            Ok(_) => Sight::Answers,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Sight::Unknown("this user may not open the socket".into())
            }
            Err(error) => of(&error),
        },
        Origin::Tcp { host, port } => {
            let addresses = match lookup_host((host.as_str(), *port)).await {
                Ok(addresses) => addresses.collect::<Vec<_>>(),
                Err(error) => return unresolved(&error, host, runs),
            };
            let mut last = Sight::Unresolved("no such name".into());
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(_) => return Sight::Answers,
                    Err(error) => last = of(&error),
                }
            }
            last
        }
    }
}

fn of(error: &io::Error) -> Sight {
    let kind = error.kind();
    if kind == ErrorKind::ConnectionRefused {
        Sight::Refused
    } else if kind == ErrorKind::TimedOut {
        Sight::Silent
    } else if kind == ErrorKind::NotFound {
        Sight::Failed("there is no such socket".into())
    } else {
        Sight::Failed(error.to_string())
    }
}

fn unresolved(error: &io::Error, host: &str, runs: Runs) -> Sight {
    let says = error.to_string();
    if says.contains("emporary failure") {
        return Sight::Unknown("the resolver does not answer".into());
    }
    if runs == Runs::Perhaps && !host.contains('.') {
        return Sight::Unknown("a name without a domain, which another network may know".into());
    }
    Sight::Unresolved("no such name".into())
}
