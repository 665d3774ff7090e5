use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::domain::{Error, ErrorKind};

/// Levels of nesting that a body may have.
const MAX_DEPTH: usize = 128;
/// Fields that a body may have at its top.
const MAX_KEYS: usize = 1_000;

/// How much of a parser's message a client sees: it may quote the value at fault, which may be a
/// whole prompt.
const MAX_DETAIL: usize = 200;

/// So many bytes are read in well under a millisecond.
const QUICK: usize = 256 << 10;

/// A `T` that is written as a JSON object and as nothing else: serde would also take an array, as
/// the fields in the order of our source.
#[derive(Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OnlyMap(PhantomData)).map(Self)
    }
}

/// Reads a body that is one JSON object of type `T`.
///
/// # Errors
/// `InvalidJson` with the position where the text is no JSON; `InvalidValue` with the path of the
/// field where it is JSON of the wrong type.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> crate::domain::Result<T> {
    let invalid = |what: String| Err(Error::new(ErrorKind::InvalidJson, what));
    if body.is_empty() {
        return invalid("the request body is empty; it must be one JSON object".into());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return invalid("the body starts with a byte order mark; send plain UTF-8".into());
    }
    if let Err(fault) = std::str::from_utf8(body) {
        return invalid(format!("the body is not UTF-8 from byte {} on", fault.valid_up_to()));
    }
    if let Some(fault) = too_intricate(body) {
        return invalid(fault);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = match serde_path_to_error::deserialize(&mut reader) {
        Ok(Object(value)) => value,
        Err(fault) => return Err(explain(&fault)),
    };
    match reader.end() {
        Ok(()) => Ok(value),
        Err(fault) => invalid(format!("after the JSON value comes more: {}", brief(&fault))),
    }
}

/// What is wrong with the shape of a body, whatever its fields are called: the parser itself bounds
/// only the fields that somebody reads. Texts that are no JSON are left to the parser.
fn too_intricate(body: &[u8]) -> Option<String> {
    let (mut depth, mut keys) = (0usize, 0usize);
    let (mut in_text, mut escaped) = (false, false);
    for (at, byte) in body.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => keys = keys.saturating_add(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(format!("the body is nested deeper than {MAX_DEPTH} levels at byte {at}"));
        }
        if keys > MAX_KEYS {
            return Some(format!("the body has more than {MAX_KEYS} fields"));
        }
    }
    None
}

/// As [`decode`]; a body that takes noticeable time is read on a thread of its own.
pub(super) async fn decode_large<T>(body: Bytes) -> crate::domain::Result<T>
where
    T: DeserializeOwned + Send + 'static,
{
    if body.len() <= QUICK {
        return decode(&body);
    }
    tokio::task::spawn_blocking(move || decode(&body)).await.map_err(Error::internal)?
}

fn explain(fault: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = fault.path().to_string();
    let detail = brief(fault.inner());
    match fault.inner().classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            Error::new(ErrorKind::InvalidJson, format!("the body is not valid JSON: {detail}"))
        }
        Category::Data if path == "." => {
            Error::new(ErrorKind::InvalidValue, format!("the body does not fit: {detail}"))
        }
        Category::Data => Error::invalid(path.clone(), format!("`{path}`: {detail}")),
    }
}

/// The parser's words, in JSON's terms rather than Rust's, cut where they quote too much.
fn brief(fault: &serde_json::Error) -> String {
    let full = fault.to_string();
    let position = format!(" at line {} column {}", fault.line(), fault.column());
    let text = full.strip_suffix(&position).unwrap_or(&full);
    let text = match text.rsplit_once("expected ") {
        Some((before, rust)) => format!("{before}expected {}", json_name(rust)),
        None => text.to_owned(),
    };
    let cut: String = text.chars().take(MAX_DETAIL).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut}{dots} (line {}, column {})", fault.line(), fault.column())
}

fn json_name(rust: &str) -> &str {
    match rust {
        "i64" | "u64" | "i32" | "u32" | "usize" => "an integer",
        "f64" | "f32" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(default)]
        _model: Option<String>,
        #[serde(default, rename = "inner")]
        _inner: Vec<Object<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(rename = "n")]
        _n: i64,
    }

    fn refused(body: &[u8]) -> (ErrorKind, Option<String>, String) {
        let error = decode::<Body>(body).expect_err("refused");
        (error.kind, error.param, error.message)
    }

    #[test]
    fn what_is_no_json_says_where() {
        let deep = format!("{{\"inner\":[{{\"n\":{}", "[".repeat(200));
        for body in [
            b"".as_slice(),
            b"{",
            b"{\"inner\":",
            b"nope",
            b"{} {}",
            b"{\"_model\":\"\\ud800\"}",
            b"{\"inner\":NaN}",
            b"\xef\xbb\xbf{}",
            b"{\"_model\":\"\xff\"}",
            b"\xff\xfe{\x00}\x00",
            b"{\"_model\":\"a\0b\"}",
        ] {
            let (kind, param, message) = refused(body);
            assert_eq!((kind, param), (ErrorKind::InvalidJson, None), "{body:?}: {message}");
        }
        assert_eq!(
            refused(b"{\n  nope}").2,
            "the body is not valid JSON: key must be a string (line 2, column 3)"
        );
        assert!(matches!(
            refused(deep.as_bytes()).0,
            ErrorKind::InvalidJson | ErrorKind::InvalidValue
        ));
    }

    #[test]
    fn what_has_the_wrong_type_names_the_field() {
        let (kind, param, message) = refused(b"{\"inner\":[{\"n\":1},{\"n\":1.5}]}");
        assert_eq!((kind, param.as_deref()), (ErrorKind::InvalidValue, Some("inner[1].n")));
        assert_eq!(
            message,
            "`inner[1].n`: invalid type: floating point `1.5`, expected an integer (line 1, column 26)"
        );
        for body in [b"[]".as_slice(), b"null", b"\"x\"", b"7", b"{\"inner\":[[1]]}"] {
            assert_eq!(refused(body).0, ErrorKind::InvalidValue, "{body:?}");
        }
    }

    #[test]
    fn a_quoted_value_is_cut() {
        let body = format!("{{\"inner\":[{{\"n\":\"{}\"}}]}}", "x".repeat(10_000));
        assert!(refused(body.as_bytes()).2.len() < 300);
    }

    #[test]
    fn the_shape_of_a_body_is_bounded_whatever_its_fields_are_called() {
        let nested = |levels: usize| {
            format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels)).into_bytes()
        };
        assert_eq!(too_intricate(&nested(127)), None);
        assert!(too_intricate(&nested(128)).is_some_and(|fault| fault.contains("128 levels")));
        let keys = |count: usize| {
            let fields: Vec<String> = (0..count).map(|i| format!(r#""{i}":{{"a":1}}"#)).collect();
            format!("{{{}}}", fields.join(",")).into_bytes()
        };
        assert_eq!(too_intricate(&keys(1_000)), None);
        assert!(too_intricate(&keys(1_001)).is_some_and(|fault| fault.contains("1000 fields")));
        let text = format!(r#"{{"x":"{}\\\"{{"}}"#, "[".repeat(500)).into_bytes();
        assert_eq!(too_intricate(&text), None, "brackets in texts are text");
    }
}
