use super::encode::Pending;
use super::run::{Preparer, Ready};
use super::validate::validate;
use crate::domain::{Constraint, Error, ErrorKind, JobId, Prompt};
use crate::protocol::{Query, QueryAnswer, ToDaemon};
use crate::worker::compute::Token;
use crate::worker::llama::{Model, TokenizeError};

/// The most tokens that a question is answered with: more than any model's context, and few enough
/// for one frame.
pub(super) const MAX_ANSWER: u32 = 1 << 20;

impl Preparer {
    /// Answers a question that needs no computing; `None`: the thread that encodes will, for it
    /// knows how long images and sounds are.
    pub(super) fn answer(&self, job: JobId, query: &Query) -> Result<Option<QueryAnswer>, Error> {
        let answer = match query {
            Query::Tokenize(prompt) => {
                validate(prompt)?;
                self.asked.set(true);
                let ready = self.ready(job, prompt, &Constraint::None);
                self.asked.set(false);
                let ready = ready?;
                if !ready.media.is_empty() {
                    let pending = Pending { job, ready, asked: true };
                    let encoder = self.senses.encoder.as_ref();
                    let sent = encoder.is_some_and(|encoder| encoder.send(pending).is_ok());
                    let gone = || Error::internal("the thread that encodes images is gone");
                    return if sent { Ok(None) } else { Err(gone()) };
                }
                let prompt = ready.prompt;
                let tokens = prompt.tokens.into_iter().chain(prompt.inputs.into_iter().flatten());
                pieces(&self.model, tokens.collect())
            }
            Query::TokenizeText { text, add_special, parse_special } => {
                let limit = self.tokenize_limit(text.len());
                let last_words = ToDaemon::Failed { job, error: self.too_slow(limit) };
                let tokens = self.watchdog.watch(limit, last_words, || {
                    self.model.tokenize_part(text, MAX_ANSWER, *add_special, *parse_special)
                });
                pieces(&self.model, tokens.map_err(|error| self.unanswerable(error))?)
            }
            Query::Detokenize(tokens) => {
                let size = self.model.vocab_size();
                if let Some(at) = tokens.iter().position(|token| !(0..size).contains(token)) {
                    let token = tokens.get(at).copied().unwrap_or_default();
                    let message = format!(
                        "token {token} is not in the vocabulary of {}, which has {size} tokens \
                         from 0 on",
                        self.name
                    );
                    return Err(Error::invalid(format!("tokens[{at}]"), message));
                }
                let text = self.model.detokenize(tokens).map_err(|reason| {
                    let message = format!("the tokenizer of {} failed on these", self.name);
                    Error::new(ErrorKind::InvalidModel, message).with_cause(reason)
                })?;
                Ok(QueryAnswer::Text(String::from_utf8_lossy(&text).into_owned()))
            }
        };
        answer.map(Some)
    }

    /// A prompt's tokens by its kind.
    pub(super) fn ready(
        &self,
        job: JobId,
        prompt: &Prompt,
        constraint: &Constraint,
    ) -> Result<Ready, Error> {
        match prompt {
            Prompt::Chat(chat) => self.chat(job, chat, constraint),
            Prompt::Text(text) => self.text(job, text),
            Prompt::Tokens(tokens) => self.tokens(tokens),
            Prompt::Fill { prefix, suffix } => self.fill(job, prefix, suffix),
            Prompt::Embed(inputs) => self.embed(job, inputs),
        }
    }

    /// The most tokens of an input; of one that is only asked about, the most that are answered.
    pub(super) fn longest(&self) -> u32 {
        if self.asked.get() { MAX_ANSWER } else { self.context_size }
    }

    fn unanswerable(&self, error: TokenizeError) -> Error {
        match error {
            TokenizeError::TooMany { tokens, .. } => too_many(tokens),
            TokenizeError::TooLong { bytes } => super::tokenize::too_large(bytes),
            TokenizeError::Failed(reason) => Error::new(
                ErrorKind::InvalidModel,
                format!("the tokenizer of {} failed on this text", self.name),
            )
            .with_cause(reason),
        }
    }
}

/// Tokens with what they stand for.
pub(super) fn pieces(model: &Model, tokens: Vec<Token>) -> Result<QueryAnswer, Error> {
    let most = MAX_ANSWER as usize;
    if tokens.len() > most {
        return Err(too_many(tokens.len() as u64));
    }
    let piece = |token| (token, model.token_bytes(token));
    Ok(QueryAnswer::Tokens(tokens.into_iter().map(piece).collect()))
}

/// The end of a question.
pub(super) fn answered(job: JobId, answer: Result<QueryAnswer, Error>) -> ToDaemon {
    match answer {
        Ok(answer) => ToDaemon::Answered { job, answer },
        Err(error) => ToDaemon::Failed { job, error },
    }
}

fn too_many(tokens: u64) -> Error {
    let message = format!(
        "the text has at least {tokens} tokens and an answer holds {MAX_ANSWER}: split it up"
    );
    Error::new(ErrorKind::ContextLengthExceeded, message)
}
