use std::path::{Path, PathBuf};
#[derive(Default)] pub struct CommandLine { pub config: Option<PathBuf>, pub has_token: bool, pub token_file: Option<PathBuf>, pub credentials_file: Option<PathBuf>, pub protocol: Option<String>, pub metrics: Option<String>, pub tunnel_id: Option<String> }
impl CommandLine { pub fn parse(_: &[String]) -> Self { Self::default() } }
pub struct File { pub tunnel: Option<String>, pub protocol: Option<String>, pub metrics: Option<String>, pub credentials_file: Option<PathBuf>, pub warp_routing: bool }
impl File { pub fn hostnames(&self) -> Vec<String> { vec![] } }
pub fn is_tunnel_run(_: &[String]) -> bool { true }
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct E;
pub fn parse(_: &Path, _: &str) -> Result<File, E> { Err(E) }
