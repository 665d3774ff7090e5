use std::collections::BTreeMap;

use oci_client::manifest::{OciDescriptor, OciImageManifest};

use crate::domain::{Digest, Error, ErrorKind};
use crate::gguf::ShardName;

use super::media;

/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// The most layers of one artifact.
pub const MAX_LAYERS: usize = 4096;

/// The most LoRA adapters of one model: each adds to the work of every token.
pub const MAX_ADAPTERS: usize = 16;

/// Why an artifact is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ArtifactError {
    #[error("the manifest has {0} bytes, more than {MAX_MANIFEST_BYTES}")]
    ManifestTooLarge(usize),
    #[error("the manifest is not one: {0}")]
    NotAManifest(String),
    #[error("the document is manifest and index at once (`layers` and `manifests`)")]
    ManifestAndIndex,
    #[error("the document is an index of manifests, not the manifest of a model")]
    Index,
    #[error("the manifest has schema version {0}; 2 is known")]
    SchemaVersion(u8),
    #[error("the manifest calls itself {0:?}")]
    MediaType(String),
    #[error("its config is of type {0:?}, which is no model that modeld can run")]
    ConfigType(String),
    #[error("it has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    #[error("its {what} has the size {size}")]
    BadSize { what: String, size: i64 },
    #[error("its sizes add up to more than can be counted")]
    SizeOverflow,
    #[error("its {what} has the digest {digest:?}, which is no sha256 digest")]
    BadDigest { what: String, digest: String },
    #[error("its {what} has the same digest as the config")]
    LayerIsConfig { what: String },
    #[error("its {what} belongs at {path:?}, which is not a path inside a model")]
    BadPath { what: String, path: String },
    #[error("it has no GGUF weights; models in other formats cannot be run")]
    NoWeights,
    #[error("it has {0} GGUF layers that are not the shards of one model")]
    SeveralWeights(usize),
    #[error("it has {0} {1} layers; one at most makes sense")]
    Several(usize, &'static str),
    #[error("it has {0} LoRA adapters, more than {MAX_ADAPTERS}")]
    TooManyAdapters(usize),
    #[error("its config has {0} bytes, more than {max}", max = super::MAX_CONFIG_BYTES)]
    ConfigTooLarge(usize),
    #[error("its config cannot be read: {0}")]
    BadConfig(String),
}

impl From<ArtifactError> for Error {
    fn from(error: ArtifactError) -> Self {
        let kind = match error {
            ArtifactError::ConfigType(_) | ArtifactError::NoWeights | ArtifactError::Index => {
                ErrorKind::UnsupportedModel
            }
            _ => ErrorKind::InvalidModel,
        };
        Self::new(kind, format!("the model artifact is not taken: {error}"))
    }
}

/// A checked reference to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Their digest.
    pub digest: Digest,
    /// Their length.
    pub size: u64,
}

/// What a layer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// GGUF weights.
    Weights,
    /// The multimodal projector.
    Projector,
    /// A chat template.
    ChatTemplate,
    /// A licence.
    License,
    /// A LoRA adapter, applied to the weights.
    Adapter,
    /// What a conversation begins with.
    Profile(Part),
    /// Something else that comes along.
    Other,
}

/// A part of what is stored about how to talk to a model, beside its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// [`media::OLLAMA_SYSTEM`].
    System,
    /// [`media::OLLAMA_PARAMS`].
    Parameters,
    /// [`media::OLLAMA_MESSAGES`].
    Messages,
    /// [`media::OLLAMA_TEMPLATE`].
    GoTemplate,
}

impl Part {
    /// The media type of its layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::System => media::OLLAMA_SYSTEM,
            Self::Parameters => media::OLLAMA_PARAMS,
            Self::Messages => media::OLLAMA_MESSAGES,
            Self::GoTemplate => media::OLLAMA_TEMPLATE,
        }
    }

    /// The name of its file where an artifact is one of files.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::System => "system.txt",
            Self::Parameters => "params.json",
            Self::Messages => "messages.json",
            Self::GoTemplate => "template.gotmpl",
        }
    }
}

