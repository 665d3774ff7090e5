//! HTTP to a daemon: over its Unix socket, or over TCP where `MODEL_RUNNER_HOST` says so.
//!
//! For the command line and for tests. It knows routes and statuses but no command; what it reads
//! it reads into wire types of its own ([`wire`]), never into those of the server, so that a
//! client keeps working with an older or newer daemon. It never starts a daemon and never retries.

mod configure;
mod connect;
mod error;
mod http;
mod lines;
mod models;
mod sse;
mod tls;
pub mod upkeep;
pub mod wire;

pub use error::ClientError;
pub use http::{Body, Client, Response};
pub use lines::Lines;
pub use sse::{Sse, SseEvent};
