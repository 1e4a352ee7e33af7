//! One look of the audits: what lies on the disk, what systemd has in force, where the names lead.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::secret_files::{Hidden, SecretFiles, Unseen, runner};
use super::Audits;
use crate::audit::credentials::{self, ApiSight, Host};
use crate::audit::ingress::{Expected, Ingress};
use crate::audit::service::Service;
use crate::audit::{Audit, Finding, Place, Severity, dns, unit};
use crate::client::cloudflared_config::{self, ConfigError, FileConfig};
use crate::client::unit_file;
use crate::clock;
use crate::sense::effective::{self, Effective};
use crate::sense::unit::newer_program;

/// Rules are compared with one another; more than these would keep a core busy.
const RULES_AT_MOST: usize = 200;

/// What was found, the worst first, and the folders in which a change may change that.
pub(super) struct Looked {
    pub(super) findings: Vec<Finding>,
    pub(super) folders: BTreeSet<PathBuf>,
}

impl Audits {
    pub(super) async fn look(&self) -> Looked {
        let (path, expected) = (self.config.clone(), self.expected.clone());
        let service = self.service().await;
        let api = self.api.sight();
        let told = self.told.borrow().clone();
        let running = effective::look(&self.port, &told).await;
        // Not on the one thread that decides.
        let on_disk =
            tokio::task::spawn_blocking(move || OnDisk { path, running, expected, service, api }.look());
        let mut looked =
            on_disk.await.unwrap_or_else(|_| Looked { findings: Vec::new(), folders: BTreeSet::new() });
        let tunnel = self.told.borrow().tunnel_id.clone().or_else(|| self.tunnel.clone());
        let leads = self.leads.borrow().clone();
        looked.findings.extend(
            leads
                .iter()
                .filter_map(|(name, sight)| Some(dns::fault(name, sight.fault()?, tunnel.as_deref()))),
        );
        looked.findings.sort_by(Finding::order);
        looked.findings.iter_mut().for_each(Finding::conceal);
        looked
    }

    /// The unit; the unit sense tells of a bus that does not answer.
    async fn service(&self) -> Option<Service> {
        let state = self.systemd.unit(&self.unit).await.ok().filter(|state| state.load_state == "loaded")?;
        let newer_program = newer_program(&state, clock::now());
        Some(Service {
            name: self.unit.clone(),
            settings: unit_file::of_unit(&state),
            state: Some(state),
            // Reading it from the program would take many times what this daemon is made of.
            cloudflared: None,
            systemd: self.systemd.version().await.ok().flatten(),
            protocol: None,
            retries: None,
            grace_period: None,
            no_autoupdate: false,
            newer_program,
            update_timer: self.systemd.brief("cloudflared-update.timer").await.ok(),
        })
    }
}

/// What is read without waiting for anybody.
struct OnDisk {
    path: Option<PathBuf>,
    /// What cloudflared said a moment ago.
    running: Option<Effective>,
    expected: Vec<Expected>,
    service: Option<Service>,
    api: ApiSight,
}

impl OnDisk {
    fn look(self) -> Looked {
        let Self { path, running, expected, service, api } = self;
        let mut findings = rules_that_count(path.as_deref(), running.as_ref(), &expected);
        let mut folders: BTreeSet<PathBuf> = path.as_deref().into_iter().filter_map(folder).collect();
        if let Some(mut service) = service {
            let config = path.and_then(|path| Some((cloudflared_config::read(&path).ok()?, path)));
            service.protocol = config.as_ref().and_then(|(config, _)| config.protocol.clone());
            service.retries = config.as_ref().and_then(|(config, _)| config.retries);
            service.grace_period = config.as_ref().and_then(|(config, _)| config.grace_period.clone());
            service.no_autoupdate = config.as_ref().is_some_and(|(config, _)| config.no_autoupdate);
            findings.extend(unit::check(&service).findings);
            let state = service.state.iter();
            let units =
                state.flat_map(|state| std::iter::once(&state.fragment_path).chain(&state.drop_in_paths));
            folders.extend(units.filter_map(|path| folder(Path::new(path))));
            let (found, secrets) = secrets(&service, config, api);
            findings.extend(found);
            folders.extend(secrets);
        }
        Looked { findings, folders }
    }
}

