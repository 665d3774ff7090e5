//! `input` as a list of items that all have a type, an id and a status, as they are kept and shown.

use serde_json::{Map, Value, json};

use crate::api::checks::missing;
use crate::domain::{Error, ErrorKind, Result};

use super::super::types::WireItem;
use super::fields::typed;

/// The most items of a request.
const MAX_ITEMS: usize = 4_096;

/// The items of `input`, each with its place and its own fields untouched but for those that every
/// item has. `tail` makes the ids of those that have none; `find` looks up those that are only
/// referred to.
pub(super) fn normalise(
    input: Option<Value>,
    tail: &str,
    find: &dyn Fn(&str) -> Option<Value>,
) -> Result<Vec<Value>> {
    let items = match input {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![json!({ "role": "user", "content": text })],
        Some(Value::Array(items)) => items,
        Some(_) => {
            let message = "`input` must be a string or an array of items";
            return Err(Error::invalid("input", message));
        }
    };
    if items.len() > MAX_ITEMS {
        let message = format!("`input` has {} items; at most {MAX_ITEMS} are taken", items.len());
        return Err(Error::invalid("input", message));
    }
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| match item {
            Value::Object(fields) => {
                let path = format!("input[{i}]");
                let item: WireItem = typed(&Value::Object(fields.clone()), &path)?;
                match kind_of(&item) {
                    "item_reference" => referred(item.id, &path, find),
                    kind => Ok(complete(fields, kind, &format!("{tail}{i:04}"))),
                }
            }
            _ => Err(Error::invalid(format!("input[{i}]"), "an item is an object")),
        })
        .collect()
}

/// The type of an item: messages and references may leave it out.
pub(super) fn kind_of(item: &WireItem) -> &str {
    match &item.r#type {
        Some(kind) => kind,
        None if item.role.is_none() && item.id.is_some() => "item_reference",
        None => "message",
    }
}

/// The item itself.
fn referred(id: Option<String>, path: &str, find: &dyn Fn(&str) -> Option<Value>) -> Result<Value> {
    let id = id.ok_or_else(|| missing(format!("{path}.id"), "name the item"))?;
    find(&id).ok_or_else(|| {
        let id: String = id.chars().take(128).collect();
        let message = format!(
            "there is no item {id:?} in the stored responses of this client; send the item itself"
        );
        Error::new(ErrorKind::NotFound, message).with_param(format!("{path}.id"))
    })
}

/// Fills in what is missing.
fn complete(mut fields: Map<String, Value>, kind: &str, tail: &str) -> Value {
    let prefix = match kind {
        "message" => "msg_",
        "reasoning" => "rs_",
        "function_call" => "fc_",
        "function_call_output" => "fco_",
        "custom_tool_call" => "ctc_",
        _ => "item_",
    };
    if kind == "message" {
        let assistant = fields.get("role").and_then(Value::as_str) == Some("assistant");
        if let Some(Value::String(text)) = fields.get("content") {
            let part = match assistant {
                true => json!({ "type": "output_text", "text": text, "annotations": [] }),
                false => json!({ "type": "input_text", "text": text }),
            };
            fields.insert("content".to_owned(), json!([part]));
        }
    }
    let mut fill = |name: &str, value: Value| {
        let slot = fields.entry(name).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value;
        }
    };
    fill("id", format!("{prefix}{tail}").into());
    fill("type", kind.into());
    if kind != "reasoning" {
        fill("status", "completed".into());
    }
    Value::Object(fields)
}
