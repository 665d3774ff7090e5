use std::cell::OnceCell;
use std::ffi::c_char;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::model::Model;
use super::shim::{self, Bytes, RawTemplates, Status};
use crate::domain::{ChatPrompt, Message, Role, Tool, ToolChoice};

/// The longest error text that is passed on, in characters.
const MAX_REASON: usize = 300;

/// The chat templates of one model, parsed.
///
/// Rendering is llama.cpp's own (`common_chat`), as in llama-server, with two consequences worth
/// knowing. A model without a template is given ChatML. And the rendered prompt is one text, in
/// which the tokenizer would recognise special tokens wherever they stand: what users and tools
/// say is therefore marked before (see `quote`), so that a user who writes `<|im_end|>` has
/// written just that.
pub struct ChatTemplates {
    raw: NonNull<RawTemplates>,
    calls_tools: OnceCell<bool>,
    // The templates were made from it.
    _model: Arc<Model>,
}

// SAFETY: rendering only reads the parsed templates; nothing in them belongs to a thread.
unsafe impl Send for ChatTemplates {}

/// A rendered conversation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Rendered {
    /// What the model reads. Without BOS where the tokenizer adds it.
    pub prompt: String,
    /// Texts that end an answer in this format, besides the model's own end tokens.
    pub additional_stops: Vec<String>,
    /// The end of `prompt` that belongs to the answer (`<|im_start|>assistant`, a prefill).
    pub generation_prompt: String,
    /// llama.cpp's name for the output format.
    pub format: String,
    /// llama.cpp's parser for the output, serialised.
    pub parser: String,
    /// Whether answers are content as they stand: no parser is needed.
    pub plain: bool,
    /// A GBNF grammar for the output, which begins with `generation_prompt` unless it is lazy;
    /// empty: none.
    pub grammar: String,
    /// Where a call is a must: the same without text before the calls.
    pub calls_only: Option<String>,
    /// Whether the grammar applies only after a trigger.
    pub grammar_lazy: bool,
    /// What triggers it.
    pub grammar_triggers: Vec<GrammarTrigger>,
    /// Whether the model can think before it answers.
    pub supports_thinking: bool,
    /// The text that begins a thought; empty: none is known.
    pub thinking_start_tag: String,
    /// The texts that end one.
    pub thinking_end_tags: Vec<String>,
    /// Texts of control tokens that the format is made of: they have to be in the answer's text.
    pub preserved_tokens: Vec<String>,
}

/// What triggers a lazy grammar, in llama.cpp's terms.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct GrammarTrigger {
    /// 0: a token, 1: a text, 2: a regular expression, 3: one for all of the text.
    #[serde(rename = "type")]
    pub kind: u32,
    /// The text or the expression.
    pub value: String,
    /// The token.
    pub token: i32,
}

/// What a template can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// It lists the tools.
    pub supports_tools: bool,
    /// It shows earlier calls.
    pub supports_tool_calls: bool,
}

/// Why a conversation was not rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template refused the conversation (`raise_exception`), in its own words.
    #[error("{0}")]
    Raised(String),
    /// The template is broken, or uses what llama.cpp does not know.
    #[error("{0}")]
    Template(String),
    /// The request was not understood: a fault of modeld.
    #[error("{0}")]
    Request(String),
}

impl ChatTemplates {
    /// Parses the model's template, or `replacement` instead of it.
    ///
    /// # Errors
    /// [`RenderError::Template`] with what is wrong.
    pub fn new(model: Arc<Model>, replacement: Option<&str>) -> Result<Self, RenderError> {
        let source = replacement.unwrap_or_default();
        let mut out = ptr::null_mut();
        let mut error = Bytes::empty();
        // SAFETY: the model lives, `source` is readable for its length, `out` and `error` are
        // writable.
        let status = unsafe {
            shim::modeld_templates_new(
                model.as_ptr(),
                source.as_ptr().cast::<c_char>(),
                source.len(),
                &mut out,
                &mut error,
            )
        };
        match (Status::from(status), NonNull::new(out)) {
            (Status::Ok, Some(raw)) => {
                Ok(Self { raw, calls_tools: OnceCell::new(), _model: model })
            }
            _ => Err(RenderError::Template(reason(&error))),
        }
    }