/// Where a change of a file is seen.
fn folder(path: &Path) -> Option<PathBuf> {
    path.parent().filter(|folder| folder.is_absolute()).map(Path::to_path_buf)
}

/// What is to be said of the files that hold secrets, and the folders they lie in.
fn secrets(
    service: &Service,
    config: Option<(FileConfig, PathBuf)>,
    api: ApiSight,
) -> (Vec<Finding>, Vec<PathBuf>) {
    let of_config = config.as_ref().map(|(config, path)| (path.as_path(), config));
    let SecretFiles { files, unseen } = SecretFiles::look(service, of_config, true, |_| ());
    let folders = files.iter().map(|file| &file.path).chain(unseen.iter().map(|unseen| &unseen.path));
    let folders = folders.filter_map(|path| folder(path)).collect();
    let host = Host {
        service,
        files,
        config: config.map(|(config, path)| (path, config)),
        runner: runner(service),
        // Where they lead is told by the DNS audit.
        records: Vec::new(),
        api,
        now: clock::timestamp(clock::now().wall),
    };
    let mut findings = credentials::check(&host).findings;
    findings.extend(unseen.iter().map(unread));
    (findings, folders)
}

/// That something was not looked at is worth knowing, and no fault: secrets are for root.
fn unread(unseen: &Unseen) -> Finding {
    let unchecked = match unseen.what {
        Hidden::Access(_) => "Who may read and change it was not checked, nor what is in it",
        Hidden::Content(_) => "What is in it was not checked; who may read and change it was",
        Hidden::NoFile => "What is in it was not checked",
        Hidden::Private | Hidden::Nowhere | Hidden::Specifier => "It was not checked",
    };
    Finding {
        audit: Audit::Credentials,
        severity: Severity::Note,
        rule: "not-looked-into",
        place: Some(Place { file: unseen.path.display().to_string(), line: None }),
        what: format!("{}.", unseen.says()),
        why: format!("{unchecked}: the service runs without the rights of root."),
        fix: "Look into it once as root:\nsudo tunnelwarden audit credentials".into(),
    }
}

/// What there is to say of the rules. Those of a file do not count where Cloudflare gives others, and without a file those count
/// that cloudflared runs with.
fn rules_that_count(path: Option<&Path>, running: Option<&Effective>, expected: &[Expected]) -> Vec<Finding> {
    match (path, running) {
        (None, Some(running)) => compared(running, expected),
        (Some(_), Some(running)) if running.remote => compared(running, expected),
        // `--url` and the like are its rules, where the file has none.
        (Some(path), Some(running))
            if cloudflared_config::read_ingress(path).is_ok_and(|file| file.rules.is_empty())
                && running.config.as_file().rules.len() == 1 =>
        {
            compared(running, expected)
        }
        (Some(path), Some(_) | None) => rules(path, expected),
        (None, None) => Vec::new(),
    }
}

fn compared(running: &Effective, expected: &[Expected]) -> Vec<Finding> {
    let place = format!("http://{}/config", running.address);
    judged(Ingress::of(&running.config.as_file(), &place), expected)
}

fn judged((ingress, mut findings): (Ingress, Vec<Finding>), expected: &[Expected]) -> Vec<Finding> {
    if ingress.rules().len() <= RULES_AT_MOST {
        findings.extend(ingress.findings().unwrap_or_default());
        if !expected.is_empty() {
            findings.extend(ingress.compare(expected).1);
        }
    }
    findings
}

