/// Which clients a path is for: they decide how an error looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenAI's clients, under a `/v1`, and those of what is served beside it without one.
    OpenAi,
    /// Docker Model Runner's clients, and everything else.
    Native,
}

impl Family {
    /// The family of a normalised path.
    pub(super) fn of(path: &str) -> Self {
        const OPEN_AI: [&str; 7] =
            ["v1", "v2", "rerank", "score", "tokenize", "detokenize", "responses"];
        let open_ai = |segment: Option<&str>| {
            segment.is_some_and(|segment| OPEN_AI.contains(&segment))
        };
        let mut segments = path.split('/').skip(1);
        let is_open_ai = match segments.next() {
            Some("engines") => open_ai(segments.next()) || open_ai(segments.next()),
            first => open_ai(first),
        };
        if is_open_ai { Self::OpenAi } else { Self::Native }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v1_trees_are_openai() {
        for path in ["/v1", "/v1/x", "/engines/v1/models", "/engines/any/v1/nothing", "/rerank"] {
            assert_eq!(Family::of(path), Family::OpenAi, "{path}");
        }
        for path in ["/v2/rerank", "/engines/score", "/engines/llama.cpp/rerank", "/tokenize", "/responses", "/engines/responses/x"] {
            assert_eq!(Family::of(path), Family::OpenAi, "{path}");
        }
        for path in [
            "/",
            "",
            "*",
            "/models",
            "/engines/ps",
            "/v10",
            "/x/v1",
            "/engines/a/b/v1",
        ] {
            assert_eq!(Family::of(path), Family::Native, "{path}");
        }
    }
}
