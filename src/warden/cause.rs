//! The causes: their words, what can help, what to tell people.

use serde::{Deserialize, Serialize};

use super::remedy::Remedy;

/// Why a tunnel is as it is, lowest broken layer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    Healthy,
    UnitMissing,
    UnitBroken,
    OperatorStopped,
    StoppedFromOutside,
    PlannedRestart,
    ConfigInvalid,
    CredentialsUnusable,
    HostOffline,
    ClockWrong,
    EdgeBlocked,
    EdgeUnresponsive,
    QuicBlocked,
    TransportBlocked,
    TunnelDeleted,
    CredentialsRejected,
    RegistrationRefused,
    UnitRestarting,
    UnitFailed,
    ConnectorFrozen,
    StaleTransport,
    ConnectorAsleep,
    Reconnecting,
    Misrouted,
    ConnectorPhantom,
    IngressEmpty,
    OriginDown,
    PartlyConnected,
    EdgeIncident,
}

/// What a cause is called, in the two spellings that users see, and what to do about it.
struct Entry {
    cause: Cause,
    name: &'static str,
    label: &'static str,
    known_by: &'static str,
    advice: &'static str,
}

const fn entry(
    cause: Cause,
    name: &'static str,
    label: &'static str,
    known_by: &'static str,
    advice: &'static str,
) -> Entry {
    Entry { cause, name, label, known_by, advice }
}

