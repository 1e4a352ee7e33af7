//! What Cloudflare's status page announces.

use std::time::Duration;

use super::observer::unfetched;
use crate::client::error_chain::chain;
use crate::client::status_page::{Announced, StatusPage, StatusPageError};
use crate::warden::announcement::Announcement;
use crate::warden::evidence::{Blind, Seen};

/// Asks once.
pub async fn look(page: &StatusPage, limit: Duration) -> Seen<Vec<Announcement>> {
    let said = page.open(limit).await.map_err(|error| {
        tracing::debug!("the status page says nothing: {}", chain(&error));
        blind(&error)
    })?;
    let announcement = |Announced { name, tunnels, colos }| Announcement { name, tunnels, colos };
    Ok(said.into_iter().map(announcement).collect())
}

fn blind(error: &StatusPageError) -> Blind {
    match error {
        StatusPageError::Missed(missed) => unfetched(missed),
        StatusPageError::Refused(401 | 403) => Blind::Forbidden,
        StatusPageError::Refused(_) => Blind::Garbled,
        StatusPageError::Garbled => Blind::Garbled,
    }
}
