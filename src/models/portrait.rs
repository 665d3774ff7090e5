use std::sync::Arc;
use std::time::SystemTime;

use crate::domain::{ModelEntry, ModelRef, Result};
use crate::gguf::{Facts, Header, Value, read_header};
use crate::registry::{Artifact, Layer, Role};
use crate::store::{Store, StoredModel};

use super::Models;
use super::catalog::Inner;
use super::ollama_layers::OllamaLayers;

/// The longest template or licence that is read.
const MAX_TEXT: u64 = 4 << 20;

/// What there is to say about a model without running it.
#[derive(Debug, Clone)]
pub struct Portrait {
    /// What lists show of it.
    pub entry: ModelEntry,
    /// Bytes of all its layers.
    pub bytes: u64,
    /// When it came into the store.
    pub added: Option<SystemTime>,
    /// What its weights say; `None` where they cannot be read, or are none for llama.cpp.
    pub facts: Option<Arc<Facts>>,
    /// The chat template that it is run with; empty if it has none.
    pub template: String,
    /// What it is good for.
    pub abilities: Abilities,
    /// It sees or hears by a projector.
    pub has_projector: bool,
    /// What it says in Ollama's layers.
    pub ollama: OllamaLayers,
}

/// What a model is good for, as far as its files tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It continues texts.
    pub completion: bool,
    /// Its template knows tools. Others can be given some all the same.
    pub tools: bool,
    /// It fills gaps, and says so in its metadata.
    pub insert: bool,
    /// It takes images.
    pub vision: bool,
    /// It takes sounds.
    pub audio: bool,
    /// It makes vectors.
    pub embedding: bool,
    /// Its template knows thoughts.
    pub thinking: bool,
}

/// A portrait with the headers of the files and the texts beside them.
#[derive(Debug, Clone)]
pub struct Headers {
    /// The rest.
    pub portrait: Portrait,
    /// Of the weights, the first shard first.
    pub weights: Vec<Header>,
    /// Of the projector.
    pub projector: Option<Header>,
    /// The texts of its licences.
    pub licenses: Vec<String>,
}

impl Models {
    /// What there is to say about a model.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn portrait(&self, model: &str) -> Result<Portrait> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let found = inner.store.find(&model)?;
            Ok(inner.portrait(&found.model))
        })
        .await
    }

    /// The same of all models, in the order in which they came.
    ///
    /// # Errors
    /// `Internal` where the index cannot be read.
    pub async fn portraits(&self) -> Result<Vec<Portrait>> {
        self.blocking(|inner| {
            Ok(inner.store.list()?.iter().map(|model| inner.portrait(model)).collect())
        })
        .await
    }

    /// What there is to say about a model, with the headers of its files, which are read for it.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `InvalidModel` where a header cannot be read.
    pub async fn headers(&self, model: &str) -> Result<Headers> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let store = &inner.store;
            let found = store.find(&model)?;
            let card = inner.cards.get(store, &found.model.id)?;
            let header = |layer: &Layer| read(store, layer);
            let weights =
                card.artifact.with_role(Role::Weights).map(header).collect::<Result<_>>()?;
            let projector = card.artifact.with_role(Role::Projector).next().map(header);
            let licenses = card.artifact.with_role(Role::License);
            let licenses = licenses.filter_map(|layer| text(store, layer)).collect();
            let portrait = inner.portrait(&found.model);
            Ok(Headers { portrait, weights, projector: projector.transpose()?, licenses })
        })
        .await
    }
}

impl Inner {
    fn portrait(&self, model: &StoredModel) -> Portrait {
        let entry = self.cards.entry(&self.store, model);
        let added = self.store.added(&model.id);
        // The entry has told the log why it cannot be read.
        let Ok(card) = self.cards.get(&self.store, &model.id) else {
            return Portrait {
                entry,
                bytes: 0,
                added,
                facts: None,
                template: String::new(),
                abilities: Abilities::default(),
                has_projector: false,
                ollama: OllamaLayers::default(),
            };
        };
        let artifact = &card.artifact;
        let runnable = artifact.require_runnable().is_ok();
        let facts = runnable.then(|| self.facts(&model.id, artifact).ok()).flatten();
        let packaged = artifact.with_role(Role::ChatTemplate).next();
        let own = || facts.as_ref().map(|facts| facts.chat_template.clone());
        let template =
            packaged.and_then(|layer| text(&self.store, layer)).or_else(own).unwrap_or_default();
        let senses = senses(&self.store, artifact);
        Portrait {
            abilities: facts
                .as_deref()
                .map(|facts| Abilities::of(facts, &template, senses))
                .unwrap_or_default(),
            has_projector: artifact.with_role(Role::Projector).next().is_some(),
            ollama: OllamaLayers::read(&self.store, artifact),
            bytes: artifact.layer_bytes(),
            entry,
            added,
            facts,
            template,
        }
    }
}

