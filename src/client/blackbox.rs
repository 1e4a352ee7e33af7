//! A prober elsewhere that works as Prometheus' blackbox_exporter does: given a target it answers with metrics.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::time::timeout;

use super::dns::{Dns, Names};
use super::tls::Tls;

/// Largest answer, in bytes; a usual one has four thousand.
const BODY_LIMIT: usize = 256 * 1024;

/// What a prober saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// `probe_success`: it was as the prober's module wants it.
    pub success: bool,
    /// `probe_http_status_code`, where there was an answer.
    pub status: Option<u16>,
}

/// Why a prober told nothing. Names no address.
#[derive(Debug, thiserror::Error)]
pub enum BlackboxError {
    #[error("cannot set up HTTP")]
    Setup(#[source] reqwest::Error),
    #[error("the prober did not answer in time")]
    TimedOut,
    #[error("the prober cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No 200: a module that is not known, say.
    #[error("the prober answered with status {0}")]
    Refused(u16),
    #[error("the prober's answer has no probe_success")]
    Garbled,
}

/// Asks probers. Uses no proxy and follows no redirect.
#[derive(Clone, Debug)]
pub struct Blackbox {
    http: Client,
}

impl Blackbox {
    /// `user_agent` names us honestly: `tunnelwarden/1.2.3`.
    ///
    /// # Errors
    /// [`BlackboxError::Setup`].
    pub fn new(
        tls: &Tls,
        dns: Arc<Dns>,
        user_agent: &'static str,
        limit: Duration,
    ) -> Result<Self, BlackboxError> {
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
            .map_err(BlackboxError::Setup)?;
        Ok(Self { http })
    }

    /// Has `target` probed by the prober at `prober`.
    ///
    /// # Errors
    /// See [`BlackboxError`].
    pub async fn probe(&self, prober: &Url, target: &str, limit: Duration) -> Result<Probed, BlackboxError> {
        let mut url = prober.clone();
        url.query_pairs_mut().append_pair("target", target);
        timeout(limit, self.ask(url)).await.unwrap_or(Err(BlackboxError::TimedOut))
    }

    async fn ask(&self, url: Url) -> Result<Probed, BlackboxError> {
        let unreachable = |error: reqwest::Error| BlackboxError::Unreachable(error.without_url());
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        if response.status().as_u16() != 200 {
            return Err(BlackboxError::Refused(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if BODY_LIMIT < body.len() + chunk.len() {
                return Err(BlackboxError::Garbled);
            }
            body.extend_from_slice(&chunk);
        }
        read(&String::from_utf8_lossy(&body)).ok_or(BlackboxError::Garbled)
    }
}

/// Reads the metrics of one probe.
fn read(text: &str) -> Option<Probed> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let success = value("probe_success")?;
    // 0 stands for no answer.
    let status = value("probe_http_status_code").filter(|status| (100.0..600.0).contains(status));
    Some(Probed { success: success == 1.0, status: status.map(|status| status as u16) })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::tls::testing::Authority;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn the_metrics_of_a_probe_are_read() {
        let text = "# HELP probe_success Displays whether or not the probe was a success\n\
                    # TYPE probe_success gauge\nprobe_success 0\nprobe_http_status_code 530\n";
        assert_eq!(read(text), Some(Probed { success: false, status: Some(530) }));
        assert_eq!(read("probe_success 1\n"), Some(Probed { success: true, status: None }));
        let silent = "probe_http_status_code 0\nprobe_success 0\n";
        assert_eq!(read(silent), Some(Probed { success: false, status: None }));
        for other in ["", "probe_success", "probe_success_total 1", "<html>probe_success 1"] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    async fn prober(answer: &'static str) -> (Url, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/probe?module=http_2xx", listener.local_addr().unwrap());
        let (heard, requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap_or(0);
                heard.send(String::from_utf8_lossy(&request[..n]).into_owned()).ok();
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
        });
        (Url::parse(&url).unwrap(), requests)
    }

    #[tokio::test]
    async fn a_prober_is_given_the_target_and_its_silence_is_no_answer() {
        let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
        let blackbox = Blackbox::new(&Authority::new().tls, dns, "tunnelwarden/0.0.0", LIMIT).unwrap();
        let (url, mut requests) =
            prober("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nprobe_success 1\n\n").await;
        let probed = blackbox.probe(&url, "https://app.test/a?b=c&d", LIMIT).await.unwrap();
        assert_eq!(probed, Probed { success: true, status: None });
        let request = requests.recv().await.unwrap();
        let line = "GET /probe?module=http_2xx&target=https%3A%2F%2Fapp.test%2Fa%3Fb%3Dc%26d HTTP/1.1";
        assert!(request.starts_with(line), "{request}");
        let (url, _requests) = prober("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        let refused = blackbox.probe(&url, "https://app.test/", LIMIT).await;
        assert!(matches!(refused, Err(BlackboxError::Refused(400))), "{refused:?}");
        let (url, _requests) = prober("").await;
        let late = blackbox.probe(&url, "https://app.test/", Duration::from_millis(200)).await;
        assert!(matches!(late, Err(BlackboxError::TimedOut)), "{late:?}");
        let closed = Url::parse("http://127.0.0.1:1/probe").unwrap();
        let gone = blackbox.probe(&closed, "https://app.test/", LIMIT).await;
        assert!(matches!(gone, Err(BlackboxError::Unreachable(_))), "{gone:?}");
    }
}
