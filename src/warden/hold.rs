//! Holds: why a remedy that could help waits, and until when.

use std::borrow::Cow;
use std::time::Duration;

/// Why a remedy that could help is not applied now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    MemoryLost,
    ObserveOnly,
    Paused,
    OutsideWindow,
    OperatorIntent,
    JobQueued,
    Upgrading,
    ShuttingDown,
    BootGrace,
    StartGrace,
    NotSustained,
    Patience,
    CredentialsLatched,
    StartWouldFail,
    LiveConnections,
    UnitLimitNear,
    NotCured,
    Cooldown,
    BudgetSpent,
    SelfDoubt,
    FleetSlot,
    CloudflareIncident,
    LastLook,
}

impl Hold {
    pub const ALL: [Self; 23] = [
        Self::MemoryLost,
        Self::ObserveOnly,
        Self::Paused,
        Self::OutsideWindow,
        Self::OperatorIntent,
        Self::JobQueued,
        Self::Upgrading,
        Self::ShuttingDown,
        Self::BootGrace,
        Self::StartGrace,
        Self::NotSustained,
        Self::Patience,
        Self::CredentialsLatched,
        Self::StartWouldFail,
        Self::LiveConnections,
        Self::UnitLimitNear,
        Self::NotCured,
        Self::Cooldown,
        Self::BudgetSpent,
        Self::SelfDoubt,
        Self::FleetSlot,
        Self::CloudflareIncident,
        Self::LastLook,
    ];

    /// The name, the label, and the reason in words.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::MemoryLost => (
                "MemoryLost",
                "memory_lost",
                "the state file was unreadable, so what was done before is not known",
            ),
            Self::ObserveOnly => ("ObserveOnly", "observe_only", "only watching is allowed here"),
            Self::Paused => ("Paused", "paused", "somebody paused it"),
            Self::OutsideWindow => ("OutsideWindow", "outside_window", "the window for remedies is shut"),
            Self::OperatorIntent => ("OperatorIntent", "operator_intent", "somebody wants the unit as it is"),
            Self::JobQueued => ("JobQueued", "job_queued", "systemd has a job for the unit already"),
            Self::Upgrading => {
                ("Upgrading", "upgrading", "a package manager or cloudflared-update is at work")
            }
            Self::ShuttingDown => ("ShuttingDown", "shutting_down", "the host is going down"),
            Self::BootGrace => ("BootGrace", "boot_grace", "the host has just booted"),
            Self::StartGrace => ("StartGrace", "start_grace", "the process has just started"),
            Self::NotSustained => ("NotSustained", "not_sustained", "the trouble has not lasted long enough"),
            Self::Patience => ("Patience", "patience", "cloudflared gets the time to reconnect by itself"),
            Self::CredentialsLatched => {
                ("CredentialsLatched", "credentials_latched", "Cloudflare refused these credentials")
            }
            Self::StartWouldFail => ("StartWouldFail", "start_would_fail", "a new process could not come up"),
            Self::LiveConnections => ("LiveConnections", "live_connections", "live connections would be cut"),
            Self::UnitLimitNear => {
                ("UnitLimitNear", "unit_limit_near", "the unit is near its own start limit")
            }
            Self::NotCured => ("NotCured", "not_cured", "two remedies did not cure this incident"),
            Self::Cooldown => ("Cooldown", "cooldown", "the last remedy is too recent"),
            Self::BudgetSpent => ("BudgetSpent", "budget_spent", "the budget of remedies is spent"),
            Self::SelfDoubt => ("SelfDoubt", "self_doubt", "our own senses cannot be trusted"),
            Self::FleetSlot => ("FleetSlot", "fleet_slot", "another host of the fleet is at it"),
            Self::CloudflareIncident => (
                "CloudflareIncident",
                "cloudflare_incident",
                "an incident at Cloudflare may be the cause, and a new process would meet it too",
            ),
            Self::LastLook => ("LastLook", "last_look", "everything is looked at once more before the act"),
        }
    }

    /// The name in JSON, journal and D-Bus.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// The word in labels.
    pub fn label(self) -> &'static str {
        self.words().1
    }

    /// The reason, in words.
    pub fn reason(self) -> &'static str {
        self.words().2
    }
}

/// A rail's objection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub hold: Hold,
    /// When it may lift (time since boot), where that is known.
    pub until: Option<Duration>,
    /// What exactly, where the name alone does not say.
    pub detail: Cow<'static, str>,
}

impl Held {
    pub(super) fn new(hold: Hold) -> Self {
        Self { hold, until: None, detail: Cow::Borrowed("") }
    }

    pub(super) fn until(hold: Hold, until: Duration) -> Self {
        Self { hold, until: Some(until), detail: Cow::Borrowed("") }
    }

    pub(super) fn because(hold: Hold, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { hold, until: None, detail: detail.into() }
    }
}
