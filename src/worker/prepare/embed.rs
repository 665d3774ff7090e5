use super::run::{Preparer, Ready};
use super::tokenize::too_large;
use crate::domain::{EmbedInput, Error, ErrorKind, JobId, Prompt};
use crate::protocol::{Purpose, ToDaemon};
use crate::worker::compute::{PreparedPrompt, Token};
use crate::worker::llama::TokenizeError;
use crate::worker::quote::parts;

/// Where a model keeps how a query and a document become one text, with `{query}` and `{document}`
/// in it.
const RERANK_TEMPLATE: &str = "tokenizer.chat_template.rerank";

impl Preparer {
    /// The inputs of an embedding model or a reranker.
    pub(super) fn embed(&self, job: JobId, inputs: &[EmbedInput]) -> Result<Ready, Error> {
        let bytes = |input: &EmbedInput| match input {
            EmbedInput::Text(text) => text.len(),
            EmbedInput::Tokens(_) => 0,
            EmbedInput::Pair { query, document } => query.len().saturating_add(document.len()),
        };
        let limit = self.tokenize_limit(inputs.iter().map(bytes).sum());
        let last_words = ToDaemon::Failed { job, error: self.too_slow(limit) };
        let tokens: Result<_, Error> = self.watchdog.watch(limit, last_words, || {
            inputs.iter().enumerate().map(|(at, input)| self.input(at, input)).collect()
        });
        let prompt = PreparedPrompt { inputs: tokens?, ..PreparedPrompt::default() };
        Ok(Ready { prompt, ..Ready::default() })
    }

    /// Refuses a prompt that this model was not loaded for.
    pub(super) fn check_purpose(&self, prompt: &Prompt) -> Result<(), Error> {
        let needs = |input: &EmbedInput| match input {
            EmbedInput::Pair { .. } => Purpose::Rerank,
            EmbedInput::Text(_) | EmbedInput::Tokens(_) => Purpose::Embed,
        };
        let fits = match prompt {
            Prompt::Embed(inputs) => inputs.iter().all(|input| needs(input) == self.purpose),
            _ => self.purpose == Purpose::Generate,
        };
        if fits {
            return Ok(());
        }
        let does = match self.purpose {
            Purpose::Generate => "generates text and makes neither vectors nor scores",
            Purpose::Embed => "makes vectors of texts and does nothing else",
            Purpose::Rerank => "scores pairs of texts and does nothing else",
        };
        let message = format!("{} {does}: use another model for this", self.name);
        Err(Error::new(ErrorKind::UnsupportedModel, message))
    }

    fn input(&self, at: usize, input: &EmbedInput) -> Result<Vec<Token>, Error> {
        let tokens = match input {
            EmbedInput::Text(text) if text.is_empty() => Err(empty(at)),
            // Special tokens in a text mean what they say, as the models' own tokenizers have it.
            EmbedInput::Text(text) => self.part(at, text, true, true),
            EmbedInput::Tokens(tokens) => self.known(at, tokens),
            EmbedInput::Pair { query, document } => match self.model.metadata(RERANK_TEMPLATE) {
                Some(template) => self.templated(at, &template, query, document),
                None => self.plain_pair(at, query, document),
            },
        }?;
        if tokens.is_empty() {
            return Err(empty(at));
        }
        let longest = self.longest();
        if tokens.len() > longest as usize {
            return Err(too_long(at, tokens.len() as u64, true, longest));
        }
        Ok(tokens)
    }

    /// Tokens as they stand.
    fn known(&self, at: usize, tokens: &[Token]) -> Result<Vec<Token>, Error> {
        let size = self.model.vocab_size();
        match tokens.iter().find(|token| !(0..size).contains(*token)) {
            Some(token) => Err(Error::invalid(
                format!("input[{at}]"),
                format!(
                    "token {token} is not in the vocabulary of {}, which has {size}: send \
                         tokens of this model's own tokenizer, or text",
                    self.name
                ),
            )),
            None => Ok(tokens.to_vec()),
        }
    }

    /// A pair by the model's own template. Only the template's special tokens are more than text.
    fn templated(
        &self,
        at: usize,
        template: &str,
        query: &str,
        document: &str,
    ) -> Result<Vec<Token>, Error> {
        let query = self.quotes.quote_text(query);
        let document = self.quotes.quote_text(document);
        let mut text = String::new();
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            text.push_str(before);
            let (value, after) = if let Some(after) = from.strip_prefix("{query}") {
                (query.as_str(), after)
            } else if let Some(after) = from.strip_prefix("{document}") {
                (document.as_str(), after)
            } else {
                ("{", from.strip_prefix('{').unwrap_or_default())
            };
            text.push_str(value);
            rest = after;
        }
        text.push_str(rest);
        let mut tokens = Vec::new();
        for part in parts(&text) {
            tokens.extend(self.part(at, part.text, false, !part.quoted)?);
        }
        Ok(tokens)
    }

    /// A pair with the marks that the tokenizer knows, as models are trained on them: BERT's
    /// `[CLS] query [SEP] document [SEP]`, RoBERTa's `<s> query </s></s> document </s>`.
    fn plain_pair(&self, at: usize, query: &str, document: &str) -> Result<Vec<Token>, Error> {
        let marks = self.model.pair_marks();
        let mut tokens = marks.begin;
        tokens.extend(self.part(at, query, false, false)?);
        tokens.extend(marks.between);
        tokens.extend(self.part(at, document, false, false)?);
        tokens.extend(marks.end);
        Ok(tokens)
    }

    fn part(&self, at: usize, text: &str, marks: bool, special: bool) -> Result<Vec<Token>, Error> {
        self.model.tokenize_part(text, self.longest(), marks, special).map_err(
            |error| match error {
                TokenizeError::TooMany { tokens, exact } => {
                    too_long(at, tokens, exact, self.longest())
                }
                TokenizeError::TooLong { bytes } => too_large(bytes),
                TokenizeError::Failed(reason) => Error::new(
                    ErrorKind::InvalidModel,
                    format!("the tokenizer of {} failed on input {at}", self.name),
                )
                .with_cause(reason),
            },
        )
    }
}

fn empty(at: usize) -> Error {
    let message = format!("input {at} is empty: there is nothing to compute from it");
    Error::invalid(format!("input[{at}]"), message)
}

fn too_long(at: usize, tokens: u64, exact: bool, longest: u32) -> Error {
    let least = if exact { "" } else { "at least " };
    let message = format!(
        "input {at} has {least}{tokens} tokens, but the model takes at most {longest} for an \
         input: shorten it or split it up"
    );
    Error::new(ErrorKind::ContextLengthExceeded, message).with_param(format!("input[{at}]"))
}
