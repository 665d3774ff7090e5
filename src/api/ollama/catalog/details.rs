use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;

use crate::gguf::human_count;
use crate::models::{Abilities, Portrait};

/// What a model is, in a few words.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ollama::Details)]
pub(super) struct Details {
    parent_model: &'static str,
    format: String,
    family: String,
    families: Vec<String>,
    parameter_size: String,
    quantization_level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_length: Option<u64>,
}

impl Details {
    /// The weights themselves tell; where they cannot be read, the config does.
    pub(super) fn of(portrait: &Portrait) -> Self {
        let config = &portrait.entry.config;
        let facts = portrait.facts.as_deref();
        let said = |own: Option<String>, config: &str| {
            own.filter(|text| !text.is_empty()).unwrap_or_else(|| config.to_owned())
        };
        let family = said(facts.map(|f| f.architecture.clone()), &config.architecture);
        let projector = portrait.has_projector.then(|| "clip".to_owned());
        let own = Some(family.clone()).filter(|family| !family.is_empty());
        Self {
            parent_model: "",
            format: config.format.clone(),
            families: own.into_iter().chain(projector).collect(),
            family,
            parameter_size: said(facts.map(|f| human_count(f.parameters)), &config.parameters),
            quantization_level: said(facts.map(|f| f.quantization.clone()), &config.quantization),
            context_length: facts.and_then(|facts| facts.context_length).or(config.context_size),
            embedding_length: facts.map(|f| f.shape.embedding).filter(|length| *length > 0),
        }
    }
}

/// Ollama's words for what a model is good for.
pub(super) fn capabilities(abilities: Abilities) -> Vec<&'static str> {
    let Abilities { completion, tools, insert, vision, audio, embedding, thinking } = abilities;
    [
        (completion, "completion"),
        (vision, "vision"),
        (audio, "audio"),
        (tools, "tools"),
        (insert, "insert"),
        (thinking, "thinking"),
        (embedding, "embedding"),
    ]
    .into_iter()
    .filter_map(|(can, word)| can.then_some(word))
    .collect()
}

/// A time in six decimals: older parsers take three or six of them and no others.
pub(super) fn time(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// When a model came into the store; where that is not known, when it was made.
pub(super) fn modified(portrait: &Portrait) -> SystemTime {
    let created = u64::try_from(portrait.entry.created).unwrap_or(0);
    let created = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(created));
    portrait.added.or(created).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_six_decimals() {
        let at = |nanos| time(SystemTime::UNIX_EPOCH + Duration::new(1_750_000_000, nanos));
        assert_eq!(at(0), "2025-06-15T15:06:40.000000Z");
        assert_eq!(at(123_456_789), "2025-06-15T15:06:40.123456Z");
    }

    #[test]
    fn abilities_have_ollamas_names() {
        let all = Abilities {
            completion: true,
            tools: true,
            insert: true,
            vision: true,
            audio: true,
            embedding: true,
            thinking: true,
        };
        let words = ["completion", "vision", "audio", "tools", "insert", "thinking", "embedding"];
        assert_eq!(capabilities(all), words);
        assert!(capabilities(Abilities::default()).is_empty());
    }
}
