use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{
    Delta, Error, ErrorKind, Event, FinishReason, Result, TokenLogprob, ToolCallDelta, Usage,
};

use super::super::callable::{Callable, Callables};
use super::super::object::{
    IncompleteDetails, InputDetails, Item, Object, OutputDetails, Settings, Status, WireError,
    WireUsage,
};
use super::frame::{Body, Sink};
use super::logprobs;
use super::open::{Call, Open};

/// A response in the making, and once it is final the response.
#[derive(Debug, Clone)]
pub(in crate::api::responses) struct Answer {
    head: Arc<Head>,
    status: Status,
    /// Done, in order.
    items: Vec<Item>,
    /// The last one, at the index behind those that are done.
    open: Option<Open>,
    /// The tokens of the next piece of text.
    tokens: Vec<TokenLogprob>,
    calls: u32,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    failure: Option<Error>,
    created_at: u64,
    completed_at: Option<u64>,
}

/// What does not change.
#[derive(Debug)]
struct Head {
    id: String,
    settings: Settings,
    callables: Callables,
}

impl Answer {
    /// A response that begins now. The ids of its items follow from its own.
    pub(in crate::api::responses) fn new(
        id: String,
        settings: Settings,
        callables: Callables,
    ) -> Self {
        Self {
            head: Arc::new(Head { id, settings, callables }),
            status: Status::Queued,
            items: Vec::new(),
            open: None,
            tokens: Vec::new(),
            calls: 0,
            finish: None,
            usage: None,
            failure: None,
            created_at: now(),
            completed_at: None,
        }
    }

    /// The same response before anything of it was said.
    pub(super) fn anew(&self) -> Self {
        Self {
            head: Arc::clone(&self.head),
            created_at: self.created_at,
            completed_at: self.completed_at,
            status: Status::Queued,
            items: Vec::new(),
            open: None,
            tokens: Vec::new(),
            calls: 0,
            finish: None,
            usage: None,
            failure: None,
        }
    }

    pub(in crate::api::responses) fn id(&self) -> &str {
        &self.head.id
    }

    pub(in crate::api::responses) fn settings(&self) -> &Settings {
        &self.head.settings
    }

    pub(in crate::api::responses) fn status(&self) -> Status {
        self.status
    }

