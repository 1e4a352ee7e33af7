//! One foreign system per file; none knows anything of what we conclude.

pub mod answer;
pub mod blackbox;
pub mod calendar;
/// Cloudflare's own view of tunnels, connectors, zones and tokens: its API v4, only ever read.
pub mod cloudflare_api;
pub mod cloudflared;
pub mod cloudflared_binary;
pub mod cloudflared_config;
pub mod cloudflared_log;
pub mod dns;
pub mod edge;
pub mod error_chain;
pub mod fetch;
pub mod file_access;
pub mod file_changes;
pub mod github_workflow;
pub mod host;
pub mod http;
pub mod journal;
pub mod origin_address;
pub mod status_page;
pub mod systemd;
pub mod tls;
pub mod unit_file;
