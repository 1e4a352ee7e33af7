//! `audit credentials`: what the tunnels of this host prove themselves with.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use zeroize::Zeroizing;

use super::host::{Config, Of, gather};
use super::weight;
use crate::audit::credentials::{ApiSight, Checked, Content, FileSight, Host, RecordSight, Role, check};
use crate::audit::service::Service;
use crate::cli::Exit;
use crate::cli::report::{Form, Report, Section, step};
use crate::client::cloudflare_api::{ApiError, ApiSettings, CloudflareApi, Credentials};
use crate::client::cloudflared_config::{CredentialsSight, TokenSight, hostnames};
use crate::client::dns::Dns;
use crate::client::file_access;
use crate::client::tls::Tls;
use crate::config::Settings;
use crate::daemon::credentials;

/// Whatever is longer is no secret of cloudflared's.
const LONGEST: u64 = 64 * 1024;
/// Names whose records are compared.
const NAMES: usize = 50;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    form: Form,
}

pub(in crate::cli) fn main(arguments: &Arguments) -> Exit {
    let gathered = gather(&arguments.of);
    let names: Vec<&str> = gathered.services.iter().map(|(service, _)| service.name.as_str()).collect();
    let subject = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let mut report = Report::new("audit credentials", subject);
    report.blind = gathered.blind;
    let wanted: Vec<String> =
        gathered.services.iter().filter_map(|(_, config)| config.as_ref()).flat_map(names_of).collect();
    let asked = ask(&wanted, &mut report.blind);
    let mut units = Vec::new();
    for (service, config) in &gathered.services {
        let own: Vec<String> = config.as_ref().map(names_of).unwrap_or_default();
        let host = Host {
            service,
            files: files(service, config.as_ref(), &mut report.blind),
            config: config.as_ref().map(|config| (config.path.clone(), config.config.clone())),
            uid: uid(service),
            records: asked.records.iter().filter(|record| own.contains(&record.name)).cloned().collect(),
            api: asked.api.clone(),
            now: now(),
        };
        let Checked { findings, drop_in } = check(&host);
        report.sections.push(facts(&host));
        report.findings.extend(findings);
        units.push(json!({
            "unit": service.name,
            "files": host.files.iter().map(file_json).collect::<Vec<_>>(),
            "records": host.records.iter().map(|record| json!({ "name": record.name, "target": record.target })).collect::<Vec<_>>(),
            "drop_in": (!drop_in.is_empty()).then(|| drop_in.text()),
        }));
        if !drop_in.is_empty() {
            let title = format!("The token as a credential, by a drop-in for {}", service.name);
            report.sections.push(Section::Paste { title, text: drop_in.recipe(&service.name) });
        }
    }
    report.findings.sort_by(crate::audit::Finding::order);
    // What is said of the API token is said once, however many units there are.
    report.findings.dedup();
    report.data = json!({ "units": units });
    report.verdict = match weight(&report) {
        Some(weight) => format!("{weight} to mend."),
        None if units.is_empty() => "No credentials could be looked at.".into(),
        None if report.blind.is_empty() => "The credentials are kept as they should be.".into(),
        None => "Nothing wrong was found in what could be seen.".into(),
    };
    report.print(arguments.form)
}

fn names_of(config: &Config) -> Vec<String> {
    hostnames(&config.config.ingress).into_iter().take(NAMES).collect()
}

fn now() -> jiff::Timestamp {
    let wall = crate::clock::now().wall;
    i64::try_from(wall.as_secs())
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
        .unwrap_or_default()
}

fn uid(service: &Service) -> Option<u32> {
    match service.user().as_deref() {
        None => Some(0),
        Some("") => None,
        Some(user) => user.parse().ok().or_else(|| file_access::uid_of(user)),
    }
}

