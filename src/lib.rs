//! tunnelwarden
