use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::types::{EmbeddingsRequest, Input, Numbers};
use crate::api::openai::convert::model_name;
use crate::api::vector::normalise;
use crate::domain::{EmbedInput, Error, ErrorKind, Result};

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Converted {
    pub(super) model: String,
    pub(super) inputs: Vec<EmbedInput>,
    pub(super) form: Form,
}

/// How vectors are to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) base64: bool,
    /// Only so many of the first values.
    pub(super) dimensions: Option<usize>,
}

/// Maps, refuses or ignores every field.
pub(super) fn convert(request: EmbeddingsRequest) -> Result<Converted> {
    let EmbeddingsRequest {
        model,
        input,
        encoding_format,
        dimensions,
        // Names an account on OpenAI's side.
        user: _,
    } = request;
    let model = model_name(model)?;
    let base64 = match encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            let message = format!("`encoding_format` must be float or base64, not {other:?}");
            return Err(Error::invalid("encoding_format", message));
        }
    };
    let dimensions = match dimensions.map(usize::try_from) {
        None => None,
        Some(Ok(count)) if count > 0 => Some(count),
        Some(_) => return Err(Error::invalid("dimensions", "`dimensions` must be at least 1")),
    };
    let inputs = inputs(input)?;
    Ok(Converted { model, inputs, form: Form { base64, dimensions } })
}

fn inputs(input: Option<Input>) -> Result<Vec<EmbedInput>> {
    let inputs: Vec<EmbedInput> = match input {
        None => {
            let message = "`input` is missing: send a text or an array of texts";
            return Err(Error::new(ErrorKind::MissingField, message).with_param("input"));
        }
        Some(Input::Text(text)) => vec![EmbedInput::Text(text)],
        Some(Input::Texts(texts)) => texts.into_iter().map(EmbedInput::Text).collect(),
        Some(Input::Tokens(tokens)) => vec![EmbedInput::Tokens(tokens)],
        Some(Input::TokenLists(lists)) => lists.into_iter().map(EmbedInput::Tokens).collect(),
    };
    let is_empty = |input: &EmbedInput| match input {
        EmbedInput::Text(text) => text.is_empty(),
        EmbedInput::Tokens(tokens) => tokens.is_empty(),
        EmbedInput::Pair { .. } => false,
    };
    if inputs.is_empty() {
        return Err(Error::invalid("input", "`input` is empty: send at least one text"));
    }
    match inputs.iter().position(is_empty) {
        Some(at) => {
            let message = format!("input {at} is empty: there is nothing to compute from it");
            Err(Error::invalid(format!("input[{at}]"), message))
        }
        None => Ok(inputs),
    }
}

impl Form {
    /// Cuts a vector, brings it to length 1 and writes it down.
    pub(super) fn write(self, mut vector: Vec<f32>) -> Result<Numbers> {
        let len = vector.len();
        match self.dimensions {
            Some(wanted) if wanted > len => {
                let message = format!(
                    "`dimensions` is {wanted}, but the model's vectors have {len} values: ask for \
                     at most {len}"
                );
                return Err(Error::invalid("dimensions", message));
            }
            Some(wanted) => vector.truncate(wanted),
            None => {}
        }
        normalise(&mut vector);
        if !self.base64 {
            return Ok(Numbers::Floats(vector));
        }
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Numbers::Base64(STANDARD.encode(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Converted> {
        convert(crate::api::json::decode(json.as_bytes())?)
    }

    fn form(json: &str) -> Form {
        read(json).expect("a request").form
    }

    #[test]
    fn an_input_is_one_or_several_texts_or_lists_of_tokens() {
        let inputs = |input: &str| {
            read(&format!(r#"{{"model":"m","input":{input}}}"#)).expect("a request").inputs
        };
        let text = |text: &str| EmbedInput::Text(text.to_owned());
        assert_eq!(inputs(r#""a""#), [text("a")]);
        assert_eq!(inputs(r#"["a","\u00e9"]"#), [text("a"), text("\u{e9}")]);
        assert_eq!(inputs("[1,2]"), [EmbedInput::Tokens(vec![1, 2])]);
        let two = [EmbedInput::Tokens(vec![1]), EmbedInput::Tokens(vec![2, 3])];
        assert_eq!(inputs("[[1],[2,3]]"), two);
    }

    #[test]
    fn what_is_no_input_names_the_field() {
        for (input, param) in [
            ("null", "input"),
            ("[]", "input"),
            (r#""""#, "input[0]"),
            (r#"["a",""]"#, "input[1]"),
            ("[[1],[]]", "input[1]"),
            ("[1,\"a\"]", "input[1]"),
            ("[\"a\",1]", "input[1]"),
            ("[\"a\",null]", "input[1]"),
            ("[[1],2]", "input[1]"),
            ("[4000000000]", "input[0]"),
            ("[1.5]", "input[0]"),
            ("{}", "input"),
            ("7", "input"),
        ] {
            let error = read(&format!(r#"{{"model":"m","input":{input}}}"#)).expect_err(input);
            assert_eq!(error.param.as_deref(), Some(param), "{input}: {}", error.message);
        }
        let many = format!(r#"{{"model":"m","input":[{}"a"]}}"#, r#""a","#.repeat(2048));
        let error = read(&many).expect_err("2,049 inputs");
        assert!(error.message.contains("2048"), "{}", error.message);
    }

    #[test]
    fn null_is_absent_and_other_values_are_refused() {
        let plain = Form { base64: false, dimensions: None };
        assert_eq!(
            form(r#"{"model":"m","input":"a","encoding_format":null,"dimensions":null,"user":7}"#),
            plain
        );
        assert!(form(r#"{"model":"m","input":"a","encoding_format":"base64"}"#).base64);
        for (field, param) in [
            (r#""encoding_format":"int8""#, "encoding_format"),
            (r#""dimensions":0"#, "dimensions"),
            (r#""dimensions":-3"#, "dimensions"),
        ] {
            let error = read(&format!(r#"{{"model":"m","input":"a",{field}}}"#)).expect_err(field);
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn vectors_are_cut_and_have_length_one() {
        let plain = Form { base64: false, dimensions: None };
        assert_eq!(plain.write(vec![3.0, 4.0]), Ok(Numbers::Floats(vec![0.6, 0.8])));
        assert_eq!(plain.write(vec![3e38, 0.0]), Ok(Numbers::Floats(vec![1.0, 0.0])));
        assert_eq!(plain.write(vec![0.0, 0.0]), Ok(Numbers::Floats(vec![0.0, 0.0])));
        let cut = Form { base64: false, dimensions: Some(1) };
        assert_eq!(cut.write(vec![3.0, 4.0]), Ok(Numbers::Floats(vec![1.0])));
        assert!(Form { base64: false, dimensions: Some(3) }.write(vec![3.0, 4.0]).is_err());
        // 1.0 is 0x3f800000; the lowest byte comes first.
        let base64 = Form { base64: true, dimensions: Some(1) }.write(vec![2.0, 0.0]);
        assert_eq!(base64, Ok(Numbers::Base64("AACAPw==".to_owned())));
    }
}
