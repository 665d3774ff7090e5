use serde_json::{Value, json};

use super::*;
use crate::api::anthropic::types::MessagesRequest;
use crate::api::json;
use crate::domain::{
    ChatPrompt, Constraint, Error, ErrorKind, GenerateRequest, Prompt, Result, Role, Thinking,
    ToolChoice,
};

fn read(body: &Value) -> Result<MessagesRequest> {
    json::decode(body.to_string().as_bytes())
}

/// A good request with some fields replaced.
fn with(changes: Value) -> Value {
    let mut body = json!({
        "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }],
    });
    if let (Some(body), Value::Object(changes)) = (body.as_object_mut(), changes) {
        body.extend(changes);
    }
    body
}

fn with_messages(messages: Value) -> Value {
    with(json!({ "messages": messages }))
}

/// A user turn of these blocks.
fn with_blocks(blocks: Value) -> Value {
    with_messages(json!([{ "role": "user", "content": blocks }]))
}

#[track_caller]
fn accepted(body: &Value) -> GenerateRequest {
    match read(body).and_then(messages) {
        Ok(converted) => converted.request,
        Err(error) => panic!("{error} for {body}"),
    }
}

#[track_caller]
fn chat(body: &Value) -> ChatPrompt {
    match accepted(body).prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(body: &Value) -> Error {
    match read(body).and_then(messages) {
        Ok(_) => panic!("accepted: {body}"),
        Err(error) => error,
    }
}

#[test]
fn every_field_arrives() {
    let request = accepted(&with(json!({
        "system": "Be brief.", "stream": true, "temperature": 0.5, "top_p": 0.25, "top_k": 7,
        "stop_sequences": ["a", "\n\nHuman:"],
        "tools": [
            { "name": "clock", "description": "The time.", "input_schema": { "type": "object" } },
            { "type": "custom", "name": "plain", "strict": true },
        ],
        "tool_choice": { "type": "tool", "name": "clock", "disable_parallel_tool_use": true },
        "thinking": { "type": "enabled", "budget_tokens": 2048, "display": "omitted" },
        "output_config": {
            "effort": "medium",
            "format": { "type": "json_schema", "schema": { "type": "object" } },
        },
    })));
    insta::assert_debug_snapshot!(request);
}

#[test]
fn nulls_and_fields_of_no_meaning_here_change_nothing() {
    let plain = accepted(&with(json!({})));
    for field in [
        "system",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "mcp_servers",
        "container",
        "context_management",
        "cache_control",
        "metadata",
        "service_tier",
        "speed",
        "inference_geo",
        "diagnostics",
        "workspace_id",
        "user_profile_id",
        "betas",
        "unheard_of",
    ] {
        assert_eq!(accepted(&with(json!({ field: null }))), plain, "{field}");
    }
    let ignored = json!({
        "metadata": { "user_id": "u" }, "service_tier": "auto", "container": "c", "speed": "fast",
        "cache_control": { "type": "ephemeral" }, "context_management": { "edits": [] },
        "inference_geo": "eu", "diagnostics": {}, "workspace_id": "w", "betas": ["a"],
        "mcp_servers": [], "unheard_of": [1],
    });
    assert_eq!(accepted(&with(ignored)), plain);
}

#[test]
fn what_cannot_be_done_names_its_field() {
    for (changes, param) in [
        (json!({ "model": null }), "model"),
        (json!({ "model": " " }), "model"),
        (json!({ "messages": null }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "max_tokens": 1u64 << 40 }), "max_tokens"),
        (json!({ "max_tokens": "5" }), "max_tokens"),
        (json!({ "max_tokens": 1.5 }), "max_tokens"),
        (json!({ "temperature": 1.01 }), "temperature"),
        (json!({ "temperature": -0.1 }), "temperature"),
        (json!({ "top_p": 2 }), "top_p"),
        (json!({ "top_k": -1 }), "top_k"),
        (json!({ "stop_sequences": vec!["x"; 17] }), "stop_sequences"),
        (json!({ "stop_sequences": ["x", " \n"] }), "stop_sequences[1]"),
        (json!({ "stop_sequences": [""] }), "stop_sequences[0]"),
        (json!({ "stop_sequences": ["a\u{0}"] }), "stop_sequences[0]"),
        (json!({ "system": 7 }), "system"),
        (json!({ "system": [{ "type": "image" }] }), "system[0].type"),
        (json!({ "mcp_servers": [{ "name": "x" }] }), "mcp_servers"),
        (json!({ "thinking": {} }), "thinking.type"),
        (json!({ "thinking": { "type": "much" } }), "thinking.type"),
        (json!({ "thinking": { "type": "enabled" } }), "thinking.budget_tokens"),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 0 } }),
            "thinking.budget_tokens",
        ),
        (json!({ "output_config": { "effort": "some" } }), "output_config.effort"),
        (json!({ "output_config": { "format": {} } }), "output_config.format.type"),
        (json!({ "output_config": { "format": { "type": "json" } } }), "output_config.format.type"),
        (
            json!({ "output_config": { "format": { "type": "json_schema" } } }),
            "output_config.format.schema",
        ),
        (
            json!({ "output_config": { "format": { "type": "json_schema", "schema": 7 } } }),
            "output_config.format.schema",
        ),
        (json!({ "output_format": { "type": "json_schema" } }), "output_format.schema"),
        (json!({ "tools": [{}] }), "tools[0].name"),
        (json!({ "tools": [{ "name": "a b" }] }), "tools[0].name"),
        (json!({ "tools": [{ "name": "a" }, { "name": "a" }] }), "tools[1].name"),
        (json!({ "tools": [{ "name": "a", "input_schema": 7 }] }), "tools[0].input_schema"),
        (
            json!({ "tools": [{ "name": "a", "input_schema": 7, "strict": true }] }),
            "tools[0].input_schema",
        ),
        (
            json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }),
            "tools[0].type",
        ),
        (json!({ "tools": [{ "type": "bash_20250124", "name": "bash" }] }), "tools[0].type"),
        (json!({ "tools": vec![json!({ "name": "x" }); 513] }), "tools"),
        (json!({ "tool_choice": {} }), "tool_choice.type"),
        (json!({ "tool_choice": { "type": "some" } }), "tool_choice.type"),
        (json!({ "tool_choice": { "type": "any" } }), "tool_choice"),
        (json!({ "tool_choice": { "type": "tool" } }), "tool_choice.name"),
        (json!({ "tool_choice": { "type": "tool", "name": "x" } }), "tool_choice.name"),
    ] {
        let error = refused(&with(changes.clone()));
        assert_eq!(error.param.as_deref(), Some(param), "{changes}: {error}");
    }
}

