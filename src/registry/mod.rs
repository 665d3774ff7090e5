//! Registries: what model artifacts look like on the wire, and the only way to where they are.
//!
//! Owns the wire types of OCI model artifacts in the two forms that exist, Docker's and the CNCF
//! ModelPack, the limits that an untrusted one is held to, the policy for outgoing requests
//! ([`egress`]) and the credentials that they carry ([`auth`]). It knows no store.

pub mod auth;
mod config;
pub mod egress;
mod host;
mod manifest;
pub mod media;
mod remote;

pub use config::{Config, MAX_CONFIG_BYTES};
pub use host::{RegistryHost, Scope};
pub use manifest::{
    Artifact, ArtifactError, Descriptor, Layer, MAX_LAYERS, MAX_MANIFEST_BYTES, Role, check_path,
};
pub use remote::{
    BlobBody, BlobSource, FetchError, OutgoingModel, ProgressSink, Registry, RemoteModel, Retry,
};
