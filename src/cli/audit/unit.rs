//! `audit unit`: the unit that runs cloudflared against what cloudflared needs.

use serde_json::json;

use super::host::{Of, gather};
use super::weight;
use crate::audit::service::Service;
use crate::audit::unit::{Checked, check};
use crate::cli::Exit;
use crate::cli::report::{Form, Report, Section};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    form: Form,
}

pub(in crate::cli) fn main(arguments: &Arguments) -> Exit {
    let gathered = gather(&arguments.of);
    let mut report = Report::new("audit unit", gathered.subject());
    let mut units = Vec::new();
    for (service, _) in &gathered.services {
        let Checked { findings, drop_in } = check(service);
        report.sections.push(facts(service));
        report.findings.extend(findings);
        units.push(json!({
            "unit": service.name,
            "cloudflared": service.cloudflared.map(|version| version.to_string()),
            "systemd": service.systemd,
            "drop_in": (!drop_in.is_empty()).then(|| drop_in.text()),
        }));
        if !drop_in.is_empty() {
            let title = format!("All of it in one drop-in for {}", service.name);
            report.sections.push(Section::Paste { title, text: drop_in.recipe(&service.name) });
        }
    }
    report.data = json!({ "units": units });
    report.blind = gathered.blind;
    report.verdict = match weight(&report) {
        Some(weight) => format!("{weight} to mend."),
        None if units.is_empty() => "No unit could be looked at.".into(),
        None => "The unit is as cloudflared needs it.".into(),
    };
    report.print(arguments.form)
}

fn facts(service: &Service) -> Section {
    let version = service.cloudflared.map_or_else(|| "not known".to_owned(), |version| version.to_string());
    let systemd = service.systemd.map_or_else(|| "not known".to_owned(), |version| version.to_string());
    let source = if service.state.is_some() { "systemd" } else { "its file" };
    let user = match service.user().as_deref() {
        None => "root".to_owned(),
        Some("") => "one made for each start".to_owned(),
        Some(user) => user.to_owned(),
    };
    let facts =
        [("read from", source.to_owned()), ("cloudflared", version), ("systemd", systemd), ("runs as", user)];
    Section::Facts {
        title: service.name.clone(),
        facts: facts.into_iter().map(|(label, value)| (label.to_owned(), value)).collect(),
    }
}
