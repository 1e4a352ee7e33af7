//! What proves to Cloudflare who asks.

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::error::{ApiError, Fault};

/// Prefix of the tokens that belong to an account and not to a user; older ones do not show it.
const OF_ACCOUNT: &str = "cfat_";

/// A token, or the key of a whole user. White space around them is passed over; their `Debug` shows nothing of them.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// An API token, of a user or of an account.
    Token(SecretString),
    /// Has all the rights of its user and cannot be limited; Cloudflare advises against it.
    GlobalKey { email: SecretString, key: SecretString },
}

impl Credentials {
    /// They are the very same.
    pub fn same(&self, other: &Self) -> bool {
        let equal = |a: &SecretString, b: &SecretString| a.expose_secret() == b.expose_secret();
        match (self, other) {
            (Self::Token(ours), Self::Token(theirs)) => equal(ours, theirs),
            (Self::GlobalKey { email, key }, Self::GlobalKey { email: their_email, key: their_key }) => {
                equal(email, their_email) && equal(key, their_key)
            }
            (Self::Token(_), Self::GlobalKey { .. }) | (Self::GlobalKey { .. }, Self::Token(_)) => false,
        }
    }

    pub(super) fn is_token(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    pub(super) fn is_of_account(&self) -> bool {
        match self {
            Self::Token(token) => token.expose_secret().trim_start().starts_with(OF_ACCOUNT),
            Self::GlobalKey { .. } => false,
        }
    }

    /// The headers to send, all marked as sensitive.
    pub(super) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ApiError> {
        match self {
            Self::Token(token) => {
                let token = visible(token)?;
                let bearer = Zeroizing::new(format!("Bearer {token}"));
                Ok(vec![(AUTHORIZATION, sensitive(&bearer)?)])
            }
            Self::GlobalKey { email, key } => Ok(vec![
                (HeaderName::from_static("x-auth-email"), sensitive(visible(email)?)?),
                (HeaderName::from_static("x-auth-key"), sensitive(visible(key)?)?),
            ]),
        }
    }

    /// The answer without the secret, should it hold that.
    pub(super) fn conceal(&self, mut body: Vec<u8>) -> Vec<u8> {
        let (Self::Token(secret) | Self::GlobalKey { key: secret, .. }) = self;
        let secret = secret.expose_secret().trim().as_bytes();
        // Anything shorter is no secret of Cloudflare's, and may stand in any answer.
        if secret.len() >= 16 {
            for at in 0..(body.len() + 1).saturating_sub(secret.len()) {
                if body[at..].starts_with(secret) {
                    body[at..at + secret.len()].fill(b'x');
                }
            }
        }
        body
    }
}

fn visible(secret: &SecretString) -> Result<&str, ApiError> {
    let text = secret.expose_secret().trim();
    if text.is_empty() {
        Err(ApiError::NoCredentials)
    } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(ApiError::BadToken(Fault::Malformed))
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, ApiError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ApiError::BadToken(Fault::Malformed))?;
    value.set_sensitive(true);
    Ok(value)
}
