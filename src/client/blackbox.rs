//! A prober elsewhere that works as Prometheus' blackbox_exporter does: given a target it answers with metrics.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::dns::Dns;
use super::fetch::{Fetch, FetchError};
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
    #[error("the prober cannot be asked")]
    Missed(#[from] FetchError),
    /// No 200: a module that is not known, say.
    #[error("the prober answered with status {0}")]
    Refused(u16),
    #[error("the prober's answer has no probe_success")]
    Garbled,
}

/// Asks probers.
#[derive(Clone, Debug)]
pub struct Blackbox {
    fetch: Fetch,
}

impl Blackbox {
    /// `user_agent` names us honestly: `tunnelwarden/1.2.3`.
    ///
    /// # Errors
    /// [`FetchError::Setup`].
    pub fn new(
        tls: &Tls,
        dns: Arc<Dns>,
        user_agent: &'static str,
        limit: Duration,
    ) -> Result<Self, FetchError> {
        Ok(Self { fetch: Fetch::new(tls, dns, user_agent, limit)? })
    }

    /// Has `target` probed by the prober at `prober`.
    ///
    /// # Errors
    /// See [`BlackboxError`].
    pub async fn probe(&self, prober: &Url, target: &str, limit: Duration) -> Result<Probed, BlackboxError> {
        let mut url = prober.clone();
        url.query_pairs_mut().append_pair("target", target);
        match self.fetch.get(url, limit, BODY_LIMIT).await? {
            (200, body) => read(&String::from_utf8_lossy(&body)).ok_or(BlackboxError::Garbled),
            (status, _) => Err(BlackboxError::Refused(status)),
        }
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
    use super::*;
    use crate::client::fetch::testing::server;
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

    async fn prober(answer: &str) -> (Url, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let (url, requests) = server(answer.as_bytes().to_vec()).await;
        (url.join("/probe?module=http_2xx").unwrap(), requests)
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
        assert!(matches!(late, Err(BlackboxError::Missed(FetchError::TimedOut))), "{late:?}");
        let closed = Url::parse("http://127.0.0.1:1/probe").unwrap();
        let gone = blackbox.probe(&closed, "https://app.test/", LIMIT).await;
        assert!(matches!(gone, Err(BlackboxError::Missed(FetchError::Unreachable(_)))), "{gone:?}");
    }
}
