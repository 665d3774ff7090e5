use serde::Serialize;

use crate::domain::TokenLogprob;

/// JSON has no infinity.
const FLOOR: f32 = -9999.0;

/// A token of an answer with the likeliest ones in its place.
#[derive(Debug, Serialize)]
pub(super) struct WireToken {
    #[serde(flatten)]
    token: Likely,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<Likely>,
}

#[derive(Debug, Serialize)]
struct Likely {
    /// Where the bytes are a part of a character, it is U+FFFD; the bytes say which.
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl From<&TokenLogprob> for WireToken {
    fn from(token: &TokenLogprob) -> Self {
        let TokenLogprob { token: _, bytes, logprob, top } = token;
        let top = top.iter().map(|(_, bytes, logprob)| Likely::new(bytes, *logprob));
        Self { token: Likely::new(bytes, logprob.unwrap_or(FLOOR)), top_logprobs: top.collect() }
    }
}

impl Likely {
    fn new(bytes: &[u8], logprob: f32) -> Self {
        let logprob = if logprob.is_finite() { logprob } else { FLOOR };
        Self { token: String::from_utf8_lossy(bytes).into_owned(), logprob, bytes: bytes.to_vec() }
    }
}
