use crate::api::checks::no_nul;
use crate::domain::{ChatPrompt, Error, GenerateRequest, Message, Prompt, Result, Role};
use crate::models::Portrait;

use super::super::types::GenerateRequest as Wire;
use super::chat::with_stored;
use super::common::{Asked, require_completion};
use super::converted::{Converted, Task};
use super::{messages, think};

/// Maps, refuses or ignores every field of a generation with the model that the client calls `name`.
pub(in crate::api::ollama) fn convert(
    request: Wire,
    name: &str,
    portrait: &Portrait,
) -> Result<Converted> {
    let Wire {
        // Has been looked at: it is `name`.
        model: _,
        name: _,
        prompt,
        suffix,
        images,
        system,
        template,
        context,
        raw,
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
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (prompt, suffix) = (prompt.unwrap_or_default(), given(suffix));
    let (system, template) = (given(system), given(template));
    let (raw, context) = (raw.unwrap_or(false), context.unwrap_or_default());
    let nothing = prompt.is_empty() && suffix.is_none();
    if nothing && common.nothing() == Task::Unload {
        return Ok(Converted::new(Task::Unload, stream, common.wishes));
    }
    if raw && (system.is_some() || template.is_some() || !context.is_empty()) {
        let message = "raw mode does not support template, system, or context";
        return Err(Error::invalid("raw", message));
    }
    if let Some(template) = template {
        return Err(refused_template(&template));
    }
    require_completion(name, portrait, "generate")?;
    let can_think = portrait.abilities.thinking && !raw && suffix.is_none();
    let thinking = think::convert(think, name, can_think)?;
    if nothing {
        return Ok(Converted::new(Task::Load, stream, common.wishes));
    }
    for (text, param) in
        [(Some(&prompt), "prompt"), (suffix.as_ref(), "suffix"), (system.as_ref(), "system")]
    {
        if let Some(text) = text {
            no_nul(text, || param.to_owned())?;
        }
    }
    let images = messages::images(images, "images")?;
    let plain = raw || suffix.is_some();
    if !images.is_empty() && (plain || !context.is_empty()) {
        let message = "`images` go with a prompt alone; leave out `raw`, `suffix` and `context`";
        return Err(Error::invalid("images", message));
    }
    let tells_context = !plain && images.is_empty();
    let prompt = match (raw, suffix) {
        (_, Some(suffix)) => Prompt::Fill { prefix: prompt, suffix },
        (true, None) => Prompt::Text(prompt),
        (false, None) => {
            let user = Message { media: images, ..Message::text(Role::User, prompt) };
            let system = system.map(|text| Message::text(Role::System, text));
            let messages = system.into_iter().chain([user]).collect();
            // What came before is in the context already.
            let messages =
                if context.is_empty() { with_stored(messages, portrait) } else { messages };
            Prompt::Chat(ChatPrompt { thinking, ..ChatPrompt::new(messages) })
        }
    };
    let request = GenerateRequest {
        prompt,
        constraint: common.constraint,
        sampling: common.sampling,
        limits: common.limits,
        output: common.output,
    };
    let converted = Converted::new(Task::Answer(Box::new(request)), stream, common.wishes);
    Ok(Converted { truncate: truncate.unwrap_or(false), context, tells_context, ..converted })
}

/// The worker runs the model's own template, and no client's.
fn refused_template(template: &str) -> Error {
    let go = [".Prompt", ".System", ".Messages", ".Response"];
    let message = if go.iter().any(|word| template.contains(word)) {
        "`template` is in Go's template language, which modeld does not run; leave it out: the \
         model's own Jinja template is used. To write the prompt yourself send `\"raw\": true`"
    } else {
        "`template` is not done for one request; leave it out, send `\"raw\": true` with the prompt \
         as it is to be, or package the model with another one: modeld package --chat-template"
    };
    Error::unsupported("template", message)
}