impl Portrait {
    /// What people call each of its tags; `all` are the tags that there are. A model without any
    /// goes by the beginning of its id.
    pub fn names(&self, all: &[Portrait]) -> Vec<String> {
        let is_taken = |tag: &str| all.iter().any(|p| p.entry.tags.iter().any(|held| held == tag));
        let names: Vec<String> =
            self.entry.tags.iter().map(|tag| ModelRef::short(tag, is_taken)).collect();
        if names.is_empty() { vec![self.entry.id.short()] } else { names }
    }
}

impl Abilities {
    /// `senses`: whether its projector takes images, and sounds.
    fn of(facts: &Facts, template: &str, senses: (bool, bool)) -> Self {
        if facts.is_reranker {
            return Self::default();
        }
        if facts.is_embedder {
            return Self { embedding: true, ..Self::default() };
        }
        let template = template.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| template.contains(word));
        let fills = |key: &str| facts.metadata.contains_key(&format!("tokenizer.ggml.{key}"));
        Self {
            completion: true,
            tools: says(&["tools"]),
            insert: fills("fim_mid_token_id") || fills("middle_token_id"),
            vision: senses.0,
            audio: senses.1,
            embedding: false,
            thinking: says(&["think", "reasoning", "<|channel|>"]),
        }
    }
}

fn senses(store: &Store, artifact: &Artifact) -> (bool, bool) {
    let Some(layer) = artifact.with_role(Role::Projector).next() else { return (false, false) };
    let Ok(header) = read(store, layer) else { return (false, false) };
    let says = |key: &str| header.get(key).map(|value| matches!(value, Value::Bool(true)));
    let audio = says("clip.has_audio_encoder").unwrap_or(false);
    (says("clip.has_vision_encoder").unwrap_or(!audio), audio)
}

fn read(store: &Store, layer: &Layer) -> Result<Header> {
    Ok(read_header(store.open_blob(&layer.blob.digest)?, layer.blob.size)?)
}

fn text(store: &Store, layer: &Layer) -> Option<String> {
    let bytes = store.read_blob(&layer.blob.digest, MAX_TEXT).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::testing::Writer;

    fn abilities(gguf: &Writer, template: &str) -> Abilities {
        let bytes = gguf.build();
        let header = read_header(bytes.as_slice(), bytes.len() as u64).expect("a header");
        Abilities::of(&Facts::of(&header).expect("facts"), template, (false, false))
    }

    #[test]
    fn a_template_tells_of_tools_and_thoughts() {
        let plain = Abilities { completion: true, ..Abilities::default() };
        assert_eq!(abilities(&Writer::tiny(), "{{ messages }}"), plain);
        assert_eq!(abilities(&Writer::tiny(), ""), plain);
        let tools = abilities(&Writer::tiny(), "{% if tools %}");
        assert_eq!(tools, Abilities { tools: true, ..plain });
        for template in ["<think>", "enable_thinking", "reasoning_effort", "<|channel|>", "[THINK]"]
        {
            let thinking = abilities(&Writer::tiny(), template);
            assert_eq!(thinking, Abilities { thinking: true, ..plain }, "{template}");
        }
    }

    #[test]
    fn the_metadata_tells_of_gaps_and_vectors() {
        let fills = Writer::tiny().u32("tokenizer.ggml.fim_mid_token_id", 2);
        assert!(abilities(&fills, "").insert);
        let embeds = Writer::tiny().u32("llama.pooling_type", 1);
        let expected = Abilities { embedding: true, ..Abilities::default() };
        assert_eq!(abilities(&embeds, "tools think"), expected);
        let ranks = Writer::tiny().u32("llama.pooling_type", 4);
        assert_eq!(abilities(&ranks, ""), Abilities::default());
    }
}
