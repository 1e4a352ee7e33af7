//! The lab of tunnelwarden.