/// In the order of the enum; a test holds that.
const ENTRIES: [Entry; 29] = [
    entry(
        Cause::Healthy,
        "Healthy",
        "healthy",
        "A connection is held and every name that says anything is served (or no name is known).",
        "Nothing to do.",
    ),
    entry(
        Cause::UnitMissing,
        "UnitMissing",
        "unit_missing",
        "systemd knows no unit of that name.",
        "Install the service (cloudflared service install) or correct the unit's name in [[tunnel]].",
    ),
    entry(
        Cause::UnitBroken,
        "UnitBroken",
        "unit_broken",
        "systemd cannot load the unit, or could not even execute it (exit status 200 to 243).",
        "Mend the unit file: systemd-analyze verify names the line; then systemctl daemon-reload.",
    ),
    entry(
        Cause::OperatorStopped,
        "OperatorStopped",
        "operator_stopped",
        "Inactive or failed after a stop job, disabled, masked, or frozen by systemctl freeze; also when the past is not known.",
        "Somebody stopped it on purpose; systemctl start brings it back.",
    ),
    entry(
        Cause::StoppedFromOutside,
        "StoppedFromOutside",
        "stopped_from_outside",
        "Was up in this boot, ended cleanly, and nobody asked systemd to stop it.",
        "A signal ended it and systemd does not mend that: systemctl start it, or set remedy.start_stopped = true.",
    ),
    entry(
        Cause::PlannedRestart,
        "PlannedRestart",
        "planned_restart",
        "A new life of the unit that is neither ours nor systemd's own, younger than 90 s, and not connected yet, or too briefly for the edge to know.",
        "Somebody restarted it; wait for it.",
    ),
    entry(
        Cause::ConfigInvalid,
        "ConfigInvalid",
        "config_invalid",
        "It ended with words about its ingress rules, its YAML, a flag or a taken metrics port.",
        "Correct cloudflared's configuration: cloudflared tunnel ingress validate names the mistake.",
    ),
    entry(
        Cause::CredentialsUnusable,
        "CredentialsUnusable",
        "credentials_unusable",
        "It ended with status 255, or with words about its token or credentials file.",
        "Put back a valid token or credentials file; cloudflared cannot read or parse the present one.",
    ),
    entry(
        Cause::HostOffline,
        "HostOffline",
        "host_offline",
        "No default route; or the control name fails while the resolver is dead or nothing on 7844 answers. No name is through.",
        "Mend this host's network or resolver; cloudflared reconnects by itself.",
    ),
    entry(
        Cause::ClockWrong,
        "ClockWrong",
        "clock_wrong",
        "Certificates are refused because of their dates, and the clock is not right.",
        "Set the clock (timedatectl, chronyc makestep); certificates are refused because of it.",
    ),
    entry(
        Cause::EdgeBlocked,
        "EdgeBlocked",
        "edge_blocked",
        "The way out works, and 7844 answers neither on TCP nor on UDP; or each attempt of cloudflared is shown another certificate than the edge's. No name is through.",
        "Allow outbound TCP and UDP to port 7844 (region1 and region2.v2.argotunnel.com) in the firewall, and exempt it from whatever breaks TLS open.",
    ),
    entry(
        Cause::EdgeUnresponsive,
        "EdgeUnresponsive",
        "edge_unresponsive",
        "7844 connects and never says anything. No name is through.",
        "Port 7844 connects and never answers: wait, or look for a proxy on the way; see cloudflarestatus.com.",
    ),
    entry(
        Cause::QuicBlocked,
        "QuicBlocked",
        "quic_blocked",
        "No connection, the connector uses QUIC, UDP 7844 is dead and TCP 7844 is fine.",
        "Allow outbound UDP to port 7844, or add a drop-in to the unit with Environment=TUNNEL_TRANSPORT_PROTOCOL=http2 \
         (or TimeoutStartSec=300, so that cloudflared can fall back by itself).",
    ),
    entry(
        Cause::TransportBlocked,
        "TransportBlocked",
        "transport_blocked",
        "No connection, the connector is set to http2, TCP 7844 is dead and UDP 7844 is fine.",
        "Allow outbound TCP to port 7844, or take away protocol: http2 so that cloudflared may use QUIC.",
    ),
    entry(
        Cause::TunnelDeleted,
        "TunnelDeleted",
        "tunnel_deleted",
        "The API says that the tunnel is deleted.",
        "The tunnel was deleted at Cloudflare: make a new one and route the names to it.",
    ),
    entry(
        Cause::CredentialsRejected,
        "CredentialsRejected",
        "credentials_rejected",
        "The edge said \"Unauthorized\" (http2), or registrations were refused for 5 min while our dial worked (QUIC).",
        "Cloudflare refuses these credentials: install the tunnel's present token or credentials file.",
    ),
    entry(
        Cause::RegistrationRefused,
        "RegistrationRefused",
        "registration_refused",
        "A registration was refused for another reason, or left unanswered, less than 2 min ago, or at the last try.",
        "The edge refuses registrations for now and cloudflared keeps trying; if it lasts, check token and tunnel.",
    ),
    entry(
        Cause::UnitRestarting,
        "UnitRestarting",
        "unit_restarting",
        "systemd is bringing it up again, or its start has a limit and runs.",
        "systemd is restarting it; journalctl -u tells why it ended.",
    ),
    entry(
        Cause::UnitFailed,
        "UnitFailed",
        "unit_failed",
        "The unit is failed or hit its start limit, and nothing above explains it.",
        "systemd has given up on it; it is reset and started within the rails.",
    ),
    entry(
        Cause::ConnectorFrozen,
        "ConnectorFrozen",
        "connector_frozen",
        "The unit is up, its own port accepts and stays silent three times, and no name is through.",
        "The process hangs; it is restarted within the rails. If it comes back, look for memory pressure or SIGSTOP.",
    ),
    entry(
        Cause::StaleTransport,
        "StaleTransport",
        "stale_transport",
        "No connection: it fell back to http2, TCP 7844 is dead now and UDP would work; or its dials go to addresses that the edge's names no longer give.",
        "cloudflared clings to a transport or addresses that are dead; it is restarted within the rails.",
    ),
    entry(
        Cause::ConnectorAsleep,
        "ConnectorAsleep",
        "connector_asleep",
        "No connection for longer than patience while our own dial works, and no attempt in the last 15 s.",
        "cloudflared sleeps in a silent back-off although the edge answers; it is restarted within the rails.",
    ),
    entry(
        Cause::Reconnecting,
        "Reconnecting",
        "reconnecting",
        "No connection, and cloudflared still gets the time it usually needs.",
        "cloudflared is reconnecting by itself; it gets the time it usually needs.",
    ),
    entry(
        Cause::Misrouted,
        "Misrouted",
        "misrouted",
        "Connections are held, and only some names give 1033, or none was ever through, or requests still arrive, or names come and go; or DNS or the record of a name leads elsewhere or is missing, in two looks.",
        "Check the DNS record of each failing name: it must be a proxied CNAME to <this tunnel's id>.cfargotunnel.com; a name that nobody is to reach does not belong into the ingress. If names come and go, look at the tunnel's other connectors.",
    ),
    entry(
        Cause::ConnectorPhantom,
        "ConnectorPhantom",
        "connector_phantom",
        "Connections are held, every name gave 1033 twice, our dial works, names were through before, and requests do not arrive, or not any more.",
        "cloudflared believes in connections that the edge has lost; it is restarted within the rails.",
    ),
    entry(
        Cause::IngressEmpty,
        "IngressEmpty",
        "ingress_empty",
        "Connections are held, every name gives 503, and cloudflared's journal says that it has no ingress rules.",
        "It has no rules: look at the tunnel's public hostnames. Where Cloudflare's records have rules that did not arrive, it is restarted once.",
    ),
    entry(
        Cause::OriginDown,
        "OriginDown",
        "origin_down",
        "The tunnel answers for an origin that does not, and cloudflared's journal or its count of request errors says so; or a name answers other than [[tunnel.probe]] expects.",
        "The tunnel works and the service behind it does not answer: look at the origin, not at cloudflared.",
    ),
    entry(
        Cause::PartlyConnected,
        "PartlyConnected",
        "partly_connected",
        "Fewer connections than it is set to hold, and not none, for more than 5 min.",
        "Fewer connections than usual; visitors are served. Look at the network if it lasts.",
    ),
    entry(
        Cause::EdgeIncident,
        "EdgeIncident",
        "edge_incident",
        "Connections are held, our dial works, and names still get errors that are not the origin's, or a prober elsewhere is served what errs here.",
        "Everything on this host is right and Cloudflare's side errs: see cloudflarestatus.com.",
    ),
];

