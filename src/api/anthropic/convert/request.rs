use serde_json::Value;

use crate::api::checks::{count, missing, no_nul, number};
use crate::api::json::Object;
use crate::domain::{
    ChatPrompt, Constraint, Error, GenerateRequest, Limits, Message, Prompt, Result, Role,
    Sampling, Thinking,
};
use crate::schema;

use super::super::types::{Format, MessagesRequest, OutputConfig, WireThinking};
use super::messages;
use super::tools::{self, Tools};

/// The most stop sequences that are taken.
const MAX_STOPS: usize = 16;
/// The most tokens that an answer can be asked for.
const MAX_TOKENS: u32 = i32::MAX.cast_unsigned();

/// A request for an answer, with what its rendering needs to know.
#[derive(Debug)]
pub(in crate::api::anthropic) struct Converted {
    pub(in crate::api::anthropic) model: String,
    pub(in crate::api::anthropic) stream: bool,
    pub(in crate::api::anthropic) request: GenerateRequest,
}

/// Maps, refuses or ignores every field of a request for a message.
pub(in crate::api::anthropic) fn convert(request: MessagesRequest) -> Result<Converted> {
    if request.max_tokens.is_none() {
        return Err(missing("max_tokens", "say how many tokens the answer may have"));
    }
    any(request)
}

/// The model and the prompt of a request whose tokens are to be counted. It needs no `max_tokens`;
/// everything else is checked as for an answer, so that what can be counted can be asked.
pub(in crate::api::anthropic) fn counted(request: MessagesRequest) -> Result<(String, Prompt)> {
    let Converted { model, stream: _, request } = any(request)?;
    Ok((model, request.prompt))
}

fn any(request: MessagesRequest) -> Result<Converted> {
    let MessagesRequest {
        model,
        messages,
        max_tokens,
        system,
        stream,
        temperature,
        top_p,
        top_k,
        stop_sequences,
        tools,
        tool_choice,
        thinking,
        output_config,
        output_format,
        mcp_servers,
        // Names a machine for tools that run on Anthropic's side; those tools are refused.
        container: _,
        // Asks to drop old turns on Anthropic's side. Here nothing is cut: a prompt that does not
        // fit is an error that says so.
        context_management: _,
        // The prefix cache needs no marks.
        cache_control: _,
        // About accounts, billing, priority and places on Anthropic's side.
        metadata: _,
        service_tier: _,
        speed: _,
        inference_geo: _,
        diagnostics: _,
        workspace_id: _,
        user_profile_id: _,
        // Whatever a beta adds comes as a field of its own.
        betas: _,
    } = request;
    let model = match model {
        Some(name) if !name.trim().is_empty() => name,
        _ => return Err(missing("model", "name a model that `GET /v1/models` lists")),
    };
    if mcp_servers.is_some_and(|servers| !servers.is_empty()) {
        let message = "`mcp_servers` is not done: modeld connects to no other servers; call their \
                       tools in the client and send them as `tools`";
        return Err(Error::unsupported("mcp_servers", message));
    }
    let messages = messages::convert(system, messages)?;
    let Tools { tools, choice, parallel } = tools::convert(tools, tool_choice)?;
    let (effort, format) = output(output_config, output_format)?;
    let constraint = constraint(format, &messages)?;
    let sampling = Sampling {
        temperature: number("temperature", temperature, 0.0, 1.0)?,
        top_p: number("top_p", top_p, 0.0, 1.0)?,
        top_k: count("top_k", top_k, 0, MAX_TOKENS)?,
        ..Sampling::default()
    };
    let limits = Limits {
        max_tokens: count("max_tokens", max_tokens, 1, MAX_TOKENS)?,
        stop: stops(stop_sequences.unwrap_or_default())?,
        ignore_eos: false,
        shift: None,
    };
    let prompt = Prompt::Chat(ChatPrompt {
        messages,
        tools,
        tool_choice: choice,
        parallel_tool_calls: parallel,
        thinking: self::thinking(thinking, effort)?,
        ..ChatPrompt::default()
    });
    Ok(Converted {
        model,
        stream: stream.unwrap_or(false),
        request: GenerateRequest { constraint, sampling, limits, ..GenerateRequest::new(prompt) },
    })
}

