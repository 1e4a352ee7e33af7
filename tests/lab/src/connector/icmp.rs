//! cloudflared's proxy for pings, which a service without the right group may not have: here, what it says about that at its start.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use super::log::{Level, Log};

/// Nobody there is asked; which source the kernel would choose is all that is wanted.
const SOMEWHERE: &str = "192.168.0.1:53";

/// The six lines, or none where this host has no address.
pub fn tell(log: Log) {
    let Some(sources) = sources() else { return };
    let told = || {
        for source in &sources {
            log.info(&format!("ICMP proxy will use {source}"), vec![]);
        }
    };
    told();
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    let mut range = range.split_whitespace().filter_map(|id| id.parse::<u32>().ok());
    let (least, most) = (range.next().unwrap_or(1), range.next().unwrap_or(0));
    // SAFETY: asks the kernel for a number.
    let group = unsafe { libc::getegid() };
    if !(least..=most).contains(&group) {
        let error = format!("Group ID {group} is not between ping group {least} to {most}");
        let advice = "The user running cloudflared process has a GID (group ID) that is not within ping_group_range. You might need to add that user to a group within that range, or instead update the range to encompass a group the user is already in by modifying /proc/sys/net/ipv4/ping_group_range. Otherwise cloudflared will not be able to ping this network";
        log.write(Level::Warn, advice, vec![("error", error.as_str().into())]);
        let both = format!("cannot create ICMPv4 proxy: {error} nor ICMPv6 proxy: socket: permission denied");
        log.write(Level::Warn, "ICMP proxy feature is disabled", vec![("error", both.into())]);
    }
    told();
}

/// Both addresses, as they are told.
fn sources() -> Option<[String; 2]> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(SOMEWHERE).ok()?;
    let IpAddr::V4(four) = socket.local_addr().ok()?.ip() else { return None };
    let (six, zone) = link_local(&std::fs::read_to_string("/proc/net/if_inet6").ok()?)?;
    Some([format!("{four} as source for IPv4"), format!("{six} in zone {zone} as source for IPv6")])
}

/// The first address of `/proc/net/if_inet6` that is good on its link only, and the link.
fn link_local(table: &str) -> Option<(Ipv6Addr, String)> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, _, "20", _, link] = fields.as_slice() else { return None };
        Some((u128::from_str_radix(address, 16).ok()?.into(), (*link).to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_link() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe8000000000000040201afffe615548 02 40 20 80     eth0\n";
        let found = link_local(table).unwrap();
        assert_eq!((found.0.to_string().as_str(), found.1.as_str()), ("fe80::4020:1aff:fe61:5548", "eth0"));
        assert_eq!(link_local("garbage\n"), None);
    }
}
