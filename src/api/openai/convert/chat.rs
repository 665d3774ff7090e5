use crate::api::checks::integer;
use crate::api::json::Object;
use crate::domain::{ChatPrompt, Error, GenerateRequest, OutputOptions, Prompt, Result};

use super::super::render::Layout;
use super::super::types::{ChatRequest, StreamOptions};
use super::knobs::{self, Knobs, limits, model_name};
use super::{Converted, constraint, messages, thinking, tools};

/// The most alternatives to a token.
const MAX_TOP_LOGPROBS: i64 = 20;

/// Maps, refuses or ignores every field of a chat request.
pub(in crate::api::openai) fn convert(request: ChatRequest) -> Result<Converted> {
    let ChatRequest {
        model,
        messages,
        stream,
        stream_options,
        max_tokens,
        max_completion_tokens,
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
        top_logprobs,
        response_format,
        grammar,
        json_schema,
        guided_json,
        guided_regex,
        guided_choice,
        guided_grammar,
        structured_outputs,
        tools,
        tool_choice,
        parallel_tool_calls,
        functions,
        function_call,
        reasoning_effort,
        reasoning,
        thinking_budget,
        reasoning_budget,
        chat_template_kwargs,
        modalities,
        audio,
        // Hints about length, a likely answer, and searching, which change no promise.
        verbosity: _,
        prediction: _,
        web_search_options: _,
        // About accounts, billing, storage and caching on OpenAI's side.
        service_tier: _,
        store: _,
        metadata: _,
        user: _,
        safety_identifier: _,
        prompt_cache_key: _,
        prompt_cache_options: _,
        prompt_cache_retention: _,
        moderation: _,
    } = request;
    let model = model_name(model)?;
    text_only(modalities.as_deref(), audio.is_some())?;
    let logprobs = alternatives(logprobs, top_logprobs)?;
    let choices = knobs::choices("n", n)?.unwrap_or(1);
    // Both may come; both must be right, and the new name wins.
    let old = limits(("max_tokens", max_tokens), None, None)?;
    let mut limits = limits(("max_completion_tokens", max_completion_tokens), stop, ignore_eos)?;
    if max_completion_tokens.is_none() {
        limits.max_tokens = old.max_tokens;
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
    let toolbox =
        tools::Asked { tools, tool_choice, parallel_tool_calls, functions, function_call }
            .toolbox()?;
    let thinking = thinking::Asked {
        reasoning_effort,
        reasoning,
        thinking_budget,
        reasoning_budget,
        chat_template_kwargs,
    };
    let (thinking, template_kwargs) = thinking.thinking()?;
    let tools::Toolbox { tools, choice, parallel, legacy } = toolbox;
    let prompt = Prompt::Chat(ChatPrompt {
        messages: messages::convert(messages)?,
        tools,
        tool_choice: choice,
        parallel_tool_calls: parallel,
        thinking,
        template_kwargs,
    });
    let output = OutputOptions { choices, logprobs, echo: false };
    Ok(Converted {
        model,
        stream: stream.unwrap_or(false),
        include_usage: wants_usage(stream_options),
        layout: Layout { legacy_functions: legacy, ..Layout::chat(choices, logprobs.is_some()) },
        requests: vec![GenerateRequest { prompt, constraint, sampling, limits, output }],
    })
}

/// The model alone, for a request that only loads it.
pub(in crate::api::openai) fn model_of(request: ChatRequest) -> Result<String> {
    model_name(request.model)
}

/// Read whether or not the answer is streamed: more clients send it than know when they may.
pub(in crate::api::openai) fn wants_usage(options: Option<Object<StreamOptions>>) -> bool {
    let Some(Object(StreamOptions { include_usage, include_obfuscation: _ })) = options else {
        return false;
    };
    include_usage.unwrap_or(false)
}

fn alternatives(logprobs: Option<bool>, top_logprobs: Option<i64>) -> Result<Option<u32>> {
    let top = integer("top_logprobs", top_logprobs, 0, MAX_TOP_LOGPROBS)?.unwrap_or(0);
    if logprobs != Some(true) {
        if top > 0 {
            let message = "`top_logprobs` needs `logprobs` to be true";
            return Err(Error::invalid("top_logprobs", message));
        }
        return Ok(None);
    }
    Ok(u32::try_from(top).ok())
}

fn text_only(modalities: Option<&[String]>, audio: bool) -> Result<()> {
    let spoken = modalities.unwrap_or_default().iter().any(|modality| modality != "text");
    if spoken || audio {
        let name = if spoken { "modalities" } else { "audio" };
        return Err(Error::unsupported(name, format!("`{name}`: answers are text only")));
    }
    Ok(())
}
