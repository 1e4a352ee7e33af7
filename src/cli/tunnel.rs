//! `tunnel`: what Cloudflare knows of a tunnel and its connectors, and which of them is this host.

mod sight;
mod told;

use std::sync::Arc;

use super::access::{self, Prompt};
use super::report::{Form, Report, step};
use super::{Exit, say};
use crate::client::cloudflared_config::is_uuid;
use crate::client::dns::Dns;
use crate::client::tls::Tls;
use crate::clock;
use crate::config::{AccountId, Settings};
use crate::daemon::survey::{self, Here};
use sight::Wanted;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tunnel: its id (a UUID), or its configured name or unit on this host [default: TUNNEL_ID, or all of this host].
    tunnel: Option<String>,
    /// The account that holds it [default: the one that does, of all that the credentials reach].
    #[arg(long, value_name = "ID", value_parser = account)]
    account: Option<AccountId>,
    #[command(flatten)]
    form: Form,
}

/// `tunnelwarden tunnel [TUNNEL]`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    access::report(arguments.form, async |settings| report(arguments, settings).await)
}

async fn report(arguments: &Arguments, settings: &Settings) -> Result<Report, Exit> {
    step("looking for the tunnels of this host");
    let (here, host) = match survey::tunnels(settings).await {
        Ok(here) => (here, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let asked = arguments.tunnel.clone().or_else(|| access::environment("TUNNEL_ID"));
    let wanted = match wanted(asked.as_deref().map(str::trim), &here) {
        Ok(wanted) => wanted,
        Err(why) => {
            say(&why);
            if let Some(host) = &host {
                say(&format!("This host was not looked at: {host}"));
            }
            return Err(Exit::Usage);
        }
    };
    let subject = wanted.iter().map(Wanted::title).collect::<Vec<_>>().join(", ");
    let mut report = Report::new("tunnel", subject);
    if let Some(why) = &host {
        step(&format!("which connector is this host's cannot be told: {why}"));
    }
    let given = access::credentials(&settings.api, Prompt::Hidden);
    report.findings.extend(given.findings);
    let Some(credentials) = given.credentials else {
        say(
            "No credentials for Cloudflare's API. Set CLOUDFLARE_API_TOKEN, give the daemon a token, or run this on a terminal.",
        );
        return Err(Exit::Blind);
    };
    let tls = Tls::system().map_err(|error| blind(&error.to_string()))?;
    let api = access::api(&tls, Arc::new(Dns::system()), credentials).map_err(|why| blind(&why))?;
    let account = arguments.account.as_ref().or(settings.api.account_id.as_ref()).map(AccountId::as_str);
    let mut seen = Vec::new();
    for wanted in &wanted {
        step(&format!("asking Cloudflare about {}", wanted.title()));
        seen.push((wanted, sight::look(&api, account, &wanted.id).await));
    }
    let owner = account.or_else(|| {
        seen.iter().find_map(|(_, seen)| seen.as_ref().ok()).map(|seen| seen.account.id.as_str())
    });
    step("asking until when the token is good");
    let token = api.verify(owner).await;
    told::write(&mut report, &seen, token, clock::now());
    Ok(report)
}

/// Which tunnels are meant; `Err` says what to write.
fn wanted(asked: Option<&str>, here: &[Here]) -> Result<Vec<Wanted>, String> {
    let known = || {
        let known: Vec<_> = here.iter().map(|here| here.name.as_str()).collect();
        if known.is_empty() {
            "this host runs none".to_owned()
        } else {
            format!("this host runs {}", known.join(", "))
        }
    };
    let of = |here: &Here| {
        let id = here.id.clone().filter(|id| is_uuid(id));
        let id = id.ok_or_else(|| {
            format!("the id of {} is not known: set it in [[tunnel]], or give it here", here.name)
        })?;
        Ok(Wanted { id, here: Some(here.clone()) })
    };
    match asked.filter(|asked| !asked.is_empty()) {
        Some(id) if is_uuid(id) => {
            let id = id.to_ascii_lowercase();
            let here = here.iter().find(|here| here.id.as_deref() == Some(&id)).cloned();
            Ok(vec![Wanted { id, here }])
        }
        Some(name) => match here.iter().find(|here| here.name == name || here.unit == name) {
            Some(here) => Ok(vec![of(here)?]),
            None => Err(format!(
                "{name:?} is neither a tunnel's id (a UUID) nor a tunnel of this host: {}",
                known()
            )),
        },
        None if here.is_empty() => Err(
            "which tunnel? This host runs none: tunnelwarden tunnel ID, where ID is a UUID, or set TUNNEL_ID"
                .into(),
        ),
        None => here.iter().map(of).collect(),
    }
}

fn blind(why: &str) -> Exit {
    say(why);
    Exit::Blind
}

fn account(text: &str) -> Result<AccountId, String> {
    AccountId::parse(text).map_err(|wrong| wrong.to_string())
}

#[cfg(test)]
mod tests;
