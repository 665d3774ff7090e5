use crate::domain::TokenLogprob;

/// Tokens that wait for their content, at most. More wait only for a client that wants
/// probabilities of a long thought, and those are not shown.
const MAX_WAITING: usize = 4_096;

/// The tokens of a raw answer, so that those of a piece of content can be told with it.
///
/// An approximation: tokens have bytes, not places. The tokens of a piece of content are those
/// whose joined bytes cover its first occurrence in what waits; a token that lies partly in the
/// piece goes with it. Tokens before it (thoughts, marks of the format) are dropped. Content that
/// the format changed on the way has no probabilities.
#[derive(Debug, Default)]
pub(super) struct Logprobs {
    waiting: Vec<TokenLogprob>,
}

impl Logprobs {
    pub(super) fn push(&mut self, tokens: Vec<TokenLogprob>) {
        self.waiting.extend(tokens);
        let surplus = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..surplus);
    }

    /// The tokens of `content`, which is being shown.
    pub(super) fn take(&mut self, content: &str) -> Vec<TokenLogprob> {
        if self.waiting.is_empty() || content.is_empty() {
            return Vec::new();
        }
        let joined: Vec<u8> = self.waiting.iter().flat_map(|token| token.bytes.clone()).collect();
        let Some(from) = memchr::memmem::find(&joined, content.as_bytes()) else {
            return Vec::new();
        };
        let to = from + content.len();
        let (mut at, mut before, mut taken) = (0usize, 0, 0);
        for token in &self.waiting {
            let end = at + token.bytes.len();
            if end <= from {
                before += 1;
            } else if at < to {
                taken += 1;
            }
            at = end;
        }
        self.waiting.drain(..before);
        self.waiting.drain(..taken).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_content_come_with_it_and_those_of_thoughts_never() {
        let mut logprobs = Logprobs::default();
        let tokens = ["<think>", "hm", "</think>", "Hel", "lo", " <", "tool_call>"];
        let token = |text: &&str| TokenLogprob {
            token: 0,
            bytes: text.as_bytes().to_vec(),
            logprob: Some(-1.0),
            top: vec![],
        };
        logprobs.push(tokens.iter().map(token).collect());
        let mut texts = |content: &str| -> Vec<String> {
            let tokens = logprobs.take(content);
            tokens.into_iter().map(|t| String::from_utf8(t.bytes).expect("text")).collect()
        };
        assert_eq!(texts("Hel"), ["Hel"]);
        assert_eq!(texts("lo "), ["lo", " <"]);
        assert_eq!(texts("nowhere"), Vec::<String>::new());
        assert_eq!(texts("tool_call>"), ["tool_call>"]);
    }
}
