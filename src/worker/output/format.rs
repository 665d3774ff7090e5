use super::generic;
use crate::worker::llama::{ChatParser, Parsed};

/// How the answers of one job are read.
#[derive(Debug)]
pub struct Format {
    /// What reads them.
    pub reader: Reader,
    /// Texts that end an answer in this format: no stop strings of the client.
    pub stops: Vec<String>,
    /// Whether an answer may hold more than one call; further ones are left out.
    pub parallel_calls: bool,
}

/// What reads answers.
#[derive(Debug)]
pub enum Reader {
    /// Nothing: they are content as they stand.
    Plain,
    /// llama.cpp, as the model's template has it.
    Template(ChatParser),
    /// modeld, for templates without tools; the template's own parser where it thinks.
    Generic(Option<ChatParser>),
}

impl Format {
    /// Reads an answer, or with `partial` the beginning of one.
    ///
    /// # Errors
    /// The text is not in the format.
    pub(super) fn parse(&self, text: &str, partial: bool) -> Result<Parsed, String> {
        let mut parsed = match &self.reader {
            Reader::Plain => Parsed { content: text.to_owned(), ..Parsed::default() },
            Reader::Template(parser) => parser.parse(text, partial)?,
            Reader::Generic(None) => generic::parse(text, partial)?,
            Reader::Generic(Some(parser)) => {
                let outer = parser.parse(text, partial)?;
                let inner = generic::parse(&outer.content, partial)?;
                Parsed { reasoning: outer.reasoning, ..inner }
            }
        };
        if !self.parallel_calls {
            parsed.calls.truncate(1);
        }
        Ok(parsed)
    }
}
