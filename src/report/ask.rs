//! Questions and orders to the loop that owns the warden.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::snapshot::Status;

/// What may be asked of the loop.
#[derive(Debug)]
pub enum Ask {
    Metrics(oneshot::Sender<String>),
    Status(oneshot::Sender<Box<Status>>),
    Health(oneshot::Sender<Health>),
    /// The answer to a restart is its incident, else nothing.
    Order(Order, oneshot::Sender<Result<String, Refusal>>),
}

/// The answer of `/healthz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Deciding,
    /// The loop turns, and every sense is blind.
    AllBlind,
}

/// What an operator wants done. `by` says who, as the bus knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// No remedy until then (Unix time).
    Pause {
        until: Duration,
        reason: String,
        by: String,
    },
    Resume {
        by: String,
    },
    /// `tunnel` is its configured name or its unit.
    Restart {
        tunnel: String,
        reason: String,
        by: String,
        /// Past cooldown and budget.
        force: bool,
    },
}

/// Why an order was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// By these rails: name, until when, why.
    Held(String),
    UnknownTunnel(String),
    Invalid(String),
}

/// The loop turns in milliseconds; one that does not answer in this time does not turn.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Asks the loop. `None` if it does not answer.
pub(super) async fn ask<T>(
    asks: &mpsc::Sender<Ask>,
    question: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Option<T> {
    let (tx, rx) = oneshot::channel();
    tokio::time::timeout(ANSWER_LIMIT, async {
        asks.send(question(tx)).await.ok()?;
        rx.await.ok()
    })
    .await
    .ok()?
}
