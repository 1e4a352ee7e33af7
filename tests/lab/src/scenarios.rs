//! What must happen on a real systemd, each asserted by what an operator would see.

mod installation;
mod operators;
mod outages;
mod proof;

use anyhow::{Context as _, Result};

use self::installation::{daemon, package, polkit, secrets, watch_only};
use self::operators::{admin_restart, bad_config, operator_stop, origin_down, remote_managed, wrong_secret};
use self::outages::{
    asleep, edge_blocked, frozen, healthy, killed_mid_remedy, network_down, phantom, second_outage,
    udp_blocked, unit_failed,
};
pub(crate) use self::proof::{
    CLOSED, HELD, UNIT, cause, invocation, no_remedy, one_cure, one_cure_or_alone, seconds, tunnel,
    wait_cause, wait_healthy,
};
pub use self::proof::{FINISHED, OPENED, ORDERED, settle};
use crate::alone::{alone_asleep, alone_phantom, audited_by_api};
use crate::bad_input::{bad_input, disk_full, disk_slow, disk_stalls};
use crate::beside;
use crate::commands::{commands, followed};
use crate::host::{Lab, Parts, Wishes};
use crate::lessons;
use crate::names::{dns_elsewhere, dns_grey, dns_missing, dns_split_horizon, edge_direct};
use crate::records::{api_misrouted, api_phantom, api_unreadable, tunnel_deleted};
use crate::set_up::set_up_changes;
use crate::surfaces::{alerts, orders, rpm};
use crate::upheaval::{audits, held_by_host, journald, reboot};

/// One story.
pub struct Scenario {
    pub name: &'static str,
    pub play: fn(&Stage<'_>) -> Result<()>,
    /// Takes more than three minutes.
    pub long: bool,
}

/// Where a story plays. It boots its own lab, and keeps it for whoever wants to know why it failed.
pub struct Stage<'a> {
    pub parts: &'a Parts,
    pub lab: std::cell::RefCell<Option<Lab>>,
}

impl Stage<'_> {
    pub(crate) fn boot(&self, wishes: &Wishes) -> Result<std::cell::Ref<'_, Lab>> {
        *self.lab.borrow_mut() = Some(Lab::start(self.parts, wishes)?);
        self.running()
    }

    /// The power goes, and comes back.
    pub(crate) fn power_cut(&self) -> Result<std::cell::Ref<'_, Lab>> {
        self.lab.borrow_mut().as_mut().context("no lab")?.power_cut()?;
        self.running()
    }

    /// The machine we run on becomes the lab.
    pub(crate) fn boot_here(&self, wishes: &Wishes) -> Result<std::cell::Ref<'_, Lab>> {
        *self.lab.borrow_mut() = Some(Lab::start_here(self.parts, wishes)?);
        self.running()
    }

    /// The real cloudflared plays: how long it sleeps is its own draw.
    pub(crate) fn is_real(&self) -> bool {
        self.parts.cloudflared.is_some()
    }

    pub(crate) fn running(&self) -> Result<std::cell::Ref<'_, Lab>> {
        std::cell::Ref::filter_map(self.lab.borrow(), Option::as_ref).map_err(|_| anyhow::anyhow!("no lab"))
    }
}

/// All of them. Those that take longest begin, so that none is left to be played alone at the end.
pub const ALL: &[Scenario] = &[
    Scenario { name: "held-by-host", play: held_by_host, long: false },
    Scenario { name: "second-outage", play: second_outage, long: false },
    Scenario { name: "orders", play: orders, long: false },
    Scenario { name: "api-unreadable", play: api_unreadable, long: false },
    Scenario { name: "network-down", play: network_down, long: false },
    Scenario { name: "commands", play: commands, long: false },
    Scenario { name: "reboot", play: reboot, long: false },
    Scenario { name: "tunnel-deleted", play: tunnel_deleted, long: false },
    Scenario { name: "followed", play: followed, long: false },
    Scenario { name: "phantom", play: phantom, long: false },
    Scenario { name: "asleep", play: asleep, long: false },
    Scenario { name: "frozen", play: frozen, long: false },
    Scenario { name: "edge-blocked", play: edge_blocked, long: false },
    Scenario { name: "udp-blocked", play: udp_blocked, long: false },
    Scenario { name: "wrong-secret", play: wrong_secret, long: false },
    Scenario { name: "bad-config", play: bad_config, long: false },
    Scenario { name: "operator-stop", play: operator_stop, long: false },
    Scenario { name: "admin-restart", play: admin_restart, long: false },
    Scenario { name: "origin-down", play: origin_down, long: false },
    Scenario { name: "bad-input", play: bad_input, long: true },
    Scenario { name: "killed-mid-remedy", play: killed_mid_remedy, long: false },
    Scenario { name: "unit-failed", play: unit_failed, long: false },
    Scenario { name: "healthy", play: healthy, long: false },
    Scenario { name: "set-up-changes", play: set_up_changes, long: false },
    Scenario { name: "package", play: package, long: false },
    Scenario { name: "polkit", play: polkit, long: false },
    Scenario { name: "watch-only", play: watch_only, long: false },
    Scenario { name: "remote-managed", play: remote_managed, long: false },
    Scenario { name: "secrets", play: secrets, long: false },
    Scenario { name: "daemon", play: daemon, long: false },
    Scenario { name: "disk-full", play: disk_full, long: false },
    Scenario { name: "disk-stalls", play: disk_stalls, long: false },
    Scenario { name: "disk-slow", play: disk_slow, long: false },
    Scenario { name: "alone-phantom", play: alone_phantom, long: false },
    Scenario { name: "alone-asleep", play: alone_asleep, long: true },
    Scenario { name: "audited-by-api", play: audited_by_api, long: false },
    Scenario { name: "alerts", play: alerts, long: false },
    Scenario { name: "rpm", play: rpm, long: false },
    Scenario { name: "journald", play: journald, long: false },
    Scenario { name: "audits", play: audits, long: false },
    Scenario { name: "dns-missing", play: dns_missing, long: false },
    Scenario { name: "dns-grey", play: dns_grey, long: false },
    Scenario { name: "dns-elsewhere", play: dns_elsewhere, long: false },
    Scenario { name: "dns-split-horizon", play: dns_split_horizon, long: false },
    Scenario { name: "edge-direct", play: edge_direct, long: false },
    Scenario { name: "api-misrouted", play: api_misrouted, long: true },
    Scenario { name: "api-phantom", play: api_phantom, long: true },
    Scenario { name: "phantom-unnoticed", play: lessons::phantom_unnoticed, long: true },
    Scenario { name: "forgotten", play: lessons::forgotten, long: false },
    Scenario { name: "loss-http2", play: lessons::loss_http2, long: true },
    Scenario { name: "loss-quic", play: lessons::loss_quic, long: false },
    Scenario { name: "asleep-3min", play: lessons::asleep_3min, long: true },
    Scenario { name: "asleep-5min", play: lessons::asleep_5min, long: true },
    Scenario { name: "fallback-patient", play: lessons::fallback_patient, long: true },
    Scenario { name: "stop-asleep", play: lessons::stop_asleep, long: false },
    Scenario { name: "status-page", play: beside::status_page, long: true },
    Scenario { name: "record-elsewhere", play: beside::record_elsewhere, long: false },
    Scenario { name: "access", play: beside::access, long: false },
    Scenario { name: "observer", play: beside::observer, long: true },
    Scenario { name: "update-waits", play: beside::update_waits, long: false },
    Scenario { name: "refused-quic", play: lessons::refused_quic, long: false },
];
