//! The control socket: a command a line in, a JSON object a line out.
//!
//! | command | effect |
//! |---|---|
//! | `status` | connections, the door, forced pages |
//! | `drop [INDEX]` | close all connections, or those of this index; new ones are fine |
//! | `refuse` / `accept` | close all and refuse TCP, ignore UDP / be normal again |
//! | `blackhole` | existing connections stay up, silent and without route; new ones are fine |
//! | `forget` | existing connections leave the route and stay up |
//! | `mute` / `unmute` | nobody is answered, old or new; existing ones come back with `unmute` |
//! | `mute registration` | handshakes work, registrations are never answered |
//! | `late SECONDS` | registrations are answered that much later; 0 ends it |
//! | `udp off` / `udp on` | datagrams are swallowed |
//! | `reject [--retryable] TEXT` / `unreject` | refuse registrations with this text |
//! | `secret BASE64` | the accepted secret from now on |
//! | `config JSON` | push a remotely managed configuration |
//! | `page PAGE [HOST]` / `unpage [HOST]` | force what visitors get: a form of 1033, `1016`, `cached`, `challenge`, `access`, a status |
//! | `api deleted` / `api live ID` / `api fail STATUS CODE` / `api html` / `api 429` / `api good` | what Cloudflare's API says |
//! | `api record NAME CONTENT` | a proxied record as the API has it; without any, zones are not there |
//! | `announce TITLE` / `announce html` / `announce` | an incident on Cloudflare's status page / no list / none |
//! | `prober served` / `prober failing` | what a prober elsewhere says of every name |
//! | `form FORM` / `form auto` | the 1033 page when there is no route: `plain html html-old json problem-json markdown` |

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::sleep,
};

use super::hub::{Door, Hub};
use crate::wire::Refusal;

const MAX_COMMAND: u64 = 256 * 1024;
/// Time for the farewells to leave before the gate shuts.
const FAREWELL: Duration = Duration::from_millis(100);

/// Serves the socket for ever, replacing what an earlier edge left at `path`.
///
/// # Errors
/// The socket cannot be made.
pub async fn serve(hub: Arc<Hub>, path: &Path) -> Result<()> {
    // Not there is as good.
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            // Whoever asked has gone.
            let _ = converse(&hub, stream).await;
        });
    }
}

/// Sends one command to a running edge.
///
/// # Errors
/// The socket cannot be reached, or it does not answer.
pub async fn send(path: &Path, command: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(path).await.with_context(|| format!("cannot reach {}", path.display()))?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    anyhow::ensure!(!answer.is_empty(), "the edge did not answer");
    Ok(answer.trim_end().to_owned())
}

async fn converse(hub: &Hub, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        if (&mut reader).take(MAX_COMMAND).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match obey(hub, line.trim()).await {
            Ok(answer) => answer,
            Err(error) => json!({ "ok": false, "error": error }),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
}

async fn obey(hub: &Hub, line: &str) -> Result<Value, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    if verb != "status" {
        hub.events.note("command", json!({ "command": if verb == "secret" { verb } else { line } }));
    }
    match verb {
        "status" => return Ok(hub.status()),
        "drop" if rest.is_empty() => hub.close(None),
        "drop" => hub.close(Some(rest.parse().map_err(|_| format!("no connection index: {rest}"))?)),
        "refuse" => {
            hub.close(None);
            sleep(FAREWELL).await;
            hub.set_door(Door::Refusing);
            hub.door_settled().await;
            // Whoever came back in between.
            hub.close(None);
        }
        "accept" | "unmute" => {
            hub.set_door(Door::Open);
            hub.door_settled().await;
        }
        "blackhole" => hub.blackhole(),
        "forget" => hub.forget(),
        "reject" => hub.set_reject(Some(refusal(rest)?)),
        "unreject" => hub.set_reject(None),
        "mute" if rest == "registration" => hub.set_door(Door::RegistrationMute),
        "mute" => hub.set_door(Door::Mute),
        "late" => {
            let lateness = rest.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            hub.set_lateness(lateness.ok_or_else(|| format!("no number of seconds: {rest}"))?);
        }
        // Silence for QUIC alone, as a middlebox that drops UDP.
        "udp" if rest == "off" => hub.gate.set_closed(true),
        "udp" => hub.gate.set_closed(false),
        "page" => {
            let (page, host) = rest.split_once(' ').unwrap_or((rest, ""));
            hub.set_page(host, Some(page.parse()?));
        }
        "unpage" => hub.set_page(rest, None),
        "form" => hub.set_form(if rest == "auto" { None } else { Some(rest.parse()?) }),
        "api" => hub.api.obey(rest)?,
        "announce" | "prober" => hub.beside.obey(verb, rest)?,
        "secret" => hub.set_secret(rest.to_owned()),
        "config" => {
            let config = serde_json::from_str(rest).map_err(|error| format!("not JSON: {error}"))?;
            return Ok(json!({ "ok": true, "version": hub.configure(config) }));
        }
        _ => return Err(format!("no such command: {verb}")),
    }
    Ok(json!({ "ok": true }))
}

fn refusal(rest: &str) -> Result<Refusal, String> {
    let (retryable, text) = match rest.strip_prefix("--retryable") {
        Some(text) => (true, text.trim()),
        None => (false, rest),
    };
    if text.is_empty() {
        return Err("reject needs the text of the refusal".into());
    }
    Ok(Refusal { text: text.to_owned(), retryable })
}