    /// Renders a conversation. May take long: templates are programs.
    ///
    /// Each call analyses the template anew (llama.cpp runs it about twenty times to learn how its
    /// answers look): its API has no way to keep the analysis.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn render(&self, chat: &ChatPrompt) -> Result<Rendered, RenderError> {
        let request = request(chat).to_string();
        let mut out = Bytes::empty();
        // SAFETY: the templates live, `request` is readable for its length, `out` is writable.
        let status = unsafe {
            shim::modeld_templates_apply(
                self.raw.as_ptr(),
                request.as_ptr().cast::<c_char>(),
                request.len(),
                &mut out,
            )
        };
        match Status::from(status) {
            Status::Ok => serde_json::from_slice(out.as_slice())
                .map_err(|e| RenderError::Request(format!("an unreadable answer: {e}"))),
            Status::Raised => Err(RenderError::Raised(reason(&out))),
            Status::Template | Status::Exception => Err(RenderError::Template(reason(&out))),
            Status::Input => Err(RenderError::Request(reason(&out))),
        }
    }

    /// What the template can do, as llama.cpp found out when it parsed it.
    pub fn capabilities(&self) -> Capabilities {
        let mut out = Bytes::empty();
        // SAFETY: the templates live, `out` is writable.
        let status = unsafe { shim::modeld_templates_caps(self.raw.as_ptr(), &mut out) };
        match Status::from(status) {
            Status::Ok => serde_json::from_slice(out.as_slice()).unwrap_or_default(),
            _ => Capabilities::default(),
        }
    }
}

impl ChatTemplates {
    /// Whether tools can be called as the template has it: it lists them, shows earlier calls, and
    /// llama.cpp has found out how they are written. Found out once.
    pub fn calls_tools(&self) -> bool {
        *self.calls_tools.get_or_init(|| {
            let able = self.capabilities();
            if !able.supports_tools || !able.supports_tool_calls {
                return false;
            }
            let tool = Tool {
                name: "probe".to_owned(),
                parameters: "{\"type\":\"object\",\"properties\":{}}".to_owned(),
                ..Tool::default()
            };
            let chat = ChatPrompt {
                tools: vec![tool],
                tool_choice: ToolChoice::Required,
                ..ChatPrompt::new(vec![Message::text(Role::User, "hi")])
            };
            self.render(&chat).is_ok_and(|rendered| !rendered.grammar.is_empty())
        })
    }
}

impl Drop for ChatTemplates {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { shim::modeld_templates_free(self.raw.as_ptr()) }
    }
}

fn reason(bytes: &Bytes) -> String {
    let text: String = bytes.text().chars().take(MAX_REASON).collect();
    if text.is_empty() { "llama.cpp gave no reason".to_owned() } else { text }
}

/// The conversation as the shim reads it: OpenAI's message objects.
fn request(chat: &ChatPrompt) -> Value {
    let mut messages = chat.messages.as_slice();
    let mut prefill = false;
    if let [before @ .., last] = messages
        && last.role == Role::Assistant
        && last.tool_calls.is_empty()
    {
        // A prefill of nothing is no prefill.
        prefill =
            !last.content.is_empty() || last.reasoning.as_ref().is_some_and(|r| !r.is_empty());
        if !prefill && !before.is_empty() {
            messages = before;
        }
    }
    let kwargs = template_kwargs(chat);
    let mut out = json!({
        "messages": messages.iter().map(message).collect::<Vec<_>>(),
        "add_generation_prompt": !prefill,
        "continue_final_message": prefill,
        "reasoning_format": "deepseek",
        "enable_thinking": kwargs.get("enable_thinking").and_then(Value::as_bool).unwrap_or(true),
        "chat_template_kwargs": kwargs,
    });
    if let (false, Some(out)) = (chat.tools.is_empty(), out.as_object_mut()) {
        let choice = match chat.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required | ToolChoice::Named(_) => "required",
        };
        out.insert("tools".to_owned(), chat.tools.iter().map(tool).collect());
        out.insert("tool_choice".to_owned(), choice.into());
        out.insert("parallel_tool_calls".to_owned(), chat.parallel_tool_calls.into());
    }
    out
}

