use serde_json::Value;

use crate::domain::{Error, GenerateRequest, Prompt, Result};

use super::super::types::TextRequest;
use super::chat::{Converted, wants_usage};
use super::knobs::{Knobs, integer, limits, missing, model_name, no_grammar, no_nul, one_choice};

/// What OpenAI's text completions generate where the request does not say.
const DEFAULT_MAX_TOKENS: i64 = 16;

/// Maps, refuses or ignores every field of a text completion.
pub(in crate::api::openai) fn convert(request: TextRequest) -> Result<Converted> {
    let TextRequest {
        model,
        prompt,
        suffix,
        echo,
        best_of,
        stream,
        stream_options,
        max_tokens,
        n,
        stop,
        ignore_eos,
        seed,
        temperature,
        top_p,
        top_k,
        min_p,
        presence_penalty,
        frequency_penalty,
        repeat_penalty,
        repeat_last_n,
        typical_p,
        mirostat,
        logit_bias,
        logprobs,
        grammar,
        json_schema,
        // Names an account on OpenAI's side.
        user: _,
    } = request;
    let model = model_name(model)?;
    if suffix.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Error::unsupported("suffix", "`suffix` is not done yet; leave it out"));
    }
    if echo == Some(true) {
        return Err(Error::unsupported("echo", "`echo` is not done yet; leave it out"));
    }
    // Zero is on here: the log-probability of the chosen token alone.
    if integer("logprobs", logprobs, 0, 5)?.is_some() {
        return Err(Error::unsupported("logprobs", "`logprobs` is not done yet; leave it out"));
    }
    one_choice("best_of", best_of)?;
    one_choice("n", n)?;
    no_grammar(grammar.as_ref(), json_schema.as_ref())?;
    let max_tokens = ("max_tokens", max_tokens.or(Some(DEFAULT_MAX_TOKENS)));
    let limits = limits(max_tokens, stop, ignore_eos)?;
    let sampling = Knobs {
        seed,
        temperature,
        top_p,
        top_k,
        min_p,
        presence_penalty,
        frequency_penalty,
        repeat_penalty,
        repeat_last_n,
        typical_p,
        mirostat,
        logit_bias,
    }
    .sampling()?;
    let prompt = Prompt::Text(prompt_text(prompt)?);
    Ok(Converted {
        model,
        stream: stream.unwrap_or(false),
        include_usage: wants_usage(stream_options),
        request: GenerateRequest { sampling, limits, ..GenerateRequest::new(prompt) },
    })
}

/// The model alone, for a request that only loads it.
pub(in crate::api::openai) fn model_of(request: TextRequest) -> Result<String> {
    model_name(request.model)
}

fn prompt_text(prompt: Option<Value>) -> Result<String> {
    let several = |count: usize| {
        let message = format!("`prompt` has {count} prompts; send one request for each");
        Err(Error::unsupported("prompt", message))
    };
    let text = match prompt {
        None => return Err(missing("prompt", "send the text to continue")),
        Some(Value::String(text)) => text,
        Some(Value::Array(items)) => match <[Value; 1]>::try_from(items) {
            Ok([Value::String(text)]) => text,
            Ok([Value::Number(_) | Value::Array(_)]) => return Err(token_ids()),
            Ok(_) => return Err(wrong_prompt()),
            Err(items) if items.is_empty() => {
                return Err(Error::invalid("prompt", "`prompt` is an empty array"));
            }
            Err(items) if items.iter().all(Value::is_number) => return Err(token_ids()),
            Err(items) => return several(items.len()),
        },
        Some(_) => return Err(wrong_prompt()),
    };
    no_nul(&text, || "prompt".into())?;
    Ok(text)
}

fn token_ids() -> Error {
    Error::unsupported("prompt", "token ids are not taken yet; send `prompt` as text")
}

fn wrong_prompt() -> Error {
    Error::invalid("prompt", "`prompt` must be a string or an array of one string")
}
