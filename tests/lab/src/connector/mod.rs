//! A stand-in for cloudflared 2026.8.2: its command line, its words, its waits, its ways to end.
//!
//! `STANDIN_SEED` makes the random waits repeatable; `STANDIN_SUPERVISOR_WAIT` (seconds) pins the
//! supervisor's wait.

pub mod backoff;
pub mod dial;
mod icmp;
pub mod ingress;
pub mod log;
pub mod metrics;
pub mod precheck;
pub mod proxy;
pub mod resolve;
pub mod settings;
pub mod state;
pub mod streams;
pub mod supervisor;
pub mod tunnel;

use std::{collections::BTreeMap, env, io::Write, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use self::{
    dial::Dialer,
    ingress::Ingress,
    resolve::Names,
    settings::{Exit, Protocol, Settings, Verb},
    state::State,
    supervisor::{Plan, Supervisor},
};

/// The version it claims to be.
pub const VERSION: &str = "2026.8.2";

/// Does what the arguments ask. `Ok` is a graceful end. Must be called inside a `LocalSet`.
///
/// # Errors
/// The words and the code to leave with.
pub async fn run(arguments: &[String]) -> Result<(), Exit> {
    let settings = settings::read(arguments)?;
    match settings.verb {
        Verb::Version => say(&format!("cloudflared version {VERSION} (built lab)")),
        Verb::Validate => return validate(&settings),
        Verb::Run => return Box::pin(connect(settings)).await,
    }
    Ok(())
}

fn validate(settings: &Settings) -> Result<(), Exit> {
    let Some(path) = &settings.config_path else {
        return Err(Exit::new(
            1,
            "No configuration file was found. Please create one, or use the --config flag to specify its filepath.",
        ));
    };
    say(&format!("Validating rules from {path}"));
    let rules = settings.config.get("ingress").is_some();
    let parsed = if rules {
        Ingress::parse(&settings.config, -1)
    } else {
        Err("The config file doesn't contain any ingress rules".into())
    };
    parsed.map_err(|error| Exit::new(1, format!("Validation failed: {error}")))?;
    say("OK");
    Ok(())
}

fn say(line: &str) {
    // Nobody listens; nothing to do about it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn connect(settings: Settings) -> Result<(), Exit> {
    let log = settings.log;
    let connector_id = uuid::Uuid::new_v4().to_string();
    greet(&settings);
    let could_not = |error: String| {
        log.error("Couldn't start tunnel", &error, vec![]);
        Exit::new(1, error)
    };
    // The signals count from here on, though nothing obeys before the lookups are done.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).map_err(|error| Exit::new(1, error.to_string()))?,
        signal(SignalKind::interrupt()).map_err(|error| Exit::new(1, error.to_string()))?,
    );
    let names = Names::new(log);
    let by_hand = !settings.edge.is_empty();
    if !by_hand {
        names.ask_features().await;
    }
    log.info(&format!("Generated Connector ID: {connector_id}"), vec![]);
    let ingress = Ingress::parse(&settings.config, -1).map_err(could_not)?;
    if settings.config.get("ingress").is_none() {
        let text = "No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all incoming HTTP requests";
        log.write(log::Level::Warn, text, vec![]);
    }
    let protocol = settings.protocol.clone().map_err(could_not)?;
    let resolver_failed = protocol.is_none() && !by_hand && names.ask_protocol().await;
    let initial = protocol.unwrap_or(if resolver_failed { Protocol::Http2 } else { Protocol::Quic });
    log.info(&format!("Initial protocol {}", initial.name()), vec![]);
    icmp::tell(log);
    let dialer = Dialer::new(settings.cacert.as_deref()).map_err(|error| could_not(error.to_string()))?;

    let state = Arc::new(State::new(log, connector_id, settings.credentials.clone(), ingress));
    let stopping = Arc::clone(&state);
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "terminated",
            _ = interrupt.recv() => "interrupt",
        };
        default_signals();
        stopping.log.info(&format!("Initiating graceful shutdown due to signal {name} ..."), vec![]);
        stopping.stopping.send_replace(true);
    });

    let work = work(&settings, &state, &names, dialer, (protocol, initial));
    let result = tokio::select! {
        result = work => result?,
        () = grace_over(&state, settings.grace) => {
            let companion = "Error shutting down control stream: context canceled";
            log.error("failed to serve incoming request", companion, vec![]);
            Ok(())
        }
    };
    log.info("Tunnel server stopped", vec![]);
    if let Err(error) = &result {
        log.error("Initiating shutdown", error, vec![]);
    }
    log.info("Metrics server stopped", vec![]);
    result.map_err(|error| Exit::new(1, error))
}

