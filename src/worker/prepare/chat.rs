//! Conversations: the template renders them, llama.cpp says what its answers look like.
//!
//! What a request asks for and what a template can do meet here:
//!
//! * **Tools, native.** A template that knows tools lists them in its own way; llama.cpp gives the
//!   grammar of its calls and the parser for them. `auto`: the grammar applies from a call's
//!   beginning. `required` and a named tool: it applies from the first token, and its text before
//!   the calls is taken out, so that no model can talk its way around the call, and the
//!   model is asked not to think, unless the client asked for thoughts. A named tool is the only one the model is shown. `none`: the model is shown no tools.
//! * **Tools that are not strict** and whose schemas no grammar can follow are loosened until one can:
//!   whoever serves many tools of others must not fail for an odd one among them.
//! * **Tools, generic.** A template that knows none gets modeld's own format (see `generic`).
//! * **A constraint** (`response_format`): the answer begins with its first token, so the model
//!   does not think: thinking is switched off, and what the prompt has opened is closed. Together
//!   with tools: an answer that must be a call needs no other constraint; with `auto` it is a call
//!   or obeys the schema, in the generic format whatever the template knows.

use super::generic::{self, Wanted};
use super::run::{Preparer, Ready};
use super::tools::{self, Calls, Latitude};
use crate::domain::{ChatPrompt, Constraint, Error, ErrorKind, JobId, Prompt, Thinking};
use crate::worker::compute::{PreparedPrompt, ThinkingMarks, Token, TokenConstraint};
use crate::worker::constraint::Trigger;
use crate::worker::llama::{ChatParser, GrammarTrigger, Rendered};
use crate::worker::output::{Format, Reader};

/// What brings an answer to its content, in formats that begin with something else.
const OPENERS: [&str; 5] =
    ["", "<|channel|>final<|message|>", "all\n", "<|START_RESPONSE|>", "<|START_TEXT|>"];
/// A text that is content if it is taken for content.
const PROBE: &str = "{\"a\":1}";

impl Preparer {
    /// A conversation, rendered by the model's template.
    pub(super) fn chat(
        &self,
        job: JobId,
        chat: &ChatPrompt,
        constraint: &Constraint,
    ) -> Result<Ready, Error> {
        let refused = match self.chat_as_said(job, chat, constraint) {
            Err(error) if is_of_tools(&error) && chat.tools.iter().any(|t| !t.strict) => error,
            done => return done,
        };
        for latitude in [Latitude::Loosened, Latitude::Any] {
            let tools = tools::with_latitude(chat.tools.clone(), latitude);
            let eased = ChatPrompt { tools, ..chat.clone() };
            match self.chat_as_said(job, &eased, constraint) {
                Err(error) if is_of_tools(&error) => {}
                done => return done,
            }
        }
        Err(refused)
    }

    fn chat_as_said(
        &self,
        job: JobId,
        chat: &ChatPrompt,
        constraint: &Constraint,
    ) -> Result<Ready, Error> {
        let bytes = Prompt::Chat(chat.clone()).text_bytes();
        tools::validate(chat)?;
        let said = chat;
        let mut chat = said.clone();
        let asked = tools::offer(&mut chat, constraint)?;
        let constraint = if asked.must { &Constraint::None } else { constraint };
        let calls = self.calls(&chat, constraint)?;
        let chat = self.adapt(chat, calls);
        let constrained =
            *constraint != Constraint::None || (calls == Calls::Generic && asked.must);
        // Whoever has to call comes to it at once, unless the client asked for thoughts.
        let aimed = asked.must && chat.thinking == Thinking::default();
        let chat = if constrained || aimed { tools::without_thinking(chat) } else { chat };
        let (chat, listed) = match calls {
            Calls::Generic => generic::instruct(chat, asked.must),
            Calls::Native | Calls::None => (chat, Vec::new()),
        };

        let mut rendered = self.render(job, &chat, bytes)?;
        let mut parser = self.parser(&rendered)?;
        if constrained && let Some(opened) = self.opened(&rendered, parser.as_ref())? {
            (rendered, parser) = opened;
        }
        // Whatever became of the messages, what is in them kept its order.
        let (tokens, media) = self.tokenize_chat(job, said, &rendered.prompt)?;
        self.model.spell(&rendered.preserved_tokens);
        let marks = self.thinking(&rendered, &chat);
        let may_think = !constrained && marks.is_some();
        let answer = match calls {
            Calls::None => self.constraints.compile(constraint)?,
            Calls::Native => self.grammar(&rendered, &chat, asked.must)?,
            Calls::Generic => {
                // A thought comes first, of which no grammar is known here.
                let parallel = chat.parallel_tool_calls;
                let compiled = if may_think {
                    Ok(None)
                } else {
                    match generic::constraint(&listed, asked.must, parallel, constraint)? {
                        Wanted::Always(wanted) => self.constraints.compile(&wanted),
                        Wanted::OnceBegun(wanted) => {
                            self.constraints.begun(&wanted, generic::BEGINNING).map(Some)
                        }
                    }
                };
                compiled.map_err(|error| tools::blamed(error, &listed))?
            }
        };
        let reader = match (calls, parser) {
            (Calls::Generic, parser) => Reader::Generic(parser),
            (_, Some(parser)) => Reader::Template(parser),
            (_, None) => Reader::Plain,
        };
        let stops = rendered.additional_stops;
        let format = Format { reader, stops: stops.clone(), parallel_calls: asked.parallel };
        let plain = matches!(format.reader, Reader::Plain) && stops.is_empty();
        let thinking = if constrained { None } else { marks };
        let prompt =
            PreparedPrompt { tokens, constraint: answer, thinking, ..PreparedPrompt::default() };
        Ok(Ready { prompt, stops, format: (!plain).then_some(format), media })
    }

