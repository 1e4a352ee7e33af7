//! `verify`: every public name as a visitor gets it, in one table: DNS, HTTP version, status, cache, certificate.

mod look;
mod told;

use std::sync::Arc;

use reqwest::Url;

use super::access::{self, AGENT, Prompt};
use super::report::{Form, Report, step};
use super::{Exit, records, say};
use crate::client::dns::Dns;
use crate::client::http::PublicClient;
use crate::client::tls::Tls;
use crate::clock;
use crate::config::Settings;
use crate::daemon::survey::{self, Here};
use look::Place;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to look at: https://app.example.com/health, or a name alone [default: all names of this host's tunnels].
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Ask for an API token without echo, to look at the DNS records themselves.
    #[arg(long)]
    ask_token: bool,
    #[command(flatten)]
    form: Form,
}

/// `tunnelwarden verify [URL…]`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    // Not clap's to check: it would repeat what may hold a password.
    let mut urls = Vec::new();
    for text in &arguments.urls {
        match url(text) {
            Ok(url) => urls.push(url),
            Err(why) if text.contains('@') => return usage(&why),
            Err(why) => return usage(&format!("{text}: {why}")),
        }
    }
    access::report(arguments.form, async |settings| report(arguments, &urls, settings).await)
}

async fn report(arguments: &Arguments, urls: &[Url], settings: &Settings) -> Result<Report, Exit> {
    step("looking for the tunnels of this host");
    let (here, host) = match survey::tunnels(settings).await {
        Ok(here) => (here, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let places = places(urls, &here);
    if places.is_empty() {
        say(
            "Which names? tunnelwarden verify https://app.example.com/ looks at one. This host's own are not known:",
        );
        for why in here.iter().flat_map(|here| &here.unread).chain(&host) {
            say(&format!("  {why}"));
        }
        if here.is_empty() && host.is_none() {
            say("  no unit runs a tunnel");
        }
        return Err(Exit::Usage);
    }
    let fail = |why: String| {
        say(&why);
        Exit::Blind
    };
    let prompt = if arguments.ask_token { Prompt::Hidden } else { Prompt::Never };
    let given = access::credentials(&settings.api, prompt);
    let tls = Tls::system().map_err(|error| fail(error.to_string()))?;
    let dns = Arc::new(Dns::system());
    let client = PublicClient::new(&tls, Arc::clone(&dns), AGENT).map_err(|error| fail(error.to_string()))?;
    let many =
        if places.len() == 1 { "one address".to_owned() } else { format!("{} addresses", places.len()) };
    step(&format!("looking at {many} as visitors do"));
    let seen = look::all(&client, &dns, places).await;
    let mut report = Report::new("verify", subject(urls, &here));
    report.findings.extend(given.findings);
    let records = match given.credentials {
        Some(credentials) => {
            step("reading the DNS records of these names from Cloudflare");
            let api = access::api(&tls, dns, credentials).map_err(fail)?;
            Some(records::read(&api, seen.iter().map(|seen| seen.place.hostname())).await)
        }
        None => None,
    };
    told::write(&mut report, &seen, records.as_ref(), clock::now());
    Ok(report)
}

fn subject(urls: &[Url], here: &[Here]) -> String {
    match urls {
        [] => here.iter().map(|here| here.name.as_str()).collect::<Vec<_>>().join(", "),
        [one] => one.host_str().unwrap_or_default().to_owned(),
        several => format!("{} addresses", several.len()),
    }
}

/// What is looked at: what was asked for, or each name of this host's tunnels.
fn places(urls: &[Url], here: &[Here]) -> Vec<Place> {
    if urls.is_empty() {
        return here.iter().flat_map(look::places).collect();
    }
    let of = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        let tunnel = here.iter().find(|here| here.names.iter().any(|name| name == host));
        Place::new(url.clone(), tunnel.and_then(|here| here.id.clone()))
    };
    urls.iter().map(of).collect()
}

fn usage(why: &str) -> Exit {
    say(why);
    Exit::Usage
}

/// An address as a person writes it.
fn url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("{error}; write https://app.example.com/health"))?;
    let named = url.domain().is_some_and(|name| name.contains('.'));
    match url.scheme() {
        "https" if named && url.username().is_empty() && url.password().is_none() => Ok(url),
        "https" => Err("no public name; write https://app.example.com/health".into()),
        other => Err(format!("{other} is not looked at; write https://app.example.com/health")),
    }
}

#[cfg(test)]
mod tests;
