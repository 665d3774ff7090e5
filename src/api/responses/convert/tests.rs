use serde_json::{Value, json};

use super::{Converted, Past, convert};
use crate::api::json::decode;
use crate::domain::{Constraint, Error, ErrorKind, Message, Prompt, Result, Role, ToolChoice};

/// One stored conversation.
struct Stored;

impl Past for Stored {
    fn conversation(&self, response: &str) -> Result<Vec<Value>> {
        match response {
            "resp_old" => Ok(vec![
                json!({ "type": "message", "role": "user", "content": "Before" }),
                json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": "Hm" }] }),
                json!({ "type": "message", "role": "assistant", "content": "Yes" }),
            ]),
            _ => Err(Error::new(ErrorKind::NotFound, "no").with_param("previous_response_id")),
        }
    }

    fn item(&self, id: &str) -> Option<Value> {
        (id == "msg_old").then(|| json!({ "id": id, "role": "user", "content": "Referred" }))
    }
}

fn body(changes: &Value) -> Value {
    let mut body = json!({ "model": "ai/tiny", "input": "Hi" });
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

fn converted(changes: &Value) -> Result<Converted> {
    convert(decode(body(changes).to_string().as_bytes())?, "T", &Stored)
}

#[track_caller]
fn good(changes: &Value) -> Converted {
    converted(changes).unwrap_or_else(|error| panic!("{changes}: {error:?}"))
}

fn turns(converted: Converted) -> Vec<Message> {
    match converted.request.prompt {
        Prompt::Chat(chat) => chat.messages,
        other => panic!("{other:?}"),
    }
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "name": name, "parameters": { "type": "object" } })
}

#[test]
fn every_kind_of_item_is_understood() {
    let input = json!([
        { "role": "developer", "content": "Be brief." },
        { "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "What " }, { "type": "input_text", "text": "time?" },
        ] },
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x",
          "content": [{ "type": "reasoning_text", "text": "A clock." }] },
        { "id": "msg_1", "role": "assistant", "content": [
            { "type": "output_text", "text": "I look.", "annotations": [] },
        ] },
        { "type": "function_call", "call_id": "call_1", "name": "get_time", "arguments": "{}" },
        { "type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "a\"b" },
        { "type": "function_call", "call_id": "call_3", "name": "read", "namespace": "files",
          "arguments": "{\"a\":1}", "status": null },
        { "type": "function_call_output", "call_id": "call_1", "output": "noon" },
        { "type": "custom_tool_call_output", "call_id": "call_2", "output": "done" },
        { "type": "function_call_output", "call_id": "call_3",
          "output": [{ "type": "input_text", "text": "text" }] },
        { "id": "msg_old" },
        { "type": "message", "role": "assistant", "content": [
            { "type": "refusal", "refusal": "No." },
        ] },
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "lost" }] },
        { "role": "user", "content": "Then?" },
    ]);
    let instructions = "You are a clock.";
    insta::assert_debug_snapshot!(turns(good(
        &json!({ "input": input, "instructions": instructions })
    )));
}

#[test]
fn what_came_before_comes_first_but_not_its_instructions() {
    let changes = json!({ "previous_response_id": "resp_old", "instructions": "New." });
    let turns = turns(good(&changes));
    let said: Vec<_> = turns.iter().map(|turn| (turn.role, turn.content.as_str())).collect();
    assert_eq!(
        said,
        [
            (Role::System, "New."),
            (Role::User, "Before"),
            (Role::Assistant, "Yes"),
            (Role::User, "Hi")
        ]
    );
    assert_eq!(turns[2].reasoning.as_deref(), Some("Hm"));
}

