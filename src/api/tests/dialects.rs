//! One script, played through every dialect, streamed and whole.

use serde_json::{Value, json};

use super::support::{Bench, CHAT, TINY};
use crate::domain::{Delta, FinishReason, ToolCallDelta};
use crate::engine::scripted::{Script, ScriptedFactory};

/// What an answer says, in no dialect's terms.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    reasoning: String,
    /// Names and arguments.
    calls: Vec<(String, String)>,
    /// Of the prompt, of those the cached ones, of the answer.
    tokens: [u64; 3],
    finish: String,
}

const OLLAMA: &str = "/api/chat";
const DIALECTS: [&str; 4] = [CHAT, "/v1/responses", "/anthropic/v1/messages", OLLAMA];

/// Tokens of the prompt that are there already.
const CACHED: u64 = 2;

fn body(path: &str, stream: bool) -> Value {
    let said = json!([{ "role": "user", "content": "Hi" }]);
    let parameters = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let mut body = match path {
        CHAT => json!({ "messages": said, "max_tokens": 9, "tools": [
            { "type": "function", "function": { "name": "f", "parameters": parameters } }] }),
        "/v1/responses" => json!({ "input": said, "max_output_tokens": 9, "tools": [
            { "type": "function", "name": "f", "parameters": parameters }] }),
        OLLAMA => json!({ "messages": said, "options": { "num_predict": 9 }, "tools": [
            { "type": "function", "function": { "name": "f", "parameters": parameters } }] }),
        _ => json!({ "messages": said, "max_tokens": 9, "thinking": { "type": "adaptive" },
            "tools": [{ "name": "f", "input_schema": parameters }] }),
    };
    body["model"] = TINY.into();
    body["stream"] = stream.into();
    if path == CHAT && stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a count, not {value}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The pieces of a chat stream joined to the answer that they would have been.
fn chat_of(frames: &[Value]) -> Value {
    let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    let (mut finish, mut usage) = (Value::Null, Value::Null);
    for frame in frames {
        let choice = &frame["choices"][0];
        content += &text(&choice["delta"]["content"]);
        reasoning += &text(&choice["delta"]["reasoning_content"]);
        for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if piece["function"]["name"].is_string() {
                calls.push(json!({ "function": { "name": piece["function"]["name"],
                                                 "arguments": "" } }));
            }
            let call = calls.last_mut().expect("a call has begun");
            let more =
                text(&call["function"]["arguments"]) + &text(&piece["function"]["arguments"]);
            call["function"]["arguments"] = more.into();
        }
        for (place, value) in
            [(&mut finish, &choice["finish_reason"]), (&mut usage, &frame["usage"])]
        {
            if !value.is_null() {
                *place = value.clone();
            }
        }
    }
    let message =
        json!({ "content": content, "reasoning_content": reasoning, "tool_calls": calls });
    json!({ "choices": [{ "message": message, "finish_reason": finish }], "usage": usage })
}

/// The events of Anthropic's stream joined likewise.
fn message_of(frames: &[Value]) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    let mut end = Value::Null;
    for frame in frames {
        match frame["type"].as_str().expect("a type") {
            "content_block_start" => {
                let mut block = frame["content_block"].clone();
                block["json"] = "".into();
                blocks.push(block);
            }
            "content_block_delta" => {
                let block = blocks.last_mut().expect("a block has begun");
                for (to, from) in
                    [("text", "text"), ("thinking", "thinking"), ("json", "partial_json")]
                {
                    let more = text(&block[to]) + &text(&frame["delta"][from]);
                    block[to] = more.into();
                }
            }
            "message_delta" => {
                end = frame.clone();
                for block in &mut blocks {
                    if block["type"] == "tool_use" {
                        block["input"] = serde_json::from_str(&text(&block["json"])).expect("JSON");
                    }
                }
            }
            _ => {}
        }
    }
    json!({ "content": blocks, "stop_reason": end["delta"]["stop_reason"], "usage": end["usage"] })
}

