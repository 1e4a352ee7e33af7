//! Probes: a question to a client → a finding. A probe never acts, and blindness is never illness.

pub mod polling;

pub mod journal;
pub mod unit;
