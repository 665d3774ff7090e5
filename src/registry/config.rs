use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Digest, ModelConfig};

use super::{Artifact, ArtifactError, Role, media};

/// The largest config that is read, in bytes.
pub const MAX_CONFIG_BYTES: usize = 8 << 20;

/// The config of a model artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What it says about the model.
    pub model: Arc<ModelConfig>,
    /// When the artifact was made, RFC 3339 in UTC; in Unix seconds, 0 where it does not say.
    pub created: i64,
    /// The inner `config` of a Docker config, as it stands: what DMR writes into bundles.
    pub runtime_json: Option<String>,
}

/// Docker's config, v0.1 and v0.2 alike.
#[derive(Serialize, Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    config: DockerModel,
    #[serde(default)]
    descriptor: DockerDescriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rootfs: Option<RootFs>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct DockerModel {
    #[serde(skip_serializing_if = "String::is_empty")]
    format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    quantization: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parameters: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    size: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    gguf: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_size: Option<i64>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct DockerDescriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// The CNCF ModelPack config.
#[derive(Deserialize, Default)]
#[serde(default)]
struct CncfConfig {
    descriptor: CncfDescriptor,
    config: CncfModel,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct CncfDescriptor {
    created_at: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct CncfModel {
    architecture: String,
    format: String,
    param_size: String,
    quantization: String,
}

impl Config {
    /// Reads the config of `artifact`, in whichever of the three forms its bytes have.
    ///
    /// # Errors
    /// [`ArtifactError::ConfigTooLarge`], [`ArtifactError::BadConfig`].
    pub fn parse(bytes: &[u8], artifact: &Artifact) -> Result<Self, ArtifactError> {
        if bytes.len() > MAX_CONFIG_BYTES {
            return Err(ArtifactError::ConfigTooLarge(bytes.len()));
        }
        let bad = |e: serde_json::Error| ArtifactError::BadConfig(e.to_string());
        let document: serde_json::Value = serde_json::from_slice(bytes).map_err(bad)?;
        if !document.is_object() {
            return Err(ArtifactError::BadConfig("it is no JSON object".to_owned()));
        }
        let (created, runtime_json, mut model) = if is_cncf(&document, artifact) {
            let cncf: CncfConfig = serde_json::from_value(document).map_err(bad)?;
            let model = ModelConfig {
                format: cncf.config.format,
                quantization: cncf.config.quantization,
                parameters: cncf.config.param_size,
                architecture: cncf.config.architecture,
                ..ModelConfig::default()
            };
            (unix_seconds(cncf.descriptor.created_at.as_deref()), None, model)
        } else {
            let runtime_json = document.get("config").map(serde_json::Value::to_string);
            let docker: DockerConfig = serde_json::from_value(document).map_err(bad)?;
            let model = ModelConfig {
                format: docker.config.format,
                quantization: docker.config.quantization,
                parameters: docker.config.parameters,
                architecture: docker.config.architecture,
                size: docker.config.size,
                gguf: docker.config.gguf,
                context_size: docker
                    .config
                    .context_size
                    .and_then(|size| u32::try_from(size).ok())
                    .filter(|size| *size > 0),
            };
            (unix_seconds(docker.descriptor.created.as_deref()), runtime_json, model)
        };
        if model.format.is_empty() && artifact.with_role(Role::Weights).next().is_some() {
            "gguf".clone_into(&mut model.format);
        }
        if model.size.is_empty() {
            model.size = crate::gguf::human_bytes(artifact.layer_bytes());
        }
        Ok(Self { model: Arc::new(model), created, runtime_json })
    }

    /// Docker's v0.1 config as bytes; the layers' digests in order.
    pub fn to_docker(model: &ModelConfig, created: &str, layers: &[Digest]) -> Vec<u8> {
        let config = DockerConfig {
            config: DockerModel {
                format: model.format.clone(),
                quantization: model.quantization.clone(),
                parameters: model.parameters.clone(),
                architecture: model.architecture.clone(),
                size: model.size.clone(),
                gguf: model.gguf.clone(),
                context_size: model.context_size.map(i64::from),
            },
            descriptor: DockerDescriptor { created: Some(created.to_owned()) },
            rootfs: Some(RootFs {
                kind: "rootfs".to_owned(),
                diff_ids: layers.iter().map(Digest::to_string).collect(),
            }),
        };
        // Maps with text keys always serialise.
        serde_json::to_vec(&config).unwrap_or_default()
    }
}

/// The media type is not always told the truth by older tools; these fields are ModelPack's alone.
pub(super) fn is_cncf(document: &serde_json::Value, artifact: &Artifact) -> bool {
    artifact.config_type == media::CONFIG_CNCF
        || document.pointer("/config/paramSize").is_some()
        || document.pointer("/descriptor/createdAt").is_some()
        || document.get("modelfs").is_some()
}

fn unix_seconds(created: Option<&str>) -> i64 {
    let parsed = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map_or(0, |timestamp| timestamp.as_second().max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn artifact(config_type: &str) -> Artifact {
        let blob = |seed: u8, kind: &str| json!({"mediaType": kind, "digest": Digest::of(&[seed]).to_string(), "size": 1_048_576});
        let manifest = json!({
            "schemaVersion": 2,
            "config": blob(0, config_type),
            "layers": [blob(1, media::GGUF)],
        });
        Artifact::parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn parse(kind: &str, document: &serde_json::Value) -> Result<Config, ArtifactError> {
        Config::parse(document.to_string().as_bytes(), &artifact(kind))
    }

    #[test]
    fn docker_configs_of_both_versions_are_read() {
        let document = json!({
            "config": {"format": "gguf", "quantization": "Q4_K_M", "parameters": "361.82M",
                "architecture": "llama", "size": "256.35MiB", "context_size": 8192,
                "gguf": {"llama.context_length": "8192"}},
            "descriptor": {"created": "2025-04-01T12:00:00.5Z"},
            "rootfs": {"type": "rootfs", "diff_ids": []},
        });
        for kind in [media::CONFIG_V1, media::CONFIG_V2] {
            let config = parse(kind, &document).unwrap();
            assert_eq!(config.created, 1_743_508_800);
            assert_eq!(config.model.quantization, "Q4_K_M");
            assert_eq!(config.model.context_size, Some(8192));
            assert_eq!(config.model.gguf["llama.context_length"], "8192");
            assert!(config.runtime_json.unwrap().contains("256.35MiB"));
        }
    }

    #[test]
    fn a_model_pack_config_is_told_by_its_type_or_its_fields() {
        let document = json!({
            "descriptor": {"createdAt": "2025-01-01T00:00:00Z", "family": "llama"},
            "modelfs": {"type": "layers", "diffIds": []},
            "config": {"architecture": "transformer", "paramSize": "8b", "quantization": "Q4"},
        });
        for kind in [media::CONFIG_CNCF, media::CONFIG_V1] {
            let config = parse(kind, &document).unwrap();
            assert_eq!((config.created, config.model.parameters.as_str()), (1_735_689_600, "8b"));
            assert_eq!(
                (config.model.format.as_str(), config.model.size.as_str()),
                ("gguf", "1.00MiB")
            );
        }
    }

    #[test]
    fn what_is_not_said_is_empty_and_nonsense_is_ignored_or_refused() {
        let config = parse(media::CONFIG_V1, &json!({})).unwrap();
        assert_eq!((config.created, config.model.context_size), (0, None));
        let strange =
            json!({"config": {"context_size": -1}, "descriptor": {"created": "yesterday"}});
        let config = parse(media::CONFIG_V1, &strange).unwrap();
        assert_eq!((config.created, config.model.context_size), (0, None));
        for bad in [json!([]), json!(7), json!({"config": 7}), json!({"config": {"gguf": [1]}})] {
            assert!(
                matches!(parse(media::CONFIG_V1, &bad), Err(ArtifactError::BadConfig(_))),
                "{bad}"
            );
        }
        let huge = vec![b' '; MAX_CONFIG_BYTES + 1];
        let error = Config::parse(&huge, &artifact(media::CONFIG_V1));
        assert!(matches!(error, Err(ArtifactError::ConfigTooLarge(_))));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let model = ModelConfig {
            format: "gguf".into(),
            size: "1.00MiB".into(),
            context_size: Some(512),
            ..ModelConfig::default()
        };
        let bytes = Config::to_docker(&model, "2025-01-01T00:00:00Z", &[Digest::of(&[1])]);
        insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap(), @r#"{"config":{"format":"gguf","size":"1.00MiB","context_size":512},"descriptor":{"created":"2025-01-01T00:00:00Z"},"rootfs":{"type":"rootfs","diff_ids":["sha256:4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"]}}"#);
        let read = Config::parse(&bytes, &artifact(media::CONFIG_V1)).unwrap();
        assert_eq!((&*read.model, read.created), (&model, 1_735_689_600));
    }
}
