//! `diagnose`: everything once, and the judge's word on it.

mod told;

use std::time::Duration;

use tokio::time::timeout;

use super::access::{self, Prompt};
use super::daemon::{self, Call};
use super::report::{Form, Report, step};
use super::{Exit, say};
use crate::config::Settings;
use crate::daemon::once;

const SERVICE_LIMIT: Duration = Duration::from_secs(2);
/// Whoever wants to look for longer wants the service.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this tunnel: its configured name, its unit or its id [default: all of this host].
    tunnel: Option<String>,
    /// Go on looking until the verdict stands, for so long at most: 2m, say, or 10m. Some causes only time can prove
    /// [default: two looks, under 15 s].
    #[arg(long = "for", value_name = "SPAN", value_parser = patience)]
    patience: Option<Duration>,
    #[command(flatten)]
    form: Form,
}

/// `tunnelwarden diagnose [TUNNEL]`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    access::report(arguments.form, async |settings| report(arguments, settings).await)
}

async fn report(arguments: &Arguments, settings: &Settings) -> Result<Report, Exit> {
    let given = access::credentials(&settings.api, Prompt::Never);
    // Where the service runs it has watched for longer, and some causes take longer than one look.
    let service = timeout(SERVICE_LIMIT, daemon::ask(&Call::Status));
    let wanted = arguments.tunnel.as_deref();
    let look = once::look(settings, wanted, given.credentials, arguments.patience, step);
    let (found, service) = tokio::join!(look, service);
    let service = service.ok().and_then(Result::ok).and_then(|json| daemon::read(&json).ok());
    let diagnosed = found.map_err(|error| {
        say(&format!("{error:#}"));
        Exit::Blind
    })?;
    let names: Vec<_> = diagnosed.status.tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
    let mut report =
        Report::new("diagnose", if names.is_empty() { "this host".into() } else { names.join(", ") });
    report.findings.extend(given.findings);
    told::write(&mut report, diagnosed, service.as_ref());
    Ok(report)
}

fn patience(text: &str) -> Result<Duration, String> {
    match crate::config::parse_duration(text) {
        Ok(long) if LONGEST < long => {
            Err("is longer than 1h; for a longer watch start the service: systemctl start tunnelwarden"
                .into())
        }
        Ok(span) => Ok(span),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