#[test]
fn items_are_completed_for_the_store() {
    let input = json!([
        { "role": "user", "content": "Hi" },
        { "id": "mine", "role": "assistant", "content": "Ho", "status": null },
        { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c", "output": "1" },
        { "type": "item_reference", "id": "msg_old" },
    ]);
    insta::assert_json_snapshot!(good(&json!({ "input": input })).input);
    let text = good(&json!({ "input": "Hi" })).input;
    assert_eq!(
        text,
        [json!({
            "role": "user", "content": [{ "type": "input_text", "text": "Hi" }],
            "id": "msg_T0000", "type": "message", "status": "completed",
        })]
    );
}

#[test]
fn settings_are_repeated_and_obeyed() {
    let converted = good(&json!({
        "instructions": "Be brief.", "max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9,
        "seed": -1, "top_logprobs": 3, "include": ["message.output_text.logprobs"],
        "tools": [function("f")], "tool_choice": "required", "parallel_tool_calls": false,
        "reasoning": { "effort": "xhigh", "summary": "auto" }, "metadata": { "a": "b" },
        "text": { "verbosity": "low", "format": {
            "type": "json_schema", "name": "n", "schema": { "type": "object" }, "strict": true,
        } },
        "truncation": "auto", "store": false, "stream": true, "user": "me", "unknown": 1,
    }));
    assert!(converted.stream);
    insta::assert_json_snapshot!("echo", converted.settings);
    insta::assert_debug_snapshot!("request", converted.request);
}

#[test]
fn null_means_absent() {
    let nulls = [
        "instructions",
        "previous_response_id",
        "conversation",
        "prompt",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "include",
        "tools",
        "tool_choice",
        "text",
        "parallel_tool_calls",
        "reasoning",
        "metadata",
        "truncation",
        "stream",
        "store",
        "background",
        "stream_options",
        "service_tier",
        "user",
        "max_tool_calls",
    ];
    let nulls: serde_json::Map<String, Value> =
        nulls.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    let (plain, nulls) = (good(&json!({})), good(&Value::Object(nulls)));
    assert_eq!(plain.request, nulls.request);
    assert_eq!(json!(plain.settings), json!(nulls.settings));
}

#[test]
fn tools_and_choices() {
    let tools = json!([
        function("f"),
        { "type": "web_search", "external_web_access": false },
        { "type": "tool_search" },
        { "type": "custom", "name": "patch", "description": "Edits.",
          "format": { "type": "grammar", "syntax": "lark", "definition": "start: /x/" } },
        { "type": "namespace", "name": "files", "description": "", "tools": [function("read")] },
    ]);
    let offered = |choice: Value| {
        let converted = good(&json!({ "tools": tools, "tool_choice": choice }));
        let echo = converted.settings.tools.len();
        let Prompt::Chat(chat) = converted.request.prompt else { panic!("a chat") };
        let names: Vec<String> = chat.tools.into_iter().map(|tool| tool.name).collect();
        (names.join(" "), chat.tool_choice, echo)
    };
    let all = "f patch files.read".to_owned();
    let named = |name: &str| ToolChoice::Named(name.into());
    assert_eq!(offered(Value::Null), (all.clone(), ToolChoice::Auto, 3));
    assert_eq!(offered("none".into()), (all.clone(), ToolChoice::None, 3));
    assert_eq!(offered("required".into()), (all.clone(), ToolChoice::Required, 3));
    let choice = json!({ "type": "function", "name": "f" });
    assert_eq!(offered(choice), (all.clone(), named("f"), 3));
    let choice = json!({ "type": "function", "name": "read", "namespace": "files" });
    assert_eq!(offered(choice), (all.clone(), named("files.read"), 3));
    let choice = json!({ "type": "custom", "name": "patch" });
    assert_eq!(offered(choice), (all, named("patch"), 3));
    let allowed = json!([{ "type": "function", "name": "f" }, { "type": "web_search" }]);
    let choice = json!({ "type": "allowed_tools", "mode": "required", "tools": allowed });
    assert_eq!(offered(choice), ("f".into(), ToolChoice::Required, 3));

    let Prompt::Chat(chat) = good(&json!({ "tools": tools })).request.prompt else { panic!() };
    assert!(chat.tools[1].description.contains("start: /x/"));
}

#[test]
fn formats() {
    let constraint =
        |format: Value| good(&json!({ "text": { "format": format } })).request.constraint;
    assert_eq!(constraint(Value::Null), Constraint::None);
    assert_eq!(constraint(json!({ "type": "text" })), Constraint::None);
    assert_eq!(constraint(json!({ "type": "json_object" })), Constraint::JsonObject);
    let schema = json!({ "type": "json_schema", "name": "n", "schema": { "type": "string", "enum": ["b", "a"] } });
    assert_eq!(
        constraint(schema),
        Constraint::JsonSchema(r#"{"type":"string","enum":["b","a"]}"#.into())
    );
}

#[test]
fn what_is_wrong_is_named() {
    let user = |content: Value| json!({ "input": [{ "role": "user", "content": content }] });
    let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
    let cases: Vec<(Value, ErrorKind, &str)> = vec![
        (json!({ "model": null }), ErrorKind::MissingField, "model"),
        (json!({ "input": null }), ErrorKind::MissingField, "input"),
        (json!({ "input": [] }), ErrorKind::MissingField, "input"),
        (json!({ "input": 7 }), ErrorKind::InvalidValue, "input"),
        (json!({ "input": ["x"] }), ErrorKind::InvalidValue, "input[0]"),
        (json!({ "input": "a\0b" }), ErrorKind::InvalidValue, "input[0].content[0].text"),
        (json!({ "input": [{ "content": "x" }] }), ErrorKind::MissingField, "input[0].role"),
        (json!({ "input": [{ "role": "user" }] }), ErrorKind::MissingField, "input[0].content"),
        (
            json!({ "input": [{ "role": "root", "content": "" }] }),
            ErrorKind::InvalidValue,
            "input[0].role",
        ),
        (
            json!({ "input": [{ "role": 1, "content": "" }] }),
            ErrorKind::InvalidValue,
            "input[0].role",
        ),
        (json!({ "input": [{ "type": "mcp_call" }] }), ErrorKind::Unsupported, "input[0].type"),
        (json!({ "input": [{ "id": "msg_none" }] }), ErrorKind::NotFound, "input[0].id"),
        (json!({ "input": [call] }), ErrorKind::InvalidValue, "input[0]"),
        (json!({ "input": [call, call] }), ErrorKind::InvalidValue, "input[1].call_id"),
        (
            json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": "" }] }),
            ErrorKind::InvalidValue,
            "input[0].call_id",
        ),
        (user(json!(7)), ErrorKind::InvalidValue, "input[0].content"),
        (user(json!([{ "text": "x" }])), ErrorKind::MissingField, "input[0].content[0].type"),
        (
            user(json!([{ "type": "input_text" }])),
            ErrorKind::MissingField,
            "input[0].content[0].text",
        ),
        (user(json!([{ "type": "smell" }])), ErrorKind::InvalidValue, "input[0].content[0].type"),
        (user(json!([{ "type": "input_file" }])), ErrorKind::Unsupported, "input[0].content[0]"),
        (
            user(json!([{ "type": "input_image", "file_id": "f" }])),
            ErrorKind::Unsupported,
            "input[0].content[0].file_id",
        ),
        (
            user(json!([{ "type": "input_image" }])),
            ErrorKind::MissingField,
            "input[0].content[0].image_url",
        ),
        (json!({ "conversation": "conv_1" }), ErrorKind::Unsupported, "conversation"),
        (json!({ "prompt": { "id": "p" } }), ErrorKind::Unsupported, "prompt"),
        (json!({ "previous_response_id": "resp_x" }), ErrorKind::NotFound, "previous_response_id"),
        (json!({ "max_output_tokens": 0 }), ErrorKind::InvalidValue, "max_output_tokens"),
        (json!({ "temperature": 2.5 }), ErrorKind::InvalidValue, "temperature"),
        (json!({ "top_p": -1 }), ErrorKind::InvalidValue, "top_p"),
        (json!({ "top_logprobs": 21 }), ErrorKind::InvalidValue, "top_logprobs"),
        (json!({ "include": ["x"] }), ErrorKind::InvalidValue, "include[0]"),
        (json!({ "truncation": "x" }), ErrorKind::InvalidValue, "truncation"),
        (json!({ "background": true, "store": false }), ErrorKind::InvalidValue, "background"),
        (json!({ "metadata": { "a": 1 } }), ErrorKind::InvalidValue, "metadata"),
        (json!({ "metadata": { "a": "x".repeat(513) } }), ErrorKind::InvalidValue, "metadata"),
        (json!({ "reasoning": { "effort": "x" } }), ErrorKind::InvalidValue, "reasoning.effort"),
        (json!({ "reasoning": { "summary": "x" } }), ErrorKind::InvalidValue, "reasoning.summary"),
        (json!({ "text": { "format": {} } }), ErrorKind::MissingField, "text.format.type"),
        (
            json!({ "text": { "format": { "type": "x" } } }),
            ErrorKind::InvalidValue,
            "text.format.type",
        ),
        (
            json!({ "text": { "format": { "type": "json_schema", "schema": {} } } }),
            ErrorKind::MissingField,
            "text.format.name",
        ),
        (
            json!({ "text": { "format": { "type": "json_schema", "name": "n" } } }),
            ErrorKind::MissingField,
            "text.format.schema",
        ),
        (
            json!({ "text": { "format": { "type": "json_schema", "name": "n", "schema": 1 } } }),
            ErrorKind::InvalidValue,
            "text.format.schema",
        ),
        (json!({ "tools": [{}] }), ErrorKind::MissingField, "tools[0].type"),
        (json!({ "tools": [{ "type": "file_search" }] }), ErrorKind::Unsupported, "tools[0].type"),
        (json!({ "tools": [{ "type": "local_shell" }] }), ErrorKind::Unsupported, "tools[0].type"),
        (json!({ "tools": [{ "type": "function" }] }), ErrorKind::MissingField, "tools[0].name"),
        (json!({ "tools": [function("a b")] }), ErrorKind::InvalidValue, "tools[0].name"),
        (
            json!({ "tools": [function("f"), function("f")] }),
            ErrorKind::InvalidValue,
            "tools[1].name",
        ),
        (
            json!({ "tools": [{ "type": "namespace", "name": "n", "tools": [{ "type": "mcp" }] }] }),
            ErrorKind::Unsupported,
            "tools[0].tools[0].type",
        ),
        (json!({ "tool_choice": "required" }), ErrorKind::InvalidValue, "tool_choice"),
        (json!({ "tool_choice": "x" }), ErrorKind::InvalidValue, "tool_choice"),
        (json!({ "tool_choice": { "type": "mcp" } }), ErrorKind::Unsupported, "tool_choice.type"),
        (
            json!({ "tools": [function("f")], "tool_choice": { "type": "function", "name": "g" } }),
            ErrorKind::InvalidValue,
            "tool_choice.name",
        ),
    ];
    for (changes, kind, param) in cases {
        let error = converted(&changes).expect_err(&changes.to_string());
        assert_eq!((error.kind, error.param.as_deref()), (kind, Some(param)), "{changes}: {error}");
        assert!(error.message.len() < 400, "{error}");
    }
}
