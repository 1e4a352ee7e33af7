//! Orders to systemd and what became of them.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, message};

use super::proxies::ManagerProxy;
use super::{SYSTEMD, SystemdError, limited};

const SIGTERM: i32 = 15;

/// How an ordered job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOutcome {
    Done,
    Failed(JobResult),
    /// Not ended in the time given (or the bus went away meanwhile); it goes on without us.
    Pending,
}

/// systemd's word for a job that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobResult {
    Canceled,
    Timeout,
    Failed,
    Dependency,
    Skipped,
    Invalid,
    Assert,
    Unsupported,
    Collected,
    Once,
    Frozen,
    Other,
}

impl JobResult {
    fn from_word(word: &str) -> Self {
        match word {
            "canceled" => Self::Canceled,
            "timeout" => Self::Timeout,
            "failed" => Self::Failed,
            "dependency" => Self::Dependency,
            "skipped" => Self::Skipped,
            "invalid" => Self::Invalid,
            "assert" => Self::Assert,
            "unsupported" => Self::Unsupported,
            "collected" => Self::Collected,
            "once" => Self::Once,
            "frozen" => Self::Frozen,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Restart,
    Start,
}

/// Orders a job and waits for its end. Listens before it speaks: a quick job is over in 7 ms.
pub(super) async fn run_job(
    connection: &Connection,
    verb: Verb,
    unit: &str,
    within: Duration,
) -> Result<JobOutcome, SystemdError> {
    let deadline = Instant::now() + within;
    let manager = limited(ManagerProxy::new(connection)).await?;
    let owner = systemd_owner(connection).await?;
    let mut removed = limited(MessageStream::for_match_rule(job_removed_rule()?, connection, None)).await?;
    subscribe(&manager).await?;
    let job = match verb {
        // "fail": a stop that somebody has ordered meanwhile is not taken back by us.
        Verb::Restart => limited(manager.restart_unit(unit, "fail")).await?,
        Verb::Start => limited(manager.start_unit(unit, "fail")).await?,
    };
    while let Ok(Some(Ok(message))) = timeout_at(deadline, removed.next()).await {
        // A signal can be sent to us by anyone on the bus; only systemd's own counts.
        if message.header().sender().is_none_or(|sender| sender.as_str() != owner) {
            continue;
        }
        let Ok((_, path, _, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
        else {
            continue;
        };
        if path == job {
            return Ok(match result.as_str() {
                "done" => JobOutcome::Done,
                word => JobOutcome::Failed(JobResult::from_word(word)),
            });
        }
    }
    Ok(JobOutcome::Pending)
}

pub(super) async fn reset_failed(connection: &Connection, unit: &str) -> Result<(), SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    limited(manager.reset_failed_unit(unit)).await
}

pub(super) async fn terminate_main(connection: &Connection, unit: &str) -> Result<(), SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    limited(manager.kill_unit(unit, "main", SIGTERM)).await
}

/// Asks systemd to send signals to this connection; being subscribed already is fine.
pub(super) async fn subscribe(manager: &ManagerProxy<'_>) -> Result<(), SystemdError> {
    match limited(manager.subscribe()).await {
        Err(SystemdError::Other(zbus::Error::MethodError(name, ..)))
            if name.as_str() == "org.freedesktop.systemd1.AlreadySubscribed" =>
        {
            Ok(())
        }
        result => result,
    }
}

/// The unique name that speaks for systemd now.
pub(super) async fn systemd_owner(connection: &Connection) -> Result<String, SystemdError> {
    let bus = limited(DBusProxy::new(connection)).await?;
    let name = BusName::try_from(SYSTEMD)?;
    let owner = limited(bus.get_name_owner(name)).await?;
    Ok(owner.to_string())
}

fn job_removed_rule() -> Result<MatchRule<'static>, SystemdError> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(SYSTEMD)
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved");
    Ok(rule.build()?)
}
