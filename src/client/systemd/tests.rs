//! Against a real system bus, by hand: `cargo test -- --ignored real_systemd` in a throw-away system with a unit
//! `cloudflared.service`.

use super::*;

use std::io::Write;
use tokio::sync::{mpsc, watch};

fn say(what: std::fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "{what}").unwrap();
}

#[tokio::test]
#[ignore = "needs a real systemd"]
async fn real_systemd() {
    let (_units_tx, units_rx) = watch::channel(vec!["cloudflared.service".to_owned()]);
    let (tx, mut rx) = mpsc::channel(64);
    let following = tokio::spawn(follow(units_rx, tx));
    let systemd = Systemd::connect().await.unwrap();
    say(format_args!("permission {:?}", systemd.permission("cloudflared.service").await));
    say(format_args!("permission for dbus {:?}", systemd.permission("dbus.service").await));
    say(format_args!("units {:?}", systemd.tunnel_units().await));
    say(format_args!("missing {:?}", systemd.unit("nothing.service").await.map(|unit| unit.load_state)));
    say(format_args!("state {:#?}", systemd.unit("cloudflared.service").await));
    say(format_args!("shutting down {:?}", systemd.shutting_down().await));
    let within = Duration::from_secs(10);
    say(format_args!("restart {:?}", systemd.restart("cloudflared.service", within).await));
    say(format_args!(
        "restart in 1 ms {:?}",
        systemd.restart("cloudflared.service", Duration::from_millis(1)).await
    ));
    tokio::time::sleep(Duration::from_secs(2)).await;
    say(format_args!("reset-failed {:?}", systemd.reset_failed("cloudflared.service").await));
    say(format_args!("terminate {:?}", systemd.terminate_main("cloudflared.service").await));
    say(format_args!("start missing {:?}", systemd.start("nothing.service", within).await));
    say(format_args!(
        "start other {:?}",
        systemd.restart("dbus-org.freedesktop.hostname1.service", within).await
    ));
    let wait: u64 = std::env::var("TUNNELWARDEN_WAIT").ok().and_then(|wait| wait.parse().ok()).unwrap_or(1);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
    while let Ok(Some(signal)) = tokio::time::timeout_at(deadline, rx.recv()).await {
        say(format_args!("signal {signal:?}"));
    }
    drop(rx);
    timeout(Duration::from_secs(5), following).await.unwrap().unwrap();
    say(format_args!(
        "after all {:?}",
        systemd.unit("cloudflared.service").await.map(|unit| unit.active_state)
    ));
}

#[tokio::test]
async fn no_bus_is_said_so() {
    // The address is read from the environment, so this only looks at the error's kind.
    let error = zbus::Error::Address("unix:path=/nonexistent".into());
    assert!(matches!(SystemdError::from(error), SystemdError::BusUnreachable(_)));
}

#[test]
fn errors_are_told_apart_by_name() {
    use zbus::fdo::Error;
    let denied = SystemdError::from(Error::AccessDenied("no".into()));
    assert!(matches!(denied, SystemdError::NotAuthorized(_)));
    let ask = SystemdError::from(Error::InteractiveAuthorizationRequired("no".into()));
    assert!(matches!(ask, SystemdError::NotAuthorized(_)));
    assert!(matches!(SystemdError::from(Error::NoReply("".into())), SystemdError::TimedOut));
    assert!(matches!(SystemdError::from(Error::ServiceUnknown("".into())), SystemdError::BusUnreachable(_)));
}

#[test]
fn command_lines_are_never_printed() {
    let exec = ExecStart::new(vec![vec!["/usr/bin/cloudflared".into(), "--token".into(), "s3cr3t".into()]]);
    assert_eq!(format!("{exec:?}"), "ExecStart([1 hidden])");
}
