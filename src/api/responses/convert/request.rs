use serde_json::{Map, Value};

use crate::api::checks::{integer, missing, no_nul, number};
use crate::domain::{
    ChatPrompt, Error, GenerateRequest, Limits, Message, OutputOptions, Prompt, Result, Role,
    Sampling,
};

use super::super::callable::Callables;
use super::super::object::Settings;
use super::super::types::CreateRequest;
use super::fields::invalid_choice;
use super::items::Turns;
use super::{input, text, tools};

/// The bounds of `metadata`: pairs, and characters of a key and of a value.
const METADATA: (usize, usize, usize) = (16, 64, 512);
/// The most alternatives to a token.
const MAX_TOP_LOGPROBS: i64 = 20;

/// A request for an answer, with what its rendering and keeping need to know.
#[derive(Debug)]
pub(in crate::api::responses) struct Converted {
    pub(in crate::api::responses) stream: bool,
    pub(in crate::api::responses) settings: Settings,
    /// The items of this request alone, complete.
    pub(in crate::api::responses) input: Vec<Value>,
    pub(in crate::api::responses) callables: Callables,
    pub(in crate::api::responses) request: GenerateRequest,
}

/// What was said before, as far as this client may know.
pub(in crate::api::responses) trait Past {
    /// All items of a response and of those that it continues, the oldest first.
    ///
    /// # Errors
    /// `NotFound` if any of them is not there.
    fn conversation(&self, response: &str) -> Result<Vec<Value>>;
    /// One item of any response.
    fn item(&self, id: &str) -> Option<Value>;
}

