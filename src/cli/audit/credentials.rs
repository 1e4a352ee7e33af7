//! `audit credentials`: what the tunnels of this host prove themselves with.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::host::{Config, Gathered, Of, gather};
use super::weight;
use crate::audit::credentials::{ApiSight, Checked, FileSight, Host, Role, check};
use crate::audit::service::Service;
use crate::cli::Exit;
use crate::cli::access::{self, Prompt};
use crate::cli::records::{self, Records};
use crate::cli::report::{Form, Report, Section, sentence, step};
use crate::client::cloudflare_api::{CloudflareApi, Credentials, VerifiedToken};
use crate::client::cloudflared_config::hostnames;
use crate::client::dns::Dns;
use crate::client::tls::Tls;
use crate::clock;
use crate::daemon::secret_files::{Hidden, SecretFiles, Unseen, runner};

/// Names whose records are compared.
const NAMES: usize = 50;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    of: Of,
    /// Ask for an API token without echo, to compare the DNS records and to see when the token ends.
    #[arg(long)]
    ask_token: bool,
    #[command(flatten)]
    form: Form,
}

pub(in crate::cli) fn main(arguments: &Arguments) -> Exit {
    let gathered = gather(&arguments.of);
    let prompt = if arguments.ask_token { Prompt::Hidden } else { Prompt::Never };
    report(gathered, |names, blind| ask(names, prompt, blind)).print(arguments.form)
}

/// The report on what was gathered; `ask` says what Cloudflare knows of these names.
fn report(gathered: Gathered, ask: impl FnOnce(&BTreeSet<String>, &mut Vec<String>) -> Asked) -> Report {
    let mut report = Report::new("audit credentials", gathered.subject());
    report.blind = gathered.blind;
    let configs = gathered.services.iter().filter_map(|(_, config)| config.as_ref());
    let wanted: BTreeSet<String> = configs.flat_map(names_of).collect();
    let Asked { api, records } = ask(&wanted, &mut report.blind);
    let mut units = Vec::new();
    for (service, config) in &gathered.services {
        let own: Vec<String> = config.as_ref().map(names_of).unwrap_or_default();
        let host = Host {
            service,
            files: files(service, config.as_ref(), &mut report.blind),
            config: config.as_ref().map(|config| (config.path.clone(), config.config.clone())),
            runner: runner(service),
            records: own
                .iter()
                .filter_map(|name| Some((name.clone(), records.of.get(name)?.clone())))
                .collect(),
            api: api.clone(),
            now: clock::timestamp(clock::now().wall),
        };
        let Checked { findings, drop_in } = check(&host);
        report.sections.push(facts(&host));
        report.findings.extend(findings);
        units.push(json!({
            "unit": service.name,
            "files": host.files.iter().map(file_json).collect::<Vec<_>>(),
            "records": host.records.iter().map(|(name, found)| json!({ "name": name, "found": records::as_json(found) })).collect::<Vec<_>>(),
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
    report
}

fn names_of(config: &Config) -> Vec<String> {
    hostnames(&config.config.ingress).into_iter().take(NAMES).collect()
}

fn files(service: &Service, config: Option<&Config>, blind: &mut Vec<String>) -> Vec<FileSight> {
    let config = config.map(|config| (config.path.as_path(), &config.config));
    let SecretFiles { files, unseen } =
        SecretFiles::look(service, config, false, |path| step(&format!("looking at {}", path.display())));
    blind.extend(unseen.iter().map(|unseen: &Unseen| match unseen.what {
        Hidden::Access(_) => format!("{}. Run this as root.", unseen.says()),
        Hidden::Content(_) => format!("{}. Run this as root to see what is in it.", unseen.says()),
        Hidden::NoFile | Hidden::Private | Hidden::Nowhere | Hidden::Specifier => {
            format!("{}.", unseen.says())
        }
    }));
    files
}

/// What Cloudflare says.
struct Asked {
    api: ApiSight,
    records: Records,
}

impl Asked {
    fn nothing() -> Self {
        Self { api: ApiSight::None, records: Records::default() }
    }
}

fn ask(names: &BTreeSet<String>, prompt: Prompt, blind: &mut Vec<String>) -> Asked {
    let settings = match crate::config::load(&crate::cli::roots(None), crate::config::process_environment()) {
        Ok(loaded) => loaded.settings,
        Err(_) => {
            blind.push("Cloudflare was not asked, because tunnelwarden's configuration has mistakes: see `tunnelwarden config check`.".into());
            return Asked::nothing();
        }
    };
    let account = settings.api.account_id.as_ref().map(|id| id.as_str().to_owned());
    let given = access::credentials(&settings.api, prompt);
    let Some(credentials) = given.credentials else {
        blind.extend(
            given.findings.iter().map(|finding| format!("Cloudflare was not asked: {}", finding.what)),
        );
        return Asked::nothing();
    };
    let asked = Tls::system()
        .map_err(|error| error.to_string())
        .and_then(|tls| {
            let global = matches!(credentials, Credentials::GlobalKey { .. });
            Ok((access::api(&tls, Arc::new(Dns::system()), credentials)?, global))
        })
        .and_then(|(api, global)| {
            access::run(ask_api(&api, global, account.as_deref(), names, blind))
                .map_err(|_| "no runtime".to_owned())
        });
    asked.unwrap_or_else(|why| {
        blind.push(format!("Cloudflare cannot be asked: {why}."));
        Asked::nothing()
    })
}

async fn ask_api(
    api: &CloudflareApi,
    global: bool,
    account: Option<&str>,
    names: &BTreeSet<String>,
    blind: &mut Vec<String>,
) -> Asked {
    step("asking Cloudflare's API until when the token is good");
    let token: Option<VerifiedToken> = match api.verify(account).await {
        Ok(token) => token,
        Err(error) => {
            blind.push(format!("The API token could not be verified: {error}. {}", sentence(error.advice())));
            None
        }
    };
    step("reading the DNS records of the names from Cloudflare");
    let records = records::read(api, names.iter().map(String::as_str)).await;
    for (why, names) in records.reasons() {
        blind.push(format!("The record of {} was not seen: {}", names.join(", "), sentence(why)));
    }
    Asked { api: if global { ApiSight::GlobalKey } else { ApiSight::Token(token) }, records }
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
        ApiSight::None => "no token given: records and its end were not looked at".to_owned(),
        ApiSight::GlobalKey => "asked with the Global API Key".to_owned(),
        ApiSight::Token(token) => match token.as_ref().and_then(|token| token.expires_on) {
            Some(end) => format!("asked with a token that ends at {end}"),
            None => "asked with a token".to_owned(),
        },
    };
    facts.push(("Cloudflare's API".to_owned(), api));
    if !host.records.is_empty() {
        let names: Vec<_> = host.records.iter().map(|(name, _)| name.as_str()).collect();
        facts.push(("records of".to_owned(), names.join(", ")));
    }
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

#[cfg(test)]
mod tests;
