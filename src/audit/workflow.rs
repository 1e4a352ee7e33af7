//! Workflows that put a tunnel's secret somewhere: what lays it open, and what leaves the tunnel broken afterwards.
//!
//! General advice on workflows is left to actionlint and zizmor; only jobs that have to do with a tunnel are looked at.

mod expression;
mod script;
mod shell;

use std::collections::{BTreeMap, BTreeSet};

use super::{Audit, Finding, Place, Severity};
use crate::client::cloudflared_config::TokenSight;
use crate::client::github_workflow::{Grants, Job, Permissions, Script, Text, Workflow};

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

const GRANTS: &str = "permissions:\n  contents: read\n  id-token: write";

fn permissions(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
    let id = short(&job.id.text);
    let Some(Permissions { line, grants }) = job.permissions.as_ref().or(workflow.permissions.as_ref())
    else {
        notes.add(
            Severity::Error,
            "permissions-missing",
            job.id.line,
            format!("The job `{id}` handles a secret and sets no `permissions:`, and neither does the workflow."),
            "It gets whatever the repository's default is, up to write access to everything, and no OIDC token.",
            format!("Write in the job:\n{GRANTS}"),
        );
        return;
    };
    let replaces = job.permissions.is_some() && workflow.permissions.is_some();
    let replaced =
        if replaces { " A job's permissions replace those of the workflow as a whole." } else { "" };
    let each = match grants {
        Grants::Each(each) => each,
        Grants::Word(word) => {
            let (rule, what, why) = match word.as_str() {
                "write-all" => (
                    "permissions-excess",
                    format!("`permissions: write-all` gives the job `{id}` every right on the repository."),
                    "Whoever gets a step of this job to run code can push, release and read every secret.",
                ),
                "read-all" => (
                    "permissions-excess",
                    format!(
                        "`permissions: read-all` gives the job `{id}` more than it needs, and no `id-token: write`."
                    ),
                    "Without an OIDC token the job needs a stored key for the cluster or the host.",
                ),
                _ => (
                    "permissions-invalid",
                    "`permissions:` is neither a map nor `read-all` or `write-all`.".to_owned(),
                    "GitHub refuses the workflow.",
                ),
            };
            notes.add(Severity::Error, rule, *line, what, why, format!("Write:\n{GRANTS}"));
            return;
        }
    };
    let access = |scope: &str| each.iter().find(|(name, _)| name.text == scope).map(|(_, access)| access);
    let has = |scope: &str, wanted: &str| access(scope).is_some_and(|access| access.text == wanted);
    let mut missing = Vec::new();
    // `write` includes `read`; that it is too much is said below.
    if !has("contents", "read") && !has("contents", "write") {
        missing.push("`contents: read`");
    }
    if !has("id-token", "write") {
        missing.push("`id-token: write`");
    }
    if !missing.is_empty() {
        notes.add(
            Severity::Error,
            "permissions-missing",
            *line,
            format!("The job `{id}` handles a secret, and its permissions lack {}.", missing.join(" and ")),
            format!(
                "Without {} {}.{replaced}",
                missing[0],
                if missing[0].contains("contents") {
                    "it cannot check the repository out"
                } else {
                    "it cannot prove itself by OIDC and needs a stored key for the cluster or the host"
                }
            ),
            format!("Write:\n{GRANTS}"),
        );
    }
    for (scope, access) in each {
        let named = short(&scope.text);
        match (scope.text.as_str(), access.text.as_str()) {
            ("contents", "read") | ("id-token", "write") | (_, "none") => {}
            (_, "read" | "write") => notes.add(
                Severity::Warning,
                "permissions-excess",
                scope.line,
                format!("The job `{id}` handles a secret and may also do `{named}: {}`.", access.text),
                "What this job can do is what anyone can do who gets code into one of its steps.",
                format!("Leave it out, or move what needs it to a job without the secret:\n{GRANTS}"),
            ),
            _ => notes.add(
                Severity::Error,
                "permissions-invalid",
                scope.line,
                format!("`{named}` is given something that is neither read, write nor none."),
                "GitHub refuses the workflow.",
                format!("Write:\n{GRANTS}"),
            ),
        }
    }
    if let Some(token) = access("id-token").filter(|access| access.text == "write")
        && !uses_oidc(job)
    {
        notes.add(
            Severity::Note,
            "oidc-unused",
            token.line,
            format!("The job `{id}` may ask for an OIDC token, and no step of it is known to."),
            "A right that nothing uses is one more thing to steal.",
            "Let a step sign in by OIDC (azure/login, aws-actions/configure-aws-credentials, google-github-actions/auth, hashicorp/vault-action), or drop `id-token: write` where the SOP allows it.",
        );
    }
}