/// Every file that the unit or the configuration names, and certificates where cloudflared looks for them.
fn files(service: &Service, config: Option<&Config>, blind: &mut Vec<String>) -> Vec<FileSight> {
    let launch = service.launch();
    let mut wanted: Vec<(Role, PathBuf, bool)> = Vec::new();
    let mut want = |role: Role, path: &Path, handed: bool| {
        // systemd's own copies are only for the service.
        let own = path.starts_with("/run/credentials") || !path.is_absolute();
        if !own && !wanted.iter().any(|(_, known, _)| known == path) {
            wanted.push((role, path.to_owned(), handed));
        }
    };
    for handed in service.handed() {
        if let Some(path) = &handed.path {
            let by_name = if handed.id.contains("json") || handed.id.contains("credentials") {
                Role::Credentials
            } else {
                Role::Token
            };
            want(if handed.encrypted { Role::Encrypted } else { by_name }, path, true);
        }
    }
    let of_config = config.map(|config| &config.config);
    let tokens = launch.token_file.iter().chain(of_config.and_then(|config| config.token_file.as_ref()));
    tokens.for_each(|path| want(Role::Token, path, false));
    let credentials =
        launch.credentials_file.iter().chain(of_config.and_then(|config| config.credentials_file.as_ref()));
    credentials.for_each(|path| want(Role::Credentials, path, false));
    service.environment_files().iter().for_each(|path| want(Role::Environment, path, true));
    if let Some(config) = config {
        want(Role::Config, &config.path, false);
    }
    let beside: Vec<PathBuf> = wanted
        .iter()
        .filter_map(|(_, path, _)| path.parent().map(|folder| folder.join("cert.pem")))
        .collect();
    let usual =
        ["/etc/cloudflared/cert.pem", "/usr/local/etc/cloudflared/cert.pem", "/root/.cloudflared/cert.pem"]
            .map(PathBuf::from);
    for path in beside.into_iter().chain(usual) {
        if !wanted.iter().any(|(_, known, _)| *known == path) {
            wanted.push((Role::Certificate, path, false));
        }
    }
    wanted.into_iter().filter_map(|(role, path, handed)| file(role, path, handed, blind)).collect()
}

fn file(role: Role, path: PathBuf, handed: bool, blind: &mut Vec<String>) -> Option<FileSight> {
    step(&format!("looking at {}", path.display()));
    let access = match file_access::look(&path) {
        Ok(access) => Some(access),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) if role == Role::Certificate => return None,
        Err(error) => {
            blind.push(format!("{} cannot be looked at: {error}. Run this as root.", path.display()));
            return None;
        }
    };
    if role == Role::Certificate && access.is_none() {
        return None;
    }
    let mut content = Content::Unread;
    let opens = matches!(role, Role::Token | Role::Credentials | Role::Environment);
    match access.as_ref().filter(|access| opens && access.is_file).map(|_| read(&path)) {
        Some(Ok(text)) => content = contents(role, &text),
        Some(Err(error)) => {
            blind.push(format!(
                "{} cannot be read: {error}. Run this as root to see what is in it.",
                path.display()
            ));
        }
        None if opens && access.is_some() => {
            blind.push(format!("{} is no regular file, so it was not opened.", path.display()))
        }
        None => {}
    }
    Some(FileSight { role, path, access, content, handed })
}

