//! What was given to us for Cloudflare's API.

use jiff::SignedDuration;

use super::{ApiSight, Look};
use crate::audit::{Place, Severity};
use crate::client::cloudflare_api::TokenStatus;

/// It takes a person some days to roll a token.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

impl Look<'_> {
    pub(super) fn api(&mut self) {
        let place = Place { file: "the API token".into(), line: None };
        match &self.host.api {
            ApiSight::None | ApiSight::Token(None) => {}
            ApiSight::GlobalKey => self.findings.add(
                Severity::Error,
                "global-key",
                Place { file: "the Global API Key".into(), line: None },
                "The Global API Key is given to tunnelwarden.",
                "It can do everything its user can, in every account, and cannot be limited or dated.",
                "Make a token with Account › Cloudflare Tunnel › Read, give that, and set api.global_key back to false.",
            ),
            ApiSight::Token(Some(token)) => {
                let bad = match &token.status {
                    Some(TokenStatus::Disabled) => Some("disabled".to_owned()),
                    Some(TokenStatus::Expired) => Some("expired".to_owned()),
                    Some(TokenStatus::Other(word)) => Some(word.clone()),
                    Some(TokenStatus::Active) | None => None,
                };
                if let Some(word) = bad {
                    self.findings.add(
                        Severity::Error,
                        "api-token-dead",
                        place,
                        format!("Cloudflare calls the API token {word}."),
                        "What only the API knows is not seen.",
                        "Make a new one with Account › Cloudflare Tunnel › Read, and give that.",
                    );
                    return;
                }
                match token.expires_on {
                    Some(end) if end <= self.host.now => self.findings.add(
                        Severity::Error,
                        "api-token-dead",
                        place,
                        format!("The API token ended at {end}."),
                        "What only the API knows is not seen.",
                        "Roll it in Cloudflare's dashboard, and give the new one.",
                    ),
                    Some(end) if end.duration_since(self.host.now) < ENDS_SOON => self.findings.add(
                        Severity::Warning,
                        "api-token-ends",
                        place,
                        format!("The API token ends at {end}."),
                        "From then on what only the API knows is not seen.",
                        "Roll it in Cloudflare's dashboard, and give the new one.",
                    ),
                    Some(_) => {}
                    None => self.findings.add(
                        Severity::Note,
                        "api-token-endless",
                        place,
                        "The API token has no end.",
                        "One that is copied stays good until somebody remembers it.",
                        "Give it an end when it is rolled the next time.",
                    ),
                }
            }
        }
    }
}
