//! Zones, their records, and the addresses that stand for them.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use super::field;

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Zone {
    pub id: String,
    pub name: String,
    /// `active`, or why Cloudflare does not answer for it: `pending`, `moved`.
    #[serde(default, deserialize_with = "field::label")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "field::loose")]
    pub account: Option<super::Account>,
}

impl Zone {
    /// Cloudflare answers for it: one name can be in several accounts, and is active in one of them.
    pub fn answers(&self) -> bool {
        self.status.as_deref().is_none_or(|status| status == "active")
    }
}

/// A DNS record as it is kept, not as the world sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Record {
    pub id: String,
    pub name: String,
    /// `CNAME`, say.
    #[serde(rename = "type")]
    pub kind: String,
    /// The target of a CNAME. Some types have none.
    #[serde(default, deserialize_with = "field::loose")]
    pub content: Option<String>,
    /// Answered with Cloudflare's addresses (the orange cloud): only such a record leads into a tunnel.
    #[serde(default, deserialize_with = "field::loose")]
    pub proxied: Option<bool>,
}

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressRange {
    pub address: IpAddr,
    /// In bits.
    pub prefix: u8,
}

impl AddressRange {
    /// Whether it lies in here.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix).min(32);
                ours.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix).min(128);
                ours.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for AddressRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let range = text.split_once('/').and_then(|(address, prefix)| {
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= longest)?;
            Some(Self { address, prefix })
        });
        range.ok_or_else(|| format!("{text:?} is no range of addresses"))
    }
}

/// What <https://www.cloudflare.com/ips/> said in 2026. It changes seldom, and is announced.
const PUBLISHED: [&str; 22] = [
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

/// Where Cloudflare's proxies are: a proxied name resolves to these.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AddressRanges {
    #[serde(rename = "ipv4_cidrs")]
    pub v4: Vec<AddressRange>,
    #[serde(rename = "ipv6_cidrs")]
    pub v6: Vec<AddressRange>,
}

impl AddressRanges {
    /// As they were published when this program was made.
    pub fn published() -> Self {
        Self::of(PUBLISHED.iter().filter_map(|text| AddressRange::try_from((*text).to_owned()).ok()))
    }

    /// These.
    pub fn of(ranges: impl Iterator<Item = AddressRange>) -> Self {
        let (v4, v6) = ranges.partition(|range| range.address.is_ipv4());
        Self { v4, v6 }
    }

    /// Whether this address is one of Cloudflare's proxies.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.v4.iter().chain(&self.v6).any(|range| range.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ranges_are_ranges_and_hold_what_is_cloudflares() {
        let ranges = AddressRanges::published();
        assert_eq!((ranges.v4.len(), ranges.v6.len()), (15, 7));
        let holds = |text: &str| ranges.contains(text.parse().unwrap());
        for ours in ["104.16.132.229", "172.67.1.2", "198.41.192.7", "2606:4700::6810:84e5"] {
            assert!(holds(ours), "{ours}");
        }
        for other in ["104.32.0.1", "192.0.2.1", "172.80.0.1", "10.0.0.1", "2001:db8::1", "fd10::1"] {
            assert!(!holds(other), "{other}");
        }
    }
}
