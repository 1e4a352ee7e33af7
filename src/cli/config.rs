//! `config check`, `config show`, `config polkit`.

use std::path::PathBuf;

use super::{Exit, out, say};

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
    /// Print the polkit rule that the configured units need.
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
            let units: Vec<_> = loaded.settings.tunnels.iter().map(|tunnel| tunnel.unit.as_str()).collect();
            out(&rule(&units));
        }
    }
    Exit::Fine
}

/// The shipped rule, with the units that it does not cover by itself.
fn rule(units: &[&str]) -> String {
    let mut extra = String::from(MARK);
    for unit in units.iter().filter(|unit| !covered(unit)) {
        extra.push_str(&format!("\n        {},", serde_json::Value::from(*unit)));
    }
    RULE.replace(MARK, &extra)
}

fn covered(unit: &str) -> bool {
    let Some(stem) = unit.strip_suffix(".service") else { return false };
    match stem.strip_prefix("cloudflared") {
        Some("") => true,
        Some(rest) => rest.starts_with(['-', '@']) && rest != "-update",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_of_another_name_is_added_to_the_rule() {
        assert!(rule(&["my-tunnel.service"]).contains("        \"my-tunnel.service\",\n"));
        assert_eq!(rule(&["cloudflared.service", "cloudflared@a.service"]), RULE);
    }
}
