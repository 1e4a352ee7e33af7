//! What a job may do at GitHub: what the SOP demands, and not more.

use super::{Notes, short};
use crate::audit::Severity;
use crate::client::github_workflow::{Grants, Job, Permissions, Workflow};

const GRANTS: &str = "permissions:\n  contents: read\n  id-token: write";

pub(super) fn permissions(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
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