/// What there is to say of the rules in a file. One that may not be read says nothing: that is told elsewhere.
fn rules(path: &Path, expected: &[Expected]) -> Vec<Finding> {
    let file = path.display().to_string();
    match cloudflared_config::read_ingress(path) {
        Ok(written) => judged(Ingress::of(&written, &file), expected),
        Err(ConfigError::Read { .. }) => Vec::new(),
        Err(error) => vec![Finding {
            audit: Audit::Ingress,
            severity: Severity::Error,
            rule: "unreadable-file",
            place: Some(Place { file, line: None }),
            what: error.to_string(),
            why: "cloudflared would not start with it.".into(),
            fix: "Correct it; tunnelwarden audit ingress says more.".into(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cloudflared::EffectiveConfig;
    use crate::client::cloudflared_config::Rule;

    #[test]
    fn a_file_is_judged_as_the_command_judges_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        let found = |text: &str, expected: &[Expected]| -> Vec<_> {
            std::fs::write(&path, text).unwrap();
            rules(&path, expected).iter().map(|finding| (finding.rule, finding.severity)).collect()
        };
        let good = "tunnel: a\ningress:\n- hostname: app.example.com\n  service: http://127.0.0.1:8080\n\
                    - service: http_status:404\n";
        assert_eq!(found(good, &[]), []);
        let route =
            Expected { hostname: "api.example.com".into(), path: None, service: "http://api:80".into() };
        assert_eq!(found(good, &[route]), [("missing-route", Severity::Error)]);
        let bad = "ingress:\n- hostname: app.example.com\n  service: http://127.0.0.1:8080\n";
        assert_eq!(found(bad, &[]), [("missing-catch-all", Severity::Error)]);
        assert_eq!(found("ingress: [", &[]), [("unreadable-file", Severity::Error)]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(rules(&path, &[]), []);
    }

    /// As for a tunnel that is managed at Cloudflare, or that runs with a token and without a file.
    #[test]
    fn rules_from_cloudflare_are_judged_and_those_of_a_file_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        std::fs::write(&path, "tunnel: a\n").unwrap();
        let rule = |hostname: &str, service: &str| Rule {
            hostname: (!hostname.is_empty()).then(|| hostname.to_owned()),
            path: None,
            service: service.to_owned(),
        };
        let running = |version| Effective {
            remote: 0 <= version,
            names: Vec::new(),
            private_network: false,
            config: EffectiveConfig {
                version,
                ingress: vec![rule("app.example.com", "http://127.0.0.1:8080"), rule("", "http_status:404")],
                private_network: false,
            },
            address: "127.0.0.1:20241".parse().unwrap(),
        };
        let found = |path: Option<&Path>, running: Option<&Effective>, expected: &[Expected]| -> Vec<_> {
            rules_that_count(path, running, expected).iter().map(|finding| finding.rule).collect()
        };
        let route =
            Expected { hostname: "api.example.com".into(), path: None, service: "http://api:80".into() };
        assert_eq!(found(Some(&path), Some(&running(3)), &[]), Vec::<&str>::new());
        assert_eq!(found(Some(&path), Some(&running(3)), std::slice::from_ref(&route)), ["missing-route"]);
        assert_eq!(found(None, Some(&running(-1)), std::slice::from_ref(&route)), ["missing-route"]);
        assert_eq!(found(Some(&path), Some(&running(-1)), &[]), ["no-rules"]);
        assert_eq!(found(None, None, &[route]), Vec::<&str>::new());
    }

    #[test]
    fn a_password_in_a_rule_is_told_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        let text = "ingress:\n- hostname: app.example.com\n  service: http://admin:hunter2@10.0.0.5:8080/x\n\
                    - service: http_status:404\n";
        std::fs::write(&path, text).unwrap();
        let mut found = rules(&path, &[]);
        assert!(format!("{found:?}").contains("hunter2"), "nothing to be shown here: {found:?}");
        found.iter_mut().for_each(Finding::conceal);
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}
