//! Registries: what model artifacts look like on the wire, and the only way to where they are.
//!
//! Owns the wire types of OCI model artifacts in the two forms that exist, Docker's and the CNCF
//! ModelPack, the limits that an untrusted one is held to, how one is written, the OCI protocol
//! ([`oci`]), the Hugging Face Hub ([`hub`]), [`search`], the policy for outgoing requests
//! ([`egress`]), the credentials that they carry ([`auth`]) and the signatures that models must have
//! ([`signature`]). It knows no store.

pub mod auth;
mod compose;
mod config;
pub mod egress;
mod headers;
mod host;
pub mod hub;
mod manifest;
pub mod media;
pub mod oci;
mod recompose;
mod registries;
mod remote;
pub mod search;
pub mod signature;

pub use compose::{NewArtifact, NewLayer, NewModel, compose};
pub use config::{Config, MAX_CONFIG_BYTES};
pub use host::{RegistryHost, Scope};
pub use manifest::{
    Artifact, ArtifactError, Descriptor, Layer, MAX_ADAPTERS, MAX_LAYERS, MAX_MANIFEST_BYTES, Part,
    Role, check_path,
};
pub use recompose::{Edit, Recomposed, Source, recompose};
pub use registries::{HUB, Registries};
pub use remote::{
    BlobBody, BlobSource, FetchError, OpenBlob, OutgoingModel, ProgressSink, Registry, RemoteModel,
    Retry,
};
