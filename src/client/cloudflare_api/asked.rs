//! What became of each request, for whoever counts them.

use std::fmt;

use super::error::ApiError;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Accounts,
    Token,
    Tunnel,
    Connections,
    Configuration,
    Zones,
    Records,
    Addresses,
}

impl Asked {
    pub const ALL: [Self; 8] = [
        Self::Accounts,
        Self::Token,
        Self::Tunnel,
        Self::Connections,
        Self::Configuration,
        Self::Zones,
        Self::Records,
        Self::Addresses,
    ];

    /// The word in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Token => "token",
            Self::Tunnel => "tunnel",
            Self::Connections => "connections",
            Self::Configuration => "configuration",
            Self::Zones => "zones",
            Self::Records => "records",
            Self::Addresses => "addresses",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// The credentials, or their rights, do not do.
    Denied,
    NotFound,
    /// 429.
    Limited,
    /// Any other refusal, trouble of Cloudflare's own included.
    Refused,
    /// No whole answer.
    Unreachable,
    /// An answer that is not of the API's form.
    Garbled,
}

impl Outcome {
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Denied,
        Self::NotFound,
        Self::Limited,
        Self::Refused,
        Self::Unreachable,
        Self::Garbled,
    ];

    /// The word in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Garbled => "garbled",
        }
    }

    /// `None` where no request was made.
    pub(super) fn of<T>(result: &Result<T, ApiError>) -> Option<Self> {
        let error = match result {
            Ok(_) => return Some(Self::Answered),
            Err(error) => error,
        };
        match error {
            ApiError::NoCredentials
            | ApiError::BadId
            | ApiError::Silenced { .. }
            | ApiError::Budget { .. } => None,
            ApiError::BadToken(_)
            | ApiError::MissingPermission { .. }
            | ApiError::WrongAccount
            | ApiError::AccountsNotListable => Some(Self::Denied),
            ApiError::NotFound => Some(Self::NotFound),
            ApiError::RateLimited { .. } => Some(Self::Limited),
            ApiError::Refused { .. } => Some(Self::Refused),
            ApiError::Timeout | ApiError::Unreachable(_) | ApiError::CutOff { .. } => Some(Self::Unreachable),
            ApiError::NotJson { .. } | ApiError::TooLarge | ApiError::Unexpected { .. } => {
                Some(Self::Garbled)
            }
        }
    }
}

/// Is told of each request once it has ended.
pub struct Count(pub Box<dyn Fn(Asked, Outcome) + Send + Sync>);

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Count")
    }
}
