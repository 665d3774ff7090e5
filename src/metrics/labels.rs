use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Different models that have series of their own; the others share one called `other`.
pub const MAX_MODELS: usize = 64;

const OTHER: &str = "other";

/// Names of models, as labels: a bounded number of them, first come, first served.
#[derive(Default)]
pub(super) struct ModelLabels {
    known: Mutex<HashSet<String>>,
}

impl ModelLabels {
    /// The label of a model.
    pub(super) fn of<'a>(&self, name: &'a str) -> &'a str {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return name;
        }
        if known.len() >= MAX_MODELS {
            return OTHER;
        }
        known.insert(name.to_owned());
        name
    }

    /// Every label that was given.
    pub(super) fn all(&self) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let other = (known.len() >= MAX_MODELS).then(|| OTHER.to_owned());
        known.iter().cloned().chain(other).collect()
    }
}

/// Whose API a route is, by its template.
pub(super) fn dialect_of(template: &str) -> &'static str {
    let route = template.strip_prefix("/engines").unwrap_or(template);
    let route = route.strip_prefix("/{backend}").unwrap_or(route);
    let named = |names: &[&str]| {
        let route = route.strip_prefix("/v1").unwrap_or(route);
        let first = route.split('/').nth(1).unwrap_or_default();
        names.contains(&first)
    };
    if template.starts_with("/api/") || template == "/api" {
        "ollama"
    } else if template.starts_with("/anthropic") || named(&["messages"]) {
        "anthropic"
    } else if named(&["responses"]) {
        "responses"
    } else if route.starts_with("/v1/")
        || route.starts_with("/v2/")
        || named(&["rerank", "score", "tokenize", "detokenize"])
    {
        "openai"
    } else {
        "native"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_dialect() {
        for (template, dialect) in [
            ("/v1/chat/completions", "openai"),
            ("/engines/v1/embeddings", "openai"),
            ("/engines/{backend}/v1/models/{*model}", "openai"),
            ("/rerank", "openai"),
            ("/engines/{backend}/score", "openai"),
            ("/v2/rerank", "openai"),
            ("/responses", "responses"),
            ("/engines/{backend}/v1/responses/{response_id}", "responses"),
            ("/v1/messages", "anthropic"),
            ("/engines/v1/messages/count_tokens", "anthropic"),
            ("/anthropic/v1/models", "anthropic"),
            ("/api/chat", "ollama"),
            ("/models/{*model}", "native"),
            ("/engines/ps", "native"),
            ("/", "native"),
            ("none", "native"),
        ] {
            assert_eq!(dialect_of(template), dialect, "{template}");
        }
    }

    #[test]
    fn the_number_of_models_is_bounded() {
        let labels = ModelLabels::default();
        let names: Vec<String> = (0..MAX_MODELS + 5).map(|n| format!("m{n}")).collect();
        let given: HashSet<&str> = names.iter().map(|name| labels.of(name)).collect();
        assert_eq!(given.len(), MAX_MODELS + 1);
        assert_eq!(labels.of("m0"), "m0");
        assert_eq!(labels.of("new"), OTHER);
    }
}
