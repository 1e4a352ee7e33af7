//! The units that run a tunnel on this host, or whose files were named, gathered for the audits.

use std::path::{Path, PathBuf};

use super::rules::told;
use crate::audit::service::Service;
use crate::cli::report::step;
use crate::cli::unread;
use crate::client::cloudflared_binary::{self, Version};
use crate::client::cloudflared_config::{self, ConfigError, FileConfig};
use crate::client::error_chain::chain;
use crate::client::systemd::Systemd;
use crate::client::unit_file::{self, UnitFileError};
use crate::clock;
use crate::daemon::discover::usual_config;
use crate::sense::unit::newer_program;

/// Which units, and what is known better than this host can tell.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// Units by name, or unit files; drop-ins beside a file (NAME.service.d/*.conf) count too. Default: every unit of this host that runs a tunnel.
    #[arg(value_name = "UNIT|FILE")]
    units: Vec<String>,
    /// The version of cloudflared to give advice for.
    #[arg(long, value_name = "VERSION")]
    cloudflared_version: Option<Version>,
    /// The major version of systemd to give advice for.
    #[arg(long, value_name = "NUMBER")]
    systemd_version: Option<u32>,
}

/// The units, and what could not be looked at.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) services: Vec<(Service, Option<Config>)>,
    pub(super) blind: Vec<String>,
}

