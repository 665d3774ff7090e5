use std::ffi::c_char;
use std::ptr::{self, NonNull};

use serde::Deserialize;
use serde_json::json;

use super::chat::Rendered;
use super::shim::{self, Bytes, RawParser, Status};

/// The most text that is parsed, in bytes. Longer answers stay as they are.
const MAX_ANSWER: usize = 4 << 20;
/// The deepest nesting of brackets that is parsed: llama.cpp's parser recurses on it.
const MAX_NESTING: usize = 256;

/// llama.cpp's parser for the answers in one format, ready to be used.
///
/// One is made for each job: loading it costs as much as a few parses.
#[derive(Debug)]
pub struct ChatParser {
    raw: NonNull<RawParser>,
}

// SAFETY: parsing reads what was made by `new` and writes nothing outside of the call.
unsafe impl Send for ChatParser {}

/// What an answer consists of, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Parsed {
    /// Text for the reader.
    pub content: String,
    /// Thinking before it.
    pub reasoning: String,
    /// The calls, in order.
    pub calls: Vec<ParsedCall>,
}

/// A call in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ParsedCall {
    /// The model's own id; empty where the format has none.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments as JSON text, complete or not.
    pub arguments: String,
}

impl ChatParser {
    /// The parser for answers to a rendered conversation.
    ///
    /// # Errors
    /// What llama.cpp says.
    pub fn new(rendered: &Rendered) -> Result<Self, String> {
        let format = json!({
            "format": rendered.format,
            "parser": rendered.parser,
            "generation_prompt": rendered.generation_prompt,
        })
        .to_string();
        let mut out = ptr::null_mut();
        let mut error = Bytes::empty();
        // SAFETY: `format` is readable for its length, `out` and `error` are writable.
        let status = unsafe {
            shim::modeld_parser_new(
                format.as_ptr().cast::<c_char>(),
                format.len(),
                &mut out,
                &mut error,
            )
        };
        match (Status::from(status), NonNull::new(out)) {
            (Status::Ok, Some(raw)) => Ok(Self { raw }),
            _ => Err(error.text()),
        }
    }

    /// Reads an answer; with `partial` only the beginning of one. Takes time in proportion to the
    /// length of the text.
    ///
    /// # Errors
    /// The text is not in the format, or not of a size that is parsed.
    pub fn parse(&self, text: &str, partial: bool) -> Result<Parsed, String> {
        if text.len() > MAX_ANSWER || nesting(text) > MAX_NESTING {
            return Err("too long or too deeply nested to be parsed".to_owned());
        }
        let mut out = Bytes::empty();
        // SAFETY: the parser lives, `text` is readable for its length, `out` is writable.
        let status = unsafe {
            shim::modeld_parser_parse(
                self.raw.as_ptr(),
                text.as_ptr().cast::<c_char>(),
                text.len(),
                partial,
                &mut out,
            )
        };
        match Status::from(status) {
            Status::Ok => serde_json::from_slice(out.as_slice()).map_err(|e| e.to_string()),
            _ => Err(out.text()),
        }
    }
}

impl Drop for ChatParser {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { shim::modeld_parser_free(self.raw.as_ptr()) }
    }
}

/// An upper bound of how deep JSON in a text nests. A text may hold quotes that belong to no JSON,
/// so both readings of what is a string are tried.
fn nesting(text: &str) -> usize {
    let (mut open, mut deepest) = ([0usize; 2], 0);
    let (mut reading, mut escaped) = (0, false);
    for byte in text.bytes() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        let Some(open) = open.get_mut(reading) else { continue };
        match byte {
            b'\\' => escaped = true,
            b'"' => reading = 1 - reading,
            b'[' | b'{' => {
                *open = open.saturating_add(1);
                deepest = deepest.max(*open);
            }
            b']' | b'}' => *open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_recurse_too_deep_is_not_parsed() {
        let parser =
            ChatParser::new(&Rendered { format: "Content-only".into(), ..Rendered::default() })
                .expect("a parser");
        assert_eq!(parser.parse("a [b]", false).expect("parsed").content, "a [b]");
        assert!(parser.parse(&"[{".repeat(100_000), true).is_err());
        assert!(parser.parse(&"[\"]\",".repeat(100_000), true).is_err(), "closed in strings only");
        assert!(parser.parse(&format!("5\" {}", "[\"]\",".repeat(100_000)), true).is_err());
        assert_eq!(nesting("[]{[}]["), 2);
    }

    #[test]
    fn an_unknown_format_is_an_error() {
        let rendered = Rendered { format: "x".into(), ..Rendered::default() };
        assert_eq!(ChatParser::new(&rendered).expect_err("unknown"), "an unknown format: x");
        let broken =
            Rendered { parser: "{".into(), format: "peg-native".into(), ..Rendered::default() };
        assert!(ChatParser::new(&broken).is_err());
    }
}
