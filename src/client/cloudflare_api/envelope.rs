//! The form around every answer, read loosely: `success`, `errors`, `result`, `result_info`.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use super::endpoint::Endpoint;
use super::error::{ApiError, clean};
use super::field;
use super::refusal::refusal;

/// One error of an answer; those below it are appended as errors of their own.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Reason {
    #[serde(default, deserialize_with = "field::number")]
    pub(super) code: Option<i64>,
    #[serde(default, deserialize_with = "field::label")]
    pub(super) message: Option<String>,
    #[serde(default, deserialize_with = "field::loose", rename = "error_chain")]
    chain: Option<Vec<Item>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Item {
    Text(String),
    Reason(Reason),
    Other(IgnoredAny),
}

/// What the answer says of its page. Cloudflare may give fewer on a page than it was asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct PageInfo {
    #[serde(default, deserialize_with = "field::number")]
    pub(super) per_page: Option<i64>,
    #[serde(default, deserialize_with = "field::number")]
    pub(super) count: Option<i64>,
    #[serde(default, deserialize_with = "field::number")]
    pub(super) total_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default, deserialize_with = "field::loose")]
    success: Option<bool>,
    #[serde(default, deserialize_with = "field::loose")]
    errors: Option<Vec<Item>>,
    #[serde(default)]
    result: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "field::loose")]
    result_info: Option<PageInfo>,
}

/// A good answer. `result` is `None` where it is `null`, as Go writes an empty list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) result: Option<T>,
    pub(super) info: PageInfo,
}

/// Opens an answer.
///
/// # Errors
/// It is a refusal, or not of the form. A result that is missing altogether is not of the form.
pub(super) fn open<T: DeserializeOwned>(
    endpoint: Endpoint<'_>,
    status: u16,
    body: &[u8],
) -> Result<Page<T>, ApiError> {
    #[derive(Deserialize)]
    #[serde(bound = "T: Deserialize<'de>")]
    struct Content<T> {
        #[serde(deserialize_with = "Option::deserialize")]
        result: Option<T>,
    }
    let misread = |error: serde_json::Error| match error.classify() {
        Category::Data => unexpected(endpoint, &error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => ApiError::NotJson { status },
    };
    // Twice over the bytes: what stands in the result of a refusal need not have the form of a result.
    let envelope: Envelope = serde_json::from_slice(body).map_err(misread)?;
    let mut reasons = Vec::new();
    flatten(envelope.errors.unwrap_or_default(), &mut reasons);
    let good = (200..300).contains(&status);
    match envelope.success {
        Some(true) if good => {}
        None if good && reasons.is_empty() && envelope.result.is_some() => {}
        None if good && reasons.is_empty() => return Err(unexpected(endpoint, "no result and no errors")),
        Some(_) | None => return Err(refusal(endpoint, status, &reasons)),
    }
    let content: Content<T> = serde_json::from_slice(body).map_err(misread)?;
    Ok(Page { result: content.result, info: envelope.result_info.unwrap_or_default() })
}

pub(super) fn unexpected(endpoint: Endpoint<'_>, detail: &str) -> ApiError {
    ApiError::Unexpected { endpoint: endpoint.name(), detail: clean(detail) }
}

fn flatten(items: Vec<Item>, into: &mut Vec<Reason>) {
    for item in items {
        match item {
            Item::Text(text) => into.push(Reason { message: Some(clean(&text)), ..Reason::default() }),
            Item::Reason(mut reason) => {
                let chain = reason.chain.take().unwrap_or_default();
                into.push(reason);
                flatten(chain, into);
            }
            Item::Other(_) => {}
        }
    }
}
