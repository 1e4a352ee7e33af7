//! The running daemon, as the commands reach it: over the system bus.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use zbus::{Connection, proxy};

use super::{Exit, say};
use crate::client::systemd::Systemd;
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
/// A reload that shapes the senses begins everything anew, the name on the bus too: a daemon that runs is waited for so long.
/// Disk, polkit and bus each have their own limit on the way.
const ANEW: Duration = Duration::from_secs(12);
const AGAIN: Duration = Duration::from_millis(100);
/// What our own errors are called on the bus, before the kind.
const OURS: &str = "org.tunnelwarden.Warden1.Error.";
const SERVICE: &str = "tunnelwarden.service";

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
        let began = Instant::now();
        loop {
            match ask_once(call).await {
                Err(error) if passes(call, &error) && began.elapsed() < ANEW && runs().await => {
                    sleep(AGAIN).await
                }
                answered => return answered,
            }
        }
    };
    match timeout(LIMIT, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(blind("the daemon does not answer".into())),
    }
}

async fn ask_once(call: &Call<'_>) -> zbus::Result<String> {
    let bus = Connection::system().await?;
    let warden = Warden1Proxy::new(&bus).await?;
    match call {
        Call::Status => warden.status().await,
        Call::Pause { until, reason } => warden.pause(*until, reason).await.map(|()| String::new()),
        Call::Resume => warden.resume().await.map(|()| String::new()),
        Call::Restart { tunnel, reason, force: false } => warden.restart(tunnel, reason).await,
        Call::Restart { tunnel, reason, force: true } => warden.force_restart(tunnel, reason).await,
    }
}

/// The name of an error that came over the bus, and its text.
fn named(error: &zbus::Error) -> Option<(String, String)> {
    if let zbus::Error::MethodError(name, text, _) = error {
        Some((name.to_string(), text.clone().unwrap_or_default()))
    } else if let zbus::Error::FDO(standard) = error {
        let text = zbus::DBusError::description(&**standard).unwrap_or_default();
        Some((zbus::DBusError::name(&**standard).to_string(), text.to_owned()))
    } else {
        None
    }
}

/// The daemon may just be beginning anew. An order whose answer is missing may have been taken, and is not given twice.
fn passes(call: &Call<'_>, error: &zbus::Error) -> bool {
    let Some((name, _)) = named(error) else { return false };
    let ends = matches!(call, Call::Status) && name == format!("{OURS}Stuck");
    is_of_nobody(&name) || ends
}

/// The bus's own words for a name that nobody has.
fn is_of_nobody(name: &str) -> bool {
    name.ends_with(".ServiceUnknown") || name.ends_with(".NameHasNoOwner")
}

/// systemd has the service up, so that its name is missing for a moment only.
async fn runs() -> bool {
    let Ok(systemd) = Systemd::connect().await else { return false };
    match systemd.brief(SERVICE).await {
        Ok((_, active, _)) => matches!(active.as_str(), "active" | "activating" | "reloading"),
        // It may not have come back to a bus that was restarted.
        Err(_) => true,
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
    let Some((name, text)) = named(error) else {
        return Refused { exit: Exit::Blind, why: format!("cannot reach the system bus: {error}") };
    };
    let (exit, why) = match name.strip_prefix(OURS) {
        Some("Held") => (Exit::Held, format!("not restarted, held by\n{}", indented(&text))),
        Some("InvalidArgument" | "UnknownTunnel") => (Exit::Usage, text),
        Some("NotAuthorized" | "Busy" | "Stuck") => (Exit::Blind, text),
        Some(_) => (Exit::Blind, text),
        None if is_of_nobody(&name) => (
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
