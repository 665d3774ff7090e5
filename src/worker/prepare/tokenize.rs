use std::time::Duration;

use super::run::Preparer;
use crate::domain::{Error, ErrorKind, JobId};
use crate::protocol::ToDaemon;
use crate::worker::compute::Token;
use crate::worker::llama::{MAX_TEXT, TokenizeError};
use crate::worker::quote::Part;

/// How long a template may take for a conversation of no length.
const RENDER_LIMIT: Duration = Duration::from_secs(1);
/// Long conversations get a second more for each so many bytes; an honest template takes about a
/// tenth of that.
const BYTES_PER_SECOND: usize = 2 << 20;
/// How much longer than a template the tokenizer may take: it only hangs on hostile vocabularies.
const TOKENIZE_PATIENCE: u32 = 20;

impl Preparer {
    /// At least one token of the context stays for the answer.
    pub(super) fn tokenize(&self, job: JobId, parts: &[Part<'_>]) -> Result<Vec<Token>, Error> {
        let bytes = parts.iter().map(|part| part.text.len()).sum();
        self.watch_tokenizer(job, bytes, || self.tokenize_parts(parts))
    }

    /// The tokens of a text inside a prompt: nothing is added, special tokens in it are text.
    pub(super) fn tokenize_inner(&self, job: JobId, text: &str) -> Result<Vec<Token>, Error> {
        let most = self.longest().saturating_sub(1);
        self.watch_tokenizer(job, text.len(), || {
            self.model
                .tokenize_part(text, most, false, false)
                .map_err(|error| self.not_tokenized(error, 0, false))
        })
    }

    pub(super) fn watch_tokenizer<T>(
        &self,
        job: JobId,
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> T {
        let limit = self.tokenize_limit(bytes);
        let error = self.too_slow(limit);
        self.watchdog.watch(limit, ToDaemon::Failed { job, error }, work)
    }

    /// How long tokenising so many bytes may take.
    pub(super) fn tokenize_limit(&self, bytes: usize) -> Duration {
        render_limit(bytes) * TOKENIZE_PATIENCE
    }

    /// The last words of a tokenizer that took longer.
    pub(super) fn too_slow(&self, limit: Duration) -> Error {
        let message = format!(
            "the tokenizer of {} took more than {} s of processor time: the model is damaged, get it anew",
            self.name,
            limit.as_secs()
        );
        Error::new(ErrorKind::InvalidModel, message)
    }

    fn tokenize_parts(&self, parts: &[Part<'_>]) -> Result<Vec<Token>, Error> {
        let most = self.longest().saturating_sub(1);
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
    pub(super) fn not_tokenized(&self, error: TokenizeError, before: u32, last: bool) -> Error {
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

/// How long a template may take for so many bytes of conversation.
pub(super) fn render_limit(bytes: usize) -> Duration {
    RENDER_LIMIT + Duration::from_secs((bytes / BYTES_PER_SECOND) as u64)
}

pub(super) fn too_long(tokens: u64, exact: bool, context: u32) -> Error {
    let least = if exact { "" } else { "at least " };
    // Clients that shorten the prompt and try again look for these words.
    let message = format!(
        "This model's maximum context length is {context} tokens, but the prompt has \
         {least}{tokens} tokens: shorten the conversation or load the model with a larger context"
    );
    Error::new(ErrorKind::ContextLengthExceeded, message)
}

/// The error of a text that no context could hold.
pub(super) fn too_large(bytes: usize) -> Error {
    let message = format!("the prompt has {bytes} bytes, over the limit of {MAX_TEXT}: shorten it");
    Error::new(ErrorKind::ContextLengthExceeded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_over_the_context_names_both_numbers() {
        assert_eq!(
            too_long(9000, true, 8192).message,
            "This model's maximum context length is 8192 tokens, but the prompt has 9000 tokens: \
             shorten the conversation or load the model with a larger context"
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
