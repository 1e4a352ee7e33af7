//! What can go wrong with a question to the API, and what a person can do about it.

use std::fmt;

use tokio::time::Instant;

/// Longest text of Cloudflare's that is kept, in characters.
const TEXT_LIMIT: usize = 200;

/// A right that a token needs, in the words of Cloudflare's dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    TunnelRead,
    AccountSettingsRead,
    ZoneRead,
    DnsRead,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TunnelRead => "Account › Cloudflare Tunnel › Read",
            Self::AccountSettingsRead => "Account › Account Settings › Read",
            Self::ZoneRead => "Zone › Zone › Read",
            Self::DnsRead => "Zone › DNS › Read",
        })
    }
}

/// What is wrong with the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They cannot be of that kind: cut, quoted, or a key where a token belongs.
    Malformed,
    /// No user has this e-mail address with this global key.
    UnknownKey,
    /// Well formed, and not known: revoked, expired or mistyped.
    Invalid,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is malformed",
            Self::UnknownKey => "this e-mail address and key do not belong together",
            Self::Invalid => "it is not valid",
        })
    }
}

/// Why a question got no answer. None of these says anything of the tunnel, save [`ApiError::NotFound`].
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// None were given, or none arrived.
    #[error("no credentials for Cloudflare's API")]
    NoCredentials,
    #[error("Cloudflare does not accept the token or key: {0}")]
    BadToken(Fault),
    #[error("the token lacks {needs}")]
    MissingPermission { needs: Permission },
    /// The token reaches other accounts or zones. Cloudflare answers a revoked token the same way.
    #[error("the token does not reach this account or zone")]
    WrongAccount,
    #[error("the id of the account, tunnel or zone is not one")]
    BadId,
    /// By the HTTP status alone; the codes beside it vary.
    #[error("Cloudflare knows nothing of this id here")]
    NotFound,
    /// Tokens that belong to an account are not told of accounts.
    #[error("this token may not list accounts")]
    AccountsNotListable,
    /// Just now, with 429.
    #[error("Cloudflare limits the rate of requests, for {} s", seconds_to(*.until))]
    RateLimited { until: Instant },
    /// Not asked, because of an earlier answer.
    #[error("Cloudflare asked for silence, for {} s more", seconds_to(*.until))]
    Silenced { until: Instant },
    /// Not asked, because the caller's own budget is spent.
    #[error("the budget of requests is spent, for {} s more", seconds_to(*.until))]
    Budget { until: Instant },
    #[error("no whole answer from Cloudflare's API in time")]
    Timeout,
    /// No name, no connection, no trusted certificate, or closed without an answer.
    #[error("Cloudflare's API cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The connection ended within the answer.
    #[error("the answer with status {status} broke off")]
    CutOff {
        status: u16,
        #[source]
        source: reqwest::Error,
    },
    /// HTML, say, or JSON that was cut.
    #[error("the answer with status {status} is no JSON")]
    NotJson { status: u16 },
    /// More bytes, or more pages, than we read.
    #[error("the answer is too large")]
    TooLarge,
    /// JSON, and not of the documented form.
    #[error("the answer about {endpoint} has an unexpected form: {detail}")]
    Unexpected {
        endpoint: &'static str,
        /// Made of outside text: bounded, printable.
        detail: String,
    },
    /// Any other refusal, in Cloudflare's words.
    #[error("Cloudflare refuses with status {status}, code {}: {message}", Code(*.code))]
    Refused {
        status: u16,
        code: Option<i64>,
        /// Bounded, printable.
        message: String,
    },
}

impl ApiError {
    /// What a person can do.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoCredentials => "give an API token with Account › Cloudflare Tunnel › Read",
            Self::BadToken(Fault::Malformed) => {
                "this is no API token: copy it again, whole and without quotes; a Global API Key is not a token"
            }
            Self::BadToken(Fault::UnknownKey) => {
                "the Global API Key or its e-mail address is wrong; better make an API token"
            }
            Self::BadToken(Fault::Invalid) => {
                "this token is revoked, expired or mistyped: look at it in Cloudflare's dashboard or make a new one; \
                 a token that belongs to an account is verified only together with the account's id"
            }
            Self::MissingPermission { needs } => needs.advice(),
            Self::WrongAccount => {
                "this token belongs to another account or zone, or was revoked: check the account's id, and that the \
                 token's resources include it"
            }
            Self::BadId => {
                "check the ids: an account's and a zone's have 32 hexadecimal digits, a tunnel's is a UUID"
            }
            Self::NotFound => {
                "this account has nothing with this id, or the token may not see it: check account and id"
            }
            Self::AccountsNotListable => {
                "this token belongs to an account and may not list accounts: set the account's id"
            }
            Self::RateLimited { .. } | Self::Silenced { .. } => {
                "wait; the limit is shared by all that the same user runs, so give this host a token of the account"
            }
            Self::Budget { .. } => "wait; this is our own limit, which leaves Cloudflare's to others",
            Self::Timeout | Self::Unreachable(_) | Self::CutOff { .. } => {
                "check that this host reaches api.cloudflare.com on port 443; this says nothing of the tunnel"
            }
            Self::NotJson { .. } | Self::TooLarge => {
                "something else answers, or Cloudflare's API is in trouble: see cloudflarestatus.com"
            }
            Self::Unexpected { .. } => {
                "the API has changed, or something else answers: look for a newer version"
            }
            Self::Refused { .. } => "see what Cloudflare says, and cloudflarestatus.com",
        }
    }
}

impl Permission {
    fn advice(self) -> &'static str {
        match self {
            Self::TunnelRead => {
                "this token may not read tunnels in this account: add Account › Cloudflare Tunnel › Read"
            }
            Self::AccountSettingsRead => {
                "this token may not list accounts: add Account › Account Settings › Read, or set the account's id"
            }
            Self::ZoneRead => "this token may not read zones: add Zone › Zone › Read",
            Self::DnsRead => "this token may not read DNS records: add Zone › DNS › Read",
        }
    }
}

/// Fit for a line of a log: short and printable.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_LIMIT).collect()
}

/// From now, rounded up.
fn seconds_to(until: Instant) -> u64 {
    until.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

struct Code(Option<i64>);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(code) => code.fmt(f),
            None => f.write_str("none"),
        }
    }
}
