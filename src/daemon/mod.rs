//! The composition root: puts the parts together, binds, runs, drains.
//!
//! ```text
//! Config + Parts + Shutdown ─▶ Daemon::build ─▶ Bound ─▶ Bound::run() ─▶ Outcome
//!                   everything that     accepts, serves,   drained, or told
//!                   can fail, fails     waits for the end  twice to stop
//! ```
//!
//! Everything from outside comes in as a value ([`Parts`]), so that tests use other sockets and
//! engines and many daemons fit into one process. This process makes no call into llama.cpp: that
//! is what worker processes are for.
//!
//! Who may connect is settled here (mode bits, peer credentials, loopback), what a connection may
//! do is settled in [`crate::api`]. The daemon never displaces another one that lives, never
//! removes a file that it did not make, and never calls `shutdown` on an inherited listener.

mod accept;
mod activation;
mod activity;
mod authority;
mod build;
mod connection;
mod containers;
mod door;
mod doors;
mod error;
mod exposure;
mod group;
mod idle;
#[cfg(target_os = "macos")]
mod launchd;
mod limits;
mod listen;
mod listener_control;
mod lock;
mod logging;
mod memory;
mod notify;
mod phase;
mod places;
mod registries;
mod reload;
mod run;
mod seats;
mod secured;
mod shutdown;
mod socket;
mod standby;
mod taken;
mod tcp_listeners;
#[cfg(test)]
mod testing;
mod tls;
mod unstarted;
mod wanted;

pub use activation::Inherited;
pub use authority::authority_certificate;
pub use build::{Bound, Daemon, Parts};
pub use error::DaemonError;
pub use limits::{harden, hardened, raise_descriptor_limit};
pub use listen::Address;
pub use lock::is_running_beside;
pub use logging::{Logging, start_logging};
pub use memory::give_memory_back;
pub use reload::Reload;
pub use run::Outcome;
pub use shutdown::Shutdown;
pub use standby::{Standby, hand_over};
pub use unstarted::Callers;
