//! `audit ingress`: the rules of a tunnel, against what cloudflared takes and against a checklist.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;

use super::count;
use super::origins::{self, Runs};
use super::rules::{self, Of, Rules, load};
use crate::audit::ingress::{Expected, MOST_COMPARED, Origin, Routed, Rule, Sight, State};
use crate::audit::{Finding, Severity};
use crate::cli::access;
use crate::cli::report::{Form, Report, Section, step};
use crate::cli::{Exit, say};
use crate::client::origin_address::without_passwords;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// A config.yml, or a manifest with a ConfigMap that holds one; - reads standard input [default: what the tunnel on
    /// this host runs with].
    file: Option<PathBuf>,
    /// A checklist: TOML with [[expect]], each with hostname, path and service [default: [[tunnel.expect]] of the
    /// configuration].
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// The tunnel: its configured name or its unit [default: the only one].
    #[arg(long, value_name = "NAME")]
    tunnel: Option<String>,
    /// Leave the services behind the rules alone.
    #[arg(long)]
    offline: bool,
    /// Look for our own configuration below this directory instead of /.
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    root: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// `tunnelwarden audit ingress`.
pub(super) fn main(arguments: &Arguments) -> Exit {
    let given = match arguments.expect.as_ref().map(checklist).transpose() {
        Ok(given) => given,
        Err(says) => {
            say(&says);
            return Exit::Blind;
        }
    };
    match access::run(look(arguments, given)) {
        Ok(Ok(report)) => report.print(arguments.form),
        Ok(Err(exit)) | Err(exit) => exit,
    }
}

async fn look(arguments: &Arguments, given: Option<Vec<Expected>>) -> Result<Report, Exit> {
    let of = Of {
        file: arguments.file.as_deref(),
        tunnel: arguments.tunnel.as_deref(),
        root: arguments.root.as_ref(),
    };
    let mut rules = load(of).await?;
    let expected = given.unwrap_or_else(|| std::mem::take(&mut rules.expected));
    let runs = match (rules.source, &arguments.file) {
        ("config_map", _) => Runs::Elsewhere,
        (_, Some(_)) => Runs::Perhaps,
        (_, None) => Runs::Here,
    };
    let sights = if arguments.offline {
        Vec::new()
    } else {
        if runs != Runs::Elsewhere {
            step("asking the services behind the rules");
        }
        origins::look(&rules.ingress, runs).await
    };
    Ok(report(rules, &expected, &sights))
}

fn report(mut rules: Rules, expected: &[Expected], sights: &[(Origin, Sight)]) -> Report {
    let refused = rules.findings.iter().any(|finding| finding.severity == Severity::Error);
    let (routed, findings) = rules.ingress.compare(expected);
    match rules.ingress.findings() {
        Some(findings) => rules.findings.extend(findings),
        None => rules.blind.push(format!(
            "More than {MOST_COMPARED} rules are not compared with one another, so those that no request meets were not looked \
             for; tunnelwarden route URL says which one an address meets."
        )),
    }
    rules.findings.extend(findings);
    rules.findings.extend(rules.ingress.origin_findings(sights));
    let mut report = Report::new("audit ingress", rules.subject);
    let mut facts = rules.facts;
    facts.push(("rules".into(), rules.ingress.rules().len().to_string()));
    let right = routed.iter().filter(|routed| routed.state == State::Right).count();
    facts.push(match expected.len() {
        0 => ("checklist".into(), "none; --expect FILE or [[tunnel.expect]] gives one".into()),
        all => ("checklist".into(), format!("{right} of {} as it should be", count(all, "route"))),
    });
    if !sights.is_empty() {
        facts.push(("services".into(), seen(sights)));
    }
    report.sections.push(Section::Facts { title: String::new(), facts });
    report.sections.push(table(rules.ingress.rules(), sights));
    if !routed.is_empty() {
        report.sections.push(checked(&routed));
    }
    report.data = json!({
        "source": rules.source,
        "version": rules.version,
        "rules": rules.ingress.rules().iter().map(|rule| rule_json(rule, sights)).collect::<Vec<_>>(),
        "expected": routed.iter().map(routed_json).collect::<Vec<_>>(),
    });
    report.findings = rules.findings;
    report.findings.iter_mut().for_each(Finding::conceal);
    report.blind = rules.blind;
    report.verdict = verdict(&report, rules.ingress.rules().len(), expected.len(), refused);
    report
}

fn seen(sights: &[(Origin, Sight)]) -> String {
    let mut parts = Vec::new();
    let answer = sights.iter().filter(|(_, sight)| *sight == Sight::Answers).count();
    let unknown: Vec<&str> = sights
        .iter()
        .filter_map(|(_, sight)| match sight {
            Sight::Unknown(why) => Some(why.as_str()),
            Sight::Answers | Sight::Unresolved(_) | Sight::Refused | Sight::Silent | Sight::Failed(_) => None,
        })
        .collect();
    if answer != 0 {
        parts.push(format!("{answer} of {} answer", sights.len()));
    }
    if !unknown.is_empty() {
        let why: BTreeSet<&str> = unknown.iter().copied().collect();
        let why: Vec<&str> = why.into_iter().collect();
        parts.push(format!("{} cannot be judged from here ({})", unknown.len(), why.join("; ")));
    }
    let bad = sights.len() - answer - unknown.len();
    if bad != 0 {
        parts.push(format!("{bad} cannot be reached"));
    }
    parts.join(", ")
}

fn sight_of<'a>(rule: &Rule, sights: &'a [(Origin, Sight)]) -> Option<&'a Sight> {
    let origin = rule.origin()?;
    sights.iter().find(|(of, _)| *of == origin).map(|(_, sight)| sight)
}