/// The variables of the template: what the client wrote there wins over the fields that mean the
/// same.
fn template_kwargs(chat: &ChatPrompt) -> serde_json::Map<String, Value> {
    let mut kwargs = serde_json::Map::new();
    if let Some(enabled) = chat.thinking.enabled {
        // Templates have two names for it.
        kwargs.insert("enable_thinking".to_owned(), enabled.into());
        kwargs.insert("thinking".to_owned(), enabled.into());
    }
    if let Some(effort) = &chat.thinking.effort {
        kwargs.insert("reasoning_effort".to_owned(), effort.as_str().into());
    }
    for (name, value) in &chat.template_kwargs {
        // Checked before: see `validate`.
        if let Ok(value) = serde_json::from_str(value) {
            kwargs.insert(name.clone(), value);
        }
    }
    kwargs
}

fn tool(tool: &Tool) -> Value {
    let parameters: Value = serde_json::from_str(&tool.parameters).unwrap_or_else(|_| json!({}));
    json!({
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": parameters,
        },
    })
}

fn message(message: &Message) -> Value {
    let mut out = serde_json::Map::new();
    out.insert("role".to_owned(), message.role.as_str().into());
    let only_calls = message.content.is_empty() && !message.tool_calls.is_empty();
    let content = if only_calls { Value::Null } else { message.content.as_str().into() };
    out.insert("content".to_owned(), content);
    if let Some(reasoning) = &message.reasoning {
        out.insert("reasoning_content".to_owned(), reasoning.as_str().into());
    }
    if let Some(name) = &message.name {
        out.insert("name".to_owned(), name.as_str().into());
    }
    if let Some(id) = &message.tool_call_id {
        out.insert("tool_call_id".to_owned(), id.as_str().into());
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
            json!({
                "id": call.id,
                "type": "function",
                "function": { "name": call.name, "arguments": arguments },
            })
        });
        out.insert("tool_calls".to_owned(), calls.collect());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ToolCall;

    fn chat(messages: Vec<Message>) -> Value {
        request(&ChatPrompt::new(messages))
    }

    #[test]
    fn a_last_assistant_turn_is_a_prefill_only_with_text_in_it() {
        let user = Message::text(Role::User, "hi");
        let plain = chat(vec![user.clone()]);
        assert_eq!(plain["add_generation_prompt"], true);
        assert_eq!(plain["continue_final_message"], false);
        let prefill = chat(vec![user.clone(), Message::text(Role::Assistant, "Sure")]);
        assert_eq!(prefill["add_generation_prompt"], false);
        assert_eq!(prefill["continue_final_message"], true);
        assert_eq!(chat(vec![user, Message::text(Role::Assistant, "")]), plain);
    }

    #[test]
    fn tool_turns_keep_their_ids_and_empty_arguments_are_an_object() {
        let call = |arguments: &str| ToolCall {
            id: "c1".into(),
            name: "clock".into(),
            arguments: arguments.into(),
        };
        let calls = Message {
            tool_calls: vec![call(""), call("{\"a\":1}")],
            ..Message::text(Role::Assistant, "")
        };
        let answer = Message {
            tool_call_id: Some("c1".into()),
            name: Some("clock".into()),
            ..Message::text(Role::Tool, "noon")
        };
        let request = chat(vec![calls, answer]);
        assert_eq!(
            request["messages"],
            json!([
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "c1", "type": "function",
                      "function": { "name": "clock", "arguments": "{}" } },
                    { "id": "c1", "type": "function",
                      "function": { "name": "clock", "arguments": "{\"a\":1}" } },
                ] },
                { "role": "tool", "content": "noon", "name": "clock", "tool_call_id": "c1" },
            ])
        );
        assert_eq!(request["add_generation_prompt"], true);
    }
}
