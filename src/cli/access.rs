//! How a command gets at what it looks at: the configuration, a runtime, and Cloudflare's API with credentials that were
//! never on a command line.

use std::io::IsTerminal as _;
use std::sync::Arc;

use super::report::{Form, Report, sentence};
use super::{Exit, say};
use crate::audit::{Audit, Finding, Severity};
use crate::client::cloudflare_api::{ApiSettings, CloudflareApi, Credentials};
use crate::client::dns::Dns;
use crate::client::tls::Tls;
use crate::config::{Api, Settings};
use crate::daemon::credentials::{self, Found};

/// As every command names itself to others.
pub(super) const AGENT: &str = concat!("tunnelwarden/", env!("CARGO_PKG_VERSION"));

/// The settings of this host; the mistakes in them are told.
pub(super) fn settings() -> Result<Settings, Exit> {
    match crate::config::load(&super::roots(None), crate::config::process_environment()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                say(&format!("warning: {warning}"));
            }
            Ok(loaded.settings)
        }
        Err(errors) => {
            say(&errors.to_string());
            Err(Exit::BadConfig)
        }
    }
}

/// Runs the asking part of a command.
pub(super) fn run<T>(asking: impl Future<Output = T>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let answer = runtime.block_on(asking);
            // A look-up of a name that still waits is not waited for.
            runtime.shutdown_background();
            Ok(answer)
        }
        Err(error) => {
            say(&format!("cannot start: {error}"));
            Err(Exit::Blind)
        }
    }
}

/// Makes a report by these settings, and prints it.
pub(super) fn report(form: Form, make: impl AsyncFnOnce(&Settings) -> Result<Report, Exit>) -> Exit {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    match run(make(&settings)) {
        Ok(Ok(report)) => report.print(form),
        Ok(Err(exit)) | Err(exit) => exit,
    }
}

/// Whether a person may be asked for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// On a terminal, without echo.
    Hidden,
    Never,
}

/// Credentials for Cloudflare's API, and what is to be said of them.
pub(super) struct Access {
    pub(super) credentials: Option<Credentials>,
    pub(super) findings: Vec<Finding>,
}

/// Looks where a person or the daemon may have put credentials, and asks for them last.
pub(super) fn credentials(api: &Api, prompt: Prompt) -> Access {
    let mut found = credentials::for_command(api, environment);
    if found.credentials.is_none() && prompt == Prompt::Hidden && std::io::stdin().is_terminal() {
        match ask() {
            Ok(given) => {
                found =
                    Found { warning: found.warning.take().or(warning(given.as_ref())), credentials: given }
            }
            Err(error) => say(&format!("cannot ask for a token: {error}")),
        }
    }
    let findings = found.warning.iter().map(|what| finding(what, found.credentials.as_ref())).collect();
    Access { credentials: found.credentials, findings }
}

/// A client for the API, with the limits of somebody who asks once.
pub(super) fn api(tls: &Tls, dns: Arc<Dns>, credentials: Credentials) -> Result<CloudflareApi, String> {
    CloudflareApi::new(tls, dns, AGENT, Some(credentials), &ApiSettings::default())
        .map_err(|error| format!("cannot set up Cloudflare's API: {error}"))
}

/// Our environment, where it is text.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a secret without echo, so that neither screen nor history keeps it. `None`: nothing was typed.
fn ask() -> std::io::Result<Option<Credentials>> {
    let email = credentials::email_alone(environment);
    let question = match email {
        Some(_) => "Global API Key of that e-mail address (not shown): ",
        None => "API token for Cloudflare, Account > Cloudflare Tunnel > Read (not shown): ",
    };
    let given = rpassword::prompt_password(question)?;
    if given.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(match email {
        Some(email) => Credentials::GlobalKey { email, key: given.into() },
        None => Credentials::Token(given.into()),
    }))
}

fn warning(given: Option<&Credentials>) -> Option<String> {
    match given? {
        Credentials::Token(_) => None,
        Credentials::GlobalKey { .. } => Some(credentials::ALL_POWERFUL.into()),
    }
}

fn finding(what: &str, credentials: Option<&Credentials>) -> Finding {
    let (rule, why, fix) = match credentials {
        Some(Credentials::GlobalKey { .. }) => (
            "global-key",
            "Whoever gets hold of it can change or delete everything in the account, and it cannot be limited.",
            "Make a token with Account > Cloudflare Tunnel > Read in the dashboard, give it as CLOUDFLARE_API_TOKEN, and \
             roll the key.",
        ),
        Some(Credentials::Token(_)) | None => (
            "token-unreadable",
            "Without it Cloudflare's API is asked with other credentials, or not at all.",
            "Run the command as a user who may read that file, or correct `token` under [api].",
        ),
    };
    Finding {
        audit: Audit::Credentials,
        severity: Severity::Warning,
        rule,
        place: None,
        what: sentence(what),
        why: why.into(),
        fix: fix.into(),
    }
}