/// A checked layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its bytes.
    pub blob: Descriptor,
    /// Its media type.
    pub media_type: String,
    /// What it is for.
    pub role: Role,
    /// Where its file belongs, relative; checked by [`check_path`].
    pub path: Option<String>,
}

/// A checked manifest of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The config.
    pub config: Descriptor,
    /// Its media type: one of the three known ones.
    pub config_type: &'static str,
    /// The layers in their order.
    pub layers: Vec<Layer>,
}

impl Artifact {
    /// Reads a manifest and holds it to the limits. Whether it can be run is
    /// [`Artifact::require_runnable`]'s question: a store may hold others.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ArtifactError::ManifestTooLarge(bytes.len()));
        }
        let keys: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(bytes)
            .map_err(|e| ArtifactError::NotAManifest(e.to_string()))?;
        match (keys.contains_key("layers"), keys.contains_key("manifests")) {
            (true, true) => return Err(ArtifactError::ManifestAndIndex),
            (false, true) => return Err(ArtifactError::Index),
            _ => {}
        }
        let manifest: OciImageManifest = serde_json::from_slice(bytes)
            .map_err(|e| ArtifactError::NotAManifest(e.to_string()))?;
        if manifest.schema_version != 2 {
            return Err(ArtifactError::SchemaVersion(manifest.schema_version));
        }
        if let Some(kind) = manifest.media_type.filter(|kind| kind != media::MANIFEST) {
            return Err(ArtifactError::MediaType(kind));
        }
        let config_type = [media::CONFIG_V1, media::CONFIG_V2, media::CONFIG_CNCF]
            .into_iter()
            .find(|known| *known == manifest.config.media_type)
            .ok_or(ArtifactError::ConfigType(manifest.config.media_type.clone()))?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ArtifactError::TooManyLayers(manifest.layers.len()));
        }
        let config = check_descriptor("config", &manifest.config)?;
        let mut total = config.size;
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for (index, descriptor) in manifest.layers.iter().enumerate() {
            let layer = check_layer(&format!("layer {index}"), descriptor)?;
            if layer.blob.digest == config.digest {
                return Err(ArtifactError::LayerIsConfig { what: format!("layer {index}") });
            }
            total = total.checked_add(layer.blob.size).ok_or(ArtifactError::SizeOverflow)?;
            layers.push(layer);
        }
        Ok(Self { config, config_type, layers })
    }

    /// The layers with one role, in order.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |layer| layer.role == role)
    }

    /// Bytes of all layers.
    pub fn layer_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob.size).fold(0, u64::saturating_add)
    }

    /// Refuses what llama.cpp has no use for. Several GGUF layers are taken for shards; whether
    /// they are, their headers tell.
    ///
    /// # Errors
    /// [`ArtifactError::NoWeights`]; where paths say that several GGUF layers are no shards,
    /// [`ArtifactError::SeveralWeights`]; two projectors or templates; too many adapters.
    pub fn require_runnable(&self) -> Result<(), ArtifactError> {
        let weights: Vec<&Layer> = self.with_role(Role::Weights).collect();
        if weights.is_empty() {
            return Err(ArtifactError::NoWeights);
        }
        let paths: Vec<&str> = weights.iter().filter_map(|layer| layer.path.as_deref()).collect();
        let are_shards = paths.len() < weights.len()
            || paths
                .iter()
                .all(|path| ShardName::of(path).is_some_and(|shard| shard.count == weights.len()));
        if weights.len() > 1 && !are_shards {
            return Err(ArtifactError::SeveralWeights(weights.len()));
        }
        for (role, name) in [(Role::Projector, "projector"), (Role::ChatTemplate, "chat template")]
        {
            let count = self.with_role(role).count();
            if count > 1 {
                return Err(ArtifactError::Several(count, name));
            }
        }
        match self.with_role(Role::Adapter).count() {
            count if count > MAX_ADAPTERS => Err(ArtifactError::TooManyAdapters(count)),
            _ => Ok(()),
        }
    }
}

/// Refuses every path that could lead out of a model's own directory.
///
/// # Errors
/// [`ArtifactError::BadPath`].
pub fn check_path(what: &str, path: &str) -> Result<(), ArtifactError> {
    let bad = path.is_empty()
        || path.len() > 1024
        || path.starts_with('/')
        || path.contains('\\')
        || path.chars().any(char::is_control)
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if bad {
        let path = path.chars().take(80).collect();
        return Err(ArtifactError::BadPath { what: what.to_owned(), path });
    }
    Ok(())
}

