//! Log-probabilities in their two shapes: a list of objects in chats, arrays side by side in text
//! completions.

use serde::{Serialize, Serializer};

use crate::domain::TokenLogprob;

use super::layout::Shape;

/// JSON has no infinity.
const FLOOR: f32 = -9999.0;

/// `logprobs` of a choice.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum WireLogprobs {
    Chat(ChatLogprobs),
    Text(TextLogprobs),
}

#[derive(Debug, Serialize)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatToken>,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct ChatToken {
    #[serde(flatten)]
    token: Likely,
    top_logprobs: Vec<Likely>,
}

#[derive(Debug, Serialize)]
struct Likely {
    /// Where the bytes are a part of a character, it is U+FFFD; the bytes say which.
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<ByToken>>,
    text_offset: Vec<usize>,
}

/// Tokens with their log-probabilities as an object, in order.
#[derive(Debug)]
struct ByToken(Vec<(String, f32)>);

impl Serialize for ByToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}

/// At which character of the text the next token begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offset(usize);

impl Offset {
    pub(super) fn new(begin: usize) -> Self {
        Self(begin)
    }

    /// Where these bytes begin; afterwards it stands behind them.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let goes_on = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        // A token that goes on in the middle of a character begins where that began.
        let begin = match bytes.first() {
            Some(first) if goes_on(first) => self.0.saturating_sub(1),
            _ => self.0,
        };
        let characters = bytes.iter().filter(|byte| !goes_on(byte)).count();
        self.0 = self.0.saturating_add(characters);
        begin
    }
}

impl WireLogprobs {
    /// The tokens of a piece of text that begins at `offset`, which is moved on.
    pub(super) fn new(shape: Shape, tokens: &[TokenLogprob], offset: &mut Offset) -> Self {
        match shape {
            Shape::Chat => Self::Chat(ChatLogprobs {
                content: tokens.iter().map(ChatToken::new).collect(),
                refusal: None,
            }),
            Shape::Text => Self::Text(TextLogprobs::new(tokens, offset)),
        }
    }
}

impl ChatToken {
    fn new(token: &TokenLogprob) -> Self {
        let TokenLogprob { token: _, bytes, logprob, top } = token;
        let top = top.iter().map(|(_, bytes, logprob)| Likely::new(bytes, *logprob));
        Self { token: Likely::new(bytes, logprob.unwrap_or(FLOOR)), top_logprobs: top.collect() }
    }
}

impl Likely {
    fn new(bytes: &[u8], logprob: f32) -> Self {
        Self { token: lossy(bytes), logprob: bounded(logprob), bytes: bytes.to_vec() }
    }
}

impl TextLogprobs {
    fn new(tokens: &[TokenLogprob], offset: &mut Offset) -> Self {
        let mut all = Self::default();
        for TokenLogprob { token: _, bytes, logprob, top } in tokens {
            let text = lossy(bytes);
            all.text_offset.push(offset.pass(bytes));
            all.token_logprobs.push(logprob.map(bounded));
            all.top_logprobs.push(logprob.map(|logprob| {
                let likely = top.iter().map(|(_, bytes, logprob)| (lossy(bytes), *logprob));
                // The chosen one is always among them, as OpenAI has it.
                let mut by_token: Vec<(String, f32)> = Vec::new();
                for (text, logprob) in likely.chain([(text.clone(), logprob)]) {
                    if !by_token.iter().any(|(known, _)| *known == text) {
                        by_token.push((text, bounded(logprob)));
                    }
                }
                ByToken(by_token)
            }));
            all.tokens.push(text);
        }
        all
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bounded(logprob: f32) -> f32 {
    if logprob.is_nan() { FLOOR } else { logprob.clamp(FLOOR, 0.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_what_json_can_say() {
        for (given, told) in [
            (-0.5, -0.5),
            (0.0, 0.0),
            (1e-7, 0.0),
            (f32::NEG_INFINITY, FLOOR),
            (f32::NAN, FLOOR),
            (f32::INFINITY, 0.0),
        ] {
            assert_eq!(bounded(given), told, "{given}");
        }
    }

    proptest! {
        /// However a text is torn into tokens, each token begins at its character.
        #[test]
        fn offsets_count_characters(text in any::<String>(), cuts in prop::collection::vec(1usize..6, 0..40)) {
            let mut offset = Offset::new(7);
            let (mut at, bytes) = (0, text.as_bytes());
            for cut in cuts {
                let end = (at + cut).min(bytes.len());
                let start = (0..=at).rev().find(|at| text.is_char_boundary(*at)).expect("0 is one");
                let before = text.get(..start).expect("a boundary");
                let expected = 7 + before.chars().count();
                // Of an empty token there is nothing that could stand in a character.
                if end > at {
                    prop_assert_eq!(offset.pass(&bytes[at..end]), expected);
                }
                at = end;
            }
        }
    }
}
