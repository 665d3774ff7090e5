/// Which of the two kinds of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::openai) enum Shape {
    /// `/chat/completions`.
    Chat,
    /// `/completions`.
    Text,
}

/// How the answers are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::openai) struct Layout {
    pub(in crate::api::openai) shape: Shape,
    /// Answers to each prompt that are told.
    pub(in crate::api::openai) told: u32,
    /// Answers to each prompt that are generated; more than told where the best are chosen.
    pub(in crate::api::openai) generated: u32,
    /// Whether log-probabilities are told.
    pub(in crate::api::openai) logprobs: bool,
    /// Whether the prompt is part of the answer.
    pub(in crate::api::openai) echo: bool,
    /// Calls are told in their old form.
    pub(in crate::api::openai) legacy_functions: bool,
    /// For each prompt, at which character after its beginning the answer begins.
    pub(in crate::api::openai) offsets: Vec<usize>,
}

impl Layout {
    pub(in crate::api::openai) fn chat(choices: u32, logprobs: bool) -> Self {
        Self {
            shape: Shape::Chat,
            told: choices,
            generated: choices,
            logprobs,
            echo: false,
            legacy_functions: false,
            offsets: vec![0],
        }
    }

    pub(in crate::api::openai) fn text(choices: u32, logprobs: bool) -> Self {
        Self { shape: Shape::Text, ..Self::chat(choices, logprobs) }
    }

    /// All answers that are told.
    pub(in crate::api::openai) fn choices(&self) -> u32 {
        let prompts = u32::try_from(self.offsets.len()).unwrap_or(u32::MAX);
        prompts.saturating_mul(self.told)
    }

    /// At which character the answer of this number begins.
    pub(in crate::api::openai) fn offset(&self, choice: u32) -> usize {
        let prompt = choice.checked_div(self.told).unwrap_or(0);
        let prompt = usize::try_from(prompt).unwrap_or(usize::MAX);
        self.offsets.get(prompt).copied().unwrap_or(0)
    }
}
