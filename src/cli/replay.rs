//! `replay`: what the judge would have concluded and ordered.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, out, say};
use crate::client::calendar::Windows;
use crate::replay::{MISSING, past, recording};
use crate::warden::policy::Policy;

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct From {
    /// A folder with `journal.export` and `observed.tsv`.
    #[arg(long, value_name = "DIR")]
    recording: Option<PathBuf>,
    /// This host's own journal, from a time (`2026-11-01`, `2026-11-01T03:00:00Z`) or for a span before now (`30d`, `12h`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    from: From,
    /// The unit whose journal is read with `--since`; `.service` may be left out.
    #[arg(long, default_value = "cloudflared.service")]
    unit: String,
    /// One JSON object a line, last a summary.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    let (transcript, origin) = match (&arguments.from.recording, &arguments.from.since) {
        (Some(folder), _) => (recording(folder), None),
        (None, Some(since)) => {
            let Some(since) = time(since) else {
                say(&format!(
                    "--since {since}: write a day (2026-11-01), a time (2026-11-01T03:00:00Z) or a span (30d, 12h)"
                ));
                return Exit::Usage;
            };
            say(MISSING);
            let (policy, windows) = rules();
            (past(&service(&arguments.unit), since, policy, windows), Some(since))
        }
        (None, None) => return Exit::Usage,
    };
    match transcript {
        Ok(transcript) if arguments.json => out(&transcript.json()),
        Ok(transcript) => {
            out(&transcript.text(origin));
            let acts = transcript.acts().count();
            let nothing = if transcript.changes.is_empty() { "Nothing was found. " } else { "" };
            out(&format!("{nothing}{acts} remedies would have been ordered.\n"));
        }
        Err(error) => {
            say(&format!("replay: {error}"));
            return Exit::Blind;
        }
    }
    Exit::Fine
}

/// What the judge of this host goes by.
fn rules() -> (Policy, Windows) {
    match crate::config::load(&super::roots(None), crate::config::process_environment()) {
        Ok(loaded) => {
            let policy = crate::daemon::policy(&loaded.settings, BTreeMap::new());
            if policy.observe_only {
                say("mode = \"observe\" here, so nothing would have been ordered.");
            }
            (policy, loaded.settings.window)
        }
        Err(errors) => {
            say(&format!("{errors}\nThis host's settings cannot be read, so it is judged by the defaults."));
            (Policy::shipped(), Windows::default())
        }
    }
}

/// The whole name of a unit, as `systemctl` completes it.
fn service(unit: &str) -> String {
    if unit.ends_with(".service") { unit.to_owned() } else { format!("{unit}.service") }
}

/// A time since 1970: a moment, a day (UTC), or a span before now.
fn time(text: &str) -> Option<Duration> {
    let unix =
        |timestamp: jiff::Timestamp| u64::try_from(timestamp.as_second()).ok().map(Duration::from_secs);
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return unix(timestamp);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return unix(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp());
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let span = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    crate::clock::now().wall.checked_sub(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_may_be_named_as_for_systemctl() {
        for unit in ["cloudflared@a", "cloudflared@a.service"] {
            assert_eq!(service(unit), "cloudflared@a.service");
        }
    }

    #[test]
    fn times_are_days_moments_or_spans() {
        assert_eq!(time("2026-11-01"), Some(Duration::from_secs(1_793_491_200)));
        assert_eq!(time("1970-01-01T00:01:00Z"), Some(Duration::from_secs(60)));
        assert!(time("30d").is_some());
        for wrong in ["", "yesterday", "30", "99999999999999999999d", "-1d", "12x"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }
}
