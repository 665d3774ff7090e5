//! OpenAI's dialect from the request to the last byte: tools, constraints, several prompts.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::support::{Bench, CHAT, chat, request};
use crate::domain::{
    Constraint, Delta, Error, ErrorKind, FinishReason, Prompt, TokenLogprob, ToolCallDelta,
    ToolChoice,
};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::scheduler::SchedulerConfig;

const TEXT: &str = "/v1/completions";

fn completion(changes: Value) -> Value {
    let mut body = json!({ "model": "tiny", "prompt": "x" });
    if let (Some(body), Value::Object(changes)) = (body.as_object_mut(), changes) {
        body.extend(changes);
    }
    body
}

/// An engine that says the prompt in capitals, and its own number of tokens.
fn loud() -> ScriptedFactory {
    ScriptedFactory::choosing(|prompt| match prompt {
        Prompt::Text(text) => Script {
            prompt_tokens: u32::try_from(text.len()).expect("short"),
            ..Script::answering([text.to_uppercase()])
        },
        Prompt::Tokens(tokens) => Script::answering([format!("{tokens:?}")]),
        other => Script::answering([format!("{other:?}")]),
    })
}

fn texts(answer: &Value) -> Vec<(u64, &str)> {
    let choices = answer["choices"].as_array().expect("choices");
    let index = |choice: &Value| choice["index"].as_u64().expect("an index");
    choices.iter().map(|choice| (index(choice), choice["text"].as_str().expect("text"))).collect()
}

#[tokio::test]
async fn several_prompts_are_answered_in_their_order() {
    let bench = Bench::new(loud()).await;
    let body = completion(json!({ "prompt": ["a", [7, 8], "ccc"], "n": 2 }));
    let answer = bench.post(TEXT, &body).await.expect(200).json();
    let expected = [(0, "A"), (1, "A"), (2, "[7, 8]"), (3, "[7, 8]"), (4, "CCC"), (5, "CCC")];
    assert_eq!(texts(&answer), expected);
    // 1, 5 and 3 tokens; two answers to each, each a piece and its end.
    assert_eq!(answer["usage"]["prompt_tokens"], 9);
    assert_eq!(answer["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn many_prompts_pass_a_queue_that_has_no_room_for_all() {
    let prompts: Vec<String> = (0..128).map(|number| format!("p{number}")).collect();
    let config = SchedulerConfig { max_waiting: 8, ..SchedulerConfig::default() };
    let bench = Bench::with(loud().max_sequences(2), config).await;
    let answer = bench.post(TEXT, &completion(json!({ "prompt": prompts }))).await.expect(200);
    let answer = answer.json();
    let expected: Vec<String> = prompts.iter().map(|prompt| prompt.to_uppercase()).collect();
    let told: Vec<&str> = texts(&answer).into_iter().map(|(_, text)| text).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_stream_of_several_prompts_ends_once() {
    let bench = Bench::new(loud()).await;
    let body = completion(json!({
        "prompt": ["a", "b"], "n": 2, "stream": true, "stream_options": { "include_usage": true },
    }));
    let stream = bench.post(TEXT, &body).await.expect(200).text;
    let mut data: Vec<&str> =
        stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    let chunks: Vec<Value> =
        data.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    for (index, text) in [(0, "A"), (1, "A"), (2, "B"), (3, "B")] {
        let mine = chunks.iter().map(|chunk| &chunk["choices"][0]);
        let mine: Vec<&Value> = mine.filter(|choice| choice["index"] == index).collect();
        let said: String = mine.iter().filter_map(|choice| choice["text"].as_str()).collect();
        assert_eq!(said, text, "{chunks:?}");
        let ends = mine.iter().filter(|choice| choice["finish_reason"] == "stop").count();
        assert_eq!(ends, 1, "{chunks:?}");
    }
    let (last, rest) = chunks.split_last().expect("chunks");
    assert_eq!((&last["choices"], &last["usage"]["prompt_tokens"]), (&json!([]), &json!(2)));
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[tokio::test]
async fn the_first_prompt_that_fails_ends_all() {
    let bench = Bench::new(ScriptedFactory::choosing(|prompt| match prompt {
        Prompt::Text(text) if text == "long" => Script {
            prepare_error: Some(Error::new(ErrorKind::ContextLengthExceeded, "9, but 4 fit.")),
            ..Script::default()
        },
        Prompt::Text(text) if text == "bad" => Script {
            fail_after: Some((1, Error::new(ErrorKind::Internal, "It broke."))),
            ..Script::answering(["x", "y"])
        },
        _ => Script { hang: true, ..Script::default() },
    }))
    .await;
    // Something has begun before it breaks, so the error comes where the answer would.
    let body = completion(json!({ "prompt": ["a", "b", "bad"], "stream": true }));
    let response = bench.begin(request("POST", TEXT, body.to_string().into())).await;
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("It broke.") && !text.contains("[DONE]"), "{text}");
    bench.until("nothing runs", |model| model.running == 0 && model.waiting == 0).await;
    let whole = bench.post(TEXT, &completion(json!({ "prompt": ["a", "long"] }))).await.expect(400);
    assert_eq!(whole.json()["error"]["code"], "context_length_exceeded");
    bench.until("nothing runs", |model| model.running == 0 && model.waiting == 0).await;
}

#[tokio::test]
async fn the_best_of_several_answers_is_told() {
    let likely = |text: &str, logprob: f32| {
        let bytes = text.as_bytes().to_vec();
        let token = TokenLogprob { token: 1, bytes, logprob: Some(logprob), top: vec![] };
        vec![Delta::Logprobs(vec![token]), Delta::Content(text.into())]
    };
    let script = Script::choices([likely("bad", -4.0), likely("good", -1.0), likely("fair", -2.0)]);
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let body = completion(json!({ "n": 2, "best_of": 3 }));
    let answer = bench.post(TEXT, &body).await.expect(200).json();
    assert_eq!(texts(&answer), [(0, "good"), (1, "fair")]);
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "get_time" } }])
}

