//! What may be wrong around a daemon: one small check per file, each with a verdict and what to do.
//!
//! Owns the looking and the judging; [`crate::cli`] prints. It needs no daemon, changes nothing,
//! starts nothing (a socket of the service manager is not connected to while nobody serves it), and
//! goes on where something cannot be read, or does not answer in its time: that is a finding, too.

mod certificate;
mod cgroup;
mod clock;
mod cpu;
mod daemon;
mod descriptors;
mod disk;
mod elsewhere;
mod examine;
mod finding;
mod gpu;
mod memory;
mod paths;
mod patient;
mod port;
mod ports;
mod programs;
mod registry;
mod sandbox;
mod secrets;
mod service;
mod settings;
mod stale;
mod store;

pub use elsewhere::{Elsewhere, Told};
pub use examine::examine;
pub use finding::{Finding, Verdict, worst};
pub use patient::Patient;
pub use port::{PortHolder, port_holder};
pub use programs::{Finished, Programs, SystemPrograms};
pub use service::listening_places;
