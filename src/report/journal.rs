//! Our own events: each once, with a stable `MESSAGE_ID` (listed in the catalog) and `TUNNELWARDEN_*` fields.

use tracing_journald::PriorityMappings;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::warden::cause::Cause;
use crate::warden::note::{Happening, Note};

// Random, fixed for ever, described in `systemd/tunnelwarden.catalog`.
pub const STARTED: &str = "c29616b2a8f9a90a67acc57d46e2359b";
pub const STOPPED: &str = "eb5752bb398bd73ea513b52c5336dd3e";
pub const CONFIG_RELOADED: &str = "de19fc3a68331fedd3d677076840128b";
pub const CONFIG_REJECTED: &str = "518eadafb4aded12ecfe7a648baf9cbb";
pub const INCIDENT_OPENED: &str = "190ebf81b21098e83e77715e7331559a";
pub const CAUSE_CHANGED: &str = "b8f3d014dc376945c93381c663781996";
pub const REMEDY_ORDERED: &str = "1d821be27819d07f107ae1aef91070aa";
pub const REMEDY_FINISHED: &str = "133f9548ce84ed40daac4707f8d9df48";
pub const REMEDY_HELD: &str = "32d527bf2f988d15cb710873edc93f8d";
pub const ESCALATED: &str = "939568a31ef2d89cfef43e8307932a2c";
pub const INCIDENT_CLOSED: &str = "333a85eccf86b5e47fd8f0b31756746c";
pub const PAUSED: &str = "293c362868d79a69866130c4cfbfb767";
pub const RESUMED: &str = "d9c69f48a843ef4959d04ea9abc38b8a";
pub const SENSE_BLIND: &str = "87ed4bf50ee0a4ac3240a307328835c6";
pub const SENSE_SEES: &str = "29f1edaed8f47ae596575276c555e6dd";
pub const MEMORY_LOST: &str = "17be8757a31d855395e0e2f63918d239";
pub const POLKIT_MISSING: &str = "6ee6d99d4724b6f48177e2a0184ae6cc";

/// Priority of an event: a cure that failed is an error, an escalation critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Priority {
    Critical,
    Error,
    Warning,
    Notice,
    Info,
}

/// The fields of an event; empty ones are left out.
struct Fields<'a> {
    id: &'static str,
    priority: Priority,
    cause: Option<Cause>,
    remedy: &'a str,
    outcome: &'a str,
    hold: &'a str,
}

fn fields(happening: &Happening) -> Fields<'static> {
    let base = |id, priority| Fields { id, priority, cause: None, remedy: "", outcome: "", hold: "" };
    match happening {
        Happening::IncidentOpened { cause, .. } => {
            Fields { cause: Some(*cause), ..base(INCIDENT_OPENED, Priority::Warning) }
        }
        Happening::CauseChanged { cause } => {
            Fields { cause: Some(*cause), ..base(CAUSE_CHANGED, Priority::Notice) }
        }
        Happening::RemedyOrdered { remedy, cause } => {
            Fields { cause: Some(*cause), remedy: remedy.name(), ..base(REMEDY_ORDERED, Priority::Notice) }
        }
        Happening::RemedyFinished { remedy, ending } => {
            let cured = *ending == crate::warden::remedy::Ending::Cured;
            let priority = if cured { Priority::Notice } else { Priority::Error };
            Fields { remedy: remedy.name(), outcome: ending.name(), ..base(REMEDY_FINISHED, priority) }
        }
        Happening::RemedyHeld { hold, cause } => {
            Fields { cause: Some(*cause), hold: hold.name(), ..base(REMEDY_HELD, Priority::Notice) }
        }
        Happening::Escalated { cause } => {
            Fields { cause: Some(*cause), ..base(ESCALATED, Priority::Critical) }
        }
        Happening::IncidentClosed { closing, cause, .. } => {
            Fields { cause: Some(*cause), outcome: closing.name(), ..base(INCIDENT_CLOSED, Priority::Notice) }
        }
        Happening::SenseBlind { .. } => base(SENSE_BLIND, Priority::Warning),
        Happening::SenseSees { .. } => base(SENSE_SEES, Priority::Info),
    }
}

