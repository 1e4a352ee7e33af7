//! One GET of a page elsewhere, bounded in time and size. Uses no proxy, follows no redirect, keeps no connection.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::time::timeout;

use super::dns::{Dns, Names};
use super::tls::Tls;

/// Why there is no page. Names no address.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot set up HTTP")]
    Setup(#[source] reqwest::Error),
    #[error("it did not answer in time")]
    TimedOut,
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Asks for pages.
#[derive(Clone, Debug)]
pub struct Fetch {
    http: Client,
}

impl Fetch {
    /// `user_agent` names us honestly: `tunnelwarden/1.2.3`. `limit` is the longest that any page is waited for.
    ///
    /// # Errors
    /// [`FetchError::Setup`].
    pub fn new(
        tls: &Tls,
        dns: Arc<Dns>,
        user_agent: &'static str,
        limit: Duration,
    ) -> Result<Self, FetchError> {
        let http = Client::builder()
            .tls_backend_preconfigured(tls.web())
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .user_agent(HeaderValue::from_static(user_agent))
            .dns_resolver(Arc::new(Names { dns, limit: limit / 2 }))
            .build()
            .map_err(FetchError::Setup)?;
        Ok(Self { http })
    }

    /// The status and at most `most` bytes of the page.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn get(&self, url: Url, limit: Duration, most: usize) -> Result<(u16, Vec<u8>), FetchError> {
        timeout(limit, self.ask(url, most)).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn ask(&self, url: Url, most: usize) -> Result<(u16, Vec<u8>), FetchError> {
        let unreachable = |error: reqwest::Error| FetchError::Unreachable(error.without_url());
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if most < body.len() + chunk.len() {
                return Err(FetchError::TooLarge(most));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), body))
    }
}

/// A server for tests that answers each connection with the same bytes, or stays silent where there are none.
#[cfg(test)]
pub(crate) mod testing {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::Url;

    /// Its address, and the requests as they came.
    pub(crate) async fn server(answer: Vec<u8>) -> (Url, UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let (heard, requests) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap_or(0);
                heard.send(String::from_utf8_lossy(&request[..n]).into_owned()).ok();
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                stream.write_all(&answer).await.ok();
                stream.shutdown().await.ok();
            }
        });
        (url, requests)
    }
}
