use super::*;
use crate::client::journal::FromSystemd;
use crate::report::snapshot::{IncidentStatus, StepStatus};
use crate::warden::event::Event;
use crate::warden::machine::{Memory, Warden};
use crate::warden::policy::Policy;

const UNIT: &str = "cloudflared.service";

fn status(verdict: &str, steps: Option<&[&str]>) -> Status {
    let mut warden = Warden::new(Policy::shipped(), Memory::default());
    let now = crate::clock::now();
    drop(warden.handle(Event::Tunnel { unit: UNIT.into(), names: Vec::new() }, now));
    let about = crate::report::snapshot::About { started: Duration::ZERO, tunnels: Vec::new() };
    let mut status = Status::new(&warden, &about, now);
    let tunnel = &mut status.tunnels[0];
    tunnel.verdict = verdict.into();
    tunnel.advice = "Look at the origin.".into();
    let step =
        |what: &&str| StepStatus { at: String::new(), what: (*what).into(), detail: format!("{what}!") };
    tunnel.incident = steps.map(|steps| IncidentStatus {
        id: "cloudflared-1".into(),
        opened: String::new(),
        cause: "PlannedRestart".into(),
        steps: steps.iter().map(step).collect(),
    });
    status
}

fn ended(verdict: &str, steps: Option<&[&str]>) -> Option<(Exit, &'static str)> {
    outcome(&status(verdict, steps), UNIT, "cloudflared-1").map(|outcome| (outcome.exit, outcome.word))
}

#[test]
fn the_end_is_what_the_incident_says_after_the_request() {
    assert_eq!(ended("Down", Some(&["opened", "requested", "ordered", "done"])), None);
    assert_eq!(ended("Healthy", Some(&["requested", "ordered"])), None, "health from before proves nothing");
    // What became of an earlier remedy of the same incident is not the answer.
    assert_eq!(ended("Down", Some(&["opened", "ordered", "NotCured", "requested", "ordered"])), None);
    assert_eq!(ended("Healthy", Some(&["NotCured", "requested", "Cured"])), Some((Exit::Fine, "Cured")));
    assert_eq!(ended("Down", Some(&["requested", "NotCured"])), Some((Exit::Wrong, "NotCured")));
    assert_eq!(ended("Down", Some(&["requested", "Failed"])), Some((Exit::Wrong, "Failed")));
    assert_eq!(ended("Healthy", None), Some((Exit::Fine, "Cured")), "closed, which takes proof");
    assert_eq!(ended("Down", None), Some((Exit::Wrong, "NotCured")), "somebody stopped it meanwhile");
    let gone = outcome(&status("Healthy", None), "other.service", "cloudflared-1").unwrap();
    assert_eq!(gone.exit, Exit::Wrong);
    let not = outcome(&status("Down", Some(&["requested", "NotCured"])), UNIT, "cloudflared-1").unwrap();
    assert_eq!(not.says, "NotCured! Look at the origin.");
}

#[test]
fn lines_carry_their_meaning_and_steer_no_terminal() {
    let said = |message: &str, systemd: Option<FromSystemd>| Entry {
        realtime_us: 1_795_867_200_000_000,
        message: message.into(),
        systemd: systemd.map(Box::new),
        ..Entry::default()
    };
    let registered = "2026-11-28T12:00:00Z INF Registered tunnel connection connIndex=0 connection=a event=0 ip=198.41.192.7 location=ams01 protocol=http2";
    assert!(line(&said(registered, None), false, false).starts_with("12:00:00 registered          2026-"));
    let by_systemd =
        FromSystemd { message_id: Some("39f53479d3a045ac8e11786248231fbf".into()), ..FromSystemd::default() };
    let started = line(&said("Started cloudflared.service", Some(by_systemd)), false, false);
    assert!(started.starts_with("12:00:00 unit started "), "{started}");
    let odd = line(&said("a\u{1b}[2Jb\nc", None), false, false);
    assert_eq!(odd, "12:00:00                     a [2Jb c\n");
    let long = line(&said(&"x".repeat(500), None), false, true);
    assert!(long.len() < 240, "{}", long.len());
    let json: serde_json::Value = serde_json::from_str(&line(&said(registered, None), true, true)).unwrap();
    assert_eq!(
        (json["meaning"].as_str(), json["at"].as_str()),
        (Some("registered"), Some("2026-11-28T12:00:00.000Z"))
    );
}
