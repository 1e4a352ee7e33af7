//! Zones, their records, and the addresses that stand for them.

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

/// Where Cloudflare's proxies are: a proxied name resolves to these.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AddressRanges {
    #[serde(rename = "ipv4_cidrs")]
    pub v4: Vec<AddressRange>,
    #[serde(rename = "ipv6_cidrs")]
    pub v6: Vec<AddressRange>,
}

impl AddressRanges {
    /// Whether this address is one of Cloudflare's proxies.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.v4.iter().chain(&self.v6).any(|range| range.contains(address))
    }
}