/// Lookups, the metrics server and the connections. The inner result is how the tunnel server ended.
async fn work(
    settings: &Settings,
    state: &Arc<State>,
    names: &Names,
    dialer: Dialer,
    (protocol, initial): (Option<Protocol>, Protocol),
) -> Result<Result<(), String>, Exit> {
    let mut regions = match split_regions(&settings.edge) {
        Some(regions) => Ok(regions),
        None => names.edge().await,
    };
    if settings.prechecks && settings.edge.is_empty() {
        tokio::spawn(precheck::run(state.log, dialer.clone(), regions.clone(), initial));
    }
    let listener = metrics::listen(settings.metrics.as_deref()).await.map_err(|error| {
        state.log.error("Error opening metrics server listener", &error, vec![]);
        Exit::new(1, error)
    })?;
    if let Ok(address) = listener.local_addr() {
        state.log.info(&format!("Starting metrics server on {address}/metrics"), vec![]);
    }
    tokio::spawn(metrics::serve(listener, Arc::clone(state)));
    // The real one looks twice, too.
    if regions.is_err() {
        regions = names.edge().await;
    }
    let regions = match regions {
        Ok(regions) => regions,
        Err(error) => return Ok(Err(error)),
    };
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse().ok());
    let supervisor_wait =
        env::var("STANDIN_SUPERVISOR_WAIT").ok().and_then(|value| value.parse::<f64>().ok());
    let plan = Plan {
        regions,
        protocol,
        initial,
        retries: settings.retries,
        seed: number("STANDIN_SEED"),
        supervisor_wait: supervisor_wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    Ok(Arc::new(Supervisor::new(Arc::clone(state), dialer, plan)).run().await)
}

async fn grace_over(state: &State, grace: Duration) {
    state.stopped().await;
    sleep(grace).await;
}

/// Addresses given by hand, dealt to two regions.
fn split_regions(edge: &[SocketAddr]) -> Option<[Vec<SocketAddr>; 2]> {
    if edge.is_empty() {
        return None;
    }
    let every_other = |first: usize| edge.iter().skip(first).step_by(2).copied().collect();
    Some([every_other(0), every_other(1)])
}

/// After the first signal the next one kills at once.
fn default_signals() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: resets a handler to the default; no memory is involved.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

fn greet(settings: &Settings) {
    let log = settings.log;
    log.info("Starting tunnel", vec![("tunnelID", settings.credentials.tunnel_id.as_str().into())]);
    if settings.searched_in_vain {
        let text = "Cannot determine default configuration path. No file [config.yml config.yaml] in [~/.cloudflared ~/.cloudflare-warp ~/cloudflare-warp /etc/cloudflared /usr/local/etc/cloudflared]";
        log.info(text, vec![]);
    }
    log.info(&format!("Version {VERSION} (Checksum {:064})", 0), vec![]);
    log.info("GOOS: linux, GOVersion: go1.27.3, GoArch: amd64", vec![]);
    log.info(&format!("Settings: {}", settings::go_map(&settings.shown)), vec![]);
    let mut variables: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    variables.retain(|name, _| name.starts_with("TUNNEL_"));
    for (name, value) in &mut variables {
        if name == "TUNNEL_TOKEN" || name == "TUNNEL_CRED_CONTENTS" {
            *value = "*****".into();
        }
    }
    if !variables.is_empty() {
        log.info(&format!("Environmental variables {}", settings::go_map(&variables)), vec![]);
    }
}
