//! Probes: a question to a client → a finding. A probe never acts, and blindness is never illness.

pub mod polling;

pub mod announcements;
pub mod dns;
pub mod edge;
pub mod effective;
pub mod files;
pub mod host;
pub mod journal;
pub mod observer;
pub mod public;
pub mod ready;
pub mod tunnel;
pub mod unit;