    pub(super) fn finish(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    pub(super) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// What is done, in order.
    pub(in crate::api::responses) fn items(&self) -> &[Item] {
        &self.items
    }

    /// All items, the one that still grows included.
    pub(in crate::api::responses) fn so_far(&self) -> Vec<Item> {
        self.items.iter().cloned().chain(self.open.as_ref().map(Open::so_far)).collect()
    }

    /// The response as clients see it, with these items.
    pub(in crate::api::responses) fn object<'a>(&'a self, output: &'a [Item]) -> Object<'a> {
        let cut = self.status == Status::Incomplete;
        let failed = self.status == Status::Failed;
        Object {
            id: &self.head.id,
            object: "response",
            created_at: self.created_at,
            completed_at: self.completed_at.filter(|_| self.status.is_final()),
            status: self.status,
            error: self.failure.as_ref().filter(|_| failed).map(wire_error),
            incomplete_details: cut.then_some(IncompleteDetails { reason: "max_output_tokens" }),
            output,
            usage: self.usage.filter(|_| self.status.is_final()).map(wire_usage),
            settings: &self.head.settings,
        }
    }

    /// Takes in the next event and says what follows from it. Nothing follows the final status.
    pub(super) fn event(&mut self, event: Event, sink: &mut Sink<'_>) {
        if self.status.is_final() {
            return;
        }
        match event {
            Event::Waiting { .. } | Event::Loading { .. } | Event::Vector { .. } => {}
            Event::Started { .. } => self.begin(sink),
            // There is only ever one answer.
            Event::Delta { choice: 1.., .. } | Event::Ended { choice: 1.., .. } => {}
            Event::Delta { delta, .. } => {
                self.begin(sink);
                self.delta(delta, sink);
            }
            Event::Ended { finish, .. } => self.finish = Some(finish),
            Event::Finished(outcome) => {
                self.begin(sink);
                self.usage = Some(outcome.usage);
                self.end(sink);
            }
        }
    }

    /// As [`Answer::event`] and [`Answer::fail`], with nobody listening.
    pub(in crate::api::responses) fn push(&mut self, event: Result<Event>) {
        match event {
            Ok(event) => self.event(event, &mut |_, _| {}),
            Err(error) => self.fail(&error, &mut |_, _| {}),
        }
    }

    /// Ends with an error, which may be that its client has cancelled it.
    pub(super) fn fail(&mut self, error: &Error, sink: &mut Sink<'_>) {
        if self.status.is_final() {
            return;
        }
        self.begin(sink);
        self.close(Status::Incomplete, sink);
        self.failure = Some(error.clone());
        if error.kind == ErrorKind::Cancelled {
            // No event is called so; the one for other bad ends carries the status.
            return self.last(Status::Cancelled, "response.failed", sink);
        }
        let (_, code) = crate::api::openai_error::classify(error);
        let (message, param) = (error.message.as_str(), error.param.as_deref());
        sink("error", Body::Error { code: code.or(Some("server_error")), message, param });
        self.last(Status::Failed, "response.failed", sink);
    }

    fn begin(&mut self, sink: &mut Sink<'_>) {
        if self.status != Status::Queued {
            return;
        }
        self.status = Status::InProgress;
        for name in ["response.created", "response.in_progress"] {
            sink(name, Body::Response { response: self.object(&[]) });
        }
    }

    fn delta(&mut self, delta: Delta, sink: &mut Sink<'_>) {
        match delta {
            Delta::Logprobs(tokens) => self.tokens.extend(tokens),
            Delta::Content(text) if text.is_empty() && self.tokens.is_empty() => {}
            Delta::Content(text) => {
                if !matches!(self.open, Some(Open::Message { .. })) {
                    self.close(Status::Completed, sink);
                    self.message(sink);
                }
                self.grow(&text, sink);
            }
            Delta::Reasoning(text) if text.is_empty() => {}
            Delta::Reasoning(text) => {
                if !matches!(self.open, Some(Open::Reasoning { .. })) {
                    self.close(Status::Completed, sink);
                    let id = self.item_id("rs_");
                    self.open(Open::Reasoning { id, text: String::new() }, sink);
                }
                self.grow(&text, sink);
            }
            Delta::ToolCall(delta) => self.call(delta, sink),
        }
    }

    fn call(&mut self, delta: ToolCallDelta, sink: &mut Sink<'_>) {
        let ToolCallDelta { index, id, name, arguments } = delta;
        let same = matches!(&self.open, Some(Open::Call(call)) if call.number == index);
        if !same {
            if index < self.calls {
                // Calls come one after the other; what is done is done.
                tracing::debug!(index, "a piece of a call that is over");
                return;
            }
            self.calls = index.saturating_add(1);
            self.close(Status::Completed, sink);
            let full = name.unwrap_or_default();
            let callable = self.head.callables.get(&full).cloned();
            let Callable { name, namespace, custom } =
                callable.unwrap_or(Callable { name: full, namespace: None, custom: false });
            let prefix = if custom { "ctc_" } else { "fc_" };
            let item_id = self.item_id(prefix);
            let call_id = match id {
                Some(id) => format!("call_{id}"),
                None => self.item_id("call_"),
            };
            let (number, id, arguments) = (index, item_id, String::new());
            let call = Call { number, id, call_id, namespace, name, custom, arguments };
            self.open(Open::Call(call), sink);
        }
        if !arguments.is_empty() {
            self.grow(&arguments, sink);
        }
    }

    fn end(&mut self, sink: &mut Sink<'_>) {
        let cut = self.finish == Some(FinishReason::Length);
        let status = if cut { Status::Incomplete } else { Status::Completed };
        if !self.tokens.is_empty() {
            // Tokens whose text never came, as of a stop string.
            self.tokens.clear();
        }
        if self.open.is_none() && self.items.is_empty() {
            // Clients expect something, if only an empty text.
            self.message(sink);
        }
        self.close(status, sink);
        let name = if cut { "response.incomplete" } else { "response.completed" };
        self.last(status, name, sink);
    }

    fn last(&mut self, status: Status, name: &'static str, sink: &mut Sink<'_>) {
        self.status = status;
        self.completed_at = self.completed_at.or_else(|| Some(now()));
        sink(name, Body::Response { response: self.object(&self.items) });
    }

    fn message(&mut self, sink: &mut Sink<'_>) {
        let id = self.item_id("msg_");
        self.open(Open::Message { id, text: String::new(), logprobs: Vec::new() }, sink);
    }

    fn open(&mut self, item: Open, sink: &mut Sink<'_>) {
        item.announce(self.items.len(), sink);
        self.open = Some(item);
    }

    fn grow(&mut self, text: &str, sink: &mut Sink<'_>) {
        let index = self.items.len();
        if let Some(open) = &mut self.open {
            let tokens = match open {
                Open::Message { .. } => std::mem::take(&mut self.tokens),
                _ => Vec::new(),
            };
            open.grow(text, logprobs::wire(tokens).collect(), index, sink);
        }
    }

    fn close(&mut self, status: Status, sink: &mut Sink<'_>) {
        if let Some(open) = self.open.take() {
            let item = open.close(status, self.items.len(), sink);
            self.items.push(item);
        }
    }

    /// The id of the next item: as unguessable as the response's, and the same whenever the
    /// response is told again.
    fn item_id(&self, prefix: &str) -> String {
        let tail = self.head.id.rsplit('_').next().unwrap_or_default();
        format!("{prefix}{tail}{:03}", self.items.len())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

fn wire_usage(usage: Usage) -> WireUsage {
    let Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = usage;
    WireUsage {
        input_tokens: prompt_tokens,
        // What is kept of a prompt costs nothing here.
        input_tokens_details: InputDetails { cached_tokens, cache_write_tokens: 0 },
        output_tokens: completion_tokens,
        output_tokens_details: OutputDetails { reasoning_tokens },
        total_tokens: u64::from(prompt_tokens).saturating_add(u64::from(completion_tokens)),
    }
}

fn wire_error(error: &Error) -> WireError<'_> {
    WireError { code: failure_code(error.kind), message: &error.message }
}

/// The codes that responses fail with.
fn failure_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::QueueFull | ErrorKind::MemoryBusy => "rate_limit_exceeded",
        ErrorKind::ContextLengthExceeded => "context_length_exceeded",
        ErrorKind::InvalidValue | ErrorKind::Unsupported => "invalid_prompt",
        _ => "server_error",
    }
}
