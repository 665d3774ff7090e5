//! The client as a whole, against servers on loopback.

mod address;
mod bodies;
mod common;
mod failures;
mod gate;
mod redirects;
