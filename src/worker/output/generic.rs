//! modeld's own format for calls, for models whose chat templates know no tools:
//! `{"tool_calls":[{"name":…,"arguments":{…}},…]}` and nothing else. An answer that does not begin
//! like that is text.

use crate::worker::llama::{Parsed, ParsedCall};

/// Reads an answer, or with `partial` the beginning of one.
///
/// # Errors
/// It begins like calls and goes on like something else.
pub(super) fn parse(text: &str, partial: bool) -> Result<Parsed, String> {
    let mut cursor = Cursor { text, at: 0 };
    match calls(&mut cursor) {
        Ok(calls) => Ok(Parsed { calls, ..Parsed::default() }),
        Err(Stop::Ends(calls)) if partial || !calls.is_empty() => {
            Ok(Parsed { calls, ..Parsed::default() })
        }
        Err(Stop::Other(true)) => Err("it begins like tool calls but is none".to_owned()),
        Err(Stop::Ends(_) | Stop::Other(false)) => {
            Ok(Parsed { content: text.to_owned(), ..Parsed::default() })
        }
    }
}

/// Why reading stopped.
enum Stop {
    /// The text ends here; these calls have begun.
    Ends(Vec<ParsedCall>),
    /// Something else comes; true: after the beginning of calls.
    Other(bool),
}

fn calls(cursor: &mut Cursor<'_>) -> Result<Vec<ParsedCall>, Stop> {
    for token in ["{", "\"tool_calls\"", ":", "["] {
        cursor.token(token).map_err(|mismatch| match mismatch {
            Mismatch::Ends => Stop::Ends(Vec::new()),
            Mismatch::Other => Stop::Other(false),
        })?;
    }
    let mut calls = Vec::new();
    loop {
        match cursor.next() {
            None => return Err(Stop::Ends(calls)),
            Some(']') => break,
            Some(',') if !calls.is_empty() => {}
            Some('{') => {
                let mut call = ParsedCall::default();
                let whole = object(cursor, &mut call);
                let named = !call.name.is_empty();
                if named {
                    calls.push(call);
                }
                match whole {
                    Ok(()) if named => {}
                    Err(Mismatch::Ends) => return Err(Stop::Ends(calls)),
                    _ => return Err(Stop::Other(true)),
                }
            }
            Some(_) => return Err(Stop::Other(true)),
        }
    }
    match (cursor.next(), cursor.next()) {
        (None, _) => Err(Stop::Ends(calls)),
        (Some('}'), None) if !calls.is_empty() => Ok(calls),
        _ => Err(Stop::Other(true)),
    }
}

/// The fields of a call, from behind its opening brace to behind its closing one.
fn object(cursor: &mut Cursor<'_>, call: &mut ParsedCall) -> Result<(), Mismatch> {
    loop {
        match cursor.next().ok_or(Mismatch::Ends)? {
            '}' => return Ok(()),
            ',' => {}
            '"' => {
                let key = cursor.string()?;
                cursor.token(":")?;
                let (value, whole) = cursor.value();
                match key.as_str() {
                    "name" if whole => {
                        call.name = serde_json::from_str(value).map_err(|_| Mismatch::Other)?;
                    }
                    // Some models write the object as a string.
                    "arguments" if value.starts_with('"') && whole => {
                        call.arguments =
                            serde_json::from_str(value).map_err(|_| Mismatch::Other)?;
                    }
                    "arguments" if value.starts_with('{') => value.clone_into(&mut call.arguments),
                    "arguments" if whole => return Err(Mismatch::Other),
                    _ => {}
                }
                if !whole {
                    return Err(Mismatch::Ends);
                }
            }
            _ => return Err(Mismatch::Other),
        }
    }
}

/// Why a token is not there.
enum Mismatch {
    /// The text ends.
    Ends,
    /// Something else is.
    Other,
}

