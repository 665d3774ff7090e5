use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Error, ErrorKind};

#[derive(Serialize, ToSchema)]
#[schema(as = native::Error)]
pub(super) struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::ErrorDetails)]
struct Inner<'a> {
    message: &'a str,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

/// One line of text, for people.
pub(in crate::api) fn error_text(error: &Error) -> Bytes {
    let mut line = error.message.replace(['\n', '\r'], " ");
    line.push('\n');
    line.into()
}

/// JSON, for programs that ask for it.
pub(in crate::api) fn error_json(error: &Error) -> Bytes {
    let inner =
        Inner { message: &error.message, code: code(error.kind), param: error.param.as_deref() };
    // Strings alone: this cannot fail.
    serde_json::to_vec(&Envelope { error: inner }).unwrap_or_default().into()
}

/// The kind's name as programs like it: `model_not_found`.
fn code(kind: ErrorKind) -> String {
    let mut out = String::new();
    for c in format!("{kind:?}").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::ALL_KINDS;

    #[test]
    fn the_envelope_of_every_kind() {
        let envelopes: String = ALL_KINDS
            .iter()
            .map(|kind| {
                let error = Error::new(*kind, "What happened.").with_cause("a secret of the log");
                String::from_utf8_lossy(&error_json(&error)).into_owned() + "\n"
            })
            .collect();
        assert!(!envelopes.contains("secret"));
        insta::assert_snapshot!(envelopes);
    }

    #[test]
    fn text_is_one_line() {
        let error = Error::new(ErrorKind::Internal, "two\r\nlines");
        assert_eq!(error_text(&error), "two  lines\n");
    }
}
