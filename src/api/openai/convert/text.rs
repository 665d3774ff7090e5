use crate::api::checks::{integer, no_nul};
use crate::domain::{Error, GenerateRequest, OutputOptions, Prompt, Result};

use super::super::render::Layout;
use super::super::types::TextRequest;
use super::chat::wants_usage;
use super::knobs::{self, Knobs, limits, model_name};
use super::{Converted, constraint, prompts};

/// What OpenAI's text completions generate where the request does not say.
const DEFAULT_MAX_TOKENS: i64 = 16;
/// The most alternatives to a token.
const MAX_LOGPROBS: i64 = 5;
/// The most answers in one request, to all of its prompts.
const MAX_ANSWERS: usize = 1_024;

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
        response_format,
        grammar,
        json_schema,
        guided_json,
        guided_regex,
        guided_choice,
        guided_grammar,
        structured_outputs,
        // Names an account on OpenAI's side.
        user: _,
    } = request;
    let model = model_name(model)?;
    let (stream, echo) = (stream.unwrap_or(false), echo.unwrap_or(false));
    // Zero is on here: the log-probability of the chosen token alone.
    let logprobs = integer("logprobs", logprobs, 0, MAX_LOGPROBS)?;
    let logprobs = logprobs.and_then(|top| u32::try_from(top).ok());
    let (n, best_of) = answers(n, best_of, stream)?;
    let only_echo = echo && max_tokens == Some(0);
    let max_tokens = max_tokens.filter(|_| !only_echo).unwrap_or(DEFAULT_MAX_TOKENS);
    let mut limits = limits(("max_tokens", Some(max_tokens)), stop, ignore_eos)?;
    if only_echo {
        limits.max_tokens = Some(0);
    }
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
    let constraint = constraint::Asked {
        response_format,
        grammar,
        json_schema,
        guided_json,
        guided_regex,
        guided_choice,
        guided_grammar,
        structured_outputs,
    }
    .constraint()?;
    let suffix = suffix.filter(|suffix| !suffix.is_empty());
    if suffix.is_some() && echo {
        let message = "`echo` and `suffix` exclude each other: the answer stands between two texts";
        return Err(Error::invalid("echo", message));
    }
    let prompts = filled(prompts::convert(prompt)?, suffix)?;
    let generated = usize::try_from(best_of).unwrap_or(usize::MAX);
    if prompts.len().saturating_mul(generated) > MAX_ANSWERS {
        let message = format!(
            "{} prompts with {best_of} answers each are over the limit of {MAX_ANSWERS} answers; \
             send several requests",
            prompts.len()
        );
        return Err(Error::invalid("prompt", message));
    }
    let layout = Layout {
        // Where the answer begins, seen from the beginning of the prompt.
        offsets: prompts.iter().map(|prompt| if echo { 0 } else { characters(prompt) }).collect(),
        generated: best_of,
        echo,
        ..Layout::text(n, logprobs.is_some())
    };
    // The best are the likeliest, so somebody has to count.
    let logprobs = if best_of > n { logprobs.or(Some(0)) } else { logprobs };
    let output = OutputOptions { choices: best_of, logprobs, echo };
    let request = |prompt: Prompt| GenerateRequest {
        prompt,
        constraint: constraint.clone(),
        sampling: sampling.clone(),
        limits: limits.clone(),
        output: output.clone(),
    };
    Ok(Converted {
        model,
        stream,
        include_usage: wants_usage(stream_options),
        layout,
        requests: prompts.into_iter().map(request).collect(),
    })
}

/// The model alone, for a request that only loads it.
pub(in crate::api::openai) fn model_of(request: TextRequest) -> Result<String> {
    model_name(request.model)
}

/// `n` and `best_of`, of which the answers are the best `n`.
fn answers(n: Option<i64>, best_of: Option<i64>, stream: bool) -> Result<(u32, u32)> {
    let n = knobs::choices("n", n)?.unwrap_or(1);
    let best_of = knobs::choices("best_of", best_of)?.unwrap_or(n);
    if best_of < n {
        let message = format!("`best_of` is {best_of}; it must be at least `n`, which is {n}");
        return Err(Error::invalid("best_of", message));
    }
    if best_of > n && stream {
        let message = "`best_of` over `n` cannot be streamed: which are the best is known at the \
                       end; leave out `stream` or `best_of`";
        return Err(Error::invalid("best_of", message));
    }
    Ok((n, best_of))
}

/// Prompts with what follows the gap, where there is one.
fn filled(prompts: Vec<Prompt>, suffix: Option<String>) -> Result<Vec<Prompt>> {
    let Some(suffix) = suffix else { return Ok(prompts) };
    no_nul(&suffix, || "suffix".into())?;
    let fill = |prompt| match prompt {
        Prompt::Text(prefix) => Ok(Prompt::Fill { prefix, suffix: suffix.clone() }),
        _ => {
            let message = "`suffix` needs a `prompt` of text; token ids cannot have one";
            Err(Error::invalid("suffix", message))
        }
    };
    prompts.into_iter().map(fill).collect()
}

/// How many characters the prompt has; those of token ids nobody knows here.
fn characters(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Text(text) | Prompt::Fill { prefix: text, .. } => text.chars().count(),
        Prompt::Tokens(_) | Prompt::Chat(_) | Prompt::Embed(_) => 0,
    }
}