/// Maps, refuses or ignores every field of a request. `tail` makes the ids of items that have none.
pub(in crate::api::responses) fn convert(
    request: CreateRequest,
    tail: &str,
    past: &dyn Past,
) -> Result<Converted> {
    let CreateRequest {
        model,
        input,
        instructions,
        previous_response_id,
        conversation,
        prompt,
        max_output_tokens,
        max_tool_calls,
        temperature,
        top_p,
        top_k,
        min_p,
        seed,
        top_logprobs,
        include,
        tools,
        tool_choice,
        parallel_tool_calls,
        text,
        reasoning,
        chat_template_kwargs,
        metadata,
        truncation,
        stream,
        store,
        background,
        user,
        safety_identifier,
        prompt_cache_key,
        // Padding against listeners on the way, of which there are none.
        stream_options: _,
        // Hints about when to run, and about caching, billing, moderation and images on OpenAI's
        // side. Contexts are never compacted: what does not fit is an error.
        background_options: _,
        service_tier: _,
        prompt_cache_options: _,
        prompt_cache_retention: _,
        context_management: _,
        moderation: _,
        access_programs: _,
        image: _,
    } = request;
    let model = match model {
        Some(name) if !name.trim().is_empty() => name,
        _ => return Err(missing("model", "name a model that `GET /v1/models` lists")),
    };
    for (name, value) in [("conversation", conversation), ("prompt", prompt)] {
        if value.is_some() {
            let message = format!(
                "`{name}` is kept by OpenAI and not here; use `instructions`, `input` and \
                 `previous_response_id`"
            );
            return Err(Error::unsupported(name, message));
        }
    }
    let (store, background) = (store.unwrap_or(true), background.unwrap_or(false));
    if background && !store {
        let message = "`background` needs `store` to be true: nobody could fetch the response";
        return Err(Error::invalid("background", message));
    }
    check_metadata(metadata.as_ref())?;
    let truncation = truncation.unwrap_or_else(|| "disabled".to_owned());
    // Nothing is cut in either case: "auto" is kept as long as everything fits.
    if !matches!(truncation.as_str(), "auto" | "disabled") {
        return Err(invalid_choice("truncation", &truncation, "auto and disabled"));
    }
    let whole = i64::from(i32::MAX);
    let max_output_tokens = integer("max_output_tokens", max_output_tokens, 1, whole)?
        .and_then(|n| u32::try_from(n).ok());
    // Counts calls of hosted tools, which are never made.
    let max_tool_calls = integer("max_tool_calls", max_tool_calls, 1, whole)?;
    let top_logprobs = integer("top_logprobs", top_logprobs, 0, MAX_TOP_LOGPROBS)?.unwrap_or(0);
    let logprobs = wants_logprobs(include)?.then(|| u32::try_from(top_logprobs).unwrap_or(0));
    let sampling = Sampling {
        temperature: number("temperature", temperature, 0.0, 2.0)?,
        top_p: number("top_p", top_p, 0.0, 1.0)?,
        // -1 and 0 both mean all.
        top_k: integer("top_k", top_k, -1, whole)?.map(|k| u32::try_from(k).unwrap_or(0)),
        min_p: number("min_p", min_p, 0.0, 1.0)?,
        // Any int64 is a seed; the bits are what counts.
        seed: seed.map(i64::cast_unsigned),
        ..Sampling::default()
    };
    let (thinking, reasoning) = text::thinking(reasoning)?;
    let (constraint, text) = text::format(text)?;
    let offered = tools::convert(tools, tool_choice.as_ref())?;
    let parallel_tool_calls = parallel_tool_calls.unwrap_or(true);

    let input = input::normalise(input, tail, &|id| past.item(id))?;
    let mut turns = Turns::default();
    if let Some(id) = &previous_response_id {
        for item in past.conversation(id)? {
            turns.push(&item, "previous_response_id")?;
        }
    }
    for (i, item) in input.iter().enumerate() {
        turns.push(item, &format!("input[{i}]"))?;
    }
    if let Some(text) = &instructions {
        no_nul(text, || "instructions".to_owned())?;
    }
    let system = instructions.as_ref().map(|text| Message::text(Role::System, text));
    let prompt = ChatPrompt {
        messages: turns.finish(system)?,
        tools: offered.tools,
        tool_choice: offered.choice,
        parallel_tool_calls,
        thinking,
        template_kwargs: chat_template_kwargs
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, value.to_string()))
            .collect(),
    };
    Ok(Converted {
        stream: stream.unwrap_or(false),
        settings: Settings {
            background,
            instructions,
            max_output_tokens,
            max_tool_calls,
            metadata: metadata.unwrap_or_default(),
            model,
            parallel_tool_calls,
            previous_response_id,
            prompt_cache_key,
            reasoning,
            safety_identifier,
            service_tier: "default",
            store,
            temperature,
            text,
            tool_choice: tool_choice.unwrap_or_else(|| "auto".into()),
            tools: offered.echo,
            top_logprobs,
            top_p,
            truncation,
            user,
        },
        input,
        callables: offered.callables,
        request: GenerateRequest {
            constraint,
            sampling,
            limits: Limits { max_tokens: max_output_tokens, ..Limits::default() },
            output: OutputOptions { logprobs, ..OutputOptions::default() },
            ..GenerateRequest::new(Prompt::Chat(prompt))
        },
    })
}

/// Whether the tokens' probabilities are wanted. The rest of what can be included is either always
/// there or about hosted tools.
fn wants_logprobs(include: Option<Vec<String>>) -> Result<bool> {
    let mut wanted = false;
    for (i, name) in include.unwrap_or_default().iter().enumerate() {
        match name.as_str() {
            "message.output_text.logprobs" => wanted = true,
            "reasoning.encrypted_content"
            | "message.input_image.image_url"
            | "file_search_call.results"
            | "web_search_call.results"
            | "web_search_call.action.sources"
            | "computer_call_output.output.image_url"
            | "code_interpreter_call.outputs" => {}
            other => {
                let choices = "message.output_text.logprobs and reasoning.encrypted_content";
                return Err(invalid_choice(format!("include[{i}]"), other, choices));
            }
        }
    }
    Ok(wanted)
}

fn check_metadata(metadata: Option<&Map<String, Value>>) -> Result<()> {
    let (pairs, key_length, value_length) = METADATA;
    let Some(metadata) = metadata else { return Ok(()) };
    let fits = |text: &str, limit: usize| text.chars().count() <= limit;
    let good = metadata.len() <= pairs
        && metadata.iter().all(|(key, value)| {
            fits(key, key_length) && value.as_str().is_some_and(|text| fits(text, value_length))
        });
    if good {
        return Ok(());
    }
    let message = format!(
        "`metadata` has at most {pairs} pairs of a key of {key_length} characters and a string of \
         {value_length}"
    );
    Err(Error::invalid("metadata", message))
}
