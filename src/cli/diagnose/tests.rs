use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::client::dns::{Addresses, DnsFailure};
use crate::daemon::once::{Diagnosed, Heard};
use crate::report::snapshot::{About, AboutTunnel, Status};
use crate::warden::cause::Cause;
use crate::warden::event::Event;
use crate::warden::evidence::{
    Active, Answer, Blind, Control, EdgeSight, Exchange, Family, Finding, HostFinding, HostSight, Invocation,
    Link, NameSight, Reach, Ready, ReadySight, Transport, UnitSight,
};
use crate::warden::machine::{Memory, Warden};
use crate::warden::policy::Policy;
use crate::warden::time::Now;

const UNIT: &str = "cloudflared.service";
/// 2026-11-28T12:00:00Z
const NOW: Now = Now { boot: Duration::from_secs(5000), wall: Duration::from_secs(1_795_867_200) };

fn unit(active: Active) -> UnitSight {
    let up = active == Active::Active;
    UnitSight {
        active,
        sub: if up { "running" } else { "failed" }.into(),
        result: if up { "success" } else { "exit-code" }.into(),
        main_pid: if up { 4242 } else { 0 },
        invocation: Some(Invocation(7)),
        since: NOW.boot - Duration::from_secs(3600),
        started: Some(NOW.boot - Duration::from_secs(3600)),
        was_active: true,
        ..UnitSight::stock()
    }
}

fn edge(reach: Reach) -> HostFinding {
    let links = ["region1.v2.argotunnel.com", "region2.v2.argotunnel.com"].into_iter().flat_map(|region| {
        [Transport::Quic, Transport::Http2].map(|transport| Link {
            region: region.into(),
            transport,
            family: Family::V4,
            reach,
        })
    });
    HostFinding::Edge(Ok(EdgeSight {
        resolved: true,
        links: links.collect(),
        first: Family::V4,
        addresses: Vec::new(),
        clock_suspect: false,
    }))
}

/// A host on which these things are seen twice.
fn diagnosed(findings: &[Finding], reach: Reach, answer: Answer) -> Diagnosed {
    let mut warden = Warden::new(Policy::shipped(), Memory::default());
    let names = ["api.example.com", "app.example.com"];
    let mut tell = |event, at| drop(warden.handle(event, at));
    tell(Event::Tunnel { unit: UNIT.into(), names: names.map(str::to_owned).to_vec() }, NOW);
    for round in 0..2 {
        let now = Now {
            boot: NOW.boot + Duration::from_secs(4 * round),
            wall: NOW.wall + Duration::from_secs(4 * round),
        };
        let host = HostSight { route: true, ..HostSight::default() };
        for finding in [HostFinding::Control(Ok(Control::Answered)), edge(reach), HostFinding::Host(Ok(host))]
        {
            tell(Event::HostObserved(finding), now);
        }
        let name = |hostname: &str| Finding::Name {
            hostname: hostname.into(),
            sight: NameSight {
                answer,
                status: Some(if answer == Answer::Served { 200 } else { 530 }),
                code: (answer == Answer::TunnelError).then_some(1033),
                latency: Duration::from_millis(38),
                colo: Some("AMS".into()),
                detail: String::new(),
                exchange: Exchange::default(),
            },
        };
        for finding in findings.iter().cloned().chain(names.map(name)) {
            tell(Event::Observed { unit: UNIT.into(), finding }, now);
        }
    }
    let about = AboutTunnel {
        unit: UNIT.into(),
        name: UNIT.into(),
        version: Some("2026.8.2".into()),
        ..AboutTunnel::default()
    };
    let end = Now { boot: NOW.boot + Duration::from_secs(4), wall: NOW.wall + Duration::from_secs(4) };
    let outlooks = warden.outlook(UNIT, end).map(|outlook| (UNIT.to_owned(), outlook)).into_iter().collect();
    let status = Status::new(&warden, &About { started: NOW.wall, tunnels: vec![about] }, end);
    let cloudflares = Addresses { addresses: vec!["104.16.0.1".parse().unwrap()], ..Addresses::default() };
    Diagnosed {
        status,
        lines: [(
            UNIT.to_owned(),
            BTreeMap::from([("registered", 4), ("noise", 20), ("lost_connection", 2), ("unknown", 3)]),
        )]
        .into(),
        dns: [
            ("api.example.com".to_owned(), Ok(cloudflares)),
            ("app.example.com".to_owned(), Err(DnsFailure::TimedOut)),
        ]
        .into(),
        way_out: Some(Control::Answered),
        outlooks,
        heard: [(
            UNIT.to_owned(),
            Heard { registered: Some(NOW.wall - Duration::from_secs(600)), attempt: None },
        )]
        .into(),
        unremembered: Some("/var/lib/tunnelwarden/state.toml: Permission denied (os error 13)".into()),
        took: Duration::from_millis(4200),
    }
}