fn check_layer(what: &str, descriptor: &OciDescriptor) -> Result<Layer, ArtifactError> {
    let blob = check_descriptor(what, descriptor)?;
    let path = descriptor.annotations.as_ref().and_then(|map| map.get(media::FILE_PATH)).cloned();
    if let Some(path) = &path {
        check_path(what, path)?;
    }
    let role = role(&descriptor.media_type, path.as_deref().unwrap_or_default());
    Ok(Layer { blob, media_type: descriptor.media_type.clone(), role, path })
}

fn role(media_type: &str, path: &str) -> Role {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    match media_type {
        media::MMPROJ => Role::Projector,
        media::CHAT_TEMPLATE => Role::ChatTemplate,
        media::LICENSE => Role::License,
        media::LORA => Role::Adapter,
        media::OLLAMA_SYSTEM => Role::Profile(Part::System),
        media::OLLAMA_PARAMS => Role::Profile(Part::Parameters),
        media::OLLAMA_MESSAGES => Role::Profile(Part::Messages),
        media::OLLAMA_TEMPLATE => Role::Profile(Part::GoTemplate),
        media::GGUF | media::CNCF_GGUF => {
            if name.contains("mmproj") {
                Role::Projector
            } else {
                Role::Weights
            }
        }
        media::CNCF_WEIGHTS if name.ends_with(".gguf") => {
            if name.contains("mmproj") {
                Role::Projector
            } else {
                Role::Weights
            }
        }
        _ if name.ends_with(".jinja") => Role::ChatTemplate,
        _ => Role::Other,
    }
}

