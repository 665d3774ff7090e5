//! Tools for models whose templates know none: modeld's own format.
//!
//! The system message says which tools there are and how to call them; a call is
//! `{"tool_calls":[{"name":…,"arguments":{…}},…]}` and nothing else. Earlier calls stand in the
//! conversation just like that, their results as turns of the user. A call that must be is
//! constrained from its first token by a schema made of the tools' own; with `auto` an answer that
//! begins like calls has to go on so. `output::generic` reads the answers.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::domain::{ChatPrompt, Constraint, Error, Message, Role, Tool};

/// The calls and results of earlier turns as text.
pub(super) fn as_text(messages: Vec<Message>) -> Vec<Message> {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    // Whether the last turn holds nothing but results, so that the user's next joins it: many
    // templates want user and assistant to take turns.
    let mut results = false;
    for mut message in messages {
        match message.role {
            Role::Assistant if !message.tool_calls.is_empty() => {
                let calls = std::mem::take(&mut message.tool_calls);
                let list: Vec<Value> = calls
                    .iter()
                    .map(|call| json!({ "name": call.name, "arguments": arguments(&call.arguments) }))
                    .collect();
                names.extend(calls.into_iter().map(|call| (call.id, call.name)));
                if !message.content.is_empty() {
                    message.content.push('\n');
                }
                message.content.push_str(&json!({ "tool_calls": list }).to_string());
                out.push(message);
                results = false;
            }
            Role::Tool => {
                let id = message.tool_call_id.take();
                let name = message.name.take().or_else(|| names.get(id.as_deref()?).cloned());
                let name = name.unwrap_or_else(|| "the function".to_owned());
                let head = format!("Result of {name}:\n");
                match out.last_mut() {
                    Some(last) if results => join(last, &head, message),
                    _ => {
                        message.role = Role::User;
                        shift(&mut message, head.len());
                        message.content.insert_str(0, &head);
                        out.push(message);
                        results = true;
                    }
                }
            }
            Role::User if results => {
                results = false;
                if let Some(last) = out.last_mut() {
                    join(last, "", message);
                }
            }
            _ => {
                results = false;
                out.push(message);
            }
        }
    }
    out
}

fn join(last: &mut Message, head: &str, mut next: Message) {
    last.content.push_str("\n\n");
    last.content.push_str(head);
    shift(&mut next, last.content.len());
    last.content.push_str(&next.content);
    last.media.append(&mut next.media);
}

fn shift(message: &mut Message, bytes: usize) {
    for media in &mut message.media {
        media.offset = media.offset.saturating_add(bytes);
    }
}

fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({}))
}

/// The conversation with the instruction, and the tools, which the template does not see.
pub(super) fn instruct(mut chat: ChatPrompt, must: bool) -> (ChatPrompt, Vec<Tool>) {
    let tools = std::mem::take(&mut chat.tools);
    let text = instruction(&tools, must, chat.parallel_tool_calls);
    match chat.messages.first_mut() {
        Some(first) if first.role == Role::System => {
            if !first.content.is_empty() {
                first.content.push_str("\n\n");
            }
            first.content.push_str(&text);
        }
        _ => chat.messages.insert(0, Message::text(Role::System, text)),
    }
    (chat, tools)
}

fn instruction(tools: &[Tool], must: bool, parallel: bool) -> String {
    let mut text = String::from("You can call these functions, each given as JSON:\n");
    for tool in tools {
        let parameters = arguments(&tool.parameters);
        let mut entry = Map::new();
        entry.insert("name".to_owned(), tool.name.as_str().into());
        if !tool.description.is_empty() {
            entry.insert("description".to_owned(), tool.description.as_str().into());
        }
        entry.insert("parameters".to_owned(), parameters);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", Value::Object(entry));
    }
    text.push_str(
        "\nTo call a function, answer with this JSON and nothing else:\n\
         {\"tool_calls\":[{\"name\":\"<its name>\",\"arguments\":{<its arguments>}}]}\n\
         The result comes with the next message.",
    );
    text.push_str(match (must, parallel) {
        (true, true) => " Call at least one function now.",
        (true, false) => " Call exactly one function now.",
        (false, true) => " If you need none, answer in plain text.",
        (false, false) => " Call one function at a time. If you need none, answer in plain text.",
    });
    text
}

/// Calls in one answer; without a bound a weak model would never come to an end.
const MAX_CALLS: u32 = 16;

/// How every call begins; see [`Wanted::OnceBegun`].
pub(super) const BEGINNING: &str = "{\"tool_calls\"";

/// What answers have to look like.
#[derive(Debug)]
pub(super) enum Wanted {
    /// All of them.
    Always(Constraint),
    /// Those that begin with [`BEGINNING`]; the others are free.
    OnceBegun(Constraint),
}

