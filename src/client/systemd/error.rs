//! What can go wrong, by the names D-Bus gives its errors.

use zbus::DBusError;

/// Why a call to systemd failed.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// No bus, the bus went away, or systemd is not on it.
    #[error("the system bus cannot be reached")]
    BusUnreachable(#[source] zbus::Error),
    /// polkit (or the bus) said no.
    #[error("not authorized")]
    NotAuthorized(#[source] zbus::Error),
    #[error("no such unit")]
    NoSuchUnit(#[source] zbus::Error),
    #[error("the unit is masked")]
    UnitMasked(#[source] zbus::Error),
    /// There is no such job (any more).
    #[error("no such job")]
    NoSuchJob(#[source] zbus::Error),
    /// There is no process to send a signal to.
    #[error("no such process")]
    NoSuchProcess(#[source] zbus::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("systemd answered with an error")]
    Other(#[source] zbus::Error),
}

impl From<zbus::Error> for SystemdError {
    fn from(error: zbus::Error) -> Self {
        if let zbus::Error::MethodError(name, ..) = &error {
            let name = name.to_string();
            Self::from_name(&name, error)
        } else if let zbus::Error::FDO(standard) = &error {
            let name = standard.name().to_string();
            Self::from_name(&name, error)
        } else if let zbus::Error::InputOutput(cause) = &error {
            match cause.kind() == std::io::ErrorKind::TimedOut {
                true => Self::TimedOut,
                false => Self::BusUnreachable(error),
            }
        } else if matches!(
            error,
            zbus::Error::Connection(..) | zbus::Error::Handshake(_) | zbus::Error::Address(_)
        ) {
            Self::BusUnreachable(error)
        } else {
            Self::Other(error)
        }
    }
}

impl From<zbus::fdo::Error> for SystemdError {
    fn from(error: zbus::fdo::Error) -> Self {
        if let zbus::fdo::Error::ZBus(error) = error {
            return error.into();
        }
        zbus::Error::from(error).into()
    }
}

impl SystemdError {
    fn from_name(name: &str, error: zbus::Error) -> Self {
        match name {
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.AuthFailed"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
            | "org.freedesktop.PolicyKit1.Error.NotAuthorized" => Self::NotAuthorized(error),
            "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.systemd1.LoadFailed" => {
                Self::NoSuchUnit(error)
            }
            "org.freedesktop.systemd1.UnitMasked" => Self::UnitMasked(error),
            "org.freedesktop.systemd1.NoSuchJob" | "org.freedesktop.DBus.Error.UnknownObject" => {
                Self::NoSuchJob(error)
            }
            "org.freedesktop.systemd1.NoSuchProcess" | "org.freedesktop.DBus.Error.UnixProcessIdUnknown" => {
                Self::NoSuchProcess(error)
            }
            "org.freedesktop.DBus.Error.Timeout"
            | "org.freedesktop.DBus.Error.TimedOut"
            | "org.freedesktop.DBus.Error.NoReply" => Self::TimedOut,
            "org.freedesktop.DBus.Error.Disconnected"
            | "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner"
            | "org.freedesktop.DBus.Error.NoServer" => Self::BusUnreachable(error),
            _ => Self::Other(error),
        }
    }
}
