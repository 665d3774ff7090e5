//! From a prompt to tokens: validate, render, tokenise. On a thread of its own, so that a long
//! prompt never holds up a step.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use super::compute::Token;
use super::jobs::Jobs;
use super::llama::{ChatTemplates, MAX_TEXT, Model, RenderError, TokenizeError};
use super::quote::{Part, Quotes, has_marks, parts};
use super::step::{FrameSink, StepCommand};
use super::watchdog::Watchdog;
use crate::domain::{ChatPrompt, Error, ErrorKind, JobId, Prompt};
use crate::protocol::ToDaemon;

/// How long a template may take for a conversation of no length.
const RENDER_LIMIT: Duration = Duration::from_secs(1);
/// Long conversations get a second more for each so many bytes; an honest template takes about a
/// tenth of that.
const BYTES_PER_SECOND: usize = 2 << 20;
/// Tool calls in one conversation; each costs the template more than its bytes tell.
const MAX_CALLS: usize = 4_096;
/// How much longer than a template the tokenizer may take: it only hangs on hostile vocabularies.
const TOKENIZE_PATIENCE: u32 = 20;

/// What the prepare thread works with.
pub struct Preparer {
    /// The model's name, for messages.
    pub name: String,
    /// Its vocabulary.
    pub model: Arc<Model>,
    /// Its templates, or why there are none.
    pub templates: Result<ChatTemplates, String>,
    /// The longest sequence, in tokens.
    pub context_size: u32,
    /// Keeps special tokens in what users say from being more than text.
    pub quotes: Quotes,
    /// Ends a template that runs for too long.
    pub watchdog: Arc<Watchdog>,
    /// Shared with the reader.
    pub jobs: Arc<Jobs>,
    /// To the step loop.
    pub step: Sender<StepCommand>,
    /// To the daemon.
    pub out: Arc<dyn FrameSink>,
}

impl Preparer {
    /// Prepares prompts until the channel closes.
    pub fn run(&self, prompts: &Receiver<(JobId, Prompt)>) {
        while let Ok((job, prompt)) = prompts.recv() {
            if !self.jobs.is_wanted(job) {
                self.out.send(ToDaemon::Released { job });
                continue;
            }
            let (stops, outcome) = match self.prepare(job, &prompt) {
                Ok((tokens, stops)) => (stops, Ok(tokens)),
                Err(error) => (Vec::new(), Err(error)),
            };
            let settled = self.jobs.settle(job, stops, || match outcome {
                Ok(tokens) => {
                    let prompt_tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                    // The loop must know the job before the daemon can start it.
                    let _ = self.step.send(StepCommand::Prepared { job, tokens });
                    self.out.send(ToDaemon::Prepared { job, prompt_tokens });
                }
                Err(error) => self.out.send(ToDaemon::Failed { job, error }),
            });
            if !settled {
                self.out.send(ToDaemon::Released { job });
            }
        }
    }

    fn prepare(&self, job: JobId, prompt: &Prompt) -> Result<(Vec<Token>, Vec<String>), Error> {
        validate(prompt)?;
        let (tokens, stops) = match prompt {
            Prompt::Text(text) => (self.tokenize(job, &[Part::template(text)])?, Vec::new()),
            Prompt::Chat(chat) => {
                let quoted = self.quotes.quote(chat.clone());
                let (text, stops) = self.render(job, &quoted, prompt.text_bytes())?;
                (self.tokenize(job, &parts(&text))?, stops)
            }
        };
        if tokens.is_empty() {
            let param = if matches!(prompt, Prompt::Text(_)) { "prompt" } else { "messages" };
            return Err(Error::invalid(param, "the prompt has no tokens: give it some text"));
        }
        Ok((tokens, stops))
    }

    /// The prompt and the stop texts of the format.
    fn render(
        &self,
        job: JobId,
        chat: &ChatPrompt,
        bytes: usize,
    ) -> Result<(String, Vec<String>), Error> {
        let templates = self.templates.as_ref().map_err(|reason| self.bad_template(reason))?;
        let limit = render_limit(bytes);
        let error = Error::new(
            ErrorKind::InvalidModel,
            format!(
                "the chat template of {} took longer than {} s: load the model with another one",
                self.name,
                limit.as_secs()
            ),
        );
        let last_words = ToDaemon::Failed { job, error };
        match self.watchdog.watch(limit, last_words, || templates.render(chat)) {
            Ok(rendered) => Ok((rendered.prompt, rendered.additional_stops)),
            Err(RenderError::Raised(reason)) => Err(Error::invalid(
                "messages",
                format!("the chat template of {} refused the conversation: {reason}", self.name),
            )),
            Err(RenderError::Template(reason)) => Err(self.bad_template(&reason)),
            // The reason may quote the conversation, so it is not for the log.
            Err(RenderError::Request(_)) => {
                Err(Error::internal("llama.cpp did not understand the messages it was given"))
            }
        }
    }

    fn bad_template(&self, reason: &str) -> Error {
        Error::new(
            ErrorKind::InvalidModel,
            format!(
                "the chat template of {} cannot be used: {reason}. Load the model with another \
                 one, or complete plain text",
                self.name
            ),
        )
    }