/// A place in JSON text that may end anywhere.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        self.at += rest.len() - rest.trim_start_matches(space).len();
    }

    /// Takes the next character that is no space.
    fn next(&mut self) -> Option<char> {
        self.skip_space();
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn token(&mut self, token: &str) -> Result<(), Mismatch> {
        self.skip_space();
        let rest = self.rest();
        if rest.starts_with(token) {
            self.at += token.len();
            return Ok(());
        }
        Err(if token.starts_with(rest) { Mismatch::Ends } else { Mismatch::Other })
    }

    /// The string whose opening quote was taken.
    fn string(&mut self) -> Result<String, Mismatch> {
        let from = self.at.saturating_sub(1);
        let end = end_of_string(self.text, self.at).ok_or(Mismatch::Ends)?;
        self.at = end;
        let literal = self.text.get(from..end).unwrap_or_default();
        serde_json::from_str(literal).map_err(|_| Mismatch::Other)
    }

    /// The text of the value that comes next, and whether all of it is there.
    fn value(&mut self) -> (&'a str, bool) {
        self.skip_space();
        let from = self.at;
        let end = end_of_value(self.text, from);
        self.at = end.unwrap_or(self.text.len());
        (self.text.get(from..self.at).unwrap_or_default(), end.is_some())
    }
}

/// Where the string ends whose opening quote stands before `at`.
fn end_of_string(text: &str, at: usize) -> Option<usize> {
    let mut escaped = false;
    for (offset, byte) in text.bytes().enumerate().skip(at) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(offset + 1),
            _ => {}
        }
    }
    None
}

/// Where the JSON value that begins at `at` ends. A number or word ends where something else comes.
fn end_of_value(text: &str, at: usize) -> Option<usize> {
    let (mut depth, mut place) = (0usize, at);
    loop {
        let byte = *text.as_bytes().get(place)?;
        place += 1;
        match byte {
            b'"' => place = end_of_string(text, place)?,
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' if depth == 0 => return Some(place - 1),
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Some(place - 1),
            _ => continue,
        }
        if depth == 0 {
            return Some(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls_of(text: &str, partial: bool) -> Vec<(String, String)> {
        let parsed = parse(text, partial).expect("parsed");
        assert_eq!(parsed.content, "", "{text}");
        parsed.calls.into_iter().map(|call| (call.name, call.arguments)).collect()
    }

    #[test]
    fn calls_are_read_with_their_arguments_as_they_stand() {
        let text = "\n{ \"tool_calls\" : [ {\"name\": \"a\", \"arguments\": {\"x\": [1, \"]}\\\"\"]}}, {\"arguments\":{},\"name\":\"b\"} ] }\n";
        let calls = calls_of(text, false);
        let expected = [("a", "{\"x\": [1, \"]}\\\"\"]}"), ("b", "{}")];
        assert_eq!(calls, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn every_beginning_of_calls_shows_nothing_but_calls() {
        let text =
            r#"{"tool_calls":[{"name":"a","arguments":{"x":"y"}},{"name":"b","arguments":{}}]}"#;
        let mut most = 0;
        for end in 0..=text.len() {
            let parsed = parse(text.get(..end).expect("ASCII"), true).expect("a beginning");
            assert_eq!(parsed.content, "");
            assert!(parsed.calls.len() >= most, "a call is gone again");
            most = parsed.calls.len();
            if let Some(call) = parsed.calls.first() {
                assert!(r#"{"x":"y"}"#.starts_with(&call.arguments));
            }
        }
        assert_eq!(most, 2);
    }

    #[test]
    fn other_texts_are_content_and_half_calls_are_errors() {
        for text in ["", "hello", "{\"a\":1}", "[1]", "{\"tool_cal", "{"] {
            assert_eq!(parse(text, false).expect("text").content, text);
        }
        for text in
            ["{\"tool_calls\":[]}", "{\"tool_calls\":[1]}", "{\"tool_calls\":[{\"name\":\"a\"}]} x"]
        {
            assert!(parse(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_in_a_string_are_unpacked() {
        let text = r#"{"tool_calls":[{"name":"a","arguments":"{\"x\":1}"}]}"#;
        assert_eq!(calls_of(text, false), [("a".to_owned(), "{\"x\":1}".to_owned())]);
    }
}
