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
/// Any other file of an artifact whose layers are files.
pub const FILE: &str = "application/vnd.docker.ai.model.file";
/// A LoRA adapter in GGUF, to be applied to the weights. Neither Docker nor the CNCF has a type for
/// it, so this one is modeld's own; others see a layer that they do not know.
pub const LORA: &str = "application/vnd.modeld.lora.v1.gguf";

/// CNCF weights whose format the path tells.
pub const CNCF_WEIGHTS: &str = "application/vnd.cncf.model.weight.v1.raw";
/// CNCF weights in GGUF, as older tools wrote them.
pub const CNCF_GGUF: &str = "application/vnd.cncf.model.weight.v1.gguf";
/// CNCF: what goes with the weights, as a chat template does.
pub const CNCF_WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
/// CNCF: documents, as licences are.
pub const CNCF_DOC: &str = "application/vnd.cncf.model.doc.v1.raw";

/// Where a layer's file belongs, relative, with `/`.
pub const FILE_PATH: &str = "org.cncf.model.filepath";

/// What the media types of Ollama's layers begin with. Models in Docker's form carry the four below
/// as they are; everything else that Ollama has a type for becomes Docker's.
pub const OLLAMA_PREFIX: &str = "application/vnd.ollama.image.";
/// A system prompt, as text.
pub const OLLAMA_SYSTEM: &str = "application/vnd.ollama.image.system";
/// Sampling and runtime parameters, a JSON object.
pub const OLLAMA_PARAMS: &str = "application/vnd.ollama.image.params";
/// Messages that come before those of every conversation, a JSON array.
pub const OLLAMA_MESSAGES: &str = "application/vnd.ollama.image.messages";
/// A prompt template in Go's template language. It is kept and shown; prompts are rendered with the
/// Jinja template of the weights or of the artifact.
pub const OLLAMA_TEMPLATE: &str = "application/vnd.ollama.image.template";
