//! Whose socket it is that listens on an address: anybody may listen on 20241 and answer as cloudflared would.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most of a table that is read.
const TABLE_LIMIT: u64 = 1024 * 1024;
/// A line of the table. Reading no more at a time keeps the kernel from walking all its connections (some 4 ms on a
/// host with much memory) when what we look for is among the listening sockets, which it lists first.
const LINE: usize = 150;
/// What the kernel shows for a user that our own user namespace does not map.
const OVERFLOW: u32 = 65_534;

/// Whose socket could not be told.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("nothing listens on {0}")]
    NotListening(SocketAddr),
    #[error("cannot read {path}")]
    Table {
        path: &'static str,
        #[source]
        source: io::Error,
    },
}

/// The owner of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    pub uid: u32,
    pub inode: u64,
}

impl SocketOwner {
    /// The socket belongs to this user. `None`: not to be told, since our user namespace (`PrivateUsers=`) hides the
    /// owner.
    pub fn belongs_to(self, uid: u32) -> Option<bool> {
        if self.uid == OVERFLOW && uid != OVERFLOW { None } else { Some(self.uid == uid) }
    }
}

/// Who listens on this address of the host, be it by a wildcard.
///
/// # Errors
/// Nobody does, or no table can be read.
pub fn socket_owner(address: SocketAddr) -> Result<SocketOwner, SocketError> {
    let four = read("/proc/net/tcp", address);
    if let Ok(four) = &four
        && let Some(exact) = four.iter().find(|listener| listener.address == address)
    {
        return Ok(exact.owner);
    }
    let six = read("/proc/net/tcp6", address);
    let listeners = match (four, six) {
        (Ok(four), Ok(six)) => [four, six].concat(),
        // A host without IPv6 has no table of it.
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => only,
        (Err(error), Err(_)) => return Err(error),
    };
    owner(&listeners, address).ok_or(SocketError::NotListening(address))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    owner: SocketOwner,
}

/// Listening sockets, up to the one that is bound to just `wanted`, if there is one.
fn read(path: &'static str, wanted: SocketAddr) -> Result<Vec<Listener>, SocketError> {
    let failed = |source| SocketError::Table { path, source };
    let file = File::open(path).map_err(failed)?;
    let mut found = Vec::new();
    let lines = BufReader::with_capacity(LINE, file.take(TABLE_LIMIT)).lines();
    // The first line names the columns.
    for line in lines.skip(1) {
        let line = line.map_err(failed)?;
        let Some(listener) = listener(&line) else { break };
        found.push(listener);
        if listener.address == wanted {
            break;
        }
    }
    Ok(found)
}

/// The socket itself before one that listens on all addresses, as the kernel chooses.
fn owner(listeners: &[Listener], wanted: SocketAddr) -> Option<SocketOwner> {
    let wanted_ip = wanted.ip().to_canonical();
    let of_port = || listeners.iter().filter(|l| l.address.port() == wanted.port());
    let exact = of_port().find(|l| l.address.ip().to_canonical() == wanted_ip);
    let any = of_port().find(|l| match l.address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && wanted_ip.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    });
    exact.or(any).map(|l| l.owner)
}

/// One line of `/proc/net/tcp` or `tcp6`, if it is of a listening socket.
fn listener(line: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let owner = SocketOwner { uid: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
    Some(Listener { address: SocketAddr::new(ip_of(ip)?, port), owner })
}

/// The kernel prints each 32 bits of an address as a number in the machine's own byte order.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of a little-endian machine.
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4F11 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 70001 1 0 100 0 0 10 0
   1: 00000000:4F11 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 70002 1 0 100 0 0 10 0
   2: 0100007F:4F12 0100007F:9000 01 00000000:00000000 00:00000000 00000000  1000        0 70003 1 0 100 0 0 10 0
   3: 00000000:4F13 00000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 70004 1 0 100 0 0 10 0
   0: 00000000000000000000000000000000:4F14 00000000000000000000000000000000:0000 0A 0:0 00:0 0 65534 0 70005 1 0
   1: 00000000000000000000000001000000:4F15 00000000000000000000000000000000:0000 0A 0:0 00:0 0 5 0 70006 1 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn owners() {
        let listeners: Vec<Listener> = TABLE.lines().filter_map(listener).collect();
        let owner = |address: &str| owner(&listeners, address.parse().unwrap()).map(|o| (o.uid, o.inode));
        assert_eq!(owner("127.0.0.1:20241"), Some((0, 70001)), "exact before wildcard");
        assert_eq!(owner("192.0.2.1:20241"), Some((1000, 70002)));
        assert_eq!(owner("127.0.0.1:20242"), None, "connected, not listening");
        assert_eq!(owner("127.0.0.1:20243"), Some((997, 70004)));
        assert_eq!(owner("[::1]:20243"), None, "an IPv4 wildcard does not serve IPv6");
        assert_eq!(owner("127.0.0.1:20244"), Some((65534, 70005)), "an IPv6 wildcard serves both");
        assert_eq!(owner("[::1]:20245"), Some((5, 70006)));
        assert_eq!(owner("[::1]:1"), None);
    }

    #[test]
    fn belonging() {
        let of = |uid| SocketOwner { uid, inode: 1 };
        assert_eq!(of(0).belongs_to(0), Some(true));
        assert_eq!(of(1000).belongs_to(0), Some(false));
        assert_eq!(of(OVERFLOW).belongs_to(997), None);
        assert_eq!(of(OVERFLOW).belongs_to(OVERFLOW), Some(true));
    }

    #[test]
    fn of_this_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = socket_owner(socket.local_addr().unwrap()).unwrap();
        assert_eq!(found.belongs_to(rustix::process::getuid().as_raw()), Some(true));
        let gone = socket.local_addr().unwrap();
        drop(socket);
        assert!(matches!(socket_owner(gone), Err(SocketError::NotListening(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "[0-9A-F: é]{0,80}") {
            listener(&line);
        }
    }
}
