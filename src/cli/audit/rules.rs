//! Which rules count: those of a file that was named, else those that the tunnel's cloudflared runs with.

mod seat;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::audit::ingress::{Expected, Ingress};
use crate::audit::{Audit, Finding, Place, Severity};
use crate::cli::report::step;
use crate::cli::{Exit, say, unread};
use crate::client::cloudflared::EffectiveConfig;
use crate::client::cloudflared_config::{self, ConfigError, IngressFile};
use crate::client::systemd::Systemd;
use crate::config::{self, Settings};
use crate::daemon::checklist;
use crate::daemon::discover;
use seat::{Seat, choose, running, usual};

/// Whose rules.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Of<'a> {
    /// `-` is standard input.
    pub file: Option<&'a Path>,
    /// Configured name or unit.
    pub tunnel: Option<&'a str>,
    /// tunnelwarden's own configuration lies below it.
    pub root: Option<&'a PathBuf>,
}

/// Rules that count, and how that is known.
#[derive(Debug)]
pub(in crate::cli) struct Rules {
    pub ingress: Ingress,
    pub findings: Vec<Finding>,
    /// As a person calls where they are.
    pub subject: String,
    pub facts: Vec<(String, String)>,
    /// "file", "config_map" or "cloudflared".
    pub source: &'static str,
    /// Of the rules that cloudflared runs with; −1 are those of its file.
    pub version: Option<i64>,
    pub blind: Vec<String>,
    /// The checklist of tunnelwarden's own configuration.
    pub expected: Vec<Expected>,
}

/// Reads them; what went wrong was said to the person.
///
/// # Errors
/// The exit code.
pub(in crate::cli) async fn load(of: Of<'_>) -> Result<Rules, Exit> {
    let loaded =
        config::load(&crate::cli::roots(of.root), config::process_environment()).map_err(|errors| {
            say(&errors.to_string());
            Exit::BadConfig
        })?;
    let Some(file) = of.file else { return of_tunnel(&loaded.settings, of.tunnel).await };
    let named = |tunnel: &&config::Tunnel| match of.tunnel {
        Some(name) => tunnel.name.as_deref() == Some(name) || tunnel.unit.as_str() == name,
        None => loaded.settings.tunnels.len() == 1,
    };
    let tunnel = loaded.settings.tunnels.iter().find(named);
    if let (None, Some(name)) = (tunnel, of.tunnel) {
        say(&format!("no [[tunnel]] of tunnelwarden's configuration is called {name}"));
        return Err(Exit::Usage);
    }
    let path = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
    let read = cloudflared_config::read_ingress(path).map_err(|error| {
        say(&told(&error));
        Exit::Blind
    })?;
    let mut rules = of_file(&read, path);
    rules.expected = tunnel.map(checklist).unwrap_or_default();
    Ok(rules)
}

fn of_file(read: &IngressFile, path: &Path) -> Rules {
    let name = path.display().to_string();
    let (ingress, findings) = Ingress::of(read, &name);
    let mut facts = Vec::new();
    if let Some(map) = &read.config_map {
        facts.push(("ConfigMap".to_owned(), map.clone()));
    }
    if let Some(tunnel) = &read.tunnel {
        facts.push(("tunnel".to_owned(), tunnel.clone()));
    }
    Rules {
        ingress,
        findings,
        subject: name,
        facts,
        source: if read.config_map.is_some() { "config_map" } else { "file" },
        version: None,
        blind: Vec::new(),
        expected: Vec::new(),
    }
}

async fn of_tunnel(settings: &Settings, name: Option<&str>) -> Result<Rules, Exit> {
    step("asking systemd which units run a tunnel");
    let asked = async { discover::tunnels(&Systemd::connect().await?, settings).await };
    let seats = match asked.await {
        Ok(found) => found.iter().map(Seat::of_unit).collect(),
        Err(error) => {
            step(&format!(
                "systemd cannot be asked ({:#}), so looking in the usual places",
                anyhow::Error::from(error)
            ));
            usual(settings)
        }
    };
    let seat = choose(&seats, name)?;
    let configured = settings.tunnels.iter().find(|configured| configured.unit.as_str() == seat.unit);
    let running = running(seat, seats.len() == 1).await;
    let file = seat.config.as_deref().map(|path| (path, cloudflared_config::read_ingress(path)));
    let mut rules = effective(&seat.unit, running, file)?;
    rules.facts.insert(0, ("unit".to_owned(), seat.unit.clone()));
    rules.expected = configured.map(checklist).unwrap_or_default();
    Ok(rules)
}