#[test]
fn bad_blocks_name_their_place() {
    let at = |rest: &str| format!("messages[0].content[0]{rest}");
    for (block, param) in [
        (json!({}), at(".type")),
        (json!({ "type": "poem" }), at(".type")),
        (json!({ "type": "text" }), at(".text")),
        (json!({ "type": "text", "text": "a\u{0}" }), at(".text")),
        (json!({ "type": "text", "text": 7 }), at(".text")),
        (json!({ "type": "thinking", "thinking": "x" }), at(".type")),
        (json!({ "type": "tool_use", "id": "i", "name": "n" }), at(".type")),
        (json!({ "type": "tool_result" }), at(".tool_use_id")),
        (
            json!({ "type": "tool_result", "tool_use_id": "i",
                    "content": [{ "type": "text" }] }),
            at(".content[0].text"),
        ),
        (
            json!({ "type": "tool_result", "tool_use_id": "i",
                    "content": [{ "type": "tool_result", "tool_use_id": "j" }] }),
            at(".content[0].type"),
        ),
        (json!({ "type": "server_tool_use", "id": "i" }), at("")),
        (json!({ "type": "web_search_tool_result", "content": [] }), at("")),
        (json!({ "type": "image" }), at(".source")),
        (json!({ "type": "image", "source": "x" }), at(".source")),
        (json!({ "type": "image", "source": {} }), at(".source.type")),
        (json!({ "type": "image", "source": { "type": "paper" } }), at(".source.type")),
        (json!({ "type": "image", "source": { "type": "base64" } }), at(".source.data")),
        (json!({ "type": "image", "source": { "type": "url" } }), at(".source.url")),
        (
            json!({ "type": "image", "source": { "type": "base64", "data": "?" } }),
            at(".source.data"),
        ),
        (
            json!({ "type": "image", "source": { "type": "url", "url": "http://x/y" } }),
            at(".source.url"),
        ),
        (json!({ "type": "image", "source": { "type": "file", "file_id": "f" } }), at(".source")),
        (json!({ "type": "document" }), at(".source")),
        (json!({ "type": "document", "source": { "type": "text" } }), at(".source.data")),
        (json!({ "type": "document", "source": { "type": "base64", "data": "x" } }), at(".source")),
        (json!({ "type": "search_result", "source": "s" }), at(".content")),
        (json!({ "type": "search_result", "source": {} }), at(".source")),
    ] {
        let error = refused(&with_blocks(json!([block])));
        assert_eq!(error.param.as_deref(), Some(param.as_str()), "{block}: {error}");
    }
    for (message, param) in [
        (json!({ "content": "x" }), "messages[0].role"),
        (json!({ "role": "root", "content": "x" }), "messages[0].role"),
        (json!({ "role": "user" }), "messages[0].content"),
        (json!({ "role": "user", "content": "\u{0}" }), "messages[0].content"),
        (
            json!({ "role": "assistant",
                    "content": [{ "type": "tool_use", "id": "i", "name": "n", "input": "x" }] }),
            "messages[0].content[0].input",
        ),
        (
            json!({ "role": "assistant", "content": [{ "type": "tool_use", "name": "n" }] }),
            "messages[0].content[0].id",
        ),
    ] {
        let error = refused(&with_messages(json!([message])));
        assert_eq!(error.param.as_deref(), Some(param), "{message}: {error}");
    }
}

