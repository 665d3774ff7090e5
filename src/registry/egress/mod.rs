//! The only HTTP client of the daemon: what may be spoken to, and with which credentials.
//!
//! Owns the policy: https unless a host is listed as insecure, addresses checked after resolution
//! and before connecting, redirects followed by hand and bounded, credentials never carried to
//! another origin, answers bounded in time and, where they are read whole, in size.

mod client;
mod error;
mod request;

pub use client::{Egress, EgressOptions};
pub use error::EgressError;
pub use request::{EgressRequest, EgressResponse};
