use serde_json::{Value, json};

use super::*;
use crate::api::json;
use crate::domain::{Error, ErrorKind, GenerateRequest, Prompt, Result, Role};

mod constraints;
mod texts;
mod thinking;
mod tools;

fn convert(body: &Value) -> Result<Converted> {
    chat(json::decode(body.to_string().as_bytes())?)
}

fn convert_text(body: &Value) -> Result<Converted> {
    text(json::decode(body.to_string().as_bytes())?)
}

/// A good chat request with some fields replaced.
fn with(changes: Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    if let (Some(body), Value::Object(changes)) = (body.as_object_mut(), changes) {
        body.extend(changes);
    }
    body
}

fn with_messages(messages: Value) -> Value {
    with(json!({ "messages": messages }))
}

#[track_caller]
fn refused(result: Result<Converted>, what: &Value) -> Error {
    match result {
        Ok(_) => panic!("accepted: {what}"),
        Err(error) => error,
    }
}

#[track_caller]
fn accepted(body: &Value) -> GenerateRequest {
    let converted = convert(body).unwrap_or_else(|error| panic!("{error} for {body}"));
    let [request] = <[_; 1]>::try_from(converted.requests).expect("one prompt");
    request
}

/// Each of these is refused with this kind and parameter.
#[track_caller]
fn all_refused(cases: Vec<(ErrorKind, &str, Value)>) {
    for (kind, param, changes) in cases {
        let error = refused(convert(&with(changes.clone())), &changes);
        assert_eq!((error.kind, error.param.as_deref()), (kind, Some(param)), "{changes}: {error}");
    }
}

#[test]
fn every_sampling_field_arrives() {
    let request = accepted(&with(json!({
        "temperature": 0.5, "top_p": 0.25, "top_k": 7, "min_p": 0.125, "seed": 42,
        "presence_penalty": -1.5, "frequency_penalty": 1.5, "repeat_penalty": 1.25,
        "repeat_last_n": 32, "max_tokens": 9, "stop": ["a", "b"], "ignore_eos": true,
        "typical_p": 0.75, "logit_bias": { "7": -100, "0": 2.5 }, "n": 3, "logprobs": true,
        "top_logprobs": 20,
    })));
    insta::assert_debug_snapshot!((request.sampling, request.limits, request.output));
}

#[test]
fn nulls_and_unknown_fields_change_nothing() {
    let plain = accepted(&with(json!({})));
    let fields = crate::api::openai::CHAT[0].fields.iter().map(|field| field.name);
    let nulls: serde_json::Map<_, _> = fields
        .filter(|field| !["model", "messages"].contains(field))
        .map(|field| (field.to_owned(), Value::Null))
        .collect();
    assert_eq!(accepted(&with(Value::Object(nulls))), plain);
    assert_eq!(accepted(&with(json!({ "no_such_field": { "a": [1] } }))), plain);
}

#[test]
fn what_asks_for_nothing_is_accepted() {
    let plain = accepted(&with(json!({})));
    for fine in [
        json!({ "tools": [] }),
        json!({ "tools": [], "tool_choice": "none" }),
        json!({ "tool_choice": "auto", "parallel_tool_calls": false }),
        json!({ "functions": [], "function_call": "none" }),
        json!({ "response_format": { "type": "text" } }),
        json!({ "n": 1, "logprobs": false, "top_logprobs": 0, "logit_bias": {} }),
        json!({ "tool_choice": "none" }),
        json!({ "modalities": ["text"], "user": "me", "store": true, "verbosity": "low" }),
        json!({ "typical_p": 1.0, "mirostat": 0, "chat_template_kwargs": {}, "grammar": "" }),
        json!({ "json_schema": "", "guided_json": "", "guided_regex": "", "reasoning": {} }),
        json!({ "structured_outputs": { "json_object": false } }),
        json!({ "reasoning": { "exclude": false }, "thinking_budget": -1 }),
        json!({ "stop": [] }),
        json!({ "stop": "" }),
        json!({ "max_tokens": -1 }),
    ] {
        assert_eq!(accepted(&with(fine.clone())), plain, "{fine}");
    }
}

#[test]
fn limits_of_every_kind() {
    let of = |changes: Value| accepted(&with(changes));
    assert_eq!(
        of(json!({ "max_tokens": 5, "max_completion_tokens": 7 })).limits.max_tokens,
        Some(7)
    );
    assert_eq!(of(json!({ "max_tokens": 5, "max_completion_tokens": -1 })).limits.max_tokens, None);
    assert_eq!(of(json!({ "stop": "END" })).limits.stop, ["END"]);
    assert_eq!(of(json!({ "top_k": -1 })).sampling.top_k, Some(0));
    assert_eq!(of(json!({ "repeat_last_n": -1 })).sampling.repeat_last_n, Some(u32::MAX));
    assert_eq!(of(json!({ "seed": -1 })).sampling.seed, Some(u64::MAX));
    assert_eq!(of(json!({ "stop": vec!["x"; 16] })).limits.stop.len(), 16);
}

