//! What others see of us, and the door through which operators order. Nothing here decides.

pub mod snapshot;

pub mod ask;

pub mod dbus;
pub mod diagnosis;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod notify;
pub mod page;