/// What answers have to look like; `otherwise` constrains those that are no calls.
///
/// # Errors
/// `Unsupported` for what cannot stand beside tools.
pub(super) fn constraint(
    tools: &[Tool],
    must: bool,
    parallel: bool,
    otherwise: &Constraint,
) -> Result<Wanted, Error> {
    let schema = calls_schema(tools, parallel);
    if must {
        return Ok(Wanted::Always(Constraint::JsonSchema(schema.to_string())));
    }
    let mut other: Value = match otherwise {
        Constraint::None => {
            return Ok(Wanted::OnceBegun(Constraint::JsonSchema(schema.to_string())));
        }
        Constraint::JsonObject => json!({ "type": "object" }),
        Constraint::JsonSchema(schema) => serde_json::from_str(schema).map_err(Error::internal)?,
        _ => {
            let message = "with tools, an answer can be held to a JSON schema and to nothing else";
            return Err(Error::unsupported("response_format", message));
        }
    };
    let mut calls = schema;
    let fields = calls.as_object_mut();
    let definitions = fields.and_then(|fields| fields.shift_remove("$defs"));
    let mut definitions = definitions.unwrap_or_else(|| json!({}));
    if let (Some(fields), Some(definitions)) = (other.as_object_mut(), definitions.as_object_mut())
    {
        fields.shift_remove("$schema");
        point(&mut other, "#/$defs/answer");
        definitions.insert("answer".to_owned(), other);
        other = json!({ "$ref": "#/$defs/answer" });
    }
    let either = json!({ "$defs": definitions, "anyOf": [calls, other] });
    Ok(Wanted::Always(Constraint::JsonSchema(either.to_string())))
}

/// Keywords that let several schemas speak about one object.
const COMBINING: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "$ref",
    "patternProperties",
    "dependentSchemas",
    "unevaluatedProperties",
];

/// Keeps a model from making up arguments: an object whose properties are named has no others,
/// unless the schema says so. Left alone where another schema has a say about the same object.
fn close(schema: &mut Value) {
    fn combines(value: &Value) -> bool {
        match value {
            Value::Object(fields) => {
                let several = fields.contains_key("properties")
                    && COMBINING.iter().any(|keyword| fields.contains_key(*keyword));
                several || fields.contains_key("allOf") || fields.values().any(combines)
            }
            Value::Array(items) => items.iter().any(combines),
            _ => false,
        }
    }
    fn walk(schema: &mut Value) {
        let Some(fields) = schema.as_object_mut() else { return };
        for (key, value) in fields.iter_mut() {
            match (key.as_str(), value) {
                ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                    named.values_mut().for_each(walk);
                }
                ("prefixItems" | "anyOf" | "oneOf", Value::Array(items)) => {
                    items.iter_mut().for_each(walk);
                }
                ("items" | "additionalProperties", value) => walk(value),
                _ => {}
            }
        }
        if fields.contains_key("properties") {
            fields.entry("additionalProperties").or_insert(Value::Bool(false));
        }
    }
    if !combines(schema) {
        walk(schema);
    }
}

/// The schema of one or several calls.
fn calls_schema(tools: &[Tool], parallel: bool) -> Value {
    let mut definitions = Map::new();
    let mut kinds = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let mut schema = arguments(&tool.parameters);
        close(&mut schema);
        if let Some(fields) = schema.as_object_mut() {
            fields.entry("type").or_insert_with(|| "object".into());
            fields.remove("$schema");
        }
        if refers(&schema) {
            // Its references start from its own root.
            let name = format!("tool{index}");
            let root = format!("#/$defs/{name}");
            point(&mut schema, &root);
            definitions.insert(name, schema);
            schema = json!({ "$ref": root });
        }
        kinds.push(json!({
            "type": "object",
            "properties": { "name": { "const": tool.name }, "arguments": schema },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        }));
    }
    let most = if parallel { MAX_CALLS } else { 1 };
    let calls = json!({
        "type": "array", "items": { "anyOf": kinds }, "minItems": 1, "maxItems": most,
    });
    let mut all = json!({
        "type": "object",
        "properties": { "tool_calls": calls },
        "required": ["tool_calls"],
        "additionalProperties": false,
    });
    if let (false, Some(fields)) = (definitions.is_empty(), all.as_object_mut()) {
        fields.insert("$defs".to_owned(), definitions.into());
    }
    all
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(refers),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}