    /// How the model is to call tools.
    fn calls(&self, chat: &ChatPrompt, constraint: &Constraint) -> Result<Calls, Error> {
        if chat.tools.is_empty() {
            return Ok(Calls::None);
        }
        let templates = self.templates.as_ref().map_err(|reason| self.bad_template(reason))?;
        let native = *constraint == Constraint::None
            && templates.calls_tools()
            && !tools::are_confused(&chat.tools);
        Ok(if native { Calls::Native } else { Calls::Generic })
    }

    /// The conversation as the template can take it, with the special tokens in it quoted.
    fn adapt(&self, mut chat: ChatPrompt, calls: Calls) -> ChatPrompt {
        let shows_calls = self
            .templates
            .as_ref()
            .is_ok_and(|templates| templates.capabilities().supports_tool_calls);
        if calls == Calls::Generic || !shows_calls {
            chat.messages = generic::as_text(chat.messages);
        }
        self.quotes.quote(chat)
    }

    /// The parser of the answers; `None`: they are content as they stand.
    fn parser(&self, rendered: &Rendered) -> Result<Option<ChatParser>, Error> {
        if rendered.plain {
            return Ok(None);
        }
        ChatParser::new(rendered).map(Some).map_err(|reason| {
            self.bad_template(&format!("no parser could be made for its answers: {reason}"))
        })
    }

    /// For an answer that is content from its first token: the prompt, with what it takes to get
    /// there. `None` if it takes nothing, or nobody knows what.
    fn opened(
        &self,
        rendered: &Rendered,
        parser: Option<&ChatParser>,
    ) -> Result<Option<(Rendered, Option<ChatParser>)>, Error> {
        let Some(parser) = parser else { return Ok(None) };
        let end = rendered.thinking_end_tags.iter().map(|tag| format!("{tag}\n\n"));
        let openers = OPENERS.iter().map(|opener| (*opener).to_owned()).chain(end);
        for opener in openers {
            let is_content = parser
                .parse(&format!("{opener}{PROBE}"), false)
                .is_ok_and(|parsed| parsed.content.trim() == PROBE && parsed.reasoning.is_empty());
            if !is_content {
                continue;
            }
            if opener.is_empty() {
                return Ok(None);
            }
            let mut rendered = rendered.clone();
            rendered.prompt.push_str(&opener);
            rendered.generation_prompt.push_str(&opener);
            let parser = self.parser(&rendered)?;
            return Ok(Some((rendered, parser)));
        }
        Ok(None)
    }

    /// The grammar of native calls.
    fn grammar(
        &self,
        rendered: &Rendered,
        chat: &ChatPrompt,
        must: bool,
    ) -> Result<Option<Box<dyn TokenConstraint>>, Error> {
        let (grammar, lazy) = match &rendered.calls_only {
            Some(grammar) if must => (grammar, false),
            _ => (&rendered.grammar, rendered.grammar_lazy),
        };
        if grammar.is_empty() {
            return Ok(None);
        }
        let triggers: Option<Vec<Trigger>> =
            lazy.then(|| rendered.grammar_triggers.iter().filter_map(trigger).collect());
        let mut grammar = self
            .constraints
            .grammar(grammar, triggers.as_deref())
            .map_err(|error| tools::blamed(error, &chat.tools))?;
        if !lazy {
            // It begins with what the prompt ends with.
            for token in self.special_tokens(&rendered.generation_prompt) {
                grammar.accept(token).map_err(|reason| {
                    let message = "the grammar of the tool calls does not begin like the answer";
                    Error::internal(message).with_cause(reason)
                })?;
            }
        }
        Ok(Some(grammar))
    }