impl Cause {
    /// All causes, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(|entry| entry.cause)
    }

    fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }

    /// `ConnectorPhantom`: in JSON, journal and D-Bus.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// `connector_phantom`: in labels.
    pub fn label(self) -> &'static str {
        self.entry().label
    }

    /// What it is known by, in a sentence.
    pub fn known_by(self) -> &'static str {
        self.entry().known_by
    }

    /// Where the runbook has more to say.
    pub fn runbook(self) -> String {
        format!("/usr/share/doc/tunnelwarden/runbook.md#{}", self.name().to_lowercase())
    }

    /// What to do, in a sentence.
    pub fn advice(self) -> &'static str {
        self.entry().advice
    }

    /// The cause of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|cause| cause.name() == name)
    }

    /// The remedy that can help, if any. A restart cannot mend the network.
    pub fn remedy(self) -> Option<Remedy> {
        match self {
            Self::UnitFailed => Some(Remedy::ResetAndStart),
            Self::StoppedFromOutside => Some(Remedy::Start),
            Self::ConnectorFrozen | Self::ConnectorAsleep | Self::Reconnecting => Some(Remedy::SwiftRestart),
            Self::ConnectorPhantom | Self::StaleTransport | Self::IngressEmpty => Some(Remedy::Restart),
            // Helps only a connector that knew QUIC and whose unit waits for the fallback; only after a newer
            // file. The rails LiveConnections, StartWouldFail and CredentialsLatched hold every other case.
            Self::QuicBlocked | Self::CredentialsRejected => Some(Remedy::Restart),
            Self::Healthy
            | Self::UnitMissing
            | Self::UnitBroken
            | Self::OperatorStopped
            | Self::PlannedRestart
            | Self::ConfigInvalid
            | Self::CredentialsUnusable
            | Self::HostOffline
            | Self::ClockWrong
            | Self::EdgeBlocked
            | Self::EdgeUnresponsive
            | Self::TransportBlocked
            | Self::TunnelDeleted
            | Self::RegistrationRefused
            | Self::UnitRestarting
            | Self::Misrouted
            | Self::OriginDown
            | Self::PartlyConnected
            | Self::EdgeIncident => None,
        }
    }

    /// Trouble that people should hear of; somebody's own doing is not.
    pub fn is_incident(self) -> bool {
        match self {
            Self::Healthy | Self::OperatorStopped | Self::PlannedRestart => false,
            Self::UnitMissing
            | Self::UnitBroken
            | Self::StoppedFromOutside
            | Self::ConfigInvalid
            | Self::CredentialsUnusable
            | Self::HostOffline
            | Self::ClockWrong
            | Self::EdgeBlocked
            | Self::EdgeUnresponsive
            | Self::QuicBlocked
            | Self::TransportBlocked
            | Self::TunnelDeleted
            | Self::CredentialsRejected
            | Self::RegistrationRefused
            | Self::UnitRestarting
            | Self::UnitFailed
            | Self::ConnectorFrozen
            | Self::StaleTransport
            | Self::ConnectorAsleep
            | Self::Reconnecting
            | Self::Misrouted
            | Self::ConnectorPhantom
            | Self::IngressEmpty
            | Self::OriginDown
            | Self::PartlyConnected
            | Self::EdgeIncident => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (place, cause) in Cause::all().enumerate() {
            assert_eq!(place, cause as usize, "{}", cause.name());
        }
    }
}
