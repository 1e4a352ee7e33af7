//! What others see of us; reads, never steers.

pub mod snapshot;

pub mod http;
pub mod journal;
pub mod metrics;
pub mod notify;
pub mod page;
