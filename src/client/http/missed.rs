//! Why a look had no answer.

use std::error::Error as StdError;
use std::io;

use super::BlindReason;
use crate::client::dns::DnsFailure;
use crate::client::tls::Judgement;

/// Longest detail, in characters.
const DETAIL_LIMIT: usize = 200;

/// No answer, and why.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub(super) reason: BlindReason,
    pub(super) detail: String,
}

impl Missed {
    pub(super) fn late(detail: &str) -> Self {
        Self { reason: BlindReason::Timeout, detail: detail.into() }
    }

    pub(super) fn bad_target(detail: &str) -> Self {
        Self { reason: BlindReason::BadTarget, detail: detail.into() }
    }

    pub(super) fn no_connection(detail: &str) -> Self {
        Self { reason: BlindReason::Connect, detail: shown(detail) }
    }

    pub(super) fn unresolved(failure: &DnsFailure) -> Self {
        Self { reason: BlindReason::Dns, detail: shown(&failure.to_string()) }
    }

    /// A TLS handshake that failed: by TLS itself, or because the connection broke.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inside| inside.downcast_ref::<rustls::Error>());
        let reason = match tls.map(Judgement::of) {
            Some(Judgement::Dates) => BlindReason::CertificateDates,
            Some(
                Judgement::Trusted | Judgement::UnknownIssuer | Judgement::OtherName | Judgement::Refused,
            ) => BlindReason::Tls,
            None => BlindReason::Connect,
        };
        Self { reason, detail: shown(&error.to_string()) }
    }

    /// Something that is no HTTP, or that broke off.
    pub(super) fn of(error: &hyper::Error) -> Self {
        Self { reason: BlindReason::Garbled, detail: shown(&innermost(error).to_string()) }
    }
}

/// The outer layers only say that something went wrong.
fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_LIMIT).collect()
}
