use serde_json::{Map, Number, Value as Json, json};

use crate::gguf::{Facts, Header, TensorInfo, Value};

/// Longer lists are told in a verbose answer only.
const SHORT: usize = 5;

/// The metadata of the weights by key, without what is told elsewhere.
pub(super) fn model_info(headers: &[Header], facts: Option<&Facts>, verbose: bool) -> Json {
    let mut info = headers.first().map(|header| metadata(header, verbose)).unwrap_or_default();
    for elsewhere in ["general.name", "tokenizer.chat_template"] {
        info.remove(elsewhere);
    }
    if let Some(facts) = facts {
        info.insert("general.parameter_count".to_owned(), facts.parameters.into());
    }
    Json::Object(info)
}

/// The metadata of a file by key. Vocabularies and other very long lists are empty in any case, as
/// they are not kept.
pub(super) fn metadata(header: &Header, verbose: bool) -> Map<String, Json> {
    let most = if verbose { usize::MAX } else { SHORT };
    header.metadata.iter().map(|(key, value)| (key.clone(), to_json(value, most))).collect()
}

fn to_json(value: &Value, most: usize) -> Json {
    match value {
        Value::Uint(number) => (*number).into(),
        Value::Int(number) => (*number).into(),
        // JSON has no infinity.
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Bool(truth) => (*truth).into(),
        Value::String(text) => text.clone().into(),
        Value::LongString(_) => Json::Null,
        Value::Array(array) => {
            let items = array.items.iter().filter(|items| items.len() <= most).flatten();
            Json::Array(items.map(|item| to_json(item, most)).collect())
        }
    }
}

/// The tensors of all files.
pub(super) fn tensors(headers: &[Header]) -> Vec<Json> {
    let one = |tensor: &TensorInfo| json!({ "name": tensor.name, "type": tensor.kind, "shape": tensor.dims });
    headers.iter().flat_map(|header| &header.tensors).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::read_header;
    use crate::gguf::testing::Writer;

    fn header(gguf: &Writer) -> Header {
        let bytes = gguf.build();
        read_header(bytes.as_slice(), bytes.len() as u64).expect("a header")
    }

    #[test]
    fn metadata_keep_their_types_and_long_lists_are_for_the_verbose() {
        let gguf = Writer::tiny()
            .f32("a.float", f32::INFINITY)
            .u32s("a.short", &[1, 2])
            .u32s("a.long", &[1, 2, 3, 4, 5, 6]);
        let headers = [header(&gguf)];
        let facts = Facts::of(&headers[0]).expect("facts");
        let brief = model_info(&headers, Some(&facts), false);
        assert_eq!(brief["general.architecture"], "llama");
        assert_eq!(brief["llama.context_length"], 512);
        assert_eq!(brief["llama.rope.freq_base"], 10_000.0);
        assert_eq!(brief["general.parameter_count"], 160);
        assert_eq!((&brief["a.short"], &brief["a.long"]), (&json!([1, 2]), &json!([])));
        assert_eq!(brief["a.float"], json!(null));
        assert_eq!((brief.get("general.name"), brief.get("tokenizer.chat_template")), (None, None));
        let verbose = model_info(&headers, Some(&facts), true);
        assert_eq!(verbose["a.long"], json!([1, 2, 3, 4, 5, 6]));
        let tensor = json!({ "name": "output_norm.weight", "type": "f32", "shape": [32] });
        assert_eq!(tensors(&headers).last(), Some(&tensor));
    }
}
