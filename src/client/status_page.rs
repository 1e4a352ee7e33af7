//! A status page in the form of Atlassian's Statuspage, which Cloudflare's is: the incidents that are open.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::dns::Dns;
use super::fetch::{Fetch, FetchError};
use super::tls::Tls;

/// Where every such page lists them.
const UNRESOLVED: &str = "/api/v2/incidents/unresolved.json";
/// Largest answer, in bytes. One incident that names every location has a hundred thousand.
const BODY_LIMIT: usize = 1024 * 1024;
const INCIDENTS_AT_MOST: usize = 20;
/// Locations of one incident; Cloudflare has some four hundred.
const COLOS_AT_MOST: usize = 512;
const NAME_AT_MOST: usize = 120;

/// An incident that is open there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its title: printable, one line, short.
    pub name: String,
    /// Its components name tunnels or Access; or it names no component, and its title does.
    pub tunnels: bool,
    /// Locations (IATA codes) among its components, each once.
    pub colos: Vec<String>,
}

/// Why a status page told nothing.
#[derive(Debug, thiserror::Error)]
pub enum StatusPageError {
    #[error("the status page cannot be read")]
    Missed(#[from] FetchError),
    #[error("the status page answered with status {0}")]
    Refused(u16),
    #[error("the status page answered something else than a list of incidents")]
    Garbled,
}

/// Asks a status page.
#[derive(Clone, Debug)]
pub struct StatusPage {
    fetch: Fetch,
    /// Of the list.
    url: Url,
}

impl StatusPage {
    /// `page` is its address as people open it; `user_agent` names us honestly: `tunnelwarden/1.2.3`.
    ///
    /// # Errors
    /// [`FetchError::Setup`].
    pub fn new(
        tls: &Tls,
        dns: Arc<Dns>,
        user_agent: &'static str,
        page: &Url,
        limit: Duration,
    ) -> Result<Self, FetchError> {
        let mut url = page.clone();
        url.set_path(UNRESOLVED);
        Ok(Self { fetch: Fetch::new(tls, dns, user_agent, limit)?, url })
    }

    /// The incidents that are open now.
    ///
    /// # Errors
    /// See [`StatusPageError`].
    pub async fn open(&self, limit: Duration) -> Result<Vec<Announced>, StatusPageError> {
        match self.fetch.get(self.url.clone(), limit, BODY_LIMIT).await? {
            (200, body) => read(&body).ok_or(StatusPageError::Garbled),
            (status, _) => Err(StatusPageError::Refused(status)),
        }
    }
}

/// Reads the list; any field of an incident may be missing or of another kind.
pub fn read(body: &[u8]) -> Option<Vec<Announced>> {
    let page: Value = serde_json::from_slice(body).ok()?;
    let incidents = page.get("incidents")?.as_array()?;
    Some(incidents.iter().filter_map(announced).take(INCIDENTS_AT_MOST).collect())
}

fn announced(incident: &Value) -> Option<Announced> {
    let text = |key: &str| incident.get(key).and_then(Value::as_str).unwrap_or_default();
    // What is over, and what never hurt anybody.
    if matches!(text("status"), "resolved" | "postmortem" | "completed") || text("impact") == "none" {
        return None;
    }
    let listed = incident.get("components").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let components: Vec<&str> = listed.iter().filter_map(|one| one.get("name")?.as_str()).collect();
    let title = text("name");
    let tunnels = match components.is_empty() {
        true => of_tunnels(title),
        false => components.iter().any(|component| of_tunnels(component)),
    };
    let mut colos: Vec<String> = components.iter().filter_map(|component| colo(component)).collect();
    colos.sort_unstable();
    colos.dedup();
    colos.truncate(COLOS_AT_MOST);
    Some(Announced { name: printable(title), tunnels, colos })
}

/// "Cloudflare Tunnel", "Tunnels", "Access", "Zero Trust Access".
fn of_tunnels(name: &str) -> bool {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase);
    words.into_iter().any(|word| matches!(word.as_str(), "tunnel" | "tunnels" | "access" | "cloudflared"))
}

/// `FRA` of "Frankfurt, Germany - (FRA)".
fn colo(component: &str) -> Option<String> {
    let (_, code) = component.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    (code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())).then(|| code.to_owned())
}

