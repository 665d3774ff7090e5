use super::tokenize::too_large;
use crate::domain::{ChatPrompt, Error, MAX_MEDIA, Prompt};
use crate::worker::llama::MAX_TEXT;
use crate::worker::quote::has_marks;

/// Tool calls in one conversation; each costs the template more than its bytes tell.
const MAX_CALLS: usize = 4_096;

/// What the C++ side must not see, or would blame the model for.
///
/// # Errors
/// `InvalidValue` with the place; `ContextLengthExceeded` for what no context could hold.
pub(super) fn validate(prompt: &Prompt) -> Result<(), Error> {
    let bytes = prompt.text_bytes();
    if bytes > MAX_TEXT {
        return Err(too_large(bytes));
    }
    match prompt {
        Prompt::Text(text) => no_nul("prompt", text),
        Prompt::Chat(chat) => validate_chat(chat),
        Prompt::Fill { prefix, suffix } => {
            no_nul("prompt", prefix)?;
            no_nul("suffix", suffix)
        }
        Prompt::Tokens(_) | Prompt::Embed(_) => Ok(()),
    }
}

fn validate_chat(chat: &ChatPrompt) -> Result<(), Error> {
    if chat.messages.is_empty() {
        return Err(Error::invalid("messages", "there are no messages: give at least one"));
    }
    let calls: usize = chat.messages.iter().map(|message| message.tool_calls.len()).sum();
    if calls > MAX_CALLS {
        let message = format!("there are {calls} tool calls: at most {MAX_CALLS} are taken");
        return Err(Error::invalid("messages", message));
    }
    let media: usize = chat.messages.iter().map(|message| message.media.len()).sum();
    if media > MAX_MEDIA {
        let message = format!("there are {media} images and sounds: at most {MAX_MEDIA} are taken");
        return Err(Error::invalid("messages", message));
    }
    for (index, message) in chat.messages.iter().enumerate() {
        let at = |field: &str| format!("messages[{index}].{field}");
        no_nul(&at("content"), &message.content)?;
        no_nul(&at("reasoning_content"), message.reasoning.as_deref().unwrap_or_default())?;
        no_nul(&at("name"), message.name.as_deref().unwrap_or_default())?;
        no_nul(&at("tool_call_id"), message.tool_call_id.as_deref().unwrap_or_default())?;
        for (call, tool_call) in message.tool_calls.iter().enumerate() {
            no_nul(&at(&format!("tool_calls[{call}].function.name")), &tool_call.name)?;
            let arguments = tool_call.arguments.trim();
            // Parsing also bounds the nesting (128), on which the template engine recurses.
            let parsed = serde_json::from_str::<serde_json::Value>(arguments);
            if parsed.as_ref().is_ok_and(has_marks) {
                return Err(Error::invalid(
                    at(&format!("tool_calls[{call}].function.arguments")),
                    "the arguments hold code points that are no characters (U+10FFFE, U+FDD0, …): \
                     remove them",
                ));
            }
            if !arguments.is_empty() && parsed.is_err() {
                return Err(Error::invalid(
                    at(&format!("tool_calls[{call}].function.arguments")),
                    "a tool call's arguments must be JSON text, nested at most 127 deep",
                ));
            }
        }
    }
    Ok(())
}

fn no_nul(param: &str, text: &str) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(Error::invalid(param, "the text contains a NUL character: remove it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ErrorKind, Message, Role, ToolCall};

    fn refused(prompt: &Prompt) -> Option<String> {
        let error = validate(prompt).err()?;
        assert_eq!(error.kind, ErrorKind::InvalidValue);
        error.param
    }

    fn calling(arguments: &str) -> Prompt {
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments: arguments.to_owned() };
        let message = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
        Prompt::Chat(ChatPrompt::new(vec![message]))
    }

    #[test]
    fn what_the_template_engine_must_not_see_is_refused_with_its_place() {
        assert_eq!(refused(&Prompt::Text("a\0".into())).as_deref(), Some("prompt"));
        let empty = Prompt::Chat(ChatPrompt::default());
        assert_eq!(refused(&empty).as_deref(), Some("messages"));
        let messages = vec![Message::text(Role::User, "a"), Message::text(Role::User, "\0")];
        let chat = Prompt::Chat(ChatPrompt::new(messages));
        assert_eq!(refused(&chat).as_deref(), Some("messages[1].content"));
        let place = Some("messages[0].tool_calls[0].function.arguments");
        assert_eq!(refused(&calling("{\"a\":")).as_deref(), place);
        let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
        assert_eq!(refused(&calling(&deep)).as_deref(), place);
        for good in ["", " ", "{}", "{\"a\":[1]}"] {
            assert_eq!(refused(&calling(good)), None, "{good:?}");
        }
    }
}