#[test]
fn what_is_out_of_range_is_invalid_by_name() {
    let cases = [
        ("temperature", vec![json!(-0.1), json!(2.1), json!(1e300), json!("1"), json!([])]),
        ("top_p", vec![json!(-0.1), json!(1.1)]),
        ("min_p", vec![json!(-0.1), json!(1.1)]),
        ("presence_penalty", vec![json!(-2.1), json!(2.1)]),
        ("frequency_penalty", vec![json!(-2.1), json!(2.1)]),
        ("repeat_penalty", vec![json!(0), json!(-1), json!(1e300)]),
        ("repeat_last_n", vec![json!(-2), json!(1i64 << 40)]),
        ("top_k", vec![json!(-2), json!(1i64 << 40), json!(1.5)]),
        ("max_tokens", vec![json!(0), json!(-2), json!(1i64 << 40), json!(1.5), json!(u64::MAX)]),
        ("max_completion_tokens", vec![json!(0), json!(-2), json!("5"), json!(1e308)]),
        ("n", vec![json!(0), json!(-1), json!(129)]),
        ("seed", vec![json!(1.5), json!("x"), json!(1e30)]),
        ("top_logprobs", vec![json!(-1), json!(21), json!(5)]),
        ("stop", vec![json!(5), json!(vec!["x"; 17]), json!({})]),
        ("typical_p", vec![json!(-0.1), json!(1.1), json!("x")]),
        (
            "logit_bias",
            vec![
                json!([]),
                json!(1),
                json!({ "abc": 1 }),
                json!({ "-5": 1 }),
                json!({ "1.5": 1 }),
                json!({ "2147483648": 1 }),
                json!({ "5": 101 }),
                json!({ "5": -101 }),
                json!({ "5": "1" }),
                json!({ "5": null }),
                Value::Object((0..4_097).map(|id| (id.to_string(), json!(1))).collect()),
            ],
        ),
        ("parallel_tool_calls", vec![json!("yes"), json!(1)]),
        ("stream", vec![json!("yes"), json!(1)]),
        ("stream_options", vec![json!([]), json!("x")]),
        ("messages", vec![json!([]), json!("Hi"), json!({}), json!(7)]),
    ];
    for (field, values) in cases {
        for value in values {
            let body = with(json!({ field: value }));
            let error = refused(convert(&body), &body);
            let at = (error.kind, error.param.as_deref());
            assert_eq!(at, (ErrorKind::InvalidValue, Some(field)), "{body}: {error}");
            assert!(error.message.contains(field), "{error}");
        }
    }
}

#[test]
fn what_is_not_done_is_unsupported_by_name() {
    all_refused(
        [
            ("modalities", json!({ "modalities": ["text", "audio"] })),
            ("audio", json!({ "audio": { "voice": "v" } })),
            ("mirostat", json!({ "mirostat": 2 })),
            ("reasoning.exclude", json!({ "reasoning": { "exclude": true } })),
            (
                "structured_outputs.structural_tag",
                json!({ "structured_outputs": { "structural_tag": {} } }),
            ),
            ("tools[0].type", json!({ "tools": [{ "type": "custom" }] })),
        ]
        .map(|(param, changes)| (ErrorKind::Unsupported, param, changes))
        .to_vec(),
    );
}

#[test]
fn what_is_missing_is_named() {
    for (param, body) in [
        ("model", json!({})),
        ("model", with(json!({ "model": null }))),
        ("model", with(json!({ "model": " " }))),
        ("messages", json!({ "model": "m" })),
        ("messages[1].role", with_messages(json!([{ "role": "user", "content": "" }, {}]))),
        ("messages[0].content", with_messages(json!([{ "role": "user" }]))),
        ("messages[0].content", with_messages(json!([{ "role": "assistant", "content": null }]))),
        (
            "messages[0].content[0].type",
            with_messages(json!([{ "role": "user", "content": [{}] }])),
        ),
        (
            "messages[0].content[0].image_url",
            with_messages(json!([{ "role": "user", "content": [{ "type": "image_url" }] }])),
        ),
        (
            "messages[0].content[1].image_url.url",
            with_messages(json!([{ "role": "user", "content": [
                { "type": "text", "text": "See" }, { "type": "image_url", "image_url": {} },
            ] }])),
        ),
        (
            "messages[0].content[0].input_audio.data",
            with_messages(json!([{ "role": "user", "content": [{ "type": "input_audio" }] }])),
        ),
        (
            "messages[0].content[0].file.file_data",
            with_messages(json!([{ "role": "user", "content": [{ "type": "file" }] }])),
        ),
        (
            "messages[0].tool_calls[0].id",
            with_messages(json!([{ "role": "assistant", "tool_calls": [{}] }])),
        ),
    ] {
        let error = refused(convert(&body), &body);
        let at = (error.kind, error.param.as_deref());
        assert_eq!(at, (ErrorKind::MissingField, Some(param)), "{body}: {error}");
    }
}

