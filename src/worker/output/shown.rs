//! How much of a parsed answer may be shown while more of it comes.

use crate::worker::llama::Parsed;

/// `parsed` without what may still change, or (`whole`) in its final form.
///
/// Spaces between thoughts, content and calls belong to the format: those around thoughts and
/// before calls are left out.
pub(super) fn showable(mut parsed: Parsed, whole: bool) -> Parsed {
    trim_start(&mut parsed.reasoning);
    trim_end(&mut parsed.reasoning);
    if !parsed.reasoning.is_empty() {
        trim_start(&mut parsed.content);
    }
    if !whole || !parsed.calls.is_empty() {
        trim_end(&mut parsed.content);
    }
    if !whole && let Some(last) = parsed.calls.last_mut() {
        last.arguments.truncate(certain(&last.arguments));
        if last.arguments.len() < 2 {
            // Nothing but a brace: its name may be longer than what has come of it.
            parsed.calls.pop();
        }
    }
    parsed
}

fn trim_end(text: &mut String) {
    text.truncate(text.trim_end().len());
}

fn trim_start(text: &mut String) {
    let space = text.len() - text.trim_start().len();
    text.drain(..space);
}

/// The length of the part of unfinished JSON text that stays, whatever comes. A parser may close
/// what is open, and write numbers and words differently once it knows all of them.
fn certain(json: &str) -> usize {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    if in_string {
        // Without half an escape.
        let slash = json.rfind('\\').filter(|_| escaped);
        return slash.unwrap_or_else(|| json.len() - half_unicode_escape(json));
    }
    let open = json.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '}' | ']'));
    if let Some(string) = open.strip_suffix('"') {
        return string.len() - half_unicode_escape(string);
    }
    open.trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_')).len()
}

/// The length of a `\u12` at the end.
fn half_unicode_escape(json: &str) -> usize {
    let tail_at = json.len().saturating_sub(5);
    let Some(tail) = json.as_bytes().get(tail_at..) else { return 0 };
    let start = tail.windows(2).rposition(|pair| pair == b"\\u");
    start.map_or(0, |start| tail.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::llama::ParsedCall;

    #[test]
    fn unfinished_arguments_lose_what_may_change() {
        let cut = |json: &str| json.get(..certain(json)).expect("a boundary").to_owned();
        assert_eq!(cut("{\"a\": 1}"), "{\"a\": ");
        assert_eq!(cut("{\"a\": tru"), "{\"a\": ");
        assert_eq!(cut("{\"a\":\"b\"}]"), "{\"a\":\"b");
        assert_eq!(cut("{\"a\":\"b c"), "{\"a\":\"b c");
        assert_eq!(cut("{\"a\":\"b\\"), "{\"a\":\"b");
        assert_eq!(cut("{\"a\":\"b\\u00"), "{\"a\":\"b");
        assert_eq!(cut("{\"a\":\"b\\u00e9"), "{\"a\":\"b\\u00e9");
        assert_eq!(cut("{\"a\":[1,2,"), "{\"a\":[1,2,");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn a_call_is_shown_once_its_arguments_begin() {
        let call = |arguments: &str| ParsedCall {
            name: "get".into(),
            arguments: arguments.into(),
            ..ParsedCall::default()
        };
        let begun = Parsed { calls: vec![call("{}"), call("{")], ..Parsed::default() };
        assert_eq!(showable(begun.clone(), false).calls, [call("{}")]);
        assert_eq!(showable(begun.clone(), true), begun);
    }

    #[test]
    fn spaces_around_thoughts_are_the_formats() {
        let parsed = |reasoning: &str, content: &str| Parsed {
            content: content.into(),
            reasoning: reasoning.into(),
            ..Parsed::default()
        };
        assert_eq!(showable(parsed("\nhm\n", "\n\nyes\n"), true), parsed("hm", "yes\n"));
        assert_eq!(showable(parsed("", " yes\n"), false), parsed("", " yes"));
    }
}
