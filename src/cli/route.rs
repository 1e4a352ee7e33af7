//! `route`: which rule a URL meets, and why not one before it.

use std::path::PathBuf;

use serde_json::json;

use super::audit::{Of, Rules, count, load};
use super::report::{Form, Report, Section};
use super::{Exit, say};
use crate::audit::ingress::{Hit, Miss, Request, Rule};
use crate::audit::{Audit, Finding, Severity};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As a visitor would ask for it, such as https://app.example.com/api.
    url: String,
    /// A config.yml, or a manifest with a ConfigMap that holds one; - reads standard input [default: what the tunnel on
    /// this host runs with].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The tunnel: its configured name or its unit [default: the only one].
    #[arg(long, value_name = "NAME")]
    tunnel: Option<String>,
    /// Look for our own configuration below this directory instead of /.
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    root: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// `tunnelwarden route URL`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    let request = match Request::of(&arguments.url) {
        Ok(request) => request,
        Err(error) => {
            say(&error.to_string());
            return Exit::Usage;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return Exit::Blind;
        }
    };
    let of = Of {
        file: arguments.config.as_deref(),
        tunnel: arguments.tunnel.as_deref(),
        root: arguments.root.as_ref(),
    };
    match runtime.block_on(load(of)) {
        Ok(rules) => report(rules, &arguments.url, &request).print(arguments.form),
        Err(exit) => exit,
    }
}

fn report(rules: Rules, url: &str, typed: &Request) -> Report {
    let mut report = Report::new("route", url);
    let sent = typed.as_sent();
    report.findings = rules.findings;
    report.findings.retain(|finding| finding.severity == Severity::Error);
    report.findings.iter_mut().for_each(Finding::conceal);
    let refused = !report.findings.is_empty();
    report.blind = rules.blind;
    let mut facts = vec![("rules of".to_owned(), rules.subject)];
    facts.extend(rules.facts);
    facts.push(("host".into(), sent.host().to_owned()));
    facts.push(("path".into(), String::from_utf8_lossy(sent.path()).into_owned()));
    let Some(hit) = rules.ingress.route(&sent) else {
        report.verdict = "There are no rules: cloudflared answers with 503.".into();
        report.sections.push(Section::Facts { title: String::new(), facts });
        return report;
    };
    facts.push(("rule".into(), seat(hit.rule)));
    facts.push(("matches".into(), hit.rule.matches_text()));
    facts.push(("because".into(), because(&hit)));
    facts.push(("service".into(), hit.rule.service_text().into_owned()));
    report.sections.push(Section::Facts { title: String::new(), facts });
    if !hit.passed.is_empty() {
        report.sections.push(passed(&hit));
    }
    if let Some(other) = rules.ingress.route(typed).filter(|other| other.rule.number() != hit.rule.number()) {
        report.findings.push(as_typed(typed, other.rule));
    }
    report.data = json!({
        "host": sent.host(), "path": String::from_utf8_lossy(sent.path()),
        "rule": {
            "number": hit.rule.number(), "line": hit.rule.line(), "hostname": hit.rule.hostname(),
            "path": hit.rule.path(), "service": hit.rule.service_text(),
        },
        "passed": hit.passed.iter().map(|(rule, miss)| json!({
            "number": rule.number(), "line": rule.line(), "why": why_not(*miss),
        })).collect::<Vec<_>>(),
    });
    let last = hit.rule.matches_text() == "everything else";
    let goes = match (last, hit.passed.len()) {
        (true, 0) => format!("The only rule answers with {}.", hit.rule.service_text()),
        (true, before) => format!(
            "None of the {} names it, so the last one answers: {}.",
            count(before, "rule"),
            hit.rule.service_text()
        ),
        (false, _) => format!("Rule #{} sends it to {}.", hit.rule.number(), hit.rule.service_text()),
    };
    report.verdict = if refused { format!("{goes} But cloudflared refuses these rules.") } else { goes };
    report
}

fn seat(rule: &Rule) -> String {
    match rule.line() {
        Some(line) => format!("#{}, line {line}", rule.number()),
        None => format!("#{}", rule.number()),
    }
}

fn because(hit: &Hit<'_>) -> String {
    let rule = hit.rule;
    if rule.hostname().is_empty() && rule.path().is_empty() {
        return "it is for everything else".into();
    }
    let host = match rule.hostname() {
        "" | "*" => "every host is meant".to_owned(),
        name if name.starts_with("*.") => format!("the host ends in {}", &name[1..]),
        _ => "the host is the same".to_owned(),
    };
    let path = match rule.path() {
        "" => "every path is meant".to_owned(),
        path => format!("the path matches {path}"),
    };
    format!("{host}, and {path}")
}

fn why_not(miss: Miss) -> &'static str {
    match miss {
        Miss::Host => "another host",
        Miss::Path => "path does not match",
        Miss::Both => "host and path differ",
    }
}

fn passed(hit: &Hit<'_>) -> Section {
    let row = |(rule, miss): &(&Rule, Miss)| {
        let line = rule.line().map(|line| line.to_string()).unwrap_or_default();
        vec![format!("#{}", rule.number()), line, rule.matches_text(), why_not(*miss).to_owned()]
    };
    Section::Table {
        title: "Rules before it".into(),
        columns: vec!["rule", "line", "matches", "why not"],
        rows: hit.passed.iter().map(row).collect(),
    }
}

fn as_typed(typed: &Request, rule: &Rule) -> Finding {
    Finding {
        audit: Audit::Ingress,
        severity: Severity::Note,
        rule: "host-as-typed",
        place: None,
        what: format!(
            "Browsers ask for the host in small letters and punycode. Asked for as {}, it meets rule #{}.",
            typed.host(),
            rule.number()
        ),
        why: "cloudflared compares hosts letter by letter.".into(),
        fix: String::new(),
    }
}
