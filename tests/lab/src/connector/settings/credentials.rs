//! Who cloudflared is to the edge: a credentials file or a token.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Exit, go_open};

/// Who we are to the edge.
#[derive(Clone)]
pub struct Credentials {
    pub account: String,
    pub tunnel_id: String,
    pub secret: Vec<u8>,
}

/// From the place that comes first.
///
/// # Errors
/// How the real one would leave.
pub(super) fn credentials(
    pick: &dyn Fn(&str, &str) -> Option<String>,
    named: Option<&String>,
) -> Result<Credentials, Exit> {
    let bad_token =
        || Exit::new(255, "Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'.");
    if let Some(token) = pick("token", "TUNNEL_TOKEN") {
        return from_token(&token).ok_or_else(bad_token);
    }
    if let Some(path) = pick("token-file", "TUNNEL_TOKEN_FILE") {
        let token = fs::read_to_string(&path).map_err(|error| {
            Exit::new(255, format!("Failed to read token file: {}", go_open(&path, &error)))
        })?;
        return from_token(token.trim()).ok_or_else(bad_token);
    }
    let Some(tunnel) = named.cloned().or_else(|| pick("tunnel", "TUNNEL_ID")) else {
        return Err(Exit::new(
            255,
            "\"cloudflared tunnel run\" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file.",
        ));
    };
    let path = pick("credentials-file", "TUNNEL_CRED_FILE").or_else(|| pick("cred-file", "TUNNEL_CRED_FILE"));
    let path = path.unwrap_or_else(|| format!("/etc/cloudflared/{tunnel}.json"));
    if !Path::new(&path).is_file() {
        return Err(Exit::new(1, format!("Tunnel credentials file '{path}' doesn't exist or is not a file")));
    }
    let text = fs::read_to_string(&path).map_err(|error| {
        Exit::new(1, format!("couldn't read tunnel credentials from {path}: {}", go_open(&path, &error)))
    })?;
    let invalid = || Exit::new(1, "Invalid JSON when parsing tunnel credentials file");
    let value: Value = serde_json::from_str(&text).map_err(|_| invalid())?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let secret = STANDARD.decode(text("TunnelSecret")).map_err(|_| invalid())?;
    let tunnel_id = Some(text("TunnelID")).filter(|id| !id.is_empty()).unwrap_or(tunnel);
    Ok(Credentials { account: text("AccountTag"), tunnel_id, secret })
}

/// A token is base64 of JSON; what the JSON lacks is empty, as with the real one.
fn from_token(token: &str) -> Option<Credentials> {
    let value: Value = serde_json::from_slice(&STANDARD.decode(token).ok()?).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let tunnel_id = Some(text("t")).filter(|id| !id.is_empty());
    let nil = || "00000000-0000-0000-0000-000000000000".to_owned();
    let secret = STANDARD.decode(text("s")).ok()?;
    Some(Credentials { account: text("a"), tunnel_id: tunnel_id.unwrap_or_else(nil), secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_is_valid_and_garbage_is_not() {
        assert_eq!(from_token("e30=").unwrap().tunnel_id, "00000000-0000-0000-0000-000000000000");
        assert!(from_token("garbage").is_none());
    }
}