    /// At least one token of the context stays for the answer.
    fn tokenize(&self, job: JobId, parts: &[Part<'_>]) -> Result<Vec<Token>, Error> {
        let bytes = parts.iter().map(|part| part.text.len()).sum();
        let limit = render_limit(bytes) * TOKENIZE_PATIENCE;
        let message = format!(
            "the tokenizer of {} took longer than {} s: the model is damaged, get it anew",
            self.name,
            limit.as_secs()
        );
        let error = Error::new(ErrorKind::InvalidModel, message);
        self.watchdog.watch(limit, ToDaemon::Failed { job, error }, || self.tokenize_parts(parts))
    }

    fn tokenize_parts(&self, parts: &[Part<'_>]) -> Result<Vec<Token>, Error> {
        let most = self.context_size.saturating_sub(1);
        let mut tokens: Vec<Token> = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let before = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
            let room = most.saturating_sub(before);
            let more = self
                .model
                .tokenize_part(part.text, room, index == 0, !part.quoted)
                .map_err(|error| self.not_tokenized(error, before, index + 1 == parts.len()))?;
            if tokens.is_empty() {
                tokens = more
            } else {
                tokens.extend(more)
            }
            // An end that the tokenizer adds belongs behind the last part.
            if index == 0 && parts.len() > 1 && self.model.adds_end() {
                tokens.pop();
            }
        }
        Ok(tokens)
    }

    /// The error of a part that comes after `before` tokens.
    fn not_tokenized(&self, error: TokenizeError, before: u32, last: bool) -> Error {
        match error {
            TokenizeError::TooMany { tokens, exact } => {
                let all = tokens.saturating_add(before.into());
                too_long(all, exact && last, self.context_size)
            }
            TokenizeError::TooLong { bytes } => too_large(bytes),
            TokenizeError::Failed(reason) => Error::new(
                ErrorKind::InvalidModel,
                format!("the tokenizer of {} failed on this prompt", self.name),
            )
            .with_cause(reason),
        }
    }
}

fn render_limit(bytes: usize) -> Duration {
    RENDER_LIMIT + Duration::from_secs((bytes / BYTES_PER_SECOND) as u64)
}

fn too_long(tokens: u64, exact: bool, context: u32) -> Error {
    let least = if exact { "" } else { "at least " };
    let message = format!(
        "the prompt has {least}{tokens} tokens, but the model's context is {context} tokens: \
         shorten the conversation or load the model with a larger context"
    );
    Error::new(ErrorKind::ContextLengthExceeded, message)
}

fn too_large(bytes: usize) -> Error {
    let message = format!("the prompt has {bytes} bytes, over the limit of {MAX_TEXT}: shorten it");
    Error::new(ErrorKind::ContextLengthExceeded, message)
}

/// What the C++ side must not see, or would blame the model for.
fn validate(prompt: &Prompt) -> Result<(), Error> {
    let bytes = prompt.text_bytes();
    if bytes > MAX_TEXT {
        return Err(too_large(bytes));
    }
    match prompt {
        Prompt::Text(text) => no_nul("prompt", text),
        Prompt::Chat(chat) => validate_chat(chat),
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
                    "the arguments hold U+10FFFE or U+10FFFF, which are no characters: remove them",
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
    use crate::domain::{Message, Role, ToolCall};

    fn refused(prompt: &Prompt) -> Option<String> {
        let error = validate(prompt).err()?;
        assert_eq!(error.kind, ErrorKind::InvalidValue);
        error.param
    }

    fn calling(arguments: &str) -> Prompt {
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments: arguments.to_owned() };
        let message = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
        Prompt::Chat(ChatPrompt { messages: vec![message] })
    }

    #[test]
    fn what_the_template_engine_must_not_see_is_refused_with_its_place() {
        assert_eq!(refused(&Prompt::Text("a\0".into())).as_deref(), Some("prompt"));
        let empty = Prompt::Chat(ChatPrompt::default());
        assert_eq!(refused(&empty).as_deref(), Some("messages"));
        let messages = vec![Message::text(Role::User, "a"), Message::text(Role::User, "\0")];
        let chat = Prompt::Chat(ChatPrompt { messages });
        assert_eq!(refused(&chat).as_deref(), Some("messages[1].content"));
        let place = Some("messages[0].tool_calls[0].function.arguments");
        assert_eq!(refused(&calling("{\"a\":")).as_deref(), place);
        let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
        assert_eq!(refused(&calling(&deep)).as_deref(), place);
        for good in ["", " ", "{}", "{\"a\":[1]}"] {
            assert_eq!(refused(&calling(good)), None, "{good:?}");
        }
    }

    #[test]
    fn a_prompt_over_the_context_names_both_numbers() {
        assert_eq!(
            too_long(9000, true, 8192).message,
            "the prompt has 9000 tokens, but the model's context is 8192 tokens: shorten the \
             conversation or load the model with a larger context"
        );
        assert!(too_long(9000, false, 8192).message.contains("at least 9000 tokens"));
    }

    #[test]
    fn a_long_conversation_may_take_longer_to_render() {
        assert_eq!(render_limit(0), Duration::from_secs(1));
        assert_eq!(render_limit(100_000), Duration::from_secs(1));
        assert_eq!(render_limit(MAX_TEXT), Duration::from_secs(33));
    }
}