/// A step signs in by OIDC, or may do so where we cannot see it.
fn uses_oidc(job: &Job) -> bool {
    const ACTIONS: [&str; 16] = [
        "azure/login",
        "aws-actions/configure-aws-credentials",
        "google-github-actions/auth",
        "hashicorp/vault-action",
        "pulumi/auth-actions",
        "octopusdeploy/login",
        "jfrog/setup-jfrog-cli",
        "akeyless-community/akeyless-github-action",
        "infisical/secrets-action",
        "doppleruniversity/secrets-fetch-action",
        "tailscale/github-action",
        "oracle-actions/",
        "digitalocean/action-doctl",
        "actions/attest",
        "sigstore/",
        "smallstep/",
    ];
    let named = job.steps.iter().filter_map(|step| step.uses.as_ref()).any(|uses| {
        let uses = uses.text.to_ascii_lowercase();
        uses.starts_with("./") || ACTIONS.iter().any(|action| uses.starts_with(action))
    });
    let asked = job.texts.iter().any(|text| {
        text.text.contains("ACTIONS_ID_TOKEN_REQUEST")
            || text.text.contains("getIDToken")
            || text.text.contains("id_tokens")
    });
    named || asked || job.uses.is_some()
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

/// Names and words that must stand nowhere in such a job.
fn words(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
    const GLOBAL: [&str; 9] = [
        "X-AUTH-KEY",
        "CF_API_KEY",
        "CF_KEY",
        "CF_GLOBAL_KEY",
        "CF_GLOBAL_API_KEY",
        "CLOUDFLARE_API_KEY",
        "CLOUDFLARE_GLOBAL_KEY",
        "CLOUDFLARE_GLOBAL_API_KEY",
        "GLOBAL_API_KEY",
    ];
    let env = workflow.env.iter().flat_map(|(key, value)| [key, value]);
    let mut seen: BTreeSet<(&str, u64)> = BTreeSet::new();
    let scripts = scripts(job);
    let about_cloudflared = job.texts.iter().any(|text| text.text.contains("cloudflared"));
    for text in env.chain(&job.texts) {
        for (line, words) in lines(text, &scripts) {
            let capitals = words.to_ascii_uppercase();
            if GLOBAL.iter().any(|name| has_word(&capitals, name)) && seen.insert(("key", line)) {
                notes.add(
                    Severity::Error,
                    "global-key",
                    line,
                    "The Global API Key is used here.",
                    "It can do everything its user can, in every account, and cannot be limited or dated.",
                    "Make an API token with the one right that is needed (Account › Cloudflare Tunnel › Read or Edit), send it as `Authorization: Bearer`, and roll the key.",
                );
            }
            let certificate = words.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-')));
            let certificate = certificate.into_iter().any(|word| word == "cert.pem")
                && (words.contains("cloudflared") || words.contains("origincert") || about_cloudflared);
            let named = ["TUNNEL_ORIGIN_CERT", "CLOUDFLARED_CERT", "CLOUDFLARE_CERT_PEM"];
            if (certificate || named.iter().any(|name| capitals.contains(name)))
                && seen.insert(("cert", line))
            {
                notes.add(
                    Severity::Error,
                    "cert-pem",
                    line,
                    "cloudflared's cert.pem is handled here.",
                    "It makes and deletes tunnels and DNS records of the whole zone for ten years or more; running a tunnel never needs it.",
                    "Run the tunnel by its token, and keep cert.pem off CI and off every node.",
                );
            }
            for word in words.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ',')) {
                let latest_tag = word.ends_with(":latest") && word.len() > ":latest".len();
                let bare = word.strip_suffix("cloudflare/cloudflared").is_some_and(|host| {
                    (host.is_empty() || host == "docker.io/")
                        && ["docker ", "podman ", "nerdctl ", "image"].iter().any(|tool| words.contains(tool))
                });
                if (latest_tag || bare)
                    && !job.images.iter().any(|image| image.line == line)
                    && seen.insert(("image", line))
                {
                    latest(notes, &short(word), line);
                }
                if word.contains("cloudflared/releases/latest") && seen.insert(("download", line)) {
                    notes.add(
                        Severity::Warning,
                        "latest-download",
                        line,
                        "cloudflared is downloaded as whatever release is the latest on the day of the run.",
                        "The run cannot be repeated, and nothing checks what was fetched.",
                        "Download a named release and compare its checksum:\nhttps://github.com/cloudflare/cloudflared/releases/download/<version>/cloudflared-linux-amd64",
                    );
                }
            }
        }
    }
}