fn ready(connections: u8) -> Finding {
    Finding::Ready(Ok(ReadySight {
        ready: Ready::Connections(connections),
        connector: Some("1a2b3c4d-0000-4000-8000-000000000001".into()),
        port_of_this_life: true,
        counters: None,
    }))
}

fn report_of(diagnosed: Diagnosed) -> Report {
    let mut report = Report::new("diagnose", UNIT);
    told::write(&mut report, diagnosed, None);
    report
}

#[test]
fn a_healthy_host() {
    let seen = [Finding::Unit(Ok(unit(Active::Active))), Finding::Journal(Ok(())), ready(4)];
    let report = report_of(diagnosed(&seen, Reach::Reachable, Answer::Served));
    assert_eq!(report.exit(), Exit::Fine);
    report.golden("diagnose-healthy");
}

#[test]
fn a_blocked_edge_is_named_and_a_restart_is_advised_against() {
    let seen = [Finding::Unit(Ok(unit(Active::Active))), Finding::Journal(Ok(())), ready(0)];
    let report = report_of(diagnosed(&seen, Reach::TimedOut, Answer::TunnelError));
    assert_eq!(report.exit(), Exit::Wrong);
    assert!(report.verdict.contains("EdgeBlocked. No, a restart cannot mend this."), "{}", report.verdict);
    report.golden("diagnose-edge-blocked");
}

#[test]
fn a_failed_unit_can_be_helped_and_what_would_hold_that_is_said() {
    let seen = [
        Finding::Unit(Ok(unit(Active::Failed))),
        Finding::Journal(Ok(())),
        Finding::Ready(Err(Blind::NotFound)),
    ];
    let report = report_of(diagnosed(&seen, Reach::Reachable, Answer::TunnelError));
    assert_eq!(report.exit(), Exit::Wrong);
    report.golden("diagnose-unit-failed");
}

#[test]
fn who_may_not_read_the_journal_is_told_and_nothing_is_concluded_that_needs_it() {
    let seen = [Finding::Unit(Ok(unit(Active::Active))), Finding::Journal(Err(Blind::Forbidden)), ready(4)];
    let healthy = report_of(diagnosed(&seen, Reach::Reachable, Answer::Served));
    assert_eq!(healthy.exit(), Exit::Fine, "what visitors get is witness enough");
    assert!(format!("{:?}", healthy.sections).contains("join the group systemd-journal"));
    let unseen = [Finding::Unit(Err(Blind::Unreachable)), Finding::Journal(Err(Blind::Forbidden)), ready(4)];
    let unknown = report_of(diagnosed(&unseen, Reach::Reachable, Answer::TunnelError));
    assert_eq!(unknown.exit(), Exit::Blind);
    assert!(unknown.verdict.contains("Unknown"), "{}", unknown.verdict);
}