fn contents(role: Role, text: &str) -> Content {
    match role {
        Role::Token => Content::Token(TokenSight::of(text)),
        Role::Credentials => Content::Credentials(CredentialsSight::of(text)),
        Role::Environment => {
            let value = text.lines().rev().find_map(|line| line.trim().strip_prefix("TUNNEL_TOKEN="));
            Content::Environment(value.map(|value| TokenSight::of(value.trim().trim_matches(['"', '\'']))))
        }
        Role::Config | Role::Certificate | Role::Encrypted => Content::Unread,
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    // What is no text is no secret of cloudflared's, and is told as that.
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What Cloudflare says.
struct Asked {
    api: ApiSight,
    records: Vec<RecordSight>,
}

fn ask(names: &[String], blind: &mut Vec<String>) -> Asked {
    let nothing = Asked { api: ApiSight::None, records: Vec::new() };
    let settings = match crate::config::load(&crate::cli::roots(None), crate::config::process_environment()) {
        Ok(loaded) => loaded.settings,
        Err(_) => {
            blind.push("Cloudflare was not asked, because tunnelwarden's configuration has mistakes: see `tunnelwarden config check`.".into());
            return nothing;
        }
    };
    let found = credentials::find(&settings.api, |name| std::env::var(name).ok());
    let Some(credentials) = found.credentials else {
        blind.extend(found.warning.map(|why| format!("Cloudflare was not asked: {why}.")));
        return nothing;
    };
    step("asking Cloudflare's API");
    let global = matches!(credentials, Credentials::GlobalKey { .. });
    let asked = runtime().and_then(|runtime| {
        let api = client(credentials)?;
        Ok(runtime.block_on(ask_api(&api, &settings, names, blind)))
    });
    match asked {
        Ok(asked) if global => Asked { api: ApiSight::GlobalKey, ..asked },
        Ok(asked) => asked,
        Err(error) => {
            blind.push(format!("Cloudflare cannot be asked: {error:#}."));
            nothing
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn client(credentials: Credentials) -> anyhow::Result<CloudflareApi> {
    let agent = concat!("tunnelwarden/", env!("CARGO_PKG_VERSION"));
    Ok(CloudflareApi::new(
        &Tls::system()?,
        Arc::new(Dns::system()),
        agent,
        Some(credentials),
        &ApiSettings::default(),
    )?)
}

async fn ask_api(
    api: &CloudflareApi,
    settings: &Settings,
    names: &[String],
    blind: &mut Vec<String>,
) -> Asked {
    let account = settings.api.account_id.as_ref().map(|id| id.as_str());
    let token = match api.verify(account).await {
        Ok(token) => token,
        Err(error) => {
            blind.push(format!("The API token could not be verified: {error}. {}.", capital(error.advice())));
            None
        }
    };
    let mut records = Vec::new();
    for name in names {
        match records_of(api, name).await {
            Ok(found) => records.extend(found),
            Err(error) => {
                blind.push(format!(
                    "The record of {name} was not seen: {error}. {}.",
                    capital(error.advice())
                ));
                // The next name would hear the same.
                break;
            }
        }
    }
    Asked { api: ApiSight::Token(token), records }
}

/// The records of a name that decide where it leads, in the longest zone that holds it.
async fn records_of(api: &CloudflareApi, name: &str) -> Result<Vec<RecordSight>, ApiError> {
    let mut zone_name = name;
    while zone_name.contains('.') {
        if let Some(zone) = api.zones(zone_name).await?.into_iter().next() {
            let records = api.records(&zone.id, name).await?;
            let leads =
                records.into_iter().filter(|record| matches!(record.kind.as_str(), "CNAME" | "A" | "AAAA"));
            return Ok(leads
                .map(|record| {
                    let target = record.content.unwrap_or_default().to_ascii_lowercase();
                    let tunnel = target.strip_suffix(".cfargotunnel.com").map(str::to_owned);
                    RecordSight { name: name.to_owned(), tunnel, target }
                })
                .collect());
        }
        zone_name = zone_name.split_once('.').map_or("", |(_, rest)| rest);
    }
    Ok(Vec::new())
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn facts(host: &Host<'_>) -> Section {
    let mut facts = Vec::new();
    for file in &host.files {
        let access = match &file.access {
            None => "is not there".to_owned(),
            Some(access) => format!("mode {:04o}, user {}, group {}", access.mode, access.uid, access.gid),
        };
        facts.push((role_name(file.role).to_owned(), format!("{} ({access})", file.path.display())));
    }
    let api = match &host.api {
        ApiSight::None => "no token given: records and its end were not looked at",
        ApiSight::GlobalKey => "asked with the Global API Key",
        ApiSight::Token(_) => "asked with a token",
    };
    facts.push(("Cloudflare's API".to_owned(), api.to_owned()));
    Section::Facts { title: host.service.name.clone(), facts }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Token => "token",
        Role::Credentials => "credentials",
        Role::Environment => "environment",
        Role::Config => "configuration",
        Role::Certificate => "certificate",
        Role::Encrypted => "encrypted",
    }
}

fn file_json(file: &FileSight) -> serde_json::Value {
    json!({
        "role": role_name(file.role), "path": file.path.display().to_string(),
        "mode": file.access.as_ref().map(|access| format!("{:04o}", access.mode)),
        "uid": file.access.as_ref().map(|access| access.uid),
        "gid": file.access.as_ref().map(|access| access.gid),
    })
}
