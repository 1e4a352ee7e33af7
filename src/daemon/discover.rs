//! Which units run a tunnel, and what is known of each: from our configuration, the unit's command line,
//! cloudflared's own configuration where we may read it. What we may not read is said.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::credentials;
use crate::client::cloudflared_config::{self, ConfigError, Launch};
use crate::client::file_access::uid_of;
use crate::client::systemd::{Systemd, SystemdError};
use crate::config::{self, Settings};
use crate::sense::files::Files;
use crate::sense::ready::{Where, address};
use crate::warden::evidence::{Families, Setup, Transport};

/// One tunnel, as far as it is known beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub unit: String,
    pub name: String,
    pub id: Option<String>,
    pub names: Vec<String>,
    /// They are set in our configuration, so that nothing else counts.
    pub(crate) names_configured: bool,
    /// They were read from cloudflared's own configuration file.
    pub(crate) names_read: bool,
    pub probes: Vec<config::NameProbe>,
    pub files: Files,
    pub port: Where,
    pub setup: Setup,
    /// As cloudflared's `--region`; empty: the world. `None` where nothing says how it is started.
    pub(crate) region: Option<String>,
    /// What could not be read, for the operator.
    pub unread: Vec<String>,
}

impl Found {
    /// What is watched where cloudflared serves `names`: these, and those whose probes are configured; sorted, each once.
    pub(crate) fn watched(&self, names: Vec<String>) -> Vec<String> {
        watched(names, &self.probes)
    }

    /// Whatever the senses go by is the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let key = |found: &Self| {
            let Found { unit, name, id, names, files, port, setup, region, unread, .. } = found.clone();
            (unit, name, id, names, files, port, setup, region, unread)
        };
        key(self) == key(other)
    }
}

fn watched(mut names: Vec<String>, probes: &[config::NameProbe]) -> Vec<String> {
    names.extend(probes.iter().map(|probe| probe.url.host().as_str().to_owned()));
    names.sort();
    names.dedup();
    names
}

/// The configured tunnels, or else every unit that runs one.
///
/// # Errors
/// If systemd cannot be asked.
pub(crate) async fn tunnels(systemd: &Systemd, settings: &Settings) -> Result<Vec<Found>, SystemdError> {
    let mut found = Vec::new();
    if settings.tunnels.is_empty() {
        for unit in systemd.tunnel_units().await? {
            let runs = unit.exec_start.commands().iter().any(|argv| cloudflared_config::is_tunnel_run(argv));
            if runs && unit.name != "cloudflared-update.service" {
                found.push(one(systemd, &unit.name, None).await?);
            }
        }
    }
    for tunnel in &settings.tunnels {
        found.push(one(systemd, tunnel.unit.as_str(), Some(tunnel)).await?);
    }
    compare_regions(settings, &mut found);
    Ok(found)
}

/// The region of the edge that is dialled for these tunnels: what our configuration says, or else theirs, where they all have
/// the same.
pub(super) fn region(settings: &Settings, found: &[Found]) -> String {
    let configured = settings.edge.region.word();
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let mut regions = found.iter().filter_map(|found| found.region.as_deref());
    let first = regions.next().filter(|region| is_label(region));
    let common = first.filter(|first| regions.all(|region| region == *first));
    common.unwrap_or_default().to_owned()
}

/// Notes which of these tunnels do not go where we dial.
pub(super) fn compare_regions(settings: &Settings, found: &mut [Found]) {
    let dialled = region(settings, found);
    for found in found {
        found.setup.other_region = found.region.as_ref().is_some_and(|region| *region != dialled);
    }
}

