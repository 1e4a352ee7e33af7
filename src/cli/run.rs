//! `run`: the daemon.

use super::{Exit, say};

/// Runs until systemd says stop.
pub(super) fn main() -> Exit {
    if let Err(error) = crate::report::journal::install() {
        say(&format!("cannot write to the journal: {error}"));
        return Exit::Blind;
    }
    let loaded = match crate::config::load(&super::roots(None), crate::config::process_environment()) {
        Ok(loaded) => loaded,
        Err(errors) => {
            tracing::error!("the configuration has mistakes:\n{errors}");
            return Exit::BadConfig;
        }
    };
    // One thread is enough, and a second one costs half as many switches again for nothing.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error:#}");
            return Exit::Blind;
        }
    };
    let ended = runtime.block_on(crate::daemon::run(loaded));
    // A disk that stalls is waited for no longer.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Exit::Fine,
        Err(error) => {
            tracing::error!("{error:#}");
            Exit::Blind
        }
    }
}
