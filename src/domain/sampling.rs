use serde::{Deserialize, Serialize};

/// How the next token is chosen. `None` means: the model file's `general.sampling.*`, else
/// modeld's default (temperature 0.8, top_k 40, top_p 0.95, min_p 0.05), the same in every dialect.
///
/// Values are validated by whoever builds one; the worker clamps again and never trusts them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy. Range 0 to 2 in the OpenAI dialect.
    pub temperature: Option<f32>,
    /// How many of the likeliest tokens stay; 0 means all.
    pub top_k: Option<u32>,
    /// The smallest set of tokens whose probabilities sum up to this stays. 0 to 1.
    pub top_p: Option<f32>,
    /// Tokens less likely than this share of the likeliest go. 0 to 1.
    pub min_p: Option<f32>,
    /// The same seed, prompt and model give the same tokens. `None`: a fresh one per request.
    pub seed: Option<u64>,
    /// Subtracted once from the logit of every token seen in the window. -2 to 2.
    pub presence_penalty: f32,
    /// Subtracted for each time that a token occurred in the window. -2 to 2.
    pub frequency_penalty: f32,
    /// Divides the logits of seen tokens; 1 is off (llama.cpp's `repeat_penalty`).
    pub repeat_penalty: Option<f32>,
    /// How many of the last tokens the penalties look at, prompt included. Default 64.
    pub repeat_last_n: Option<u32>,
    /// Added to the logits of these tokens, -100 to 100; tokens outside the vocabulary are refused
    /// by the worker.
    pub logit_bias: Vec<(i32, f32)>,
    /// Locally typical sampling; 1 is off. 0 to 1.
    pub typical_p: Option<f32>,
}
