use serde::Deserialize;
use serde_json::{Map, Value};

use crate::registry::Artifact;
use crate::registry::media::{
    OLLAMA_MESSAGES as MESSAGES, OLLAMA_PARAMS as PARAMS, OLLAMA_SYSTEM as SYSTEM,
    OLLAMA_TEMPLATE as TEMPLATE,
};
use crate::store::Store;

/// More than any of them has.
const MAX_BYTES: u64 = 4 << 20;

/// What a model says about its use in Ollama's own layers, in their order. A model without such
/// layers says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OllamaLayers {
    /// Instructions for conversations that bring none.
    pub system: Option<String>,
    /// A template in Go's language, which is shown and never run.
    pub template: Option<String>,
    /// Options for requests that do not set them.
    pub parameters: Map<String, Value>,
    /// What comes before each conversation.
    pub messages: Vec<StoredMessage>,
}

/// A message that a model brings along.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl OllamaLayers {
    /// Reads them. What cannot be read counts as not there, and the log says so: it is no reason to
    /// refuse the model.
    pub(super) fn read(store: &Store, artifact: &Artifact) -> Self {
        let mut all = Self::default();
        for layer in &artifact.layers {
            let kind = layer.media_type.as_str();
            if ![SYSTEM, TEMPLATE, PARAMS, MESSAGES].contains(&kind) {
                continue;
            }
            let taken = store
                .read_blob(&layer.blob.digest, MAX_BYTES)
                .map_err(|error| error.to_string())
                .and_then(|bytes| all.take(kind, &bytes));
            if let Err(error) = taken {
                tracing::warn!(digest = %layer.blob.digest, kind, error, "a layer cannot be read");
            }
        }
        all
    }

    fn take(&mut self, kind: &str, bytes: &[u8]) -> Result<(), String> {
        let no_json = |error: serde_json::Error| error.to_string();
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match kind {
            SYSTEM => self.system = Some(text()),
            TEMPLATE => self.template = Some(text()),
            PARAMS => {
                let parameters: Map<String, Value> =
                    serde_json::from_slice(bytes).map_err(no_json)?;
                self.parameters.extend(parameters);
            }
            _ => self.messages = serde_json::from_slice(bytes).map_err(no_json)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_read_in_its_own_form() {
        let mut layers = OllamaLayers::default();
        for (kind, bytes) in [
            (SYSTEM, "Be brief."),
            (TEMPLATE, "{{ .Prompt }}"),
            (PARAMS, r#"{"stop":["<|end|>"],"temperature":0.2}"#),
            (MESSAGES, r#"[{"role":"user","content":"Hi"}]"#),
        ] {
            assert_eq!(layers.take(kind, bytes.as_bytes()), Ok(()), "{kind}");
        }
        assert_eq!(layers.system.as_deref(), Some("Be brief."));
        assert_eq!(layers.template.as_deref(), Some("{{ .Prompt }}"));
        assert_eq!(layers.parameters["temperature"], 0.2);
        let message = StoredMessage { role: "user".into(), content: "Hi".into() };
        assert_eq!(layers.messages, [message]);
        assert!(layers.take(PARAMS, b"[]").is_err() && layers.take(MESSAGES, b"{}").is_err());
    }
}
