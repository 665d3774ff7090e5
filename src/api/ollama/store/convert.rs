use serde_json::{Map, Value};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::models::{Base, Recipe, StoredMessage};

use crate::api::ollama::convert::check_options;

use super::blobs;
use super::types::{CreateMessage, CreateRequest, given};

/// The most files, and the most adapters, of one request.
const MAX_FILES: usize = 1024;

/// A request, understood.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) model: String,
    pub(super) recipe: Recipe,
    pub(super) streamed: bool,
}

/// Every field is mapped or refused by name. Ollama's `renderer`, `parser`, `requires` and `info`
/// name parts of Ollama's own program and are ignored like unknown fields.
///
/// # Errors
/// `MissingField`, `InvalidValue`, `InvalidDigest` and `Unsupported`, naming the field.
pub(super) fn convert(request: CreateRequest) -> Result<Order> {
    let CreateRequest {
        model,
        name,
        from,
        files,
        adapters,
        template,
        license,
        system,
        parameters: given_parameters,
        messages,
        quantize,
        quantization,
        stream,
        draft_files,
        draft_quantize,
        remote_host,
        modelfile,
        path,
    } = request;
    let Some(model) = given(model, name) else {
        return Err(Error::new(ErrorKind::MissingField, "invalid model name: it is empty"));
    };
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    refuse(
        draft_files.is_some_and(|files| !files.is_empty()),
        "draft_files",
        "draft models are not taken",
    )?;
    refuse(filled(&draft_quantize), "draft_quantize", "draft models are not taken")?;
    refuse(filled(&remote_host), "remote_host", "models run on this machine")?;
    refuse(
        filled(&modelfile),
        "modelfile",
        "say it with `from`, `system`, `parameters` and the others",
    )?;
    refuse(
        filled(&path),
        "path",
        "upload files with POST /api/blobs/sha256:… and name them in `files`",
    )?;
    let files = named_digests("files", files)?;
    let base = match (from.filter(|from| !from.trim().is_empty()), files.is_empty()) {
        (Some(from), true) => Base::Model(from),
        (None, false) => Base::Files(files),
        (None, true) => {
            let message = "neither 'from' or 'files' was specified";
            return Err(Error::new(ErrorKind::MissingField, message));
        }
        (Some(_), false) => {
            let message = "'from' and 'files' were both specified; weights come from one of them";
            return Err(Error::new(ErrorKind::InvalidValue, message));
        }
    };
    let messages = messages.unwrap_or_default().into_iter().enumerate();
    let recipe = Recipe {
        base,
        adapters: named_digests("adapters", adapters)?,
        system,
        parameters: parameters(given_parameters.unwrap_or_default())?,
        messages: messages.map(|(at, said)| message(at, said)).collect::<Result<_>>()?,
        template,
        licenses: licenses(license)?,
        quantization: quantize.or(quantization),
    };
    Ok(Order { model, recipe, streamed: stream.unwrap_or(true) })
}

fn refuse(is_there: bool, field: &str, why: &str) -> Result<()> {
    if !is_there {
        return Ok(());
    }
    let message = format!("`{field}` is not supported: {why}; leave it out");
    Err(Error::new(ErrorKind::Unsupported, message).with_param(field))
}

fn named_digests(field: &str, files: Option<Map<String, Value>>) -> Result<Vec<(String, Digest)>> {
    let files = files.unwrap_or_default();
    if files.len() > MAX_FILES {
        let message = format!("`{field}` names {} files; {MAX_FILES} are possible", files.len());
        return Err(Error::invalid(field, message));
    }
    let one = |(name, digest): (String, Value)| {
        let inside = |part: &str| !matches!(part, "" | "." | "..");
        if name.contains(['\\', '\0']) || !name.split('/').all(inside) {
            let shown: String = name.chars().take(80).collect();
            return Err(Error::invalid(field, format!("file path must be relative: {shown:?}")));
        }
        let digest = blobs::parse(digest.as_str().unwrap_or_default())?;
        Ok((name, digest))
    };
    files.into_iter().map(one).collect()
}

fn message(at: usize, message: CreateMessage) -> Result<StoredMessage> {
    let CreateMessage { role, content, images, tool_calls } = message;
    let field = |name: &str| format!("messages[{at}].{name}");
    for (name, list) in [("images", images), ("tool_calls", tool_calls)] {
        refuse(list.is_some_and(|list| !list.is_empty()), &field(name), "texts alone are stored")?;
    }
    let role = role.unwrap_or_default().to_ascii_lowercase();
    if !["system", "user", "assistant"].contains(&role.as_str()) {
        let message = "a role is `system`, `user` or `assistant`";
        return Err(Error::invalid(field("role"), message));
    }
    Ok(StoredMessage { role, content: content.unwrap_or_default() })
}

fn licenses(license: Option<Value>) -> Result<Vec<String>> {
    let wrong = || Error::invalid("license", "`license` is a text or a list of texts");
    match license {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(texts)) => texts
            .into_iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// What the value of a parameter has to be.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Number,
    Flag,
    Texts,
}