/// Without what ends a line, turns its direction or ends a quotation.
fn printable(text: &str) -> String {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let plain = text.chars().map(|c| if unseen(c) { ' ' } else { c });
    let plain: String = plain.map(|c| if c == '"' { '\'' } else { c }).take(NAME_AT_MOST).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.is_empty() { "an incident without a title".into() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fetch::testing::server;
    use crate::client::tls::testing::Authority;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn an_incident_is_read_however_little_it_says() {
        let one = |incident: &str| read(format!("{{\"page\":{{}},\"incidents\":[{incident}]}}").as_bytes());
        let whole = r#"{"id":"x1","name":"Cloudflare Tunnel connectivity","status":"identified","impact":"major",
            "started_at":"2026-11-20T10:00:00.000Z","created_at":"2026-11-20T10:05:00.000Z","incident_updates":[],
            "components":[{"id":"a","name":"Tunnel","status":"partial_outage"},
                          {"id":"b","name":"Frankfurt, Germany - (FRA)","status":"partial_outage"}]}"#;
        let read_whole = one(whole).unwrap();
        assert_eq!(
            read_whole,
            [Announced {
                name: "Cloudflare Tunnel connectivity".into(),
                tunnels: true,
                colos: vec!["FRA".into()],
            }]
        );
        let bare = &one("{}").unwrap()[0];
        assert_eq!((bare.tunnels, bare.colos.len()), (false, 0));
        let odd =
            r#"{"name":7,"components":[3,{"name":null},{"name":"R2 (AB)"}],"started_at":"soon","impact":[]}"#;
        assert_eq!(one(odd).unwrap(), one("{}").unwrap());
        // Without components its title is all there is; beside others it counts for nothing.
        assert!(one(r#"{"name":"Issues with Access"}"#).unwrap()[0].tunnels);
        assert!(!one(r#"{"name":"Tunnel of love","components":[{"name":"Images"}]}"#).unwrap()[0].tunnels);
        for over in [r#"{"status":"resolved"}"#, r#"{"status":"postmortem"}"#, r#"{"impact":"none"}"#] {
            assert_eq!(one(over).unwrap(), [], "{over}");
        }
        for other in ["", "[]", "{}", "{\"incidents\":{}}", "<html>incidents</html>"] {
            assert_eq!(read(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn a_title_cannot_leave_its_line_and_is_short() {
        let title = format!("a\\u001b[31m \\u202e\\\"b\\\" \\n c{}", "d".repeat(500));
        let body = format!("{{\"incidents\":[{{\"name\":\"{title}\"}}]}}");
        let name = read(body.as_bytes()).unwrap().remove(0).name;
        assert!(name.starts_with("a [31m 'b' c") && name.chars().count() <= NAME_AT_MOST, "{name:?}");
        let many = format!("{{\"incidents\":[{}]}}", ["{}"; 1000].join(","));
        assert_eq!(read(many.as_bytes()).unwrap().len(), INCIDENTS_AT_MOST);
    }

    #[tokio::test]
    async fn a_page_is_asked_by_its_address_and_its_silence_is_no_answer() {
        let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
        let tls = Authority::new().tls;
        let page = |url: &Url| StatusPage::new(&tls, Arc::clone(&dns), "tunnelwarden/0", url, LIMIT).unwrap();
        let answer = |head: &str, body: &str| {
            format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let (url, mut requests) = server(answer("200 OK", "{\"incidents\":[]}")).await;
        assert_eq!(page(&url).open(LIMIT).await.unwrap(), []);
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with("GET /api/v2/incidents/unresolved.json HTTP/1.1"), "{request}");
        let (url, _requests) = server(answer("200 OK", "<html></html>")).await;
        assert!(matches!(page(&url).open(LIMIT).await, Err(StatusPageError::Garbled)));
        let (url, _requests) = server(answer("302 Found", "")).await;
        assert!(matches!(page(&url).open(LIMIT).await, Err(StatusPageError::Refused(302))));
        let (url, _requests) = server(answer("200 OK", &" ".repeat(BODY_LIMIT + 1))).await;
        let large = page(&url).open(LIMIT).await;
        assert!(matches!(large, Err(StatusPageError::Missed(FetchError::TooLarge(_)))), "{large:?}");
        let (url, _requests) = server(Vec::new()).await;
        let late = page(&url).open(Duration::from_millis(200)).await;
        assert!(matches!(late, Err(StatusPageError::Missed(FetchError::TimedOut))), "{late:?}");
    }
}
