use crate::domain::{
    ChatPrompt, Constraint, Error, GenerateRequest, Message, Prompt, Result, Role,
};
use crate::models::Portrait;

use super::super::types::ChatRequest;
use super::common::{Asked, require_completion};
use super::converted::{Converted, Task};
use super::{messages, think, tools};

/// Maps, refuses or ignores every field of a chat with the model that the client calls `name`.
pub(in crate::api::ollama) fn convert(
    request: ChatRequest,
    name: &str,
    portrait: &Portrait,
) -> Result<Converted> {
    let ChatRequest {
        // Has been looked at: it is `name`.
        model: _,
        name: _,
        messages,
        tools,
        stream,
        format,
        options,
        keep_alive,
        think,
        logprobs,
        top_logprobs,
        truncate,
        shift,
        _debug_render_only: debug_render_only,
    } = request;
    let asked =
        Asked { format, options, keep_alive, logprobs, top_logprobs, shift, debug_render_only };
    let common = asked.convert(&portrait.ollama.parameters)?;
    let stream = stream.unwrap_or(true);
    let messages = messages.unwrap_or_default();
    if messages.is_empty() && common.nothing() == Task::Unload {
        return Ok(Converted::new(Task::Unload, stream, common.wishes));
    }
    require_completion(name, portrait, "chat")?;
    let thinking = think::convert(think, name, portrait.abilities.thinking)?;
    if messages.is_empty() {
        return Ok(Converted::new(Task::Load, stream, common.wishes));
    }
    let tools = tools::convert(tools)?;
    let messages = with_stored(messages::convert(messages)?, portrait);
    check_prefill(&common.constraint, &messages)?;
    let prompt = Prompt::Chat(ChatPrompt {
        messages,
        parallel_tool_calls: !tools.is_empty(),
        tools,
        thinking,
        ..ChatPrompt::default()
    });
    let request = GenerateRequest {
        prompt,
        constraint: common.constraint,
        sampling: common.sampling,
        limits: common.limits,
        output: common.output,
    };
    let converted = Converted::new(Task::Answer(Box::new(request)), stream, common.wishes);
    Ok(Converted { truncate: truncate.unwrap_or(false), ..converted })
}

/// What the model brings along stands before the conversation; its instructions only where the
/// conversation has none.
pub(super) fn with_stored(messages: Vec<Message>, portrait: &Portrait) -> Vec<Message> {
    let has_system = messages.first().is_some_and(|first| first.role == Role::System);
    let system = portrait.ollama.system.clone();
    let system = system.filter(|text| !has_system && !text.is_empty() && !text.contains('\0'));
    let mut all: Vec<Message> =
        system.into_iter().map(|text| Message::text(Role::System, text)).collect();
    let mut messages = messages.into_iter();
    if has_system {
        all.extend(messages.next());
    }
    all.extend(messages::stored(&portrait.ollama.messages));
    all.extend(messages);
    all
}

fn check_prefill(constraint: &Constraint, messages: &[Message]) -> Result<()> {
    let begun = messages.last().is_some_and(|last| last.role == Role::Assistant);
    if *constraint == Constraint::None || !begun {
        return Ok(());
    }
    let message = "`format` holds a whole answer to a form, but the last message has begun the \
                   answer already; leave one of the two out";
    Err(Error::invalid("format", message))
}
