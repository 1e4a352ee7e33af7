//! Accounts and tokens.

use jiff::Timestamp;
use serde::Deserialize;

use super::field;

/// An account that the credentials reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    pub id: String,
    #[serde(default, deserialize_with = "field::label")]
    pub name: Option<String>,
}

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOwner {
    User,
    Account,
}

/// What Cloudflare says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    Active,
    Disabled,
    Expired,
    /// A word that we do not know; short, printable.
    Other(String),
}

impl From<String> for TokenStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "active" => Self::Active,
            "disabled" => Self::Disabled,
            "expired" => Self::Expired,
            _ => Self::Other(word),
        }
    }
}

/// A token that Cloudflare knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    pub owner: TokenOwner,
    pub status: Option<TokenStatus>,
    pub not_before: Option<Timestamp>,
    /// `None`: it does not end by itself.
    pub expires_on: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(super) struct TokenForm {
    #[serde(default, deserialize_with = "field::label")]
    status: Option<String>,
    #[serde(default, deserialize_with = "field::time")]
    not_before: Option<Timestamp>,
    #[serde(default, deserialize_with = "field::strict_time")]
    expires_on: Option<Timestamp>,
}

impl VerifiedToken {
    pub(super) fn new(owner: TokenOwner, form: TokenForm) -> Self {
        let TokenForm { status, not_before, expires_on } = form;
        Self { owner, status: status.map(TokenStatus::from), not_before, expires_on }
    }
}