/// Some causes take longer than one look; who has watched for longer is believed.
#[test]
fn what_one_look_cannot_tell_the_service_may() {
    let seen = [Finding::Unit(Ok(unit(Active::Active))), Finding::Journal(Ok(())), ready(4)];
    let alone = report_of(diagnosed(&seen, Reach::Reachable, Answer::TunnelError));
    assert_eq!(alone.exit(), Exit::Blind, "{}", alone.verdict);
    assert!(format!("{:?}", alone.sections).contains("whether Cloudflare lists this host's connector"));
    assert!(alone.verdict.ends_with("Suspected: ConnectorPhantom."), "{}", alone.verdict);
    alone.golden("diagnose-suspected");
    let mut service = diagnosed(&seen, Reach::Reachable, Answer::TunnelError).status;
    service.tunnels[0].verdict = "Down".into();
    service.tunnels[0].cause = Some("ConnectorPhantom".into());
    service.tunnels[0].explanation =
        "cloudflared believes it is connected and the edge knows nothing of it.".into();
    service.tunnels[0].advice = "It is restarted within the rails.".into();
    let mut report = Report::new("diagnose", UNIT);
    told::write(&mut report, diagnosed(&seen, Reach::Reachable, Answer::TunnelError), Some(&service));
    assert_eq!(report.exit(), Exit::Wrong);
    assert!(
        report.verdict.contains("Down, ConnectorPhantom. Yes, a restart can help."),
        "{}",
        report.verdict
    );
    report.golden("diagnose-service");
}

/// Nothing is concluded sooner than the daemon would, and how much sooner is said.
#[test]
fn what_only_time_can_prove_is_suspected_with_the_time_that_it_takes() {
    let suspected = |connections: u8, reach: Reach, answer: Answer| {
        let seen = [Finding::Unit(Ok(unit(Active::Active))), Finding::Journal(Ok(())), ready(connections)];
        diagnosed(&seen, reach, answer)
            .outlooks
            .get(UNIT)
            .map(|outlook| (outlook.cause, outlook.after.as_secs()))
    };
    // Five minutes of the same where nobody knows whether this process ever served a name, four seconds of which are over.
    assert_eq!(suspected(4, Reach::Reachable, Answer::TunnelError), Some((Cause::ConnectorPhantom, 300)));
    // The patience with QUIC.
    assert_eq!(suspected(0, Reach::Reachable, Answer::TunnelError), Some((Cause::ConnectorAsleep, 45)));
    assert_eq!(suspected(4, Reach::Reachable, Answer::Served), None);
    assert_eq!(suspected(0, Reach::TimedOut, Answer::TunnelError), None, "that is certain");
    assert_eq!(suspected(4, Reach::TimedOut, Answer::TunnelError), None, "no time would help");
}

#[test]
fn a_connector_that_may_sleep_is_called_so_only_by_who_has_watched_it() {
    let seen = [Finding::Unit(Ok(unit(Active::Active))), Finding::Journal(Ok(())), ready(0)];
    let alone = report_of(diagnosed(&seen, Reach::Reachable, Answer::TunnelError));
    assert_eq!(alone.exit(), Exit::Wrong);
    assert!(alone.verdict.contains("Down, Reconnecting. Not yet"), "{}", alone.verdict);
    assert!(alone.verdict.ends_with("Suspected: ConnectorAsleep."), "{}", alone.verdict);
    assert!(
        format!("{:?}", alone.sections).contains("tunnelwarden diagnose --for 2m"),
        "{:?}",
        alone.sections
    );
    let told_by = |cause: &str, health: &str| {
        let mut service = diagnosed(&seen, Reach::Reachable, Answer::TunnelError).status;
        service.tunnels[0].verdict = health.into();
        service.tunnels[0].cause = Some(cause.into());
        let mut report = Report::new("diagnose", UNIT);
        told::write(&mut report, diagnosed(&seen, Reach::Reachable, Answer::TunnelError), Some(&service));
        report.verdict
    };
    let by_service = told_by("ConnectorAsleep", "Down");
    assert!(by_service.contains("ConnectorAsleep. Yes") && !by_service.contains("Suspected"), "{by_service}");
    let before = told_by("Healthy", "Healthy");
    assert!(before.contains("Reconnecting"), "it was healthy a moment ago: {before}");
}

#[test]
fn a_span_that_is_no_look_is_refused() {
    assert_eq!(patience("2m"), Ok(Duration::from_secs(120)));
    for wrong in ["", "2", "61m", "2 fortnights", "-3s"] {
        assert!(patience(wrong).is_err(), "{wrong}");
    }
}