/// The rules that count, of those that cloudflared runs with and those of its file.
fn effective(
    unit: &str,
    running: Result<(SocketAddr, EffectiveConfig), String>,
    file: Option<(&Path, Result<IngressFile, ConfigError>)>,
) -> Result<Rules, Exit> {
    let counts = |text: String| ("counts".to_owned(), text);
    match (running, file) {
        (Ok((address, running)), file) if 0 <= running.version => {
            let mut rules = of_running(&running, address);
            let version = running.version;
            rules.facts.push(counts(format!(
                "the rules from Cloudflare, version {version}; those of a file do not"
            )));
            if let Some((path, Ok(read))) = file
                && !read.rules.is_empty()
            {
                rules.findings.push(ignored(path));
            }
            Ok(rules)
        }
        // `--url` and the like are its rules, where the file has none.
        (Ok((address, running)), Some((path, Ok(read))))
            if read.rules.is_empty() && running.as_file().rules.len() == 1 =>
        {
            let mut rules = of_running(&running, address);
            let says = format!("what cloudflared runs with; {} has no rules", path.display());
            rules.facts.push(counts(says));
            Ok(rules)
        }
        (Ok((address, running)), Some((path, Ok(read)))) => {
            let mut rules = of_file(&read, path);
            let (now, _) = Ingress::of(&running.as_file(), "");
            if rules.ingress.same_rules(&now) {
                rules.facts.push(counts(format!("this file; cloudflared runs with it ({address})")));
            } else {
                rules.findings.push(stale(path));
                let says =
                    format!("this file, after a restart; cloudflared runs with other rules ({address})");
                rules.facts.push(counts(says));
            }
            Ok(rules)
        }
        (Ok((address, running)), Some((_, Err(error)))) => {
            let mut rules = of_running(&running, address);
            rules.blind.push(told(&error));
            Ok(rules)
        }
        (Ok((address, running)), None) => Ok(of_running(&running, address)),
        (Err(why), Some((path, Ok(read)))) => {
            let mut rules = of_file(&read, path);
            rules.blind.push(format!(
                "Which rules cloudflared runs with: {why}. If the tunnel is managed at Cloudflare, this file does not count."
            ));
            Ok(rules)
        }
        (Err(_), Some((_, Err(error)))) => {
            say(&told(&error));
            Err(Exit::Blind)
        }
        (Err(why), None) => {
            say(&format!(
                "no configuration file is known of {unit}, and its cloudflared cannot be asked: {why}"
            ));
            say("name the file: tunnelwarden audit ingress FILE, or tunnelwarden route URL --config FILE");
            Err(Exit::Blind)
        }
    }
}

fn of_running(running: &EffectiveConfig, address: SocketAddr) -> Rules {
    let name = format!("http://{address}/config");
    let (ingress, findings) = Ingress::of(&running.as_file(), &name);
    Rules {
        ingress,
        findings,
        subject: name,
        facts: Vec::new(),
        source: "cloudflared",
        version: Some(running.version),
        blind: Vec::new(),
        expected: Vec::new(),
    }
}

fn ignored(path: &Path) -> Finding {
    Finding {
        audit: Audit::Ingress,
        severity: Severity::Note,
        rule: "file-ignored",
        place: Some(Place { file: path.display().to_string(), line: None }),
        what: "The ingress rules of this file have no effect: the tunnel is managed at Cloudflare.".into(),
        why: "Whoever edits them wonders why nothing changes.".into(),
        fix: "Remove them from the file, or say in it where the rules are.".into(),
    }
}

fn stale(path: &Path) -> Finding {
    Finding {
        audit: Audit::Ingress,
        severity: Severity::Warning,
        rule: "not-loaded",
        place: Some(Place { file: path.display().to_string(), line: None }),
        what: "cloudflared runs with other rules than this file has.".into(),
        why: "It reads the file at its start and never again.".into(),
        fix: "Restart it when the file is right:\ntunnelwarden restart --reason \"new ingress rules\"".into(),
    }
}

/// What to name where a configuration of cloudflared's is wanted.
pub(super) const CONFIG: &str =
    "name a configuration of cloudflared, which is text, such as /etc/cloudflared/config.yml";
const CHECKLIST: &str = "name a TOML file with [[expect]] tables";

/// The error with its cause and what to do.
pub(super) fn told(error: &ConfigError) -> String {
    match error {
        ConfigError::Read { source, .. } => format!("{error}: {}", unread::told(source, CONFIG)),
        ConfigError::TooLarge { .. } => {
            format!("{error}; a configuration has some kB, so this is another file")
        }
        ConfigError::Yaml { .. } => {
            format!("{error}\ncloudflared does not take this file either; mend that line first")
        }
    }
}

/// A file with a checklist, as [`super::ingress`] reads it.
pub(super) fn text(path: &PathBuf) -> Result<String, String> {
    use std::io::Read as _;
    const LONGEST: u64 = 1 << 20;
    let failed = |error: std::io::Error| {
        format!("cannot read {}: {}", path.display(), unread::told(&error, CHECKLIST))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if LONGEST < bytes.len() as u64 {
        return Err(format!("{} is longer than 1 MiB, which no checklist is", path.display()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        format!("{}:{line}: is not UTF-8 text; a checklist is TOML", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cloudflared_config::Rule;

    /// What cloudflared runs with where its file has no rules is from its command line; it is not out of date.
    #[test]
    fn a_file_without_rules_is_no_other_file_than_the_one_that_runs() {
        let running = |services: &[&str]| {
            let rule = |service: &&str| Rule { service: (*service).into(), ..Rule::default() };
            let ingress = services.iter().map(rule).collect();
            Ok((
                ([127, 0, 0, 1], 20241).into(),
                EffectiveConfig { version: -1, ingress, private_network: false },
            ))
        };
        let found = |services: &[&str], text: &str| {
            let path = Path::new("/etc/cloudflared/config.yml");
            let file = cloudflared_config::ingress(path, text);
            let rules = effective("cloudflared.service", running(services), Some((path, file))).unwrap();
            let findings: Vec<_> = rules.findings.iter().map(|finding| finding.rule).collect();
            (rules.ingress.rules().len(), findings)
        };
        let url = "tunnel: t\nurl: http://localhost:8000\n";
        assert_eq!(found(&["http://localhost:8000"], url), (1, vec![]));
        assert_eq!(found(&["http://localhost:9000"], url), (1, vec!["not-loaded"]));
        // By --url.
        assert_eq!(found(&["http://localhost:8000"], "tunnel: t\n"), (1, vec![]));
        assert_eq!(found(&["http_status:503"], "tunnel: t\n"), (0, vec!["no-rules"]));
    }
}