impl Gathered {
    /// What a report on them is about.
    pub(super) fn subject(&self) -> String {
        match self.services.as_slice() {
            [] => "nothing".to_owned(),
            services => {
                services.iter().map(|(service, _)| service.name.as_str()).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// cloudflared's own configuration.
pub(super) struct Config {
    pub(super) path: PathBuf,
    pub(super) config: FileConfig,
}

/// The program and its configuration are looked at where the unit is of this host.
pub(super) fn gather(of: &Of) -> Gathered {
    let mut gathered = Gathered::default();
    let (files, names): (Vec<&String>, Vec<&String>) =
        of.units.iter().partition(|unit| unit.contains('/') || Path::new(unit).is_file());
    for file in &files {
        step(&format!("reading {file}"));
        match unit_file::with_drop_ins(Path::new(file)) {
            Ok(settings) => {
                let name = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
                let mut service = Service {
                    name: name.unwrap_or_else(|| (*file).clone()),
                    settings,
                    state: None,
                    cloudflared: of.cloudflared_version,
                    systemd: of.systemd_version,
                    protocol: None,
                    retries: None,
                    grace_period: None,
                    no_autoupdate: false,
                    newer_program: false,
                    update_timer: None,
                };
                // The file may be another host's: only what it names itself is looked at.
                let config = service.launch().config.and_then(|path| config(path, &mut gathered.blind));
                told_by(&mut service, config.as_ref());
                gathered.services.push((service, config));
            }
            Err(error) => gathered.blind.push(unseen(&error)),
        }
    }
    if files.is_empty() || !names.is_empty() {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(of_this_host(of, &names, &mut gathered)),
            Err(error) => gathered.blind.push(format!("systemd cannot be asked: {error}")),
        }
    }
    gathered
}

async fn of_this_host(of: &Of, names: &[&String], gathered: &mut Gathered) {
    step("asking systemd for the units");
    let systemd = match Systemd::connect().await {
        Ok(systemd) => systemd,
        Err(error) => {
            let why = chain(&error);
            gathered
                .blind
                .push(format!("systemd cannot be asked: {why}. Name a unit file to check that alone."));
            return;
        }
    };
    let mut units: Vec<String> = names.iter().map(|name| full_name(name)).collect();
    if units.is_empty() {
        match systemd.tunnel_units().await {
            Ok(found) => units.extend(
                found
                    .into_iter()
                    .filter(|unit| {
                        unit.exec_start.commands().iter().any(|argv| cloudflared_config::is_tunnel_run(argv))
                    })
                    .map(|unit| unit.name),
            ),
            Err(error) => {
                gathered.blind.push(format!("systemd does not say which units there are: {}", chain(&error)));
                return;
            }
        }
        if units.is_empty() {
            gathered.blind.push("No unit on this host runs a tunnel. If cloudflared runs otherwise (a container, say), there is nothing to see here.".into());
        }
    }
    let version = systemd.version().await.ok().flatten();
    let timer = systemd.brief("cloudflared-update.timer").await.ok();
    for name in units {
        step(&format!("reading {name}"));
        match one(of, &systemd, &name, &mut gathered.blind).await {
            Ok((mut service, config)) => {
                service.systemd = of.systemd_version.or(version);
                service.update_timer.clone_from(&timer);
                told_by(&mut service, config.as_ref());
                if service.cloudflared.is_none() {
                    gathered.blind.push(format!(
                        "The version of cloudflared could not be read from the program of {name}; advice is for 2025.4.0 and later. Say it by --cloudflared-version."
                    ));
                }
                gathered.services.push((service, config));
            }
            Err(why) => gathered.blind.push(why),
        }
    }
}

async fn one(
    of: &Of,
    systemd: &Systemd,
    name: &str,
    blind: &mut Vec<String>,
) -> Result<(Service, Option<Config>), String> {
    let state =
        systemd.unit(name).await.map_err(|error| format!("{name} cannot be read: {}", chain(&error)))?;
    if state.load_state == "not-found" {
        return Err(format!("There is no unit {name}."));
    }
    // For the places alone: what counts is what systemd says.
    let settings = unit_file::of_unit(&state);
    let newer_program = newer_program(&state, clock::now());
    let mut service = Service {
        name: name.to_owned(),
        settings,
        state: Some(state),
        cloudflared: of.cloudflared_version,
        systemd: None,
        protocol: None,
        retries: None,
        grace_period: None,
        no_autoupdate: false,
        newer_program,
        update_timer: None,
    };
    if service.cloudflared.is_none() {
        let program = service.program();
        service.cloudflared =
            program.and_then(|program| cloudflared_binary::version(&program).ok().flatten());
    }
    let launch = service.launch();
    let by_token = launch.token.is_some() || launch.token_file.is_some();
    let path = launch.config.clone().or_else(|| usual_config(by_token));
    let config = path.and_then(|path| config(path, blind));
    Ok((service, config))
}

/// What cloudflared's own configuration adds.
fn told_by(service: &mut Service, config: Option<&Config>) {
    let config = config.map(|config| &config.config);
    service.protocol = config.and_then(|config| config.protocol.clone());
    service.retries = config.and_then(|config| config.retries);
    service.grace_period = config.and_then(|config| config.grace_period.clone());
    service.no_autoupdate = config.is_some_and(|config| config.no_autoupdate);
}

fn unseen(error: &UnitFileError) -> String {
    match error {
        UnitFileError::Read { path, source } => {
            let why =
                unread::told(source, "name a unit file such as /etc/systemd/system/cloudflared.service");
            format!("{} cannot be read: {why}", path.display())
        }
        UnitFileError::NotAFile { .. }
        | UnitFileError::TooLarge { .. }
        | UnitFileError::NotText { .. }
        | UnitFileError::Line { .. }
        | UnitFileError::NoService { .. } => error.to_string(),
    }
}

fn config(path: PathBuf, blind: &mut Vec<String>) -> Option<Config> {
    match cloudflared_config::read(&path) {
        Ok(config) => Some(Config { path, config }),
        Err(error) => {
            let why = match &error {
                ConfigError::Read { source, .. } => {
                    format!(
                        "{error}: {}",
                        unread::told(source, "put it there, or correct the unit that names it")
                    )
                }
                ConfigError::TooLarge { .. } | ConfigError::Yaml { .. } => told(&error),
            };
            blind.push(format!("cloudflared's configuration was not seen: {why}."));
            None
        }
    }
}

/// As `systemctl` completes it.
fn full_name(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{name}.service") }
}
