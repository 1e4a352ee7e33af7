//! The stand-ins against each other, over real sockets.

mod outages;
mod process;
mod registration;
mod support;
mod traffic;
