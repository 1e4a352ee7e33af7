use super::*;

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
