//! What probers elsewhere see of a name that errs here.

use std::time::Duration;

use reqwest::Url;

use crate::client::blackbox::{Blackbox, BlackboxError, Probed};
use crate::client::error_chain::chain;
use crate::client::fetch::FetchError;
use crate::warden::evidence::{Blind, Elsewhere, Seen};

/// Asks one after the other until one is served; who is served knows more than who is not.
pub async fn look(client: &Blackbox, observers: &[Url], target: &str, limit: Duration) -> Seen<Elsewhere> {
    let mut seen = Err(Blind::NotFound);
    for observer in observers {
        match client.probe(observer, target, limit).await {
            Ok(Probed { success: served, status }) => {
                let by = observer.host_str().unwrap_or_default().to_owned();
                seen = Ok(Elsewhere { by, served, status });
                if served {
                    return seen;
                }
            }
            Err(error) => {
                tracing::debug!("an observer says nothing of {target}: {}", chain(&error));
                if seen.is_err() {
                    seen = Err(blind(&error));
                }
            }
        }
    }
    seen
}

fn blind(error: &BlackboxError) -> Blind {
    match error {
        BlackboxError::Missed(missed) => unfetched(missed),
        BlackboxError::Refused(401 | 403) => Blind::Forbidden,
        BlackboxError::Refused(_) => Blind::Garbled,
        BlackboxError::Garbled => Blind::Garbled,
    }
}

/// Why a page elsewhere was not got.
pub(super) fn unfetched(missed: &FetchError) -> Blind {
    match missed {
        FetchError::TimedOut => Blind::TimedOut,
        FetchError::Setup(_) | FetchError::Unreachable(_) => Blind::Unreachable,
        FetchError::TooLarge(_) => Blind::Garbled,
    }
}