#[test]
fn a_conversation_with_everything() {
    let chat = chat(&with(json!({
        "system": [
            { "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": "Be kind." },
        ],
        "messages": [
            { "role": "system", "content": "Be there." },
            { "role": "user", "content": [
                { "type": "text", "text": "What is the time" },
                { "type": "text", "text": "in Rome?" },
                { "type": "document", "title": "Zones", "context": "An extract",
                  "source": { "type": "text", "media_type": "text/plain", "data": "CET" } },
                { "type": "search_result", "source": "https://x", "title": "Rome",
                  "content": [{ "type": "text", "text": "A city." }] },
            ] },
            { "role": "assistant", "content": [
                { "type": "redacted_thinking", "data": "abc" },
                { "type": "thinking", "thinking": "A clock is needed.", "signature": "sig" },
                { "type": "text", "text": "I " },
                { "type": "text", "text": "look." },
                { "type": "tool_use", "id": "toolu_a1", "name": "clock", "input": { "zone": "CET" } },
                { "type": "tool_use", "id": "b2", "name": "weather" },
            ] },
            { "role": "user", "content": [
                { "type": "text", "text": "Go on." },
                { "type": "tool_result", "tool_use_id": "toolu_a1", "content": "noon" },
                { "type": "tool_result", "tool_use_id": "b2", "is_error": true,
                  "content": [{ "type": "text", "text": "no" }, { "type": "text", "text": "net" }] },
                { "type": "tool_result", "tool_use_id": "toolu_unknown" },
            ] },
            { "role": "user", "content": "Please." },
            { "role": "assistant", "content": "It is" },
        ],
    })));
    insta::assert_debug_snapshot!(chat.messages);
}

#[test]
fn results_alone_are_no_user_turn() {
    let chat = chat(&with_messages(json!([
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "i", "name": "n" }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "i" }] },
    ])));
    let roles: Vec<Role> = chat.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool]);
}

#[test]
fn an_empty_system_is_none() {
    for system in [json!(""), json!([])] {
        assert_eq!(chat(&with(json!({ "system": system }))).messages.len(), 1);
    }
}

#[test]
fn choices_of_tools() {
    let tools = json!([{ "name": "a" }]);
    for (choice, wanted) in [
        (json!(null), (ToolChoice::Auto, true)),
        (json!({ "type": "auto" }), (ToolChoice::Auto, true)),
        (json!({ "type": "auto", "disable_parallel_tool_use": true }), (ToolChoice::Auto, false)),
        (json!({ "type": "any" }), (ToolChoice::Required, true)),
        (json!({ "type": "none" }), (ToolChoice::None, true)),
        (json!({ "type": "tool", "name": "a" }), (ToolChoice::Named("a".into()), true)),
    ] {
        let chat = chat(&with(json!({ "tools": tools, "tool_choice": choice })));
        assert_eq!((chat.tool_choice, chat.parallel_tool_calls), wanted, "{choice}");
    }
}

#[test]
fn thinking_is_off_unless_asked_for() {
    let thinking = |enabled, effort: Option<&str>, budget| Thinking {
        enabled: Some(enabled),
        effort: effort.map(str::to_owned),
        budget,
    };
    for (changes, wanted) in [
        (json!({}), thinking(false, None, None)),
        (json!({ "thinking": { "type": "disabled" } }), thinking(false, None, None)),
        (json!({ "thinking": { "type": "adaptive" } }), thinking(true, None, None)),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 64 } }),
            thinking(true, None, Some(64)),
        ),
        (
            json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "max" } }),
            thinking(true, Some("high"), None),
        ),
        (json!({ "output_config": { "effort": "low" } }), thinking(false, Some("low"), None)),
    ] {
        assert_eq!(chat(&with(changes.clone())).thinking, wanted, "{changes}");
    }
}

#[test]
fn both_names_of_the_format_hold_the_answer_to_a_schema() {
    let format = json!({ "type": "json_schema", "schema": { "type": "object" } });
    let wanted = Constraint::JsonSchema(r#"{"type":"object"}"#.into());
    for changes in
        [json!({ "output_config": { "format": format } }), json!({ "output_format": format })]
    {
        assert_eq!(accepted(&with(changes.clone())).constraint, wanted, "{changes}");
    }
    let begun = with(json!({
        "output_config": { "format": format },
        "messages": [
            { "role": "user", "content": "Hi" }, { "role": "assistant", "content": "{" },
        ],
    }));
    assert_eq!(refused(&begun).param.as_deref(), Some("output_config.format"));
}

#[test]
fn a_count_needs_no_max_tokens_and_is_of_the_same_prompt() {
    let body = with(json!({ "tools": [{ "name": "a" }] }));
    let mut without = body.clone();
    without.as_object_mut().expect("an object").remove("max_tokens");
    let (model, prompt) = read(&without).and_then(counted).expect("a count");
    assert_eq!((model.as_str(), prompt), ("m", accepted(&body).prompt));
    let error = refused(&without);
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::MissingField, Some("max_tokens")));
}
