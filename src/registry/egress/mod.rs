//! The only HTTP client of the daemon: what may be spoken to, and with which credentials.
//!
//! Owns the policy: https unless a host is loopback or listed as insecure, addresses checked after resolution
//! and before connecting, redirects followed by hand and bounded, credentials never carried to
//! another origin, answers bounded in time and, where they are read whole, in size.
//!
//! Addresses of this machine and of private networks are for the origin that the user named and
//! for hosts that the configuration lists; link-local and cloud metadata addresses for the latter
//! alone. Names that an environment's proxy resolves are checked by nobody but that proxy.
//!
//! It must never send anything that its caller did not ask for, and never put a path, a query or a
//! credential into a text.

mod address;
mod client;
mod error;
mod failure;
mod gate;
mod hosts;
mod pace;
mod policy;
mod proxies;
mod redirect;
mod request;
mod resolve;
#[cfg(test)]
pub(in crate::registry) mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;

pub use client::{Egress, EgressOptions};
pub use error::EgressError;
pub use gate::EgressGate;
pub use hosts::HostPort;
pub use proxies::Proxies;
pub use request::{EgressRequest, EgressResponse};
pub use resolve::Lookup;
pub(in crate::registry) use transport::MAX_CA_BYTES;
