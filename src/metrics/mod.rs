//! What the daemon counts and measures, and its text for Prometheus.
//!
//! One [`Metrics`] value is made by the daemon and passed by hand to whatever counts; there is no
//! global one, so that many daemons fit into one process. A value that is [`Metrics::off`] counts
//! nothing and costs a branch.
//!
//! No label ever holds what a client made up without a bound: routes are templates, models are names
//! of the store and at most [`MAX_MODELS`] of them. Nothing here holds a word of a prompt.

mod generation;
mod labels;
mod loads;
mod now;
mod registry;
mod series;

pub use generation::GenerationMeter;
pub use labels::MAX_MODELS;
pub use loads::LoadMeter;
pub use now::{ModelNow, Now};
pub use registry::{ByteMeter, Metrics};
