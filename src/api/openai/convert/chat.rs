use serde_json::Value;

use crate::api::json::Object;
use crate::domain::{ChatPrompt, Error, GenerateRequest, Prompt, Result};

use super::super::types::{ChatRequest, ResponseFormat, StreamOptions};
use super::knobs::{self, Knobs, integer, limits, model_name, no_grammar, one_choice};
use super::messages;

/// A request for an answer, with what its rendering needs to know.
#[derive(Debug)]
pub(in crate::api::openai) struct Converted {
    pub(in crate::api::openai) model: String,
    pub(in crate::api::openai) stream: bool,
    pub(in crate::api::openai) include_usage: bool,
    pub(in crate::api::openai) request: GenerateRequest,
}

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
        tools,
        tool_choice,
        functions,
        function_call,
        chat_template_kwargs,
        modalities,
        audio,
        // Without tools there is nothing to run in parallel.
        parallel_tool_calls: _,
        // Hints to models that think, of which none is told so far.
        reasoning_effort: _,
        reasoning: _,
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
    no_tools(tools, tool_choice.as_ref(), "tools", "tool_choice")?;
    no_tools(functions, function_call.as_ref(), "functions", "function_call")?;
    no_logprobs(logprobs, top_logprobs)?;
    text_only(response_format, modalities, audio.as_ref())?;
    no_grammar(grammar.as_ref(), json_schema.as_ref())?;
    if chat_template_kwargs.is_some_and(|kwargs| !kwargs.is_empty()) {
        let message = "`chat_template_kwargs` is not done yet; leave it out";
        return Err(Error::unsupported("chat_template_kwargs", message));
    }
    one_choice("n", n)?;
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
    let prompt = Prompt::Chat(ChatPrompt::new(messages::convert(messages)?));
    Ok(Converted {
        model,
        stream: stream.unwrap_or(false),
        include_usage: wants_usage(stream_options),
        request: GenerateRequest { sampling, limits, ..GenerateRequest::new(prompt) },
    })
}

/// The model alone, for a request that only loads it.
pub(in crate::api::openai) fn model_of(request: ChatRequest) -> Result<String> {
    model_name(request.model)
}

/// Read whether or not the answer is streamed: more clients send it than know when they may.
pub(in crate::api::openai) fn wants_usage(options: Option<Object<StreamOptions>>) -> bool {
    options.and_then(|Object(options)| options.include_usage).unwrap_or(false)
}

/// Tools in their present and their old form. None, and a choice that asks for none, are fine.
fn no_tools(
    tools: Option<Vec<Value>>,
    choice: Option<&Value>,
    tools_name: &'static str,
    choice_name: &'static str,
) -> Result<()> {
    if tools.is_some_and(|tools| !tools.is_empty()) {
        let message = format!("`{tools_name}` is not done yet; leave it out");
        return Err(Error::unsupported(tools_name, message));
    }
    match choice.map(Value::as_str) {
        None | Some(Some("none" | "auto")) => Ok(()),
        Some(_) => Err(Error::unsupported(
            choice_name,
            format!("`{choice_name}` asks for a call, but no tools can be called yet"),
        )),
    }
}

fn no_logprobs(logprobs: Option<bool>, top_logprobs: Option<i64>) -> Result<()> {
    let top = integer("top_logprobs", top_logprobs, 0, 20)?.unwrap_or(0);
    if logprobs == Some(true) {
        let message = "`logprobs` is not done yet; leave it out";
        return Err(Error::unsupported("logprobs", message));
    }
    if top > 0 {
        return Err(Error::invalid("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
    }
    Ok(())
}

fn text_only(
    format: Option<Object<ResponseFormat>>,
    modalities: Option<Vec<String>>,
    audio: Option<&Value>,
) -> Result<()> {
    match format.map(|Object(ResponseFormat { r#type })| r#type) {
        None => {}
        Some(None) => return Err(knobs::missing("response_format.type", "send \"text\"")),
        Some(Some(kind)) => match kind.as_str() {
            "text" => {}
            "json_object" | "json_schema" => {
                let message = format!("`response_format` of type {kind} is not done yet");
                return Err(Error::unsupported("response_format", message));
            }
            _ => {
                let message = "a response format is of type text, json_object or json_schema";
                return Err(Error::invalid("response_format.type", message));
            }
        },
    }
    let spoken = modalities.unwrap_or_default().iter().any(|modality| modality != "text");
    if spoken || audio.is_some() {
        let name = if spoken { "modalities" } else { "audio" };
        return Err(Error::unsupported(name, format!("`{name}`: answers are text only")));
    }
    Ok(())
}
