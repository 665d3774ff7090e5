//! What the tests stand on: a daemon, a client, models, and a way to say what was skipped.

pub mod daemon;
pub mod fake_registry;
pub mod gguf;
pub mod hostile;
pub mod http;
#[allow(dead_code, reason = "the unit tests of the Hub's client use the rest of it")]
pub mod hub;
pub mod journal;
pub mod layout;
pub mod minilm;
pub mod models;
pub mod projector;
pub mod pulling;
pub mod registry;
pub mod worker;

mod skip;

pub use daemon::{Daemon, wait_until};
pub use skip::{from_env, is_long, skip};