/// Lets references into the schema itself point to `root` and on.
fn point(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(place) = target.strip_prefix('#')
                && (place.is_empty() || place.starts_with('/'))
            {
                *target = format!("{root}{place}");
            }
            fields.values_mut().for_each(|value| point(value, root));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| point(value, root)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Media, MediaAt, MediaKind, ToolCall};

    fn tool(name: &str, parameters: Value) -> Tool {
        Tool { name: name.into(), parameters: parameters.to_string(), ..Tool::default() }
    }

    #[test]
    fn objects_with_named_properties_are_closed_where_nobody_else_speaks_about_them() {
        let closed = |schema: Value| {
            let mut out = schema;
            close(&mut out);
            out
        };
        let plain = json!({ "properties": { "properties": { "items": { "properties": {} } } } });
        assert_eq!(
            closed(plain),
            json!({
                "properties": { "properties": { "items": {
                    "properties": {}, "additionalProperties": false } } },
                "additionalProperties": false,
            })
        );
        for alone in [
            json!({ "type": "object" }),
            json!({ "properties": {}, "additionalProperties": true }),
            json!({ "properties": { "a": { "const": { "properties": {} } } },
                    "additionalProperties": false }),
            json!({ "properties": { "a": {} }, "anyOf": [{ "properties": { "b": {} } }] }),
            json!({ "allOf": [{ "properties": { "a": {} } }, { "properties": { "b": {} } }] }),
        ] {
            assert_eq!(closed(alone.clone()), alone);
        }
    }

    #[test]
    fn earlier_calls_and_results_become_turns_of_text() {
        let call = |id: &str, name: &str| ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: "{\"city\":\"Paris\"}".into(),
        };
        let calls = Message {
            tool_calls: vec![call("1", "weather"), call("2", "time")],
            ..Message::text(Role::Assistant, "")
        };
        let result = |id: &str, text: &str| Message {
            tool_call_id: Some(id.into()),
            ..Message::text(Role::Tool, text)
        };
        let image = MediaAt { offset: 1, media: Media { kind: MediaKind::Image, bytes: vec![] } };
        let user = Message { media: vec![image], ..Message::text(Role::User, "and?") };
        let text = as_text(vec![calls, result("1", "sun"), result("2", "noon"), user]);
        let said: Vec<(Role, &str)> =
            text.iter().map(|message| (message.role, message.content.as_str())).collect();
        assert_eq!(
            said,
            [
                (
                    Role::Assistant,
                    "{\"tool_calls\":[{\"name\":\"weather\",\"arguments\":{\"city\":\"Paris\"}},\
                     {\"name\":\"time\",\"arguments\":{\"city\":\"Paris\"}}]}"
                ),
                (Role::User, "Result of weather:\nsun\n\nResult of time:\nnoon\n\nand?"),
            ]
        );
        let offset = text[1].media[0].offset;
        assert_eq!(text[1].content.get(offset - 1..), Some("and?"));
    }

    #[test]
    fn the_instruction_joins_the_system_message() {
        let chat = ChatPrompt {
            tools: vec![tool("a", json!({ "type": "object" }))],
            ..ChatPrompt::new(vec![Message::text(Role::System, "Be kind.")])
        };
        let (chat, tools) = instruct(chat, false);
        assert!(chat.tools.is_empty());
        assert_eq!(tools.len(), 1);
        let system = &chat.messages[0].content;
        assert!(system.starts_with("Be kind.\n\nYou can call"), "{system}");
        assert!(system.contains(r#"{"name":"a","parameters":{"type":"object"}}"#), "{system}");
        let (chat, _) = instruct(ChatPrompt::new(vec![Message::text(Role::User, "hi")]), true);
        assert_eq!(chat.messages[0].role, Role::System);
    }

    #[test]
    fn references_of_a_tools_schema_still_find_their_place() {
        let schema = json!({
            "type": "object",
            "properties": { "x": { "$ref": "#/$defs/y" }, "z": { "$ref": "#" } },
            "$defs": { "y": { "type": "integer" } },
        });
        let calls = calls_schema(&[tool("a", schema), tool("b", json!({}))], false);
        assert_eq!(calls["$defs"]["tool0"]["properties"]["x"]["$ref"], "#/$defs/tool0/$defs/y");
        assert_eq!(calls["$defs"]["tool0"]["properties"]["z"]["$ref"], "#/$defs/tool0");
        let items = &calls["properties"]["tool_calls"]["items"]["anyOf"];
        assert_eq!(items[0]["properties"]["arguments"]["$ref"], "#/$defs/tool0");
        assert_eq!(items[1]["properties"]["arguments"], json!({ "type": "object" }));
        assert_eq!(calls["properties"]["tool_calls"]["maxItems"], 1);
        assert!(jsonschema::is_valid(
            &calls,
            &json!({ "tool_calls": [{ "name": "a", "arguments": { "x": 1 } }] })
        ));
    }
}
