//! Registries that speak the OCI distribution API (<https://github.com/opencontainers/distribution-spec>).
//!
//! Owns how a reference becomes a checked manifest and config, how ranges of blobs are asked for
//! and their answers checked, where the signatures of a model are, how a model is uploaded, and which
//! mirrors stand in for a host. It speaks through [`Access`], which authorises, and uploads through a [`Gateway`]; it never opens a
//! connection of its own, never follows `urls` of descriptors, and believes nothing that a registry
//! says about bytes which it can check itself.

mod access;
mod answer;
mod blobs;
mod document;
mod index;
mod mirrors;
mod ollama;
mod push;
mod registry;
mod resolve;
mod retry;
mod session;
mod signatures;
mod small;
mod source;
mod tags;
mod upload;

#[cfg(test)]
mod ollama_tests;
#[cfg(test)]
mod signature_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use access::{Access, Gateway, OpenGate};
pub use mirrors::{MirrorError, MirrorTable};
pub use registry::{OciOptions, OciRegistry};
