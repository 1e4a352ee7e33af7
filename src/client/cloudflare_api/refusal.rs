//! What Cloudflare's error codes mean. They are not documented as a list: these are from public threads and from
//! clients' source, and none of them is read without its context.

use super::endpoint::Endpoint;
use super::envelope::Reason;
use super::error::{ApiError, Fault};

/// The meaning of a refusal; the first code that is known decides.
pub(super) fn refusal(endpoint: Endpoint<'_>, status: u16, reasons: &[Reason]) -> ApiError {
    let known = reasons.iter().find_map(|reason| meaning(endpoint, status, reason));
    known.unwrap_or_else(|| match status {
        // A missing tunnel comes with various codes.
        404 => ApiError::NotFound,
        401 => ApiError::BadToken(Fault::Invalid),
        _ => {
            let first = reasons.first().cloned().unwrap_or_default();
            let message = first.message.unwrap_or_else(|| "no reason given".into());
            ApiError::Refused { status, code: first.code, message }
        }
    })
}

fn meaning(endpoint: Endpoint<'_>, status: u16, reason: &Reason) -> Option<ApiError> {
    let code = reason.code?;
    Some(match code {
        // Invalid request headers; below it the header that is: Authorization (6111) or X-Auth-Key (6103).
        6003 | 6103 | 6111 => ApiError::BadToken(Fault::Malformed),
        9106 => ApiError::NoCredentials,
        9103 => ApiError::BadToken(Fault::UnknownKey),
        // The one code for a revoked token and for a good one elsewhere: only the words differ.
        9109 if says(reason, "invalid access token") => ApiError::BadToken(Fault::Invalid),
        9109 => ApiError::WrongAccount,
        10_000 => match endpoint.needs() {
            Some(needs) => ApiError::MissingPermission { needs },
            None => ApiError::BadToken(Fault::Invalid),
        },
        // "Invalid API Token"; with 404 the same number is a missing tunnel.
        1000 if endpoint.verifies() || matches!(status, 401 | 403) => ApiError::BadToken(Fault::Invalid),
        1001 if matches!(endpoint, Endpoint::Accounts) => ApiError::AccountsNotListable,
        7000 | 7003 => ApiError::BadId,
        _ => return None,
    })
}

fn says(reason: &Reason, words: &str) -> bool {
    reason.message.as_deref().is_some_and(|message| message.to_ascii_lowercase().contains(words))
}
