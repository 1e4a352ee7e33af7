//! Workflows that put a tunnel's secret somewhere: what lays it open, and what leaves the tunnel broken afterwards.
//!
//! General advice on workflows is left to actionlint and zizmor; only jobs that have to do with a tunnel are looked at.

mod expression;
mod permissions;
mod script;
mod shell;
mod words;

use std::collections::BTreeSet;

use super::{Audit, Finding, Place, Severity};
use crate::client::cloudflared_config::TokenSight;
use crate::client::github_workflow::{Job, Workflow};
use permissions::permissions;
use words::{hard_coded, words};

/// What was looked at in a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSight {
    pub id: String,
    pub line: u64,
    /// It has to do with a tunnel.
    pub about_tunnel: bool,
    /// It is given a secret other than GitHub's own token.
    pub has_secret: bool,
}

/// A workflow looked through.
#[derive(Clone, Debug)]
pub struct Checked {
    pub jobs: Vec<JobSight>,
    pub findings: Vec<Finding>,
}

/// Looks a workflow through; `file` is what a person calls it.
pub fn check(file: &str, workflow: &Workflow) -> Checked {
    let mut notes = Notes { file, findings: Vec::new() };
    let mut jobs = Vec::new();
    let whole = workflow.name.iter().map(|name| name.text.as_str());
    let whole: Vec<&str> =
        whole.chain(workflow.env.iter().flat_map(|(key, value)| [key.text.as_str(), &value.text])).collect();
    let is_about = |job: &Job| {
        let own = job.texts.iter().map(|text| text.text.as_str());
        own.chain(whole.iter().copied()).any(speaks_of_tunnel)
    };
    let about: Vec<bool> = workflow.jobs.iter().map(is_about).collect();
    for (job, about_tunnel) in workflow.jobs.iter().zip(about) {
        let secrets: BTreeSet<String> = secrets_of(workflow, job);
        let sight = JobSight {
            id: short(&job.id.text),
            line: job.id.line,
            about_tunnel,
            has_secret: !secrets.is_empty(),
        };
        if about_tunnel {
            look(&mut notes, workflow, job, &sight);
        }
        jobs.push(sight);
    }
    hard_coded(&mut notes, workflow);
    if !jobs.iter().any(|job| job.about_tunnel) {
        notes.add(
            Severity::Note,
            "no-tunnel",
            workflow.jobs.first().map_or(1, |job| job.id.line),
            "No job in this workflow has to do with a tunnel, so nothing was looked at.",
            "",
            "",
        );
    }
    let mut findings = notes.findings;
    findings.sort_by(Finding::order);
    findings.dedup();
    Checked { jobs, findings }
}

fn look(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job, sight: &JobSight) {
    if sight.has_secret {
        permissions(notes, workflow, job);
        surroundings(notes, workflow, job);
    }
    pins(notes, job);
    words(notes, workflow, job);
    script::check(notes, workflow, job);
}

/// The words by which a job shows that it has to do with a tunnel.
fn speaks_of_tunnel(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["tunnel", "cloudflared", "cfd_tunnel"].iter().any(|word| text.contains(word))
}

/// Names of the secrets that a job is given.
fn secrets_of(workflow: &Workflow, job: &Job) -> BTreeSet<String> {
    let env = workflow.env.iter().map(|(_, value)| value.text.as_str());
    let texts = job.texts.iter().map(|text| text.text.as_str());
    let mut names: BTreeSet<String> =
        env.chain(texts).flat_map(|text| expression::secrets(text).map(|(_, name)| name)).collect();
    if job.uses.is_some() && job.texts.iter().any(|text| text.text == "inherit") {
        names.insert("all secrets".into());
    }
    names
}

/// What is to be said, all of one file.
pub(super) struct Notes<'a> {
    file: &'a str,
    findings: Vec<Finding>,
}

impl Notes<'_> {
    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        line: u64,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding {
            audit: Audit::Workflow,
            severity,
            rule,
            place: Some(Place { file: self.file.to_owned(), line: Some(line) }),
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
        });
    }
}

fn surroundings(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
    let id = short(&job.id.text);
    // A called workflow brings its own; the key is not allowed beside `uses:`.
    if !job.has_environment && job.uses.is_none() {
        notes.add(
            Severity::Warning,
            "no-environment",
            job.id.line,
            format!("The job `{id}` handles a secret outside of any `environment:`."),
            "The secret is then one of the repository's, which every workflow on every branch can read; nobody is asked before it is used.",
            "Keep the secret in an environment with reviewers and protected branches, and write in the job:\nenvironment: production",
        );
    }
    if !job.has_concurrency && !workflow.has_concurrency {
        notes.add(
            Severity::Warning,
            "no-concurrency",
            job.id.line,
            format!("Two runs of the job `{id}` can overlap."),
            "In a rotation the older run can write the older secret last, and the next restart of cloudflared is an outage.",
            "Write at the top of the workflow:\nconcurrency:\n  group: provision-tunnel\n  cancel-in-progress: false",
        );
    }
}

fn pins(notes: &mut Notes<'_>, job: &Job) {
    let uses = job.steps.iter().filter_map(|step| step.uses.as_ref()).chain(&job.uses);
    for uses in uses {
        if let Some(image) = uses.text.strip_prefix("docker://") {
            self::image(notes, image, uses.line);
            continue;
        }
        if uses.text.starts_with("./") {
            continue;
        }
        let name = short(uses.text.split('@').next().unwrap_or_default());
        let pinned = uses.text.rsplit_once('@').is_some_and(|(_, commit)| {
            commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if !pinned {
            notes.add(
                Severity::Warning,
                "unpinned-action",
                uses.line,
                format!("`{name}` is named by a tag or a branch, in a job that has to do with the tunnel."),
                "A tag can be moved to other code, which then sees the secret of this job.",
                format!("Name the full commit of a release, with its tag as a comment:\nuses: {name}@<40 hexadecimal digits> # <tag>"),
            );
        }
    }
    for found in &job.images {
        image(notes, &found.text, found.line);
    }
}

/// An image that stands where only an image can.
fn image(notes: &mut Notes<'_>, text: &str, line: u64) {
    let text = text.trim();
    let last = text.rsplit('/').next().unwrap_or_default();
    let floats = text.ends_with(":latest") || !last.contains([':', '@']) && !text.contains("${{");
    if floats {
        latest(notes, &short(text), line);
    }
}

fn latest(notes: &mut Notes<'_>, image: &str, line: u64) {
    notes.add(
        Severity::Warning,
        "latest-image",
        line,
        format!("The image `{image}` is whatever is newest on the day of the run."),
        "A new cloudflared comes in with a rotation of the secret, and when the tunnel fails there are two suspects.",
        "Name a version, better its digest:\ncloudflare/cloudflared:<version>@sha256:<digest>",
    );
}

/// Foreign text that fits a sentence.
fn short(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    // No name of anything is that long without being a secret.
    if TokenSight::of(text).tunnel.is_some() { "(hidden)".into() } else { short }
}
