//! One request with its answer, and the pages of a list.

use reqwest::header::ACCEPT;
use reqwest::{Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::CloudflareApi;
use super::asked::Outcome;
use super::endpoint::Endpoint;
use super::envelope::{Page, open, unexpected};
use super::error::ApiError;

/// Largest answer, in bytes.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// Most pages of one list.
const PAGE_LIMIT: usize = 20;

impl CloudflareApi {
    /// What must be there.
    pub(super) async fn one<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint<'_>,
        until: Instant,
    ) -> Result<T, ApiError> {
        let page = self.page(endpoint, &[], until).await?;
        page.result.ok_or_else(|| unexpected(endpoint, "no result"))
    }

    /// All pages of a list.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint<'_>,
        query: &[(&str, &str)],
        per_page: usize,
        until: Instant,
    ) -> Result<Vec<T>, ApiError> {
        let asked = per_page.to_string();
        let mut all = Vec::new();
        for number in 1..=PAGE_LIMIT {
            let number = number.to_string();
            let query = [query, &[("page", &number), ("per_page", &asked)]].concat();
            let page: Page<Vec<T>> = self.page(endpoint, &query, until).await?;
            let items = page.result.unwrap_or_default();
            let size = |said: Option<i64>| said.and_then(|said| usize::try_from(said).ok());
            let count = size(page.info.count).unwrap_or(items.len());
            let full = size(page.info.per_page).unwrap_or(per_page);
            let empty = items.is_empty();
            all.extend(items);
            let whole = size(page.info.total_count).is_some_and(|total| all.len() >= total);
            if empty || whole || count < full {
                return Ok(all);
            }
        }
        Err(ApiError::TooLarge)
    }

    /// One answer, opened.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint<'_>,
        query: &[(&str, &str)],
        until: Instant,
    ) -> Result<Page<T>, ApiError> {
        let now = Instant::now();
        if now >= until {
            return Err(ApiError::Timeout);
        }
        let until = until.min(now + self.request);
        let page = match timeout_at(until, self.get(endpoint, query)).await {
            Ok(answer) => answer.and_then(|(status, body)| open(endpoint, status, &body)),
            Err(_) => Err(ApiError::Timeout),
        };
        if let (Some(count), Some(outcome)) = (&self.count, Outcome::of(&page)) {
            (count.0)(endpoint.asked(), outcome);
        }
        page
    }

    async fn get(&self, endpoint: Endpoint<'_>, query: &[(&str, &str)]) -> Result<(u16, Vec<u8>), ApiError> {
        let mut request = self.http.get(self.url(endpoint, query)?).header(ACCEPT, "application/json");
        if endpoint.wants_credentials() {
            let credentials = self.credentials.as_ref().ok_or(ApiError::NoCredentials)?;
            for (name, value) in credentials.headers()? {
                request = request.header(name, value);
            }
        }
        self.gate().pass(Instant::now())?;
        let response = request.send().await.map_err(|error| ApiError::Unreachable(error.without_url()))?;
        let status = response.status().as_u16();
        self.gate().heard(Instant::now(), status, response.headers())?;
        let body = read(response).await?;
        // Whatever is quoted of the answer later cannot quote our secret.
        match &self.credentials {
            Some(credentials) => Ok((status, credentials.conceal(body))),
            None => Ok((status, body)),
        }
    }

    fn url(&self, endpoint: Endpoint<'_>, query: &[(&str, &str)]) -> Result<Url, ApiError> {
        let path = endpoint.path()?;
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, ApiError> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => return Err(ApiError::TooLarge),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(ApiError::CutOff { status, source: error.without_url() }),
        }
    }
}
