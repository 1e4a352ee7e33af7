//! What the properties show, and what goes out as a signal.

use zbus::object_server::SignalEmitter;

use super::Warden1;
use crate::report::metrics::name_of;
use crate::report::snapshot::About;
use crate::warden::evidence::Ready;
use crate::warden::machine::Warden;
use crate::warden::note::{Happening, Note};
use crate::warden::time::Now;

/// What the properties show. Connections are 0 where they are not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    pub(super) mode: String,
    /// Name, verdict, cause, connections.
    pub(super) tunnels: Vec<(String, String, String, u32)>,
    /// µs since 1970; 0 = not paused.
    pub(super) paused_until: u64,
}

impl Picture {
    /// The picture of the moment.
    pub fn of(warden: &Warden, about: &About, now: Now) -> Self {
        let tunnels = warden.tunnels().map(|tunnel| {
            let ready = tunnel.evidence.ready.latest.as_ref().and_then(|(_, seen)| seen.as_ref().ok());
            let connections = match ready.map(|sight| sight.ready) {
                Some(Ready::Connections(n)) => u32::from(n),
                Some(Ready::Refused | Ready::Silent) | None => 0,
            };
            let cause = tunnel.verdict.cause.map_or("", |cause| cause.name());
            let verdict = tunnel.verdict.health.name();
            (name_of(about, &tunnel.unit).to_owned(), verdict.to_owned(), cause.to_owned(), connections)
        });
        // To the second: the two clocks drift, and a property must not change because of that.
        let paused = warden.paused().map_or(0, |pause| now.wall_of(pause.until).as_secs() * 1_000_000);
        Self {
            mode: if warden.policy().observe_only { "observe" } else { "remedy" }.into(),
            tunnels: tunnels.collect(),
            paused_until: paused,
        }
    }
}

/// What goes out as a signal.
#[derive(Clone, Debug)]
pub struct Signal {
    tunnel: String,
    incident: String,
    happening: Happening,
}

impl Signal {
    /// What of a note others may want to react to.
    pub fn of(note: &Note, tunnel: &str) -> Option<Self> {
        match &note.happening {
            Happening::IncidentOpened { .. }
            | Happening::IncidentClosed { .. }
            | Happening::RemedyOrdered { .. } => Some(Self {
                tunnel: tunnel.to_owned(),
                incident: note.incident.clone().unwrap_or_default(),
                happening: note.happening.clone(),
            }),
            Happening::CauseChanged { .. }
            | Happening::RemedyFinished { .. }
            | Happening::RemedyHeld { .. }
            | Happening::Escalated { .. }
            | Happening::SenseBlind { .. }
            | Happening::SenseSees { .. } => None,
        }
    }
}

pub(super) async fn emit(emitter: &SignalEmitter<'_>, signal: &Signal) -> zbus::Result<()> {
    let Signal { tunnel, incident, happening } = signal;
    match happening {
        Happening::IncidentOpened { cause, .. } => {
            Warden1::incident_opened(emitter, tunnel, incident, cause.name()).await
        }
        Happening::IncidentClosed { closing, .. } => {
            Warden1::incident_closed(emitter, tunnel, incident, closing.name()).await
        }
        Happening::RemedyOrdered { remedy, cause } => {
            Warden1::remedy_ordered(emitter, tunnel, remedy.name(), cause.name()).await
        }
        Happening::CauseChanged { .. }
        | Happening::RemedyFinished { .. }
        | Happening::RemedyHeld { .. }
        | Happening::Escalated { .. }
        | Happening::SenseBlind { .. }
        | Happening::SenseSees { .. } => Ok(()),
    }
}
