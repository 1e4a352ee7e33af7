//! The paths that are asked, and the right that each wants.

use super::asked::Asked;
use super::error::{ApiError, Permission};

#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint<'a> {
    Accounts,
    VerifyUser,
    VerifyAccount { account: &'a str },
    Tunnel { account: &'a str, tunnel: &'a str },
    Connections { account: &'a str, tunnel: &'a str },
    Configuration { account: &'a str, tunnel: &'a str },
    Zones,
    Records { zone: &'a str },
    Addresses,
}

impl<'a> Endpoint<'a> {
    /// The segments below the base.
    ///
    /// # Errors
    /// [`ApiError::BadId`] where an id would lead to another path.
    pub(super) fn path(self) -> Result<Vec<&'a str>, ApiError> {
        let path = match self {
            Self::Accounts => vec!["accounts"],
            Self::VerifyUser => vec!["user", "tokens", "verify"],
            Self::VerifyAccount { account } => vec!["accounts", account, "tokens", "verify"],
            Self::Tunnel { account, tunnel } => vec!["accounts", account, "cfd_tunnel", tunnel],
            Self::Connections { account, tunnel } => {
                vec!["accounts", account, "cfd_tunnel", tunnel, "connections"]
            }
            Self::Configuration { account, tunnel } => {
                vec!["accounts", account, "cfd_tunnel", tunnel, "configurations"]
            }
            Self::Zones => vec!["zones"],
            Self::Records { zone } => vec!["zones", zone, "dns_records"],
            Self::Addresses => vec!["ips"],
        };
        if path.iter().all(|segment| is_plain(segment)) { Ok(path) } else { Err(ApiError::BadId) }
    }

    /// What a token must have; `None` where any token will do, or none.
    pub(super) fn needs(self) -> Option<Permission> {
        match self {
            Self::Accounts => Some(Permission::AccountSettingsRead),
            Self::Tunnel { .. } | Self::Connections { .. } | Self::Configuration { .. } => {
                Some(Permission::TunnelRead)
            }
            Self::Zones => Some(Permission::ZoneRead),
            Self::Records { .. } => Some(Permission::DnsRead),
            Self::VerifyUser | Self::VerifyAccount { .. } | Self::Addresses => None,
        }
    }

    pub(super) fn wants_credentials(self) -> bool {
        !matches!(self, Self::Addresses)
    }

    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyUser | Self::VerifyAccount { .. })
    }

    /// For whoever counts.
    pub(super) fn asked(self) -> Asked {
        match self {
            Self::Accounts => Asked::Accounts,
            Self::VerifyUser | Self::VerifyAccount { .. } => Asked::Token,
            Self::Tunnel { .. } => Asked::Tunnel,
            Self::Connections { .. } => Asked::Connections,
            Self::Configuration { .. } => Asked::Configuration,
            Self::Zones => Asked::Zones,
            Self::Records { .. } => Asked::Records,
            Self::Addresses => Asked::Addresses,
        }
    }

    /// For error texts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::VerifyUser | Self::VerifyAccount { .. } => "token verification",
            Self::Tunnel { .. } => "tunnel",
            Self::Connections { .. } => "connections",
            Self::Configuration { .. } => "configuration",
            Self::Zones => "zones",
            Self::Records { .. } => "records",
            Self::Addresses => "address ranges",
        }
    }
}

fn is_plain(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !segment.is_empty() && segment.len() <= 64 && segment.bytes().all(plain)
}