/// The parameters that mean something to Ollama; others are stored as they are.
const KNOWN: [(&str, Kind); 19] = [
    ("num_keep", Kind::Integer),
    ("seed", Kind::Integer),
    ("num_predict", Kind::Integer),
    ("top_k", Kind::Integer),
    ("top_p", Kind::Number),
    ("min_p", Kind::Number),
    ("typical_p", Kind::Number),
    ("repeat_last_n", Kind::Integer),
    ("temperature", Kind::Number),
    ("repeat_penalty", Kind::Number),
    ("presence_penalty", Kind::Number),
    ("frequency_penalty", Kind::Number),
    ("stop", Kind::Texts),
    ("num_ctx", Kind::Integer),
    ("num_batch", Kind::Integer),
    ("num_gpu", Kind::Integer),
    ("main_gpu", Kind::Integer),
    ("num_thread", Kind::Integer),
    ("use_mmap", Kind::Flag),
];

fn parameters(given: Map<String, Value>) -> Result<Map<String, Value>> {
    let mut checked = Map::new();
    for (name, value) in given {
        let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let value = match known {
            _ if value.is_null() => continue,
            None => value,
            Some(kind) => typed(kind, value).map_err(|what| {
                let text = format!("option \"{name}\" must be of type {what}");
                Error::invalid(format!("parameters.{name}"), text)
            })?,
        };
        checked.insert(name, value);
    }
    check_options(&checked).map_err(|error| {
        let param = error.param.as_deref().unwrap_or_default();
        Error::invalid(format!("parameters.{param}"), error.message)
    })?;
    Ok(checked)
}

/// Integers may come with a fraction of nothing, and a single stop as a text.
fn typed(kind: Kind, value: Value) -> std::result::Result<Value, &'static str> {
    match (kind, value) {
        (Kind::Integer, Value::Number(number)) => match number.as_f64() {
            _ if number.is_i64() => Ok(Value::Number(number)),
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => Ok((float as i64).into()),
            _ => Err("integer"),
        },
        (Kind::Integer, _) => Err("integer"),
        (Kind::Number, value @ Value::Number(_)) => Ok(value),
        (Kind::Number, _) => Err("float32"),
        (Kind::Flag, value @ Value::Bool(_)) => Ok(value),
        (Kind::Flag, _) => Err("boolean"),
        (Kind::Texts, value @ Value::String(_)) => Ok(Value::Array(vec![value])),
        (Kind::Texts, Value::Array(texts)) if texts.iter().all(Value::is_string) => {
            Ok(Value::Array(texts))
        }
        (Kind::Texts, _) => Err("array"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: Value) -> Result<Order> {
        convert(serde_json::from_value(json).expect("the wire form"))
    }

    #[test]
    fn a_whole_request_is_understood() {
        let digest = Digest::of(b"x");
        let order = read(json!({
            "name": "mine", "stream": false, "system": "Be brief.", "quantize": "q4_0",
            "files": {"dir/model.gguf": digest.to_string()},
            "adapters": {"a.gguf": format!("sha256-{}", digest.hex())},
            "license": ["one", "two"], "template": "{{ messages }}",
            "parameters": {"num_predict": 5.0, "stop": "x", "temperature": 1, "seed": null,
                "mine": {}},
            "messages": [{"role": "User", "content": "hi"}, {"role": "assistant"}],
            "renderer": "x", "info": {}, "unknown": 1,
        }))
        .expect("understood");
        assert!(!order.streamed);
        insta::assert_debug_snapshot!(order.recipe);
    }

    #[test]
    fn streams_unless_told_otherwise_and_starts_from_a_model() {
        let order = read(json!({"model": "m", "name": "n", "from": "base", "stream": null}));
        let order = order.expect("understood");
        assert_eq!((order.model.as_str(), order.streamed), ("m", true));
        assert_eq!(order.recipe.base, Base::Model("base".to_owned()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_words_that_name_it() {
        let digest = Digest::of(b"x").to_string();
        let mut refused = String::new();
        for body in [
            json!({}),
            json!({"model": "m"}),
            json!({"model": "m", "from": "b", "files": {"a": digest}}),
            json!({"model": "m", "files": {"/etc/x": digest}}),
            json!({"model": "m", "files": {"a/../x": digest}}),
            json!({"model": "m", "files": {"a": ""}}),
            json!({"model": "m", "files": {"a": 7}}),
            json!({"model": "m", "from": "b", "license": 7}),
            json!({"model": "m", "from": "b", "parameters": {"top_k": "x"}}),
            json!({"model": "m", "from": "b", "parameters": {"top_k": 1.5}}),
            json!({"model": "m", "from": "b", "parameters": {"stop": [1]}}),
            json!({"model": "m", "from": "b", "messages": [{"role": "tool", "content": "x"}]}),
            json!({"model": "m", "from": "b", "messages": [{"role": "user", "images": ["x"]}]}),
            json!({"model": "m", "from": "b", "draft_files": {"a": digest}}),
            json!({"model": "m", "from": "b", "remote_host": "https://x"}),
            json!({"model": "m", "modelfile": "FROM x"}),
        ] {
            let error = read(body.clone()).expect_err("refused");
            refused += &format!("{:?} {:?}: {}\n", error.kind, error.param, error.message);
        }
        insta::assert_snapshot!(refused);
    }
}