/// The lines of Ollama's stream joined likewise.
fn last_line_of(lines: &[Value]) -> Value {
    let mut whole = lines.last().expect("a last line").clone();
    let (mut content, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for line in lines {
        content += &text(&line["message"]["content"]);
        thinking += &text(&line["message"]["thinking"]);
        calls.extend(line["message"]["tool_calls"].as_array().into_iter().flatten().cloned());
    }
    whole["message"] = json!({ "content": content, "thinking": thinking, "tool_calls": calls });
    whole
}

fn said(path: &str, answer: &Value) -> Said {
    let usage = &answer["usage"];
    let mut said = Said::default();
    if path == OLLAMA {
        said.text = text(&answer["message"]["content"]);
        said.reasoning = text(&answer["message"]["thinking"]);
        for call in answer["message"]["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            said.calls.push((text(&function["name"]), function["arguments"].to_string()));
        }
        // It has no words for what was cached, and none for an end with calls.
        said.tokens = [number(&answer["prompt_eval_count"]), CACHED, number(&answer["eval_count"])];
        let reason = text(&answer["done_reason"]);
        said.finish = if said.calls.is_empty() { reason } else { "tool_calls".to_owned() };
    } else if path == CHAT {
        let choice = &answer["choices"][0];
        said.text = text(&choice["message"]["content"]);
        said.reasoning = text(&choice["message"]["reasoning_content"]);
        for call in choice["message"]["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            said.calls.push((text(&function["name"]), text(&function["arguments"])));
        }
        let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
        said.tokens =
            [number(&usage["prompt_tokens"]), cached, number(&usage["completion_tokens"])];
        said.finish = text(&choice["finish_reason"]);
    } else if path == "/v1/responses" {
        for item in answer["output"].as_array().expect("items") {
            match item["type"].as_str() {
                Some("message") => said.text += &text(&item["content"][0]["text"]),
                Some("reasoning") => said.reasoning += &text(&item["summary"][0]["text"]),
                _ => said.calls.push((text(&item["name"]), text(&item["arguments"]))),
            }
        }
        let cached = number(&usage["input_tokens_details"]["cached_tokens"]);
        said.tokens = [number(&usage["input_tokens"]), cached, number(&usage["output_tokens"])];
        let cut = answer["incomplete_details"]["reason"] == "max_output_tokens";
        let reason = if !said.calls.is_empty() { "tool_calls" } else { "stop" };
        said.finish = if cut { "length" } else { reason }.to_owned();
    } else {
        for block in answer["content"].as_array().expect("blocks") {
            match block["type"].as_str() {
                Some("text") => said.text += &text(&block["text"]),
                Some("thinking") => said.reasoning += &text(&block["thinking"]),
                _ => said.calls.push((text(&block["name"]), block["input"].to_string())),
            }
        }
        let cached = number(&usage["cache_read_input_tokens"]);
        let all = number(&usage["input_tokens"]) + cached;
        said.tokens = [all, cached, number(&usage["output_tokens"])];
        said.finish = match answer["stop_reason"].as_str() {
            Some("end_turn") => "stop",
            Some("max_tokens") => "length",
            Some("tool_use") => "tool_calls",
            other => panic!("{other:?}"),
        }
        .to_owned();
    }
    said
}

#[tokio::test]
async fn a_script_is_the_same_in_every_dialect() {
    let call = |index, name: &str, arguments: &str| {
        Delta::ToolCall(ToolCallDelta {
            index,
            id: Some(format!("abcdefgh{index}")),
            name: Some(name.to_owned()),
            arguments: arguments.to_owned(),
        })
    };
    let more = |arguments: &str| {
        Delta::ToolCall(ToolCallDelta {
            index: 0,
            id: None,
            name: None,
            arguments: arguments.to_owned(),
        })
    };
    let content = |text: &str| Delta::Content(text.to_owned());
    let thought = |text: &str| Delta::Reasoning(text.to_owned());
    for (deltas, finish, name) in [
        (vec![content("Hel"), content("lo 🦀")], FinishReason::Stop, "stop"),
        (vec![content("Hel")], FinishReason::Length, "length"),
        (vec![thought("Hm"), thought("…"), content("Yes")], FinishReason::Stop, "stop"),
        (
            vec![
                thought("Hm"),
                content("So."),
                call(0, "f", "{\"a\""),
                more(":1}"),
                call(1, "f", "{\"a\":2}"),
            ],
            FinishReason::ToolCalls,
            "tool_calls",
        ),
    ] {
        let script = Script { cached_tokens: CACHED as u32, ..Script::deltas(deltas.clone()) }
            .ending(finish);
        let bench = Bench::new(ScriptedFactory::new(script)).await;
        let mut first = None;
        for path in DIALECTS {
            for stream in [false, true] {
                let answer = bench.post(path, &body(path, stream)).await.expect(200);
                let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
                let frames: Vec<Value> = data
                    .filter(|data| *data != "[DONE]")
                    .map(|data| serde_json::from_str(data).expect("JSON"))
                    .collect();
                let whole = match (stream, path) {
                    (false, _) => answer.json(),
                    (true, CHAT) => chat_of(&frames),
                    (true, OLLAMA) => {
                        let lines = answer.text.lines().map(serde_json::from_str::<Value>);
                        last_line_of(&lines.map(|line| line.expect("JSON")).collect::<Vec<_>>())
                    }
                    (true, "/v1/responses") => frames.last().expect("an end")["response"].clone(),
                    (true, _) => message_of(&frames),
                };
                let said = said(path, &whole);
                assert_eq!(said.finish, name, "{path}, stream: {stream}");
                assert_eq!(said.tokens[..2], [5, CACHED], "{path}, stream: {stream}");
                assert!(said.tokens[2] > 0, "{path}, stream: {stream}");
                let first = first.get_or_insert_with(|| said_of(&deltas, &said));
                assert_eq!(&said, first, "{path}, stream: {stream}");
            }
        }
        let starts = bench.control.starts();
        assert_eq!(starts.len(), 2 * DIALECTS.len());
        for start in &starts {
            assert_eq!(start.sampling, starts[0].sampling, "the same defaults");
            assert_eq!(start.limits.max_tokens, Some(9));
        }
    }
}

/// What these deltas say, with the counts and the end of an answer.
fn said_of(deltas: &[Delta], answer: &Said) -> Said {
    let mut said = Said { tokens: answer.tokens, finish: answer.finish.clone(), ..Said::default() };
    for delta in deltas {
        match delta {
            Delta::Content(text) => said.text += text,
            Delta::Reasoning(text) => said.reasoning += text,
            Delta::ToolCall(piece) => {
                if let Some(name) = &piece.name {
                    said.calls.push((name.clone(), String::new()));
                }
                said.calls[piece.index as usize].1 += &piece.arguments;
            }
            Delta::Logprobs(_) => {}
        }
    }
    said
}