#[tokio::test]
async fn a_tool_call_whole_and_streamed() {
    let call = Delta::ToolCall(ToolCallDelta {
        index: 0,
        id: Some("aB3dE6gH9".into()),
        name: Some("get_time".into()),
        arguments: "{}".into(),
    });
    let script = Script::deltas([call]).ending(FinishReason::ToolCalls);
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let body = chat(&json!({ "tools": tools(), "tool_choice": "required" }));
    let answer = bench.post(CHAT, &body).await.expect(200).json();
    let choice = &answer["choices"][0];
    let function = json!({ "name": "get_time", "arguments": "{}" });
    let expected = json!([{ "id": "call_aB3dE6gH9", "type": "function", "function": function }]);
    assert_eq!(choice["message"]["tool_calls"], expected);
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&Value::Null, &json!("tool_calls"))
    );
    let Some(Prompt::Chat(asked)) = bench.control.prompts().pop() else { panic!("a chat") };
    assert_eq!((asked.tools.len(), asked.tool_choice), (1, ToolChoice::Required));
    let old = chat(&json!({ "functions": [{ "name": "get_time" }] }));
    let answer = bench.post(CHAT, &old).await.expect(200).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["function_call"], function);
    assert_eq!(choice["finish_reason"], "function_call");
}

#[tokio::test]
async fn a_schema_reaches_the_engine_or_is_refused_with_its_field() {
    let bench = Bench::new(loud()).await;
    let format = |schema: Value| {
        chat(&json!({ "response_format": { "type": "json_schema", "json_schema": {
            "name": "answer", "schema": schema,
        } } }))
    };
    bench.post(CHAT, &format(json!({ "type": "object" }))).await.expect(200);
    let asked = bench.control.constraints();
    assert_eq!(asked, [Constraint::JsonSchema(r#"{"type":"object"}"#.into())]);
    let refused = bench.post(CHAT, &format(json!("any"))).await.expect(400);
    assert_eq!(refused.json()["error"]["param"], "response_format.json_schema.schema");
    assert_eq!(refused.header("x-should-retry"), None, "no client tries a 400 again");
}

#[tokio::test]
async fn every_answer_of_the_family_says_how_long_it_took() {
    let bench = Bench::new(loud()).await;
    for (method, path, status) in [
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/tiny", 200),
        ("GET", "/v1/models/ai%2Ftiny%3Alatest", 200),
        ("GET", "/v1/models/docker.io/ai/tiny:latest", 200),
        ("GET", "/v1/models/none", 404),
        ("DELETE", "/v1/models/tiny", 405),
        ("POST", "/engines/v1/no-such", 404),
        ("POST", CHAT, 400),
    ] {
        let answer = bench.call(method, path).await.expect(status);
        for name in ["openai-processing-ms", "x-request-id"] {
            assert!(answer.header(name).is_some(), "{method} {path}: {name}");
        }
    }
    let none = bench.get("/v1/models/none").await.json();
    assert_eq!(none["error"]["code"], "model_not_found");
    let refused = bench.call("DELETE", "/v1/models/tiny").await;
    assert!(refused.header("allow").is_some_and(|allow| allow.contains("GET")));
}
