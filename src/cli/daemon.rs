//! The running daemon, as the commands reach it: over the system bus.

use std::time::Duration;

use zbus::{Connection, proxy};

use super::{Exit, say};
use crate::report::snapshot::Status;

#[proxy(
    interface = "org.tunnelwarden.Warden1",
    default_service = "org.tunnelwarden.Warden1",
    default_path = "/org/tunnelwarden/Warden1"
)]
trait Warden1 {
    fn status(&self) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn pause(&self, until: u64, reason: &str) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn resume(&self) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn restart(&self, tunnel: &str, reason: &str) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn force_restart(&self, tunnel: &str, reason: &str) -> zbus::Result<String>;
}

/// The daemon answers in milliseconds; a person whom polkit asks takes longer.
const LIMIT: Duration = Duration::from_secs(75);

/// What the daemon is told or asked.
pub(super) enum Call<'a> {
    Status,
    /// µs since 1970.
    Pause {
        until: u64,
        reason: &'a str,
    },
    Resume,
    Restart {
        tunnel: &'a str,
        reason: &'a str,
        /// Past cooldown and budget.
        force: bool,
    },
}

/// Why it was not done, and the exit code for that.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) exit: Exit,
    pub(super) why: String,
}

/// Asks the daemon.
pub(super) fn call(call: &Call<'_>) -> Result<String, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Refused { exit: Exit::Blind, why: format!("cannot start: {error}") })?;
    runtime.block_on(ask(call))
}

/// The same for who has a runtime already.
pub(super) async fn ask(call: &Call<'_>) -> Result<String, Refused> {
    let blind = |why: String| Refused { exit: Exit::Blind, why };
    let asking = async {
        let bus = Connection::system().await?;
        let warden = Warden1Proxy::new(&bus).await?;
        match call {
            Call::Status => warden.status().await,
            Call::Pause { until, reason } => warden.pause(*until, reason).await.map(|()| String::new()),
            Call::Resume => warden.resume().await.map(|()| String::new()),
            Call::Restart { tunnel, reason, force: false } => warden.restart(tunnel, reason).await,
            Call::Restart { tunnel, reason, force: true } => warden.force_restart(tunnel, reason).await,
        }
    };
    match tokio::time::timeout(LIMIT, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(blind("the daemon does not answer".into())),
    }
}

/// The daemon's picture of the moment.
pub(super) fn status() -> Result<Status, Refused> {
    read(&call(&Call::Status)?)
}

/// Reads what the daemon answered to [`Call::Status`].
pub(super) fn read(json: &str) -> Result<Status, Refused> {
    serde_json::from_str(json).map_err(|error| Refused {
        exit: Exit::Blind,
        why: format!("the daemon's answer cannot be read: {error}"),
    })
}

/// Says why not.
pub(super) fn complain(refused: &Refused) -> Exit {
    say(&refused.why);
    refused.exit
}

fn refused(error: &zbus::Error) -> Refused {
    let (name, text) = if let zbus::Error::MethodError(name, text, _) = error {
        (name.to_string(), text.clone().unwrap_or_default())
    } else if let zbus::Error::FDO(standard) = error {
        let text = zbus::DBusError::description(&**standard).unwrap_or_default();
        (zbus::DBusError::name(&**standard).to_string(), text.to_owned())
    } else {
        return Refused { exit: Exit::Blind, why: format!("cannot reach the system bus: {error}") };
    };
    let (exit, why) = match name.strip_prefix("org.tunnelwarden.Warden1.Error.") {
        Some("Held") => (Exit::Held, format!("not restarted, held by\n{}", indented(&text))),
        Some("InvalidArgument" | "UnknownTunnel") => (Exit::Usage, text),
        Some("NotAuthorized" | "Busy" | "Stuck") => (Exit::Blind, text),
        Some(_) => (Exit::Blind, text),
        None if name.ends_with(".ServiceUnknown") || name.ends_with(".NameHasNoOwner") => (
            Exit::Blind,
            "the daemon is not on the system bus. Is it running? systemctl status tunnelwarden".to_owned(),
        ),
        None => (Exit::Blind, format!("the system bus answered {name}: {text}")),
    };
    Refused { exit, why }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