fn check_descriptor(what: &str, descriptor: &OciDescriptor) -> Result<Descriptor, ArtifactError> {
    let size = u64::try_from(descriptor.size)
        .map_err(|_| ArtifactError::BadSize { what: what.to_owned(), size: descriptor.size })?;
    let digest = descriptor.digest.parse().map_err(|_| ArtifactError::BadDigest {
        what: what.to_owned(),
        digest: descriptor.digest.chars().take(80).collect(),
    })?;
    Ok(Descriptor { digest, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(media_type: &str, seed: u8, size: i64) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(&[seed]).to_string(), "size": size})
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": descriptor(media::CONFIG_V1, 0, 10),
            "layers": [descriptor(media::GGUF, 1, 100), descriptor(media::LICENSE, 2, 5)],
        })
    }

    fn parse(manifest: &Value) -> Result<Artifact, ArtifactError> {
        Artifact::parse(manifest.to_string().as_bytes())
    }

    #[test]
    fn a_docker_model_is_read() {
        let artifact = parse(&manifest()).unwrap();
        assert_eq!((artifact.config.size, artifact.config_type), (10, media::CONFIG_V1));
        let roles: Vec<Role> = artifact.layers.iter().map(|layer| layer.role).collect();
        assert_eq!(roles, [Role::Weights, Role::License]);
        assert_eq!(artifact.layer_bytes(), 105);
        artifact.require_runnable().unwrap();
    }

    #[test]
    fn roles_come_from_type_and_path() {
        for (kind, path, expected) in [
            (media::GGUF, "model.gguf", Role::Weights),
            (media::GGUF, "x/MMPROJ-f16.gguf", Role::Projector),
            (media::CNCF_WEIGHTS, "a/model.gguf", Role::Weights),
            (media::CNCF_WEIGHTS, "mmproj.gguf", Role::Projector),
            (media::CNCF_WEIGHTS, "model.safetensors", Role::Other),
            (media::CNCF_GGUF, "x", Role::Weights),
            (media::LORA, "style.gguf", Role::Adapter),
            (media::OLLAMA_SYSTEM, "x.jinja", Role::Profile(Part::System)),
            (media::OLLAMA_TEMPLATE, "", Role::Profile(Part::GoTemplate)),
            ("application/vnd.docker.ai.model.file", "chat_template.jinja", Role::ChatTemplate),
            ("application/octet-stream", "model.gguf", Role::Other),
        ] {
            assert_eq!(role(kind, path), expected, "{kind} {path}");
        }
    }

    #[test]
    fn every_hostile_manifest_is_refused_by_its_own_rule() {
        let with = |pointer: &str, value: Value| {
            let mut changed = manifest();
            *changed.pointer_mut(pointer).unwrap() = value;
            changed
        };
        let path = |path: &str| {
            with("/layers/0", {
                let mut layer = descriptor(media::GGUF, 1, 1);
                layer["annotations"] = json!({media::FILE_PATH: path});
                layer
            })
        };
        let mut both = manifest();
        both["manifests"] = json!([]);
        let many = vec![descriptor(media::GGUF, 1, 1); MAX_LAYERS + 1];
        let cases = [
            ("html", json!("<html>")),
            ("null", json!(null)),
            ("no config", json!({"schemaVersion": 2, "layers": []})),
            ("layers and manifests", both),
            ("index", json!({"schemaVersion": 2, "manifests": []})),
            ("schema 1", with("/schemaVersion", json!(1))),
            (
                "docker image",
                with("/mediaType", json!("application/vnd.docker.distribution.manifest.v2+json")),
            ),
            (
                "image config",
                with("/config/mediaType", json!("application/vnd.oci.image.config.v1+json")),
            ),
            ("size -1", with("/layers/0/size", json!(-1))),
            ("size 2^63", with("/layers/0/size", json!(1u64 << 63))),
            ("sum overflow", {
                let huge = |seed| descriptor(media::GGUF, seed, i64::MAX);
                with("/layers", json!([huge(1), huge(2), huge(3)]))
            }),
            ("10^5 layers", with("/layers", json!(many))),
            ("traversing digest", with("/layers/0/digest", json!("sha256:../../x"))),
            ("sha512", with("/layers/0/digest", json!(format!("sha512:{}", "a".repeat(128))))),
            ("upper case", with("/layers/0/digest", json!(format!("sha256:{}", "A".repeat(64))))),
            ("layer is config", with("/layers/0/digest", json!(Digest::of(&[0]).to_string()))),
            ("path ..", path("../../etc/x")),
            ("absolute path", path("/etc/x")),
            ("path with NUL", path("a\0b")),
            ("path with backslash", path("..\\x")),
            ("empty path part", path("a//b")),
        ];
        let messages: Vec<String> = cases
            .iter()
            .map(|(what, document)| {
                let error = parse(document).err().unwrap_or_else(|| panic!("{what} was taken"));
                format!("{what}: {error}")
            })
            .collect();
        insta::assert_snapshot!(messages.join("\n"));
        let huge = vec![b' '; MAX_MANIFEST_BYTES + 1];
        assert!(matches!(Artifact::parse(&huge), Err(ArtifactError::ManifestTooLarge(_))));
    }

    #[test]
    fn only_one_gguf_model_can_be_run() {
        let weights = |seed: u8, path: &str| {
            let mut layer = descriptor(media::GGUF, seed, 1);
            layer["annotations"] = json!({media::FILE_PATH: path});
            layer
        };
        let check = |layers: Value| {
            let mut document = manifest();
            document["layers"] = layers;
            parse(&document).unwrap().require_runnable()
        };
        assert_eq!(check(json!([])), Err(ArtifactError::NoWeights));
        let pair = json!([weights(1, "a.gguf"), weights(2, "b.gguf")]);
        assert_eq!(check(pair), Err(ArtifactError::SeveralWeights(2)));
        let shards = |count: u8| {
            json!([
                weights(1, &format!("m-00001-of-0000{count}.gguf")),
                weights(2, &format!("m-00002-of-0000{count}.gguf")),
            ])
        };
        assert_eq!(check(shards(2)), Ok(()));
        assert_eq!(check(shards(3)), Err(ArtifactError::SeveralWeights(2)));
        let projectors = json!([
            weights(1, "a.gguf"),
            descriptor(media::MMPROJ, 2, 1),
            descriptor(media::MMPROJ, 3, 1)
        ]);
        assert_eq!(check(projectors), Err(ArtifactError::Several(2, "projector")));
    }
}