#[test]
fn every_kind_of_message_is_understood() {
    let request = accepted(&with_messages(json!([
        { "role": "system", "content": "S" },
        { "role": "developer", "content": "D" },
        { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }], "name": "Ann" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "call_1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
        ], "audio": { "id": "x" } },
        { "role": "tool", "tool_call_id": "call_1", "content": "42" },
        { "role": "assistant", "function_call": { "name": "g", "arguments": "{\"a\":1}" } },
        { "role": "function", "name": "g", "content": "43" },
        { "role": "assistant", "content": null, "refusal": "No." },
        { "role": "assistant", "content": "Well", "reasoning_content": "hm" },
    ])));
    insta::assert_debug_snapshot!(request.prompt);
}

#[test]
fn messages_that_cannot_be_rendered_are_refused() {
    let user = |content: Value| json!([{ "role": "user", "content": content }]);
    for (kind, param, messages) in [
        (ErrorKind::InvalidValue, "messages[0].role", json!([{ "role": "root", "content": "" }])),
        (ErrorKind::InvalidValue, "messages[0]", json!([1])),
        (ErrorKind::InvalidValue, "messages[0]", json!([["user", "Hi"]])),
        (ErrorKind::InvalidValue, "messages[0].content", user(json!(5))),
        (ErrorKind::InvalidValue, "messages[0].content", user(json!({ "text": "Hi" }))),
        (ErrorKind::InvalidValue, "messages[0].content[0]", user(json!([1]))),
        (ErrorKind::InvalidValue, "messages[0].content", user(json!("a\u{0}b"))),
        (
            ErrorKind::InvalidValue,
            "messages[0].content[0].type",
            user(json!([{ "type": "smell" }])),
        ),
        (
            ErrorKind::Unsupported,
            "messages[0].content[0].file.file_id",
            user(json!([{ "type": "file", "file": { "file_id": "file-1" } }])),
        ),
        (
            ErrorKind::InvalidValue,
            "messages[0].content[0].image_url",
            user(json!([{ "type": "image_url", "image_url": 5 }])),
        ),
        (
            ErrorKind::InvalidValue,
            "messages[0].content[0].input_audio",
            user(json!([{ "type": "input_audio", "input_audio": "x" }])),
        ),
        (
            ErrorKind::InvalidValue,
            "messages[0].tool_calls",
            json!([{ "role": "user", "content": "", "tool_calls": [{ "id": "1", "function": { "name": "f" } }] }]),
        ),
        (
            ErrorKind::InvalidValue,
            "messages",
            json!(vec![json!({ "role": "user", "content": "x" }); 4_097]),
        ),
    ] {
        let error = refused(convert(&with_messages(messages)), &json!(param));
        assert_eq!((error.kind, error.param.as_deref()), (kind, Some(param)), "{error}");
    }
}

/// What is wrong with media is said of the field that holds them, however it is spelled.
#[test]
fn remote_media_are_refused_where_they_stand() {
    for (param, part) in [
        ("image_url.url", json!({ "type": "image_url", "image_url": { "url": "http://x/" } })),
        ("image_url", json!({ "type": "image_url", "image_url": "http://x/" })),
    ] {
        let parts = json!([{ "type": "text", "text": "See" }, part]);
        let body = with_messages(json!([{ "role": "user", "content": parts }]));
        let error = refused(convert(&body), &body);
        let param = format!("messages[0].content[1].{param}");
        assert_eq!((error.kind, error.param), (ErrorKind::Unsupported, Some(param)));
    }
}

#[test]
fn logprobs_are_off_or_have_alternatives() {
    let of = |changes: Value| accepted(&with(changes)).output.logprobs;
    assert_eq!(of(json!({})), None);
    assert_eq!(of(json!({ "logprobs": true })), Some(0));
    assert_eq!(of(json!({ "logprobs": true, "top_logprobs": 5 })), Some(5));
}

#[test]
fn a_duplicate_model_is_refused() {
    let body = br#"{"model":"a","model":"b","messages":[{"role":"user","content":"Hi"}]}"#;
    let refused = json::decode(body).and_then(chat).map(|converted| converted.model);
    assert_eq!(refused.map_err(|error| error.kind), Err(ErrorKind::InvalidValue));
}

#[test]
fn a_prompt_stays_in_its_order() {
    let request = accepted(&with_messages(json!([
        { "role": "user", "content": "1" }, { "role": "user", "content": "2" },
        { "role": "assistant", "content": "pre" },
    ])));
    let Prompt::Chat(chat) = request.prompt else { panic!("a chat") };
    let turns: Vec<_> = chat.messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    assert_eq!(turns, [(Role::User, "1"), (Role::User, "2"), (Role::Assistant, "pre")]);
}
