//! An answer as it came, and what it means for a target.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use reqwest::Version;
use reqwest::header::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::missed::Missed;
use super::{Answer, BlindReason, Phases, PublicSight, PublicTarget};
use crate::client::answer::{Marks, classify, colo};

/// Most of a body that is read, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// How long the body of a success is read in which nothing is looked for.
const PATIENCE: Duration = Duration::from_secs(1);

/// An answer as it came.
pub(super) struct Heard {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    version: &'static str,
    certificate_expiry: Option<i64>,
}

impl Heard {
    pub(super) async fn read(
        response: hyper::Response<Incoming>,
        certificate_expiry: Option<i64>,
        looked_for: bool,
        until: Instant,
    ) -> Result<Self, Missed> {
        let (head, mut incoming) = response.into_parts();
        let status = head.status.as_u16();
        // An error page needs its body. A success needs none unless something is looked for in it: it is read a while,
        // since breaking it off puts an error line into cloudflared's journal.
        let page = status >= 400;
        let until = if page || looked_for { until } else { until.min(Instant::now() + PATIENCE) };
        let mut body = Vec::new();
        while body.len() < BODY_LIMIT {
            match timeout_at(until, incoming.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    body.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - body.len())]);
                }
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) if !page => break,
                Ok(Some(Err(error))) => return Err(Missed::of(&error)),
                Err(_) => return Err(Missed::late("the answer did not end in time")),
            }
        }
        let version = version(head.version);
        Ok(Self { status, headers: head.headers, body, version, certificate_expiry })
    }

    pub(super) fn sight(self, target: &PublicTarget) -> PublicSight {
        let (answer, code) = classify(self.status, &self.headers, &self.body);
        let expected = &target.expected;
        let unmet = expected.unmet(self.status, &self.headers, &self.body);
        let (answer, detail) = match (answer, code, unmet) {
            (Answer::Served, _, Some(unmet)) => (Answer::Unexpected, unmet),
            // An origin's own 503 is what was asked for where it was asked for.
            (Answer::OriginError, _, None) if expected.status.contains(&self.status) => {
                (Answer::Served, String::new())
            }
            (Answer::Served, _, None) => (answer, String::new()),
            (Answer::Blind(BlindReason::NotEdge), _, _) => {
                (answer, format!("status {}, not from Cloudflare's edge", self.status))
            }
            (Answer::Access, _, _) if target.access.is_some() => {
                (answer, format!("status {}, Access refuses the service token", self.status))
            }
            (_, Some(code), _) => (answer, format!("status {}, error {code}", self.status)),
            (_, None, _) => (answer, format!("status {}", self.status)),
        };
        PublicSight {
            answer,
            status: Some(self.status),
            code,
            detail,
            colo: colo(&self.headers),
            latency: Duration::ZERO,
            http_version: Some(self.version),
            certificate_expiry: self.certificate_expiry,
            phases: Phases::default(),
            marks: Marks::of(&self.headers),
        }
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP",
    }
}
