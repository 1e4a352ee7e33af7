//! What labs are made from, and how they differ.

use std::path::PathBuf;

/// What every lab is made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Root tree of the Debian.
    pub tree: PathBuf,
    /// The package under test.
    pub deb: PathBuf,
    /// The same as an .rpm.
    pub rpm: Option<PathBuf>,
    /// Where our own programs (`cloudflared`, `edge`, `lab`) lie.
    pub bin: PathBuf,
    /// The real cloudflared, in place of the stand-in.
    pub cloudflared: Option<PathBuf>,
    /// Where labs are built.
    pub scratch: PathBuf,
    /// Somebody looks on, for a recording.
    pub record: bool,
}

/// Everything that differs between labs.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// `TUNNEL_TRANSPORT_PROTOCOL`.
    pub protocol: &'static str,
    /// More environment for cloudflared.
    pub env: Vec<(&'static str, String)>,
    /// Secret in the credentials file; the edge accepts only the right one.
    pub secret: &'static str,
    /// A last line for config.yml.
    pub config_tail: &'static str,
    /// Command line after `cloudflared --no-autoupdate`.
    pub command: &'static str,
    /// Only the stand-in can play its part.
    pub standin: bool,
    /// Install tunnelwarden.
    pub warden: bool,
    /// Drop-in for tunnelwarden.
    pub settings: &'static str,
    /// Give tunnelwarden a token for Cloudflare's API.
    pub api: bool,
    /// Public names of the tunnel.
    pub names: &'static [&'static str],
}

pub const TUNNEL: &str = "11111111-2222-4333-8444-555555555555";
pub const SECRET: &str = "c2VjcmV0LW9mLXRoZS1sYWItc2VjcmV0LW9mLWxhYg==";
/// As `cloudflared service install` writes it: account, secret and tunnel.
pub const TOKEN: &str = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJzIjoiYzJWamNtVjBMVzltTFhSb1pTMXNZV0l0YzJWamNtVjBMVzltTFd4aFlnPT0iLCJ0IjoiMTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1In0=";
/// The command lines that cloudflared's own `service install` writes today.
pub const CONFIG_RUN: &str = "--config /etc/cloudflared/config.yml tunnel run";
pub const TOKEN_RUN: &str = "tunnel run --token-file /etc/cloudflared/token";
pub const NAMES: &[&str] = &["app.example.com", "api.example.com"];

impl Default for Wishes {
    fn default() -> Self {
        Self {
            protocol: "http2",
            env: Vec::new(),
            secret: SECRET,
            config_tail: "",
            command: CONFIG_RUN,
            standin: false,
            warden: true,
            settings: "",
            api: false,
            names: NAMES,
        }
    }
}
