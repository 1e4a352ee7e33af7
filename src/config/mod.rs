//! Text → validated [`Settings`]. What is lower is overridden by what is higher:
//!
//! ```text
//! environment            TUNNELWARDEN_PROBE__PERIOD=30s
//! conf.d/*.toml          of /usr/lib, /run and /etc, by file name; a later folder masks the same name
//! tunnelwarden.toml      may be missing
//! built-in defaults
//! ```
//!
//! Each file is checked on its own against the table of keys, so that an error can name its line;
//! then all are merged, and what came out is validated. Tunnels are merged by their unit, other lists
//! are replaced. Everything that is wrong is told at once, and nothing that could be a secret is repeated.

mod drop_ins;
mod duration;
mod env;
mod error;
mod file;
mod keys;
mod names;
pub mod redact;
mod settings;
mod show;
mod tunnels;
mod validate;
mod written;

use std::path::PathBuf;

pub use drop_ins::Roots;
pub use duration::{DurationError, parse as parse_duration, written as written_duration};
pub use env::process_environment;
pub use error::{ConfigError, ConfigErrors, Excerpt, Place};
pub use names::{WrongForm, covered_by_rule};
pub use settings::*;
pub use show::show;

use file::{Layer, Text};
use validate::Check;
use written::Origins;

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// The files it comes from, the most important last.
    pub sources: Vec<PathBuf>,
    /// What is allowed, but may not be meant; each names its place.
    pub warnings: Vec<String>,
}

/// Reads everything below `roots` and in `env` (variables of others are passed over;
/// [`process_environment`] gives ours). No file at all is fine.
///
/// # Errors
/// All that is wrong, with places and what to write instead.
pub fn load(roots: &Roots, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigErrors> {
    let found = drop_ins::find(roots);
    let mut errors = found.errors;
    let mut layers = vec![built_in()];
    for path in &found.files {
        match file::read(path) {
            Ok(text) => layers.push(file::layer(text)),
            Err(error) => errors.push(error),
        }
    }
    layers.push(env::layer(env));
    // What a file that cannot be read would have said is not known, so nothing is concluded.
    let complete = errors.is_empty() && !layers.iter().any(|layer| layer.broken);
    let mut origins = Origins::default();
    for layer in &mut layers {
        errors.append(&mut layer.errors);
        origins.add(layer);
    }
    if !complete {
        return Err(ConfigErrors(errors));
    }
    let mut check = Check { origins: &origins, errors, warnings: found.warnings };
    let written = written::merge(layers.into_iter().map(|layer| layer.values));
    let settings = match written {
        Ok(written) => validate::settings(written, &mut check),
        Err(error) => {
            check.errors.push(error);
            None
        }
    };
    match settings {
        Some(settings) => Ok(Loaded { settings, sources: found.files, warnings: check.warnings }),
        None => Err(ConfigErrors(check.errors)),
    }
}

/// The lowest layer. Its places are of no use to anyone.
fn built_in() -> Layer {
    let mut layer = file::layer(Text { path: PathBuf::new(), text: keys::defaults() });
    layer.origins.clear();
    layer
}

#[cfg(test)]
mod tests;
