//! `config check`, `config show`, `config polkit`.

use std::path::PathBuf;

use super::{Exit, access, out, say};
use crate::config::{Settings, covered_by_rule};
use crate::daemon::survey;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Read the configuration and name every mistake by file and line.
    Check {
        /// Look below this directory instead of /.
        #[arg(long, value_name = "DIRECTORY")]
        root: Option<PathBuf>,
    },
    /// Print the settings in force, defaults included, secrets hidden.
    Show {
        /// Look below this directory instead of /.
        #[arg(long, value_name = "DIRECTORY")]
        root: Option<PathBuf>,
    },
    /// Print the polkit rule that the units need.
    Polkit {
        /// Look below this directory instead of /.
        #[arg(long, value_name = "DIRECTORY")]
        root: Option<PathBuf>,
    },
}

const RULE: &str = include_str!("../../systemd/tunnelwarden.rules");
const MARK: &str = "        // tunnelwarden: extra units";

/// Runs one of them.
pub(super) fn main(verb: &Verb) -> Exit {
    let (Verb::Check { root } | Verb::Show { root } | Verb::Polkit { root }) = verb;
    let roots = super::roots(root.as_ref());
    let loaded = match crate::config::load(&roots, crate::config::process_environment()) {
        Ok(loaded) => loaded,
        Err(errors) => {
            say(&errors.to_string());
            return Exit::BadConfig;
        }
    };
    for warning in &loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    match verb {
        Verb::Check { .. } => {
            if loaded.sources.is_empty() {
                out("No configuration file, so the defaults hold. Fine.\n");
            }
            for source in &loaded.sources {
                out(&format!("{}: fine\n", source.display()));
            }
        }
        Verb::Show { .. } => out(&crate::config::show(&loaded.settings)),
        Verb::Polkit { .. } => {
            let units = match units(&loaded.settings, root.is_none()) {
                Ok(units) => units,
                Err(exit) => return exit,
            };
            out(&rule(&units));
        }
    }
    Exit::Fine
}

/// The units that the daemon watches here. `here`: it is this host's configuration.
fn units(settings: &Settings, here: bool) -> Result<Vec<String>, Exit> {
    if !settings.tunnels.is_empty() || !here {
        return Ok(settings.tunnels.iter().map(|tunnel| tunnel.unit.as_str().to_owned()).collect());
    }
    let found = access::run(survey::units(settings))?;
    Ok(found.unwrap_or_else(|error| {
        say(&format!(
            "Which units run a tunnel here is not known, so the rule names no further one: {error:#}"
        ));
        Vec::new()
    }))
}

/// The shipped rule, with the units that it does not cover by itself.
fn rule(units: &[impl AsRef<str>]) -> String {
    let mut extra = String::from(MARK);
    for unit in units.iter().map(AsRef::as_ref).filter(|unit| !covered_by_rule(unit)) {
        extra.push_str(&format!("\n        {},", serde_json::Value::from(unit)));
    }
    RULE.replace(MARK, &extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_of_another_name_is_added_to_the_rule() {
        assert!(rule(&["my-tunnel.service"]).contains("        \"my-tunnel.service\",\n"));
        let covered = ["cloudflared.service", "cloudflared@a.service", "cloudflared-prod@berlin.service"];
        assert_eq!(rule(&covered), RULE);
    }

    /// What the packaged rule allows by itself, read from its own words.
    fn allowed(unit: &str) -> bool {
        let says = |variable: &str| {
            let line = RULE.lines().find_map(|line| line.trim().strip_prefix(&format!("var {variable} = /")));
            let pattern = line.and_then(|line| line.strip_suffix("/;")).expect("the rule has it");
            let regex = regex_automata::nfa::thompson::pikevm::PikeVM::new(pattern).unwrap();
            regex.is_match(&mut regex.create_cache(), unit)
        };
        says("tunnels") && !says("updater")
    }

    #[test]
    fn what_is_said_to_be_covered_is_what_the_rule_allows() {
        for (unit, expected) in [
            ("cloudflared.service", true),
            ("cloudflared-prod.service", true),
            ("cloudflared@berlin.service", true),
            ("cloudflared-prod@berlin.service", true),
            ("cloudflared-a:b_c.d\\x2de.service", true),
            ("cloudflared@a@b.service", true),
            ("cloudflared-updates.service", true),
            ("cloudflared-update.service", false),
            ("cloudflared-update@daily.service", false),
            ("cloudflared-.service", false),
            ("cloudflared@.service", false),
            ("cloudflaredx.service", false),
            ("my-cloudflared.service", false),
            ("cloudflared-a b.service", false),
            ("cloudflared-a/b.service", false),
            ("cloudflared-a.service\nx.service", false),
            ("cloudflared-\u{e4}.service", false),
            ("cloudflared-update.timer", false),
            ("cloudflared.socket", false),
            ("", false),
        ] {
            assert_eq!((covered_by_rule(unit), allowed(unit)), (expected, expected), "{unit:?}");
        }
    }
}
