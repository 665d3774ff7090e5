/// Which clients a path is for: they decide how an error looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenAI's clients, under a `/v1`, and its Responses wherever they are.
    OpenAi,
    /// Docker Model Runner's clients, and everything else.
    Native,
}

impl Family {
    /// The family of a normalised path.
    pub(super) fn of(path: &str) -> Self {
        let mut segments = path.split('/').skip(1);
        let v1 = match segments.next() {
            Some("v1" | "responses") => true,
            Some("engines") => {
                matches!(segments.next(), Some("v1" | "responses")) || segments.next() == Some("v1")
            }
            _ => false,
        };
        if v1 { Self::OpenAi } else { Self::Native }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v1_trees_are_openai() {
        for path in [
            "/v1",
            "/v1/x",
            "/engines/v1/models",
            "/engines/any/v1/nothing",
            "/responses",
            "/engines/responses/x",
        ] {
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
            "/engines/a/responses",
        ] {
            assert_eq!(Family::of(path), Family::Native, "{path}");
        }
    }
}