fn stops(stops: Vec<String>) -> Result<Vec<String>> {
    if stops.len() > MAX_STOPS {
        let message =
            format!("`stop_sequences` has {} entries; at most {MAX_STOPS} are taken", stops.len());
        return Err(Error::invalid("stop_sequences", message));
    }
    for (i, text) in stops.iter().enumerate() {
        let param = format!("stop_sequences[{i}]");
        // As upstream: blanks alone would end nearly every answer at once.
        if text.trim().is_empty() {
            let message = format!("`{param}` must have a character that is not white space");
            return Err(Error::invalid(param, message));
        }
        no_nul(text, || param)?;
    }
    Ok(stops)
}

/// A client that does not ask for thinking does not expect any, and often takes the first block for
/// text: so thinking is off unless asked for, where a model lets it be switched off.
fn thinking(thinking: Option<Object<WireThinking>>, effort: Option<String>) -> Result<Thinking> {
    let Some(Object(thinking)) = thinking else {
        return Ok(Thinking { enabled: Some(false), effort, budget: None });
    };
    // How much of the thinking is shown is upstream's to hide; here all of it is.
    let WireThinking { r#type, budget_tokens, display: _ } = thinking;
    // Upstream's least budget is 1024; small models do with less.
    let budget = count("thinking.budget_tokens", budget_tokens, 1, MAX_TOKENS)?;
    let (enabled, budget) = match r#type.as_deref() {
        Some("disabled") => (false, None),
        Some("adaptive" | "between_tools") => (true, None),
        Some("enabled") => {
            let advice = "say how many tokens of thought there may be";
            (true, Some(budget.ok_or_else(|| missing("thinking.budget_tokens", advice))?))
        }
        Some(_) => {
            let message = "`thinking.type` is enabled, disabled or adaptive";
            return Err(Error::invalid("thinking.type", message));
        }
        None => return Err(missing("thinking.type", "send enabled, disabled or adaptive")),
    };
    Ok(Thinking { enabled: Some(enabled), effort, budget })
}

/// A format with the name of the field that asked for it.
type NamedFormat = Option<(&'static str, Format)>;

fn output(
    config: Option<Object<OutputConfig>>,
    old_format: Option<Object<Format>>,
) -> Result<(Option<String>, NamedFormat)> {
    let Object(OutputConfig { effort, format }) = config.unwrap_or_default();
    let effort = match effort.as_deref() {
        None => None,
        Some(level @ ("low" | "medium" | "high")) => Some(level.to_owned()),
        // Templates know no more than this.
        Some("xhigh" | "max") => Some("high".to_owned()),
        Some(_) => {
            let message = "`output_config.effort` is low, medium, high, xhigh or max";
            return Err(Error::invalid("output_config.effort", message));
        }
    };
    let format = match (format, old_format) {
        (Some(Object(format)), _) => Some(("output_config.format", format)),
        (None, Some(Object(format))) => Some(("output_format", format)),
        (None, None) => None,
    };
    Ok((effort, format))
}

fn constraint(format: NamedFormat, messages: &[Message]) -> Result<Constraint> {
    let Some((path, Format { r#type, schema })) = format else { return Ok(Constraint::None) };
    match r#type.as_deref() {
        Some("json_schema") => {}
        Some(_) => {
            let message = format!("`{path}.type` is json_schema");
            return Err(Error::invalid(format!("{path}.type"), message));
        }
        None => return Err(missing(format!("{path}.type"), "send \"json_schema\"")),
    }
    let param = format!("{path}.schema");
    let schema = match schema {
        None | Some(Value::Null) => return Err(missing(param, "send the JSON schema")),
        Some(schema) => schema,
    };
    if let Err(fault) = schema::check(&schema) {
        let message = format!("`{param}{}`: {fault}", fault.pointer);
        return Err(Error::invalid(param, message));
    }
    if messages.last().is_some_and(|last| last.role == Role::Assistant) {
        let message = format!(
            "`{path}` holds a whole answer to a schema, but the last message has begun the answer \
             already; leave one of the two out"
        );
        return Err(Error::invalid(path, message));
    }
    Ok(Constraint::JsonSchema(schema.to_string()))
}