fn table(rules: &[Rule], sights: &[(Origin, Sight)]) -> Section {
    let mut columns = vec!["rule", "line", "matches"];
    if !sights.is_empty() {
        columns.push("origin");
    }
    columns.push("service");
    let row = |rule: &Rule| {
        let line = rule.line().map(|line| line.to_string()).unwrap_or_default();
        let mut row = vec![format!("#{}", rule.number()), line, rule.matches_text()];
        if !sights.is_empty() {
            row.push(sight_of(rule, sights).map_or("-", Sight::label).to_owned());
        }
        row.push(rule.service_text().into_owned());
        row
    };
    Section::Table { title: "Rules".into(), columns, rows: rules.iter().map(row).collect() }
}

fn checked(routed: &[Routed]) -> Section {
    let row = |routed: &Routed| {
        let rule = routed.rule.map(|number| format!("#{number}")).unwrap_or_default();
        let says = match routed.state {
            State::Right => "right",
            State::Missing => "missing",
            State::WrongService => "wrong service",
            State::Shadowed => "shadowed",
            State::Partial => "right only in part",
        };
        vec![routed.expected.route(), rule, says.to_owned()]
    };
    let columns = vec!["route", "meets", "state"];
    Section::Table { title: "Checklist".into(), columns, rows: routed.iter().map(row).collect() }
}

fn rule_json(rule: &Rule, sights: &[(Origin, Sight)]) -> Value {
    json!({
        "number": rule.number(), "line": rule.line(), "hostname": rule.hostname(), "path": rule.path(),
        "service": rule.service_text(), "origin": sight_of(rule, sights).map(Sight::label),
    })
}

fn routed_json(routed: &Routed) -> Value {
    json!({
        "hostname": routed.expected.hostname, "path": routed.expected.path,
        "service": without_passwords(&routed.expected.service),
        "rule": routed.rule, "state": routed.state.label(),
    })
}

fn verdict(report: &Report, rules: usize, expected: usize, refused: bool) -> String {
    let of = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, notes) = (of(Severity::Error), of(Severity::Warning), of(Severity::Note));
    let mut parts = Vec::new();
    for (number, word) in [(errors, "error"), (warnings, "warning"), (notes, "note")] {
        if number != 0 {
            parts.push(count(number, word));
        }
    }
    let found = parts.join(", ");
    if rules == 0 && errors == 0 {
        return "There are no rules: the tunnel serves private networks alone.".into();
    }
    if rules == 0 {
        return "There are no rules: cloudflared answers every request with 503.".into();
    }
    if refused {
        return format!("cloudflared refuses these rules and would not start with them ({found}).");
    }
    if errors != 0 {
        return format!("cloudflared takes these rules, but they do not do what they should ({found}).");
    }
    if warnings != 0 {
        return format!("cloudflared takes these rules; some may not do what is meant ({found}).");
    }
    let listed = match expected {
        0 => "there is no checklist to compare them with".to_owned(),
        1 => "the one route of the checklist goes where it should".to_owned(),
        all => format!("all {all} routes of the checklist go where they should"),
    };
    let notes = if notes == 0 { String::new() } else { format!(" ({})", count(notes, "note")) };
    let these = if rules == 1 { "the one rule".to_owned() } else { format!("these {rules} rules") };
    format!("Fine: cloudflared takes {these}, and {listed}{notes}.")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checklist {
    #[serde(default)]
    expect: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    hostname: Spanned<String>,
    path: Option<Spanned<String>>,
    service: Spanned<String>,
}

const FORM: &str =
    "[[expect]]\nhostname = \"app.example.com\"\npath = \"/api\"\nservice = \"http://api-backend:8080\"";

/// Reads a checklist, or says what is wrong with it.
fn checklist(path: &PathBuf) -> Result<Vec<Expected>, String> {
    let text = rules::text(path)?;
    let at = |start: usize| {
        let line = 1 + text.get(..start).unwrap_or(&text).matches('\n').count();
        format!("{}:{line}", path.display())
    };
    let read: Checklist = toml::from_str(&text).map_err(|error| {
        let place = error.span().map_or_else(|| path.display().to_string(), |span| at(span.start));
        format!(
            "{place}: {}; write each route as\n{FORM}",
            error.message().lines().next().unwrap_or_default()
        )
    })?;
    if read.expect.is_empty() {
        return Err(format!("{}: holds no route; write each as\n{FORM}", path.display()));
    }
    let mut expected = Vec::new();
    for route in read.expect {
        let hostname = route.hostname.get_ref().to_ascii_lowercase();
        let name = hostname.strip_prefix("*.").unwrap_or(&hostname);
        if name.is_empty() || name.contains(['/', ':', '*', ' ']) {
            let place = at(route.hostname.span().start);
            return Err(format!(
                "{place}: hostname is no name; write such as hostname = \"app.example.com\""
            ));
        }
        if let Some(path) = route
            .path
            .as_ref()
            .filter(|path| !path.get_ref().starts_with(['/', '^']) && !path.get_ref().is_empty())
        {
            let place = at(path.span().start);
            return Err(format!("{place}: path begins with no slash; write path = \"/{}\"", path.get_ref()));
        }
        if !Expected::is_service(route.service.get_ref()) {
            let place = at(route.service.span().start);
            return Err(format!(
                "{place}: service is none of cloudflared's; write such as service = \"http://api-backend:8080\""
            ));
        }
        expected.push(Expected {
            hostname,
            path: route.path.map(Spanned::into_inner),
            service: route.service.into_inner(),
        });
    }
    Ok(expected)
}
