use super::types::{Piece, TokenPiece, TokenizeAnswer, TokenizeRequest, Tokens};
use crate::api::openai::convert::model_name;
use crate::domain::{Error, ErrorKind, Result};
use crate::protocol::Query;

/// What `tokenize` was asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Tokenize {
    pub(super) model: String,
    /// `None`: the conversation.
    pub(super) query: Option<Query>,
    pub(super) show: Show,
}

/// What to show besides the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Show {
    pub(super) pieces: bool,
    pub(super) strings: bool,
}

/// Maps, refuses or ignores every field of `tokenize`.
pub(super) fn tokenize(request: TokenizeRequest) -> Result<Tokenize> {
    let TokenizeRequest {
        model,
        content,
        prompt,
        messages,
        add_special,
        add_special_tokens,
        parse_special,
        with_pieces,
        return_token_strs,
    } = request;
    let model = model_name(model)?;
    let given = [content.is_some(), prompt.is_some(), messages.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        let message = "send one of `content`, `prompt` and `messages`";
        let nothing = !given.contains(&true);
        let kind = if nothing { ErrorKind::MissingField } else { ErrorKind::InvalidValue };
        return Err(Error::new(kind, message).with_param("content"));
    }
    let special = add_special.or(add_special_tokens);
    let parse_special = parse_special.unwrap_or(true);
    // The defaults of the servers that the fields come from.
    let text = content.map(|text| (text, false)).or(prompt.map(|text| (text, true)));
    let query = text.map(|(text, default)| Query::TokenizeText {
        text,
        add_special: special.unwrap_or(default),
        parse_special,
    });
    let show = Show { pieces: with_pieces == Some(true), strings: return_token_strs == Some(true) };
    Ok(Tokenize { model, query, show })
}

impl Show {
    /// The answer.
    pub(super) fn answer(self, tokens: Vec<(i32, Vec<u8>)>) -> TokenizeAnswer {
        let count = tokens.len();
        let text = |(_, bytes): &(i32, Vec<u8>)| String::from_utf8_lossy(bytes).into_owned();
        let token_strs = self.strings.then(|| tokens.iter().map(text).collect());
        let tokens = if self.pieces {
            let piece = |(id, bytes)| TokenPiece {
                id,
                piece: String::from_utf8(bytes)
                    .map_or_else(|fault| Piece::Bytes(fault.into_bytes()), Piece::Text),
            };
            Tokens::Pieces(tokens.into_iter().map(piece).collect())
        } else {
            Tokens::Ids(tokens.into_iter().map(|(id, _)| id).collect())
        };
        TokenizeAnswer { tokens, count, token_strs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Tokenize> {
        tokenize(crate::api::json::decode(json.as_bytes())?)
    }

    fn text(fields: &str) -> (bool, bool) {
        match read(&format!(r#"{{"model":"m",{fields}}}"#)).expect("a request").query {
            Some(Query::TokenizeText { add_special, parse_special, .. }) => {
                (add_special, parse_special)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_shape_has_its_own_servers_defaults() {
        assert_eq!(text(r#""content":"a""#), (false, true));
        assert_eq!(text(r#""prompt":"a""#), (true, true));
        assert_eq!(
            text(r#""content":"a","add_special":true,"parse_special":false"#),
            (true, false)
        );
        assert_eq!(text(r#""prompt":"a","add_special_tokens":false"#), (false, true));
        assert_eq!(text(r#""content":"","prompt":null"#), (false, true));
        let chat = read(r#"{"model":"m","messages":[],"with_pieces":true}"#).expect("a request");
        assert_eq!((chat.query, chat.show.pieces), (None, true));
    }

    #[test]
    fn one_text_is_wanted() {
        for fields in [r#""x":1"#, r#""content":"a","prompt":"b""#, r#""prompt":"a","messages":[]"#]
        {
            let error = read(&format!(r#"{{"model":"m",{fields}}}"#)).expect_err(fields);
            assert_eq!(error.param.as_deref(), Some("content"));
        }
    }

    #[test]
    fn pieces_that_are_no_characters_are_bytes() {
        let tokens = || vec![(5, b"a".to_vec()), (6, vec![0xf0, 0x9f])];
        let json = |show: Show| serde_json::to_string(&show.answer(tokens())).expect("JSON");
        assert_eq!(
            json(Show { pieces: true, strings: false }),
            r#"{"tokens":[{"id":5,"piece":"a"},{"id":6,"piece":[240,159]}],"count":2}"#
        );
        assert_eq!(
            json(Show { pieces: false, strings: true }),
            "{\"tokens\":[5,6],\"count\":2,\"token_strs\":[\"a\",\"\u{fffd}\"]}"
        );
    }
}
