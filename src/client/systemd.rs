//! systemd over the system bus: which units run cloudflared, how one is doing, and the few things we may do to it.
//!
//! Every call ends within [`CALL_LIMIT`]. A lost bus is an error of that one call; the next one connects anew.
//! Watching is done by [`follow`] on a connection of its own.

mod actions;
mod error;
mod follow;
mod login;
mod permission;
mod proxies;
mod unit_state;
mod units;

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::{Connection, connection};

pub use actions::{JobOutcome, JobResult};
pub use error::SystemdError;
pub use follow::{Signal, follow};
pub use permission::Permission;
pub use unit_state::{ExecStart, ExecTime, Job, UnitState};
pub use units::TunnelUnit;

/// Longest wait for the answer to one call.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

const SYSTEMD: &str = "org.freedesktop.systemd1";
/// What `cloudflared service install` sets beside the tunnel's unit; a timer starts it once a day.
const CLOUDFLARED_UPDATE: &str = "cloudflared-update.service";

/// A client of PID 1. Cheap calls, no cache.
pub struct Systemd {
    connection: Mutex<Option<Connection>>,
}

impl Systemd {
    /// Connects to the system bus (`DBUS_SYSTEM_BUS_ADDRESS` counts).
    ///
    /// # Errors
    /// If there is no bus or it does not answer.
    pub async fn connect() -> Result<Self, SystemdError> {
        let connection = connect().await?;
        Ok(Self { connection: Mutex::new(Some(connection)) })
    }

    /// How one unit is doing. A unit that does not exist is a state (`load_state` "not-found"), not an error.
    ///
    /// # Errors
    /// If the bus or systemd does not answer, or the name is no unit name.
    pub async fn unit(&self, name: &str) -> Result<UnitState, SystemdError> {
        let connection = self.connection().await?;
        unit_state::read(&connection, name).await
    }

    /// Units that run cloudflared: all whose name says so, and active ones whose executable is cloudflared.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn tunnel_units(&self) -> Result<Vec<TunnelUnit>, SystemdError> {
        let connection = self.connection().await?;
        units::tunnel_units(&connection).await
    }

    /// What `unit` is started with runs cloudflared.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn is_cloudflareds(&self, unit: &str) -> Result<bool, SystemdError> {
        let connection = self.connection().await?;
        units::is_cloudflareds(&connection, unit).await
    }

    /// The type (`start`, `restart`, `stop` …) of a job that is still there.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn job_type(&self, id: u32) -> Result<Option<String>, SystemdError> {
        let connection = self.connection().await?;
        let path = format!("/org/freedesktop/systemd1/job/{id}");
        Ok(unit_state::job(&connection, id, &path).await?.map(|job| job.kind))
    }

    /// Whether the system is on its way down.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn shutting_down(&self) -> Result<bool, SystemdError> {
        let connection = self.connection().await?;
        let path = "/org/freedesktop/systemd1";
        let manager = "org.freedesktop.systemd1.Manager";
        let state = unit_state::property(&connection, SYSTEMD, path, manager, "SystemState").await?;
        if String::try_from(state).is_ok_and(|state| state == "stopping") {
            return Ok(true);
        }
        login::going_down(&connection).await
    }

    /// Whether something is changing what is installed, as far as the bus knows: a package manager that does not want the
    /// host to go down, or cloudflared's own update.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn installing(&self) -> Result<bool, SystemdError> {
        let connection = self.connection().await?;
        Ok(unit_state::at_work(&connection, CLOUDFLARED_UPDATE).await?
            || login::installing(&connection).await?)
    }

    /// Whether the clock is kept in step with others. Starts systemd-timedated, so ask only if it matters.
    ///
    /// # Errors
    /// If the bus does not answer, or there is no timedated.
    pub async fn clock_synchronised(&self) -> Result<bool, SystemdError> {
        login::clock_synchronised(&self.connection().await?).await
    }

    /// Load state, active state and state of the file (`enabled`, `disabled`, `static` …) of a unit of any kind.
    ///
    /// # Errors
    /// If the bus or systemd does not answer, or the name is no unit name.
    pub async fn brief(&self, name: &str) -> Result<(String, String, String), SystemdError> {
        unit_state::brief(&self.connection().await?, name).await
    }

    /// The major version of systemd; `None` if it does not say one.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn version(&self) -> Result<Option<u32>, SystemdError> {
        let connection = self.connection().await?;
        let path = "/org/freedesktop/systemd1";
        let manager = "org.freedesktop.systemd1.Manager";
        let version = unit_state::property(&connection, SYSTEMD, path, manager, "Version").await?;
        // Such as `252.39-1~deb12u1` or `257-1.fc42`.
        let digits =
            |text: String| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        Ok(String::try_from(version).ok().and_then(digits))
    }

    /// Whether we will be allowed to act on `unit`. Asks without effect.
    ///
    /// # Errors
    /// If the bus or systemd does not answer.
    pub async fn permission(&self, unit: &str) -> Result<Permission, SystemdError> {
        let connection = self.connection().await?;
        permission::ask(&connection, unit).await
    }

    /// Restarts `unit` and waits `within` for the job to end.
    ///
    /// # Errors
    /// If the order was not accepted.
    pub async fn restart(&self, unit: &str, within: Duration) -> Result<JobOutcome, SystemdError> {
        actions::run_job(&self.connection().await?, actions::Verb::Restart, unit, within).await
    }

    /// Starts `unit` and waits `within` for the job to end.
    ///
    /// # Errors
    /// If the order was not accepted.
    pub async fn start(&self, unit: &str, within: Duration) -> Result<JobOutcome, SystemdError> {
        actions::run_job(&self.connection().await?, actions::Verb::Start, unit, within).await
    }

    /// Forgets that `unit` failed, and its start limit.
    ///
    /// # Errors
    /// If the order was not accepted.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        actions::reset_failed(&self.connection().await?, unit).await
    }

    /// Sends SIGTERM to the main process of `unit`.
    ///
    /// # Errors
    /// If the order was not accepted or there is no main process.
    pub async fn terminate_main(&self, unit: &str) -> Result<(), SystemdError> {
        actions::terminate_main(&self.connection().await?, unit).await
    }

    async fn connection(&self) -> Result<Connection, SystemdError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|held| held.closed().now_or_never().is_none()) {
            return Ok(connection.clone());
        }
        let connection = connect().await?;
        *held = Some(connection.clone());
        Ok(connection)
    }
}

async fn connect() -> Result<Connection, SystemdError> {
    const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
    let building = connection::Builder::system().method_timeout(CALL_LIMIT).max_queued(QUEUE).build();
    limited(building).await
}

/// Runs a call, at most [`CALL_LIMIT`] long.
async fn limited<T, E: Into<SystemdError>>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, SystemdError> {
    match timeout(CALL_LIMIT, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(SystemdError::TimedOut),
    }
}

#[cfg(test)]
mod tests;
