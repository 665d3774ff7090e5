use http::HeaderMap;

/// The header that all of Anthropic's clients send, and nobody else.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// The first segments of what OpenAI's clients ask for.
const OPEN_AI: [&str; 7] = ["v1", "v2", "rerank", "score", "tokenize", "detokenize", "responses"];

/// Which clients a request is from: they decide how an error looks, and which model list they get
/// where two dialects share a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenAI's clients, under a `/v1`, and those of what is served beside it without one.
    OpenAi,
    /// Anthropic's clients, under `/anthropic`, a `/v1/messages`, or any `/v1` path with their
    /// header.
    Anthropic,
    /// Ollama's clients, under `/api`.
    Ollama,
    /// Docker Model Runner's clients, and everything else.
    Native,
}

impl Family {
    /// The family of a normalised path and the headers that came with it.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Self {
        let mut segments = path.split('/').skip(1);
        let mut first = segments.next();
        if first == Some("anthropic") {
            return Self::Anthropic;
        }
        if first == Some("api") {
            return Self::Ollama;
        }
        if first == Some("engines") {
            first = segments.next();
            // A backend may be named before.
            if !first.is_some_and(|segment| OPEN_AI.contains(&segment)) {
                first = segments.next();
            }
        }
        match first {
            Some("v1") if segments.next() == Some("messages") => Self::Anthropic,
            Some("v1") if headers.contains_key(ANTHROPIC_VERSION) => Self::Anthropic,
            Some(segment) if OPEN_AI.contains(&segment) => Self::OpenAi,
            _ => Self::Native,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn plain(path: &str) -> Family {
        Family::of(path, &HeaderMap::new())
    }

    fn versioned(path: &str) -> Family {
        let mut headers = HeaderMap::new();
        headers.insert(ANTHROPIC_VERSION, HeaderValue::from_static("2023-06-01"));
        Family::of(path, &headers)
    }

    #[test]
    fn the_v1_trees_are_openai() {
        for path in [
            "/v1",
            "/v1/x",
            "/engines/v1/models",
            "/engines/any/v1/nothing",
            "/rerank",
            "/v2/rerank",
            "/engines/score",
            "/engines/llama.cpp/rerank",
            "/tokenize",
            "/responses",
            "/engines/responses/x",
        ] {
            assert_eq!(plain(path), Family::OpenAi, "{path}");
        }
        for path in ["/", "", "*", "/models", "/engines/ps", "/v10", "/x/v1", "/engines/a/b/v1"] {
            assert_eq!(plain(path), Family::Native, "{path}");
            assert_eq!(versioned(path), Family::Native, "{path}");
        }
    }

    #[test]
    fn ollama_has_a_tree() {
        for path in ["/api", "/api/", "/api/chat", "/api/v1/messages"] {
            assert_eq!(plain(path), Family::Ollama, "{path}");
            assert_eq!(versioned(path), Family::Ollama, "{path}");
        }
        assert_eq!(plain("/apis"), Family::Native);
    }

    #[test]
    fn anthropic_has_a_tree_a_path_and_a_header() {
        for path in [
            "/anthropic",
            "/anthropic/v1/x",
            "/v1/messages",
            "/engines/v1/messages/batches",
            "/engines/any/v1/messages",
        ] {
            assert_eq!(plain(path), Family::Anthropic, "{path}");
        }
        assert_eq!(plain("/v1/messages2"), Family::OpenAi);
        for path in ["/v1/models", "/v1/models/ai/x", "/engines/v1/no-such"] {
            assert_eq!(versioned(path), Family::Anthropic, "{path}");
        }
    }
}