/// It becomes the beginning of a name in DNS.
fn is_label(region: &str) -> bool {
    (1..=32).contains(&region.len())
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

async fn one(
    systemd: &Systemd,
    unit: &str,
    configured: Option<&config::Tunnel>,
) -> Result<Found, SystemdError> {
    let state = systemd.unit(unit).await?;
    let argv = state.exec_start.commands().iter().find(|argv| cloudflared_config::is_tunnel_run(argv));
    let environment: Vec<String> =
        state.environment.iter().map(|(key, value)| format!("{key}={}", value.expose_secret())).collect();
    let line = argv.map(|argv| Launch::of(argv, &environment)).unwrap_or_default();
    drop(environment);
    let mut unread = Vec::new();
    let path = configured
        .and_then(|tunnel| tunnel.config.clone())
        .or_else(|| line.config.clone())
        .or_else(|| usual_config(line.token.is_some() || line.token_file.is_some()));
    let file = path.as_ref().and_then(|path| {
        let read = cloudflared_config::read(path);
        read.map_err(|error| unread.push(unread_file(path, &error))).ok()
    });
    let protocol = line.protocol.clone().or_else(|| file.as_ref().and_then(|file| file.protocol.clone()));
    let metrics = line.metrics.clone().or_else(|| file.as_ref().and_then(|file| file.metrics.clone()));
    let region = line
        .region
        .clone()
        .or_else(|| file.as_ref().and_then(|file| file.region.clone()))
        .or_else(|| line.token.as_ref().and_then(|token| token.endpoint.clone()));
    let connections = line.ha_connections.or(file.as_ref().and_then(|file| file.ha_connections));
    let bound =
        line.edge_bind_address.as_ref().or(file.as_ref().and_then(|file| file.edge_bind_address.as_ref()));
    let version =
        line.edge_ip_version.as_ref().or(file.as_ref().and_then(|file| file.edge_ip_version.as_ref()));
    let mut names: Vec<String> = configured
        .map(|tunnel| tunnel.hostnames.iter().map(|name| name.as_str().to_owned()).collect())
        .unwrap_or_default();
    let names_configured = !names.is_empty();
    if !names_configured && let Some(file) = &file {
        names = cloudflared_config::hostnames(&file.ingress);
    }
    let names_read = !names_configured && !names.is_empty();
    let probes = configured.map(|tunnel| tunnel.probes.clone()).unwrap_or_default();
    let names = watched(names, &probes);
    for probe in configured.iter().flat_map(|tunnel| &tunnel.probes) {
        let Some(credential) = &probe.access else { continue };
        if let Err(why) = credentials::access(credential, super::environment) {
            let host = probe.url.host().as_str();
            unread.push(format!("the Access service token of {host} cannot be used: {why}"));
        }
    }
    Ok(Found {
        unit: unit.to_owned(),
        name: configured.and_then(|tunnel| tunnel.name.clone()).unwrap_or_else(|| unit.to_owned()),
        id: configured
            .and_then(|tunnel| tunnel.id.as_ref().map(|id| id.as_str().to_owned()))
            .or_else(|| line.token.as_ref().and_then(|token| token.tunnel.clone()))
            .or_else(|| line.tunnel.clone())
            .or_else(|| file.as_ref().and_then(|file| file.tunnel.clone())),
        names_configured,
        names_read,
        names,
        probes,
        files: Files {
            credentials: line
                .token_file
                .clone()
                .or_else(|| line.credentials_file.clone())
                .or_else(|| file.as_ref().and_then(|file| file.credentials_file.clone())),
            config: path,
        },
        port: Where {
            configured: configured
                .and_then(|tunnel| tunnel.metrics)
                .or_else(|| metrics.as_deref().and_then(address)),
            uid: uid(state.uid, &state.user),
        },
        setup: Setup {
            transport: protocol.as_deref().and_then(Transport::of_setting),
            private_network: file.as_ref().map(|file| file.warp_routing),
            own_edge: line.own_edge,
            other_region: false,
            connections: connections.map(at_least_one),
            families: families(bound.map(String::as_str), version.map(String::as_str)),
        },
        region: argv.map(|_| region.unwrap_or_default()),
        unread,
    })
}

/// It makes one connection, whatever number it is given.
pub(super) fn at_least_one(connections: i64) -> u8 {
    u8::try_from(connections.max(1)).unwrap_or(u8::MAX)
}

/// By which families cloudflared was told to reach the edge.
pub(super) fn families(bound: Option<&str>, version: Option<&str>) -> Families {
    match (bound.and_then(|address| address.parse().ok()), version) {
        (Some(IpAddr::V4(_)), _) | (None, Some("4")) => Families::V4,
        (Some(IpAddr::V6(_)), _) | (None, Some("6")) => Families::V6,
        (None, Some("auto")) => Families::Auto,
        (None, Some(_) | None) => Families::Unknown,
    }
}

fn unread_file(path: &Path, error: &ConfigError) -> String {
    match error {
        ConfigError::Read { source, .. } => format!("{}: {source}", path.display()),
        ConfigError::TooLarge { .. } | ConfigError::Yaml { .. } => error.to_string(),
    }
}

/// Whose socket its port is. systemd knows the user's number only while the unit runs.
fn uid(known: Option<u32>, user: &str) -> u32 {
    known.or_else(|| user.parse().ok()).or_else(|| uid_of(user)).unwrap_or(0)
}

/// Where cloudflared itself looks, of the places that a system service uses.
pub(crate) fn usual_config(by_token: bool) -> Option<PathBuf> {
    if by_token {
        return None;
    }
    ["/etc/cloudflared/config.yml", "/etc/cloudflared/config.yaml", "/usr/local/etc/cloudflared/config.yml"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpsUrl;

    fn found() -> Found {
        Found {
            unit: "cloudflared.service".into(),
            name: "cloudflared.service".into(),
            id: None,
            names: vec!["app.example.com".into()],
            names_configured: false,
            names_read: true,
            probes: Vec::new(),
            files: Files { config: Some("/etc/cloudflared/config.yml".into()), credentials: None },
            port: Where::default(),
            setup: Setup::default(),
            region: None,
            unread: Vec::new(),
        }
    }

    #[test]
    fn a_probe_that_refines_one_name_takes_no_other_away() {
        let url = HttpsUrl::parse("https://app.example.com/health").unwrap();
        let probe = config::NameProbe { url, status: Vec::new(), header: None, body: None, access: None };
        let found = Found { probes: vec![probe], ..found() };
        let served = vec!["b.example.com".to_owned(), "a.example.com".into(), "app.example.com".into()];
        assert_eq!(found.watched(served), ["a.example.com", "app.example.com", "b.example.com"]);
        assert_eq!(found.watched(Vec::new()), ["app.example.com"]);
    }

    #[test]
    fn another_transport_or_another_file_is_another_set_up() {
        let http2 = Setup { transport: Some(Transport::Http2), ..Setup::default() };
        assert!(found().same(&found()));
        assert!(!found().same(&Found { setup: http2, ..found() }));
        let files = Files { credentials: Some("/etc/cloudflared/token".into()), ..found().files };
        assert!(!found().same(&Found { files, ..found() }));
        assert!(!found().same(&Found { port: Where { configured: None, uid: 999 }, ..found() }));
    }

    #[test]
    fn the_region_that_all_of_them_go_to_is_dialled_and_who_goes_elsewhere_is_noted() {
        let settings = |region: &str| {
            let text = format!("[edge]\nregion = \"{region}\"\n");
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("etc/tunnelwarden")).unwrap();
            std::fs::write(folder.path().join("etc/tunnelwarden/tunnelwarden.toml"), text).unwrap();
            config::load(&config::Roots::under(folder.path()), std::iter::empty()).unwrap().settings
        };
        for (configured, regions, dialled, elsewhere) in [
            ("", vec!["", ""], "", vec![false, false]),
            ("", vec!["us", "us"], "us", vec![false, false]),
            ("", vec!["us", ""], "", vec![true, false]),
            ("", vec!["fed", "us"], "", vec![true, true]),
            ("us", vec!["us", ""], "us", vec![false, true]),
            ("", vec!["u.s"], "", vec![true]),
            ("", vec![], "", vec![]),
        ] {
            let mut tunnels: Vec<_> =
                regions.iter().map(|region| Found { region: Some((*region).into()), ..found() }).collect();
            compare_regions(&settings(configured), &mut tunnels);
            assert_eq!(region(&settings(configured), &tunnels), dialled, "{regions:?}");
            let other: Vec<_> = tunnels.iter().map(|found| found.setup.other_region).collect();
            assert_eq!(other, elsewhere, "{regions:?}");
        }
        // A unit that nobody can start has no say.
        let us = Found { region: Some("us".into()), ..found() };
        assert_eq!(region(&settings(""), &[found(), us]), "us");
    }

    #[test]
    fn a_connector_makes_one_connection_at_least() {
        assert_eq!([-3, 0, 1, 2, 300].map(at_least_one), [1, 1, 1, 2, 255]);
    }

    #[test]
    fn the_address_that_it_binds_to_beats_the_family_that_it_is_set_to() {
        let cases = [
            (None, Some("4"), Families::V4),
            (None, Some("6"), Families::V6),
            (None, Some("auto"), Families::Auto),
            (None, Some("5"), Families::Unknown),
            (None, None, Families::Unknown),
            (Some("2001:db8::7"), Some("4"), Families::V6),
            (Some("192.0.2.7"), Some("auto"), Families::V4),
            (Some("eth0"), None, Families::Unknown),
        ];
        for (bound, version, expected) in cases {
            assert_eq!(families(bound, version), expected, "{bound:?} {version:?}");
        }
    }

    #[test]
    fn the_user_of_a_unit_that_does_not_run_is_found_by_its_name() {
        assert_eq!((uid(Some(61_000), "dynamic"), uid(None, ""), uid(None, "998")), (61_000, 0, 998));
        assert_eq!(Some(uid(None, "daemon")), uid_of("daemon"));
        assert!(uid_of("daemon").is_some_and(|uid| uid != 0), "nothing to be shown here");
    }
}
