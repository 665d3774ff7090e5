use serde_json::json;

use super::*;
use crate::domain::{ChatPrompt, Thinking};

fn prompt(changes: Value) -> ChatPrompt {
    match accepted(&with(changes)).prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

#[test]
fn efforts_and_budgets_under_all_their_names() {
    let thinks = |enabled: Option<bool>, effort: Option<&str>, budget| Thinking {
        enabled,
        effort: effort.map(str::to_owned),
        budget,
    };
    let kwargs = |value: Value| json!({ "chat_template_kwargs": value });
    for (changes, expected) in [
        (json!({}), Thinking::default()),
        (json!({ "reasoning_effort": "none" }), thinks(Some(false), None, None)),
        (json!({ "reasoning_effort": "minimal" }), thinks(Some(true), Some("low"), None)),
        (json!({ "reasoning_effort": "low" }), thinks(Some(true), Some("low"), None)),
        (json!({ "reasoning_effort": "medium" }), thinks(Some(true), Some("medium"), None)),
        (json!({ "reasoning_effort": "high" }), thinks(Some(true), Some("high"), None)),
        (json!({ "reasoning_effort": "xhigh" }), thinks(Some(true), Some("high"), None)),
        (json!({ "reasoning_effort": "max" }), thinks(Some(true), Some("high"), None)),
        (json!({ "reasoning": { "effort": "low" } }), thinks(Some(true), Some("low"), None)),
        (
            json!({ "reasoning": { "effort": "low" }, "reasoning_effort": "high" }),
            thinks(Some(true), Some("high"), None),
        ),
        (json!({ "reasoning": { "enabled": false } }), thinks(Some(false), None, None)),
        (json!({ "reasoning": { "max_tokens": 9 } }), thinks(None, None, Some(9))),
        (json!({ "thinking_budget": 7 }), thinks(None, None, Some(7))),
        (json!({ "reasoning_budget": 8 }), thinks(None, None, Some(8))),
        (json!({ "thinking_budget": 0 }), thinks(Some(false), None, Some(0))),
        (json!({ "thinking_budget": -1, "reasoning_budget": 8 }), thinks(None, None, None)),
        (json!({ "thinking_budget": 7, "reasoning_budget": 8 }), thinks(None, None, Some(7))),
        (kwargs(json!({ "thinking_budget": 6 })), thinks(None, None, Some(6))),
        (kwargs(json!({ "enable_thinking": false })), thinks(Some(false), None, None)),
        (
            json!({ "chat_template_kwargs": { "enable_thinking": true }, "reasoning_effort": "none" }),
            thinks(Some(false), None, None),
        ),
    ] {
        assert_eq!(prompt(changes.clone()).thinking, expected, "{changes}");
    }
}

#[test]
fn variables_of_the_template_are_json() {
    let chat = prompt(json!({ "chat_template_kwargs": {
        "enable_thinking": false, "date": "today", "list": [1, { "a": null }], "none": null,
    } }));
    let variables: Vec<(&str, &str)> =
        chat.template_kwargs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let expected = [
        ("date", "\"today\""),
        ("enable_thinking", "false"),
        ("list", "[1,{\"a\":null}]"),
        ("none", "null"),
    ];
    assert_eq!(variables, expected);
}

#[test]
fn what_says_nothing_about_thinking_is_refused_where_it_stands() {
    let many: serde_json::Map<_, _> = (0..65).map(|i| (format!("k{i}"), json!(1))).collect();
    all_refused(
        [
            ("reasoning_effort", json!({ "reasoning_effort": "extreme" })),
            ("reasoning_effort", json!({ "reasoning_effort": 5 })),
            ("reasoning", json!({ "reasoning": "high" })),
            ("reasoning.effort", json!({ "reasoning": { "effort": "" } })),
            ("reasoning.max_tokens", json!({ "reasoning": { "max_tokens": -2 } })),
            ("thinking_budget", json!({ "thinking_budget": -2 })),
            ("thinking_budget", json!({ "thinking_budget": 1u64 << 40 })),
            ("reasoning_budget", json!({ "reasoning_budget": 1.5 })),
            (
                "chat_template_kwargs.thinking_budget",
                json!({ "chat_template_kwargs": { "thinking_budget": "many" } }),
            ),
            ("chat_template_kwargs", json!({ "chat_template_kwargs": [] })),
            ("chat_template_kwargs", json!({ "chat_template_kwargs": { "a b": 1 } })),
            ("chat_template_kwargs", json!({ "chat_template_kwargs": { "": 1 } })),
            ("chat_template_kwargs", json!({ "chat_template_kwargs": many })),
            ("chat_template_kwargs.a", json!({ "chat_template_kwargs": { "a": ["\u{0}"] } })),
        ]
        .map(|(param, changes)| (ErrorKind::InvalidValue, param, changes))
        .to_vec(),
    );
}
