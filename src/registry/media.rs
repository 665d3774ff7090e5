//! Media types and annotation keys of model artifacts.

/// The OCI image manifest.
pub use oci_client::manifest::OCI_IMAGE_MEDIA_TYPE as MANIFEST;

/// Docker's config, where layers are known by their type alone.
pub const CONFIG_V1: &str = "application/vnd.docker.ai.model.config.v0.1+json";
/// Docker's config, where each layer is a file with a path.
pub const CONFIG_V2: &str = "application/vnd.docker.ai.model.config.v0.2+json";
/// The CNCF ModelPack config.
pub const CONFIG_CNCF: &str = "application/vnd.cncf.model.config.v1+json";

/// GGUF weights, one layer for each shard.
pub const GGUF: &str = "application/vnd.docker.ai.gguf.v3";
/// A multimodal projector in GGUF.
pub const MMPROJ: &str = "application/vnd.docker.ai.mmproj";
/// A chat template that replaces the one in the weights.
pub const CHAT_TEMPLATE: &str = "application/vnd.docker.ai.chat.template.jinja";
/// A licence text.
pub const LICENSE: &str = "application/vnd.docker.ai.license";

/// CNCF weights whose format the path tells.
pub const CNCF_WEIGHTS: &str = "application/vnd.cncf.model.weight.v1.raw";
/// CNCF weights in GGUF, as older tools wrote them.
pub const CNCF_GGUF: &str = "application/vnd.cncf.model.weight.v1.gguf";

/// Where a layer's file belongs, relative, with `/`.
pub const FILE_PATH: &str = "org.cncf.model.filepath";
