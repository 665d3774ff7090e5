use crate::domain::TokenLogprob;

use super::super::object::{Logprob, TopLogprob};

/// Tokens as the API shows them.
pub(super) fn wire(tokens: Vec<TokenLogprob>) -> impl Iterator<Item = Logprob> {
    tokens.into_iter().map(|token| {
        let TokenLogprob { token: _, bytes, logprob, top } = token;
        let top_logprobs = top.into_iter().map(|(_, bytes, logprob)| TopLogprob {
            token: text(&bytes),
            bytes,
            logprob,
        });
        Logprob {
            token: text(&bytes),
            bytes,
            // Absent only for the first token of an echoed prompt, which is never asked for here.
            logprob: logprob.unwrap_or(0.0),
            top_logprobs: top_logprobs.collect(),
        }
    })
}

/// A token may be a part of a character.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
