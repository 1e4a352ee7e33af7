//! `audit workflow`: what GitHub Actions do with a tunnel's secret.

use std::path::PathBuf;

use serde_json::json;

use super::weight;
use crate::audit::workflow::{Checked, check};
use crate::cli::report::{Form, Report, Section, step};
use crate::cli::{Exit, unread};
use crate::client::github_workflow::{self, WorkflowError};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Workflow files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

pub(in crate::cli) fn main(arguments: &Arguments) -> Exit {
    report(&arguments.files).print(arguments.form)
}

fn report(files: &[PathBuf]) -> Report {
    let subject = match files {
        [one] => one.display().to_string(),
        more => format!("{} files", more.len()),
    };
    let mut report = Report::new("audit workflow", subject);
    let mut rows = Vec::new();
    let mut sights = Vec::new();
    for path in files {
        let name = path.display().to_string();
        step(&format!("reading {name}"));
        match github_workflow::read(path) {
            Ok(workflow) => {
                let Checked { jobs, findings } = check(&name, &workflow);
                for job in &jobs {
                    let about = if job.about_tunnel { "yes" } else { "no" };
                    let secret = if job.has_secret { "yes" } else { "no" };
                    rows.push(vec![job.id.clone(), about.into(), secret.into(), name.clone()]);
                    sights.push(json!({
                        "file": name, "job": job.id, "line": job.line,
                        "about_tunnel": job.about_tunnel, "has_secret": job.has_secret,
                    }));
                }
                report.findings.extend(findings);
            }
            Err(error) => report.blind.push(unseen(&error)),
        }
    }
    report.data = json!({ "jobs": sights });
    report.verdict = verdict(&report, rows.iter().any(|row| row[1] == "yes"));
    if !rows.is_empty() {
        let columns = vec!["job", "about a tunnel", "has secrets", "file"];
        report.sections.push(Section::Table { title: String::new(), columns, rows });
    }
    report
}

fn unseen(error: &WorkflowError) -> String {
    match error {
        WorkflowError::Read { path, source } => {
            let why = unread::told(source, "name a workflow such as .github/workflows/provision.yml");
            format!("{} cannot be read: {why}", path.display())
        }
        WorkflowError::NotAFile { .. }
        | WorkflowError::TooLarge { .. }
        | WorkflowError::NotText { .. }
        | WorkflowError::Yaml { .. }
        | WorkflowError::Form { .. } => error.to_string(),
    }
}

fn verdict(report: &Report, looked: bool) -> String {
    let unread = match report.blind.len() {
        0 => "",
        1 => " One file could not be read.",
        _ => " Some files could not be read.",
    };
    let said = match weight(report) {
        Some(weight) => format!("{weight} to mend before the next run."),
        None if !looked && report.blind.is_empty() => "Nothing here has to do with a tunnel.".to_owned(),
        None if !looked => String::new(),
        None => "The secret is handled as it should be.".to_owned(),
    };
    format!("{said}{unread}").trim().to_owned()
}
