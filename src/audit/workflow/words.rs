//! Names and words that must stand nowhere in a workflow of a tunnel, or nowhere at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{Notes, latest, short};
use crate::audit::Severity;
use crate::client::cloudflared_config::TokenSight;
use crate::client::github_workflow::{Job, Script, Text, Workflow};

/// Names and words that must stand nowhere in such a job.
pub(super) fn words(notes: &mut Notes<'_>, workflow: &Workflow, job: &Job) {
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
pub(super) fn hard_coded(notes: &mut Notes<'_>, workflow: &Workflow) {
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
