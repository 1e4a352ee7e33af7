//! A tunnel's state with the two questions that people have: can a restart help, and what is to be done?

use serde::{Deserialize, Serialize};

use super::snapshot::TunnelStatus;
use crate::warden::cause::Cause;
use crate::warden::remedy::Remedy;

/// What is known, concluded and advised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    #[serde(flatten)]
    pub tunnel: TunnelStatus,
    pub restart: Restart,
    /// The section of the runbook.
    pub runbook: Option<String>,
}

/// Whether a restart can help.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restart {
    /// `None`: too little was seen to say.
    pub helps: Option<bool>,
    /// Of what kind.
    pub remedy: Option<String>,
    /// In words.
    pub says: String,
}

impl Diagnosis {
    /// What a tunnel's state comes to.
    pub fn of(tunnel: TunnelStatus) -> Self {
        let cause = tunnel.cause.as_deref().and_then(Cause::from_name);
        let restart = restart(cause);
        let runbook = cause.filter(|cause| *cause != Cause::Healthy).map(Cause::runbook);
        Self { tunnel, restart, runbook }
    }
}

fn restart(cause: Option<Cause>) -> Restart {
    let say = |helps, remedy: Option<Remedy>, says: &str| Restart {
        helps,
        remedy: remedy.map(|remedy| remedy.name().to_owned()),
        says: says.to_owned(),
    };
    let Some(cause) = cause else {
        return say(
            None,
            None,
            "Not known: too little was seen to conclude a cause, and a guess may make it worse.",
        );
    };
    match (cause, cause.remedy()) {
        (Cause::Healthy, _) => say(Some(false), None, "Nothing to restart."),
        (Cause::Reconnecting, remedy) => say(
            Some(false),
            remedy,
            "Not yet: cloudflared is reconnecting by itself, and a restart would begin anew.",
        ),
        (Cause::QuicBlocked, remedy) => say(
            Some(false),
            remedy,
            "Hardly: only where the unit waits for cloudflared's fallback, which takes minutes.",
        ),
        (Cause::CredentialsRejected, remedy) => {
            say(Some(false), remedy, "No, before there is a newer token or credentials file; then once.")
        }
        (_, Some(remedy @ (Remedy::Restart | Remedy::SwiftRestart))) => {
            say(Some(true), Some(remedy), "Yes, a restart can help.")
        }
        (_, Some(remedy @ Remedy::Start)) => say(Some(true), Some(remedy), "The unit is to be started."),
        (_, Some(remedy @ Remedy::ResetAndStart)) => {
            say(Some(true), Some(remedy), "The unit is to be reset and started.")
        }
        (_, None) => say(Some(false), None, "No, a restart cannot mend this."),
    }
}
