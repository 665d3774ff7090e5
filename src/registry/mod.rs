//! What model artifacts look like on the wire: manifests, configs and their media types.
//!
//! Owns the wire types of OCI model artifacts in the two forms that exist, Docker's and the CNCF
//! ModelPack, and the limits that an untrusted one is held to. It knows no store and no disk.

mod config;
mod manifest;
pub mod media;

pub use config::{Config, MAX_CONFIG_BYTES};
pub use manifest::{
    Artifact, ArtifactError, Descriptor, Layer, MAX_LAYERS, MAX_MANIFEST_BYTES, Role, check_path,
};
