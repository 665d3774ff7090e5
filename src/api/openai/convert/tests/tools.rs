use serde_json::json;

use super::*;
use crate::domain::{ChatPrompt, ToolChoice};

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": {
        "name": name, "description": "d", "parameters": { "type": "object" },
    } })
}

fn prompt(changes: Value) -> ChatPrompt {
    match accepted(&with(changes)).prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

fn names(chat: &ChatPrompt) -> Vec<&str> {
    chat.tools.iter().map(|tool| tool.name.as_str()).collect()
}

#[test]
fn tools_arrive_with_their_choice() {
    let chat = prompt(json!({ "tools": [tool("f"), { "type": "function", "function": {
        "name": "g", "strict": true,
    } }] }));
    insta::assert_debug_snapshot!((chat.tools, chat.tool_choice, chat.parallel_tool_calls));
    let named = |name: &str| json!({ "type": "function", "function": { "name": name } });
    for (choice, expected, left) in [
        (json!(null), ToolChoice::Auto, vec!["f", "g"]),
        (json!("auto"), ToolChoice::Auto, vec!["f", "g"]),
        (json!("none"), ToolChoice::None, vec!["f", "g"]),
        (json!("required"), ToolChoice::Required, vec!["f", "g"]),
        (named("g"), ToolChoice::Named("g".into()), vec!["f", "g"]),
        (
            json!({ "type": "allowed_tools", "allowed_tools": {
                "mode": "auto", "tools": [named("g")],
            } }),
            ToolChoice::Auto,
            vec!["g"],
        ),
        (
            json!({ "type": "allowed_tools", "allowed_tools": {
                "mode": "required", "tools": [named("g"), named("f")],
            } }),
            ToolChoice::Required,
            vec!["f", "g"],
        ),
    ] {
        let chat = prompt(json!({ "tools": [tool("f"), tool("g")], "tool_choice": choice }));
        assert_eq!((&chat.tool_choice, names(&chat)), (&expected, left), "{choice}");
    }
    let single = prompt(json!({ "tools": [tool("f")], "parallel_tool_calls": false }));
    assert!(!single.parallel_tool_calls);
}

#[test]
fn functions_of_old_are_tools() {
    let functions = json!([{ "name": "f", "parameters": { "type": "object" } }, { "name": "g" }]);
    for (choice, expected) in [
        (json!(null), ToolChoice::Auto),
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!({ "name": "g" }), ToolChoice::Named("g".into())),
    ] {
        let body = with(json!({ "functions": functions, "function_call": choice }));
        let converted = convert(&body).expect("accepted");
        assert!(converted.layout.legacy_functions);
        let Prompt::Chat(chat) = &converted.requests[0].prompt else { panic!("a chat") };
        assert_eq!((names(chat), &chat.tool_choice), (vec!["f", "g"], &expected), "{choice}");
        assert!(!chat.parallel_tool_calls, "a message has room for one call");
    }
    assert!(
        !convert(&with(json!({ "tools": [tool("f")] }))).expect("fine").layout.legacy_functions
    );
}

#[test]
fn what_cannot_be_called_is_refused_where_it_stands() {
    use ErrorKind::{InvalidValue, MissingField};
    let chosen = |choice: Value| json!({ "tools": [tool("f")], "tool_choice": choice });
    let old = |choice: Value| json!({ "functions": [{ "name": "f" }], "function_call": choice });
    let allowed = |inner: Value| chosen(json!({ "type": "allowed_tools", "allowed_tools": inner }));
    let g = json!({ "type": "function", "function": { "name": "g" } });
    all_refused(vec![
        (InvalidValue, "tools", json!({ "tools": {} })),
        (InvalidValue, "tools[0]", json!({ "tools": ["f"] })),
        (
            InvalidValue,
            "tools",
            json!({ "tools": (0..513).map(|i| tool(&format!("f{i}"))).collect::<Vec<_>>() }),
        ),
        (MissingField, "tools[0].type", json!({ "tools": [{ "function": { "name": "f" } }] })),
        (MissingField, "tools[0].function", json!({ "tools": [{ "type": "function" }] })),
        (
            MissingField,
            "tools[0].function.name",
            json!({ "tools": [{ "type": "function", "function": {} }] }),
        ),
        (InvalidValue, "tools[0].function.name", json!({ "tools": [tool("a b")] })),
        (InvalidValue, "tools[1].function.name", json!({ "tools": [tool("f"), tool("f")] })),
        (
            InvalidValue,
            "tools[0].function.parameters",
            json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": [] } }] }),
        ),
        (
            InvalidValue,
            "tools[0].function.parameters",
            json!({ "tools": [{ "type": "function", "function": {
                "name": "f", "parameters": "x", "strict": true,
            } }] }),
        ),
        (InvalidValue, "tool_choice", json!({ "tool_choice": "required" })),
        (InvalidValue, "tool_choice.function.name", json!({ "tool_choice": g })),
        (InvalidValue, "tool_choice", chosen(json!("any"))),
        (InvalidValue, "tool_choice", chosen(json!(5))),
        (InvalidValue, "tool_choice", chosen(json!({ "type": "custom" }))),
        (InvalidValue, "tool_choice.function.name", chosen(g.clone())),
        (
            MissingField,
            "tool_choice.function.name",
            chosen(json!({ "type": "function", "name": "f" })),
        ),
        (
            InvalidValue,
            "tool_choice.function.name",
            chosen(json!({ "type": "function", "function": { "name": 5 } })),
        ),
        (
            MissingField,
            "tool_choice.allowed_tools",
            chosen(json!({ "type": "allowed_tools", "mode": "auto" })),
        ),
        (
            InvalidValue,
            "tool_choice.allowed_tools.mode",
            allowed(json!({ "mode": "none", "tools": [] })),
        ),
        (
            InvalidValue,
            "tool_choice.allowed_tools.tools",
            allowed(json!({ "mode": "auto", "tools": [] })),
        ),
        (
            InvalidValue,
            "tool_choice.allowed_tools.tools[0].function.name",
            allowed(json!({ "mode": "auto", "tools": [g] })),
        ),
        (
            InvalidValue,
            "functions",
            json!({ "functions": [{ "name": "f" }], "tools": [tool("f")] }),
        ),
        (
            InvalidValue,
            "functions[1].name",
            json!({ "functions": [{ "name": "f" }, { "name": "f" }] }),
        ),
        (MissingField, "functions[0].name", json!({ "functions": [{}] })),
        (InvalidValue, "function_call.name", old(json!({ "name": "g" }))),
        (MissingField, "function_call.name", old(json!({}))),
        (InvalidValue, "function_call", old(json!("required"))),
        (InvalidValue, "function_call.name", json!({ "function_call": { "name": "f" } })),
        (
            InvalidValue,
            "tool_choice",
            json!({ "functions": [{ "name": "f" }], "tool_choice": "required" }),
        ),
    ]);
}