/// The scripts of a job by where YAML places them.
fn scripts(job: &Job) -> BTreeMap<u64, &Script> {
    job.steps.iter().filter_map(|step| step.run.as_ref()).map(|script| (script.at, script)).collect()
}

/// The lines of a text with their place in the file; a script's are its own.
fn lines<'a>(text: &'a Text, scripts: &BTreeMap<u64, &Script>) -> Vec<(u64, &'a str)> {
    let script = scripts.get(&text.line).filter(|script| script.text == text.text);
    let line_of = |at: usize| script.map_or(text.line, |script| script.line_of(at));
    text.text.lines().enumerate().map(|(at, line)| (line_of(at), line)).collect()
}

/// `name` stands in there and is not a part of a longer name.
fn has_word(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(part)
            && !text[at + name.len()..].chars().next().is_some_and(part)
    })
}

/// A whole token in the file itself.
fn hard_coded(notes: &mut Notes<'_>, workflow: &Workflow) {
    let scripts: BTreeMap<u64, &Script> = workflow.jobs.iter().flat_map(scripts).collect();
    let env = workflow.env.iter().map(|(_, value)| value);
    let jobs = workflow.jobs.iter().flat_map(|job| &job.texts);
    for text in env.chain(jobs) {
        for (line, words) in lines(text, &scripts) {
            let parts = words.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')));
            // A leading `token=` is cut off with the equals sign that cannot begin base64.
            let parts = parts.flat_map(|part| [part, part.split_once('=').map_or("", |(_, rest)| rest)]);
            if let Some(tunnel) =
                parts.filter(|part| 80 < part.len()).find_map(|part| TokenSight::of(part).tunnel)
            {
                notes.add(
                    Severity::Error,
                    "token-in-file",
                    line,
                    format!("A token of the tunnel {tunnel} stands here in clear."),
                    "Everyone who can read the repository, now or in its history, can run this tunnel and receive its traffic.",
                    "Rotate the token in Cloudflare's dashboard, then keep the new one as a secret of an environment and take it from there:\nenv:\n  TUNNEL_TOKEN: ${{ secrets.CLOUDFLARE_TUNNEL_TOKEN }}",
                );
            }
        }
    }
}

/// Foreign text that fits a sentence.
fn short(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    // No name of anything is that long without being a secret.
    if TokenSight::of(text).tunnel.is_some() { "(hidden)".into() } else { short }
}