    fn special_tokens(&self, text: &str) -> Vec<Token> {
        let most = u32::try_from(text.len().saturating_add(8)).unwrap_or(u32::MAX);
        self.model.tokenize_part(text, most, false, true).unwrap_or_default()
    }

    /// How the model marks its thoughts; `None` if it has no way to.
    fn thinking(&self, rendered: &Rendered, chat: &ChatPrompt) -> Option<ThinkingMarks> {
        if !rendered.supports_thinking {
            return None;
        }
        let start_tag = rendered.thinking_start_tag.as_str();
        let tokens = |tag: &str| self.special_tokens(tag);
        let ends: Vec<Vec<Token>> = rendered
            .thinking_end_tags
            .iter()
            .map(|tag| tokens(tag))
            .filter(|tokens| !tokens.is_empty())
            .collect();
        if ends.is_empty() {
            return None;
        }
        Some(ThinkingMarks {
            open: is_open(&rendered.generation_prompt, start_tag, &rendered.thinking_end_tags),
            start: tokens(start_tag),
            ends,
            budget: chat.thinking.budget,
        })
    }

    /// The rendered conversation.
    fn render(&self, job: JobId, chat: &ChatPrompt, bytes: usize) -> Result<Rendered, Error> {
        let error = match self.try_render(job, chat, bytes)? {
            Ok(rendered) => return Ok(rendered),
            Err(error) => error,
        };
        // Which of the tools is it that llama.cpp cannot do?
        for (index, tool) in chat.tools.iter().enumerate() {
            let alone = ChatPrompt { tools: vec![tool.clone()], ..chat.clone() };
            if let Err(error) = self.try_render(job, &alone, bytes)? {
                let without = ChatPrompt { tools: Vec::new(), ..chat.clone() };
                if self.try_render(job, &without, bytes)?.is_err() {
                    break;
                }
                return Err(tools::unusable(index, tool, &error.message));
            }
        }
        Err(error)
    }

    /// The outer error is none of the template or the tools.
    fn try_render(
        &self,
        job: JobId,
        chat: &ChatPrompt,
        bytes: usize,
    ) -> Result<Result<Rendered, Error>, Error> {
        use crate::worker::llama::RenderError;
        let templates = self.templates.as_ref().map_err(|reason| self.bad_template(reason))?;
        match self.watched(job, bytes, || templates.render(chat)) {
            Ok(rendered) => Ok(Ok(rendered)),
            Err(RenderError::Raised(reason)) => Err(Error::invalid(
                "messages",
                format!("the chat template of {} refused the conversation: {reason}", self.name),
            )),
            Err(RenderError::Template(reason)) => Ok(Err(self.bad_template(&reason))),
            // The reason may quote the conversation, so it is not for the log.
            Err(RenderError::Request(_)) => {
                Err(Error::internal("llama.cpp did not understand the messages it was given"))
            }
        }
    }

    fn watched<T>(&self, job: JobId, bytes: usize, work: impl FnOnce() -> T) -> T {
        use super::tokenize::render_limit;
        use crate::protocol::ToDaemon;
        let limit = render_limit(bytes);
        let error = Error::new(
            ErrorKind::InvalidModel,
            format!(
                "the chat template of {} took more than {} s of processor time: load the model with \
                 another one",
                self.name,
                limit.as_secs()
            ),
        );
        self.watchdog.watch(limit, ToDaemon::Failed { job, error }, work)
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
}

/// Whether the schemas of the tools are at fault.
fn is_of_tools(error: &Error) -> bool {
    error.param.as_deref().is_some_and(|param| param.starts_with("tools"))
}

fn trigger(trigger: &GrammarTrigger) -> Option<Trigger> {
    Some(match trigger.kind {
        0 => Trigger::Token(trigger.token),
        1 => Trigger::Word(trigger.value.clone()),
        2 => Trigger::Pattern(trigger.value.clone()),
        3 => Trigger::PatternFull(trigger.value.clone()),
        _ => return None,
    })
}

/// Whether the beginning of an answer is inside of a thought.
fn is_open(begun: &str, start: &str, ends: &[String]) -> bool {
    let Some(started) = (!start.is_empty()).then(|| begun.rfind(start)).flatten() else {
        return false;
    };
    let after = begun.get(started + start.len()..).unwrap_or_default();
    !ends.iter().any(|end| after.contains(end.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_is_open_until_one_of_its_ends() {
        let ends = ["</think>".to_owned()];
        assert!(is_open("<|im_start|>assistant\n<think>\n", "<think>", &ends));
        assert!(!is_open("<think>\n\n</think>\n\n", "<think>", &ends));
        assert!(is_open("<think>a</think><think>", "<think>", &ends));
        assert!(!is_open("assistant\n", "<think>", &ends));
        assert!(!is_open("assistant\n", "", &ends));
    }
}