/// Events have this target, so that `install` can give them their own priorities.
const EVENT: &str = "tunnelwarden::event";
/// Escalations have their own: tracing has no level above error.
const ESCALATION: &str = "tunnelwarden::escalation";
/// What is good to know has its own, too: tracing's info is journald's notice here, and nothing below is compiled in.
const ASIDE: &str = "tunnelwarden::aside";

/// Writes one event of the warden. `tunnel` is the name users gave it.
pub fn write(note: &Note, tunnel: &str) {
    let Fields { id, priority, cause, remedy, outcome, hold } = fields(&note.happening);
    let cause = cause.map_or("", Cause::name);
    let incident = note.incident.as_deref().unwrap_or("");
    let text = &note.text;
    // tracing fixes target and level where an event is written, hence one line for each priority.
    macro_rules! event {
        ($target:expr, $level:expr) => {
            tracing::event!(
                target: $target,
                $level,
                message_id = id,
                tunnelwarden_tunnel = tunnel,
                tunnelwarden_cause = optional(cause),
                tunnelwarden_remedy = optional(remedy),
                tunnelwarden_outcome = optional(outcome),
                tunnelwarden_hold = optional(hold),
                tunnelwarden_incident = optional(incident),
                "{text}"
            )
        };
    }
    match priority {
        Priority::Critical => event!(ESCALATION, tracing::Level::ERROR),
        Priority::Error => event!(EVENT, tracing::Level::ERROR),
        Priority::Warning => event!(EVENT, tracing::Level::WARN),
        Priority::Notice => event!(EVENT, tracing::Level::INFO),
        Priority::Info => event!(ASIDE, tracing::Level::INFO),
    }
}

/// Writes an event of the daemon itself.
pub fn daemon(id: &'static str, priority: Weight, text: &str) {
    match priority {
        Weight::Error => tracing::error!(target: EVENT, message_id = id, "{text}"),
        Weight::Warning => tracing::warn!(target: EVENT, message_id = id, "{text}"),
        Weight::Notice => tracing::info!(target: EVENT, message_id = id, "{text}"),
    }
}

/// How much an event of the daemon itself weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Error,
    Warning,
    Notice,
}

/// Sends everything to journald under systemd, and to stderr elsewhere.
///
/// # Errors
/// If journald's socket cannot be used although systemd says that our output is connected to it.
pub fn install() -> std::io::Result<()> {
    let registry = tracing_subscriber::registry();
    if std::env::var_os("JOURNAL_STREAM").is_none() {
        let stderr = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_filter(filter_fn(loud));
        registry.with(stderr).init();
        return Ok(());
    }
    let layer = || tracing_journald::layer().map(|layer| layer.with_field_prefix(None));
    let usual = layer()?.with_priority_mappings(PriorityMappings {
        info: tracing_journald::Priority::Informational,
        ..PriorityMappings::new()
    });
    let critical = layer()?.with_priority_mappings(PriorityMappings {
        error: tracing_journald::Priority::Critical,
        ..PriorityMappings::new()
    });
    let is = |target: &'static str| filter_fn(move |meta| meta.target() == target);
    registry
        .with(layer()?.with_filter(is(EVENT)))
        .with(critical.with_filter(is(ESCALATION)))
        .with(usual.with_filter(filter_fn(|meta| {
            meta.target() != EVENT && meta.target() != ESCALATION && loud(meta)
        })))
        .init();
    Ok(())
}

/// Ours from info upwards, other crates' from warnings upwards.
fn loud(meta: &tracing::Metadata<'_>) -> bool {
    let ours = meta.target().starts_with("tunnelwarden");
    let at_most = if ours { tracing::Level::INFO } else { tracing::Level::WARN };
    *meta.level() <= at_most
}

fn optional(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}
