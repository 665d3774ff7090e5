//! The Responses API over the whole router.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Answer, Bench, TINY, request};
use crate::api::{ListenerClass, PeerInfo};
use crate::domain::{Delta, Error, ErrorKind, Prompt, Role, ToolCallDelta};
use crate::engine::scripted::{Script, ScriptedFactory};

const RESPONSES: &str = "/v1/responses";

fn hello() -> ScriptedFactory {
    ScriptedFactory::answering(["Hello"])
}

fn body(changes: &Value) -> Value {
    let mut body = json!({ "model": TINY, "input": "Hi" });
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

fn frames(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|json| serde_json::from_str(json).expect("JSON")).collect()
}

fn id_of(answer: &Answer) -> String {
    answer.json()["id"].as_str().expect("an id").to_owned()
}

async fn until_final(bench: &Bench, id: &str) -> Value {
    let wait = async {
        loop {
            let now = bench.get(&format!("{RESPONSES}/{id}")).await.expect(200).json();
            if !["queued", "in_progress"].contains(&now["status"].as_str().unwrap_or_default()) {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("an end")
}

#[tokio::test]
async fn whole_and_streamed_everywhere() {
    let bench = Bench::new(hello()).await;
    for prefix in ["", "/v1", "/engines", "/engines/v1", "/engines/llama.cpp/v1", "/exp/vDD4.40"] {
        let path = format!("{prefix}/responses");
        let whole = bench.post(&path, &body(&json!({}))).await.expect(200);
        assert_eq!(whole.header("content-type"), Some("application/json"));
        assert!(whole.header("x-queue-wait-ms").is_some());
        let whole = whole.json();
        assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("completed")));
        assert_eq!(whole["output"][0]["content"][0]["text"], "Hello");
        assert_eq!(whole["usage"]["input_tokens_details"]["cache_write_tokens"], 0);
        let stream = bench.post(&path, &body(&json!({ "stream": true }))).await.expect(200);
        assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let frames = frames(&stream.text);
        assert_eq!(frames.first().map(|frame| &frame["type"]), Some(&json!("response.created")));
        let last = frames.last().expect("frames");
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last["response"]["output"][0]["content"], whole["output"][0]["content"]);
        // What was streamed can be fetched, too.
        let id = last["response"]["id"].as_str().expect("an id");
        let stored = bench.get(&format!("{path}/{id}")).await.expect(200).json();
        assert_eq!(stored, last["response"]);
    }
}

#[tokio::test]
async fn a_conversation_goes_on_with_its_whole_history() {
    let call = ToolCallDelta {
        index: 0,
        id: Some("abcdefghi".into()),
        name: Some("get_time".into()),
        arguments: "{}".into(),
    };
    let script = Script::deltas([Delta::Reasoning("A clock.".into()), Delta::ToolCall(call)]);
    let bench = Bench::new(ScriptedFactory::choosing(move |prompt| match prompt {
        Prompt::Chat(chat) if chat.messages.len() == 2 => script.clone(),
        _ => Script::answering(["Noon."]),
    }))
    .await;
    let tools = json!([{ "type": "function", "name": "get_time", "parameters": null }]);
    let first = json!({ "input": "What time?", "instructions": "Old.", "tools": tools });
    let first = bench.post(RESPONSES, &body(&first)).await.expect(200);
    assert_eq!(first.json()["output"][1]["call_id"], "call_abcdefghi");
    let result = json!([
        { "type": "function_call_output", "call_id": "call_abcdefghi", "output": "12:00" },
    ]);
    let second = json!({ "previous_response_id": id_of(&first), "input": result });
    let second = bench.post(RESPONSES, &body(&second)).await.expect(200);
    let third = json!({ "previous_response_id": id_of(&second), "input": "Thanks" });
    bench.post(RESPONSES, &body(&third)).await.expect(200);
    let prompts = bench.control.prompts();
    let Some(Prompt::Chat(last)) = prompts.last() else { panic!("{prompts:?}") };
    let said: Vec<(Role, &str)> =
        last.messages.iter().map(|turn| (turn.role, turn.content.as_str())).collect();
    assert_eq!(
        said,
        [
            (Role::User, "What time?"),
            (Role::Assistant, ""),
            (Role::Tool, "12:00"),
            (Role::Assistant, "Noon."),
            (Role::User, "Thanks"),
        ]
    );
    assert_eq!(last.messages[1].reasoning.as_deref(), Some("A clock."));
    assert_eq!(last.messages[1].tool_calls[0].name, "get_time");
}

#[tokio::test]
async fn what_is_not_stored_or_is_deleted_is_gone() {
    let bench = Bench::new(hello()).await;
    let secret = bench.post(RESPONSES, &body(&json!({ "store": false }))).await.expect(200);
    let kept = bench.post(RESPONSES, &body(&json!({}))).await.expect(200);
    let path = format!("{RESPONSES}/{}", id_of(&kept));
    assert_eq!(bench.get(&path).await.expect(200).json(), kept.json());
    let deleted = bench.call("DELETE", &path).await.expect(200).json();
    assert_eq!(deleted, json!({ "id": id_of(&kept), "object": "response", "deleted": true }));
    for path in [path, format!("{RESPONSES}/{}", id_of(&secret)), "/responses/resp_none".into()] {
        for (method, path) in [
            ("GET", path.clone()),
            ("DELETE", path.clone()),
            ("POST", format!("{path}/cancel")),
            ("GET", format!("{path}/input_items")),
        ] {
            let error = bench.call(method, &path).await.expect(404).json();
            assert_eq!(error["error"]["code"], "not_found", "{method} {path}");
            assert_eq!(error["error"]["param"], "response_id");
        }
    }
    let again = json!({ "previous_response_id": id_of(&kept) });
    let error = bench.post(RESPONSES, &body(&again)).await.expect(404).json();
    assert_eq!(error["error"]["code"], "previous_response_not_found");
}

#[tokio::test]
async fn another_user_sees_nothing() {
    let bench = Bench::new(hello()).await;
    let kept = bench.post(RESPONSES, &body(&json!({}))).await.expect(200);
    let mut request = request("GET", &format!("{RESPONSES}/{}", id_of(&kept)), Body::empty());
    request.extensions_mut().insert(ListenerClass::Unix);
    request.extensions_mut().insert(PeerInfo::Unix { uid: 1001, pgid: Some(1) });
    let answered = tower::ServiceExt::oneshot(bench.router.clone(), request).await;
    assert_eq!(answered.expect("an answer").status(), 404);
}

#[tokio::test]
async fn input_items_come_in_pages() {
    let bench = Bench::new(hello()).await;
    let item = |i: usize| json!({ "id": format!("m{i}"), "role": "user", "content": "x" });
    let input: Vec<Value> = (0..5).map(item).collect();
    let kept = bench.post(RESPONSES, &body(&json!({ "input": input }))).await.expect(200);
    let path = format!("{RESPONSES}/{}/input_items", id_of(&kept));
    for (query, ids, more) in [
        ("", "m4 m3 m2 m1 m0", false),
        ("?limit=2", "m4 m3", true),
        ("?limit=2&after=m3", "m2 m1", true),
        ("?limit=2&after=m1", "m0", false),
        ("?order=asc&limit=3", "m0 m1 m2", true),
        ("?order=asc&limit=2&after=m2", "m3 m4", false),
        ("?after=m0", "", false),
    ] {
        let page = bench.get(&format!("{path}{query}")).await.expect(200).json();
        let data = page["data"].as_array().expect("data");
        let found: Vec<&str> = data.iter().filter_map(|item| item["id"].as_str()).collect();
        assert_eq!((found.join(" ").as_str(), &page["has_more"]), (ids, &json!(more)), "{query}");
        assert_eq!(page["first_id"].as_str(), found.first().copied());
        assert_eq!(page["last_id"].as_str(), found.last().copied());
    }
    for (query, status, param) in [
        ("?limit=0", 400, "limit"),
        ("?limit=101", 400, "limit"),
        ("?order=up", 400, "order"),
        ("?after=none", 404, "after"),
    ] {
        let error = bench.get(&format!("{path}{query}")).await.expect(status).json();
        assert_eq!(error["error"]["param"], param, "{query}");
    }
}

#[tokio::test]
async fn in_the_background_it_runs_without_its_client() {
    let bench = Bench::new(ScriptedFactory::answering(["Hel", "lo"]).by_hand()).await;
    let begun = bench.post(RESPONSES, &body(&json!({ "background": true }))).await.expect(200);
    assert_eq!((&begun.json()["status"], &begun.json()["output"]), (&json!("queued"), &json!([])));
    let path = format!("{RESPONSES}/{}", id_of(&begun));
    let next = body(&json!({ "previous_response_id": id_of(&begun) }));
    bench.post(RESPONSES, &next).await.expect(409);
    bench.control.step(2);
    let done = until_final(&bench, &id_of(&begun)).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(done["output"][0]["content"][0]["text"], "Hello");
    // Its events are there as they came, and from any of them on.
    let all = frames(&bench.get(&format!("{path}?stream=true")).await.expect(200).text);
    assert_eq!(all.last().map(|frame| &frame["response"]), Some(&done));
    let rest = bench.get(&format!("{path}?stream=true&starting_after=4")).await.expect(200);
    assert_eq!(frames(&rest.text), all[5..]);
    // Cancelling what is over changes nothing.
    assert_eq!(bench.call("POST", &format!("{path}/cancel")).await.expect(200).json(), done);
}

#[tokio::test]
async fn in_the_background_it_can_be_cancelled_and_read_along() {
    let script = Script { hang: true, ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let wanted = body(&json!({ "background": true }));
    let begun = bench.post(RESPONSES, &wanted).await.expect(200);
    let path = format!("{RESPONSES}/{}", id_of(&begun));
    let reading = bench.begin(request("GET", &format!("{path}?stream=true"), Body::empty())).await;
    let read = tokio::spawn(http_body_util::BodyExt::collect(reading.into_body()));
    bench.until("it runs", |model| model.running == 1).await;
    let cancelled = bench.call("POST", &format!("{path}/cancel")).await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    let stream = read.await.expect("a task").expect("a body").to_bytes();
    let frames = frames(&String::from_utf8_lossy(&stream));
    let last = frames.last().expect("frames");
    // Each reader notes for itself when it was over: the rest is the same.
    assert_eq!(
        (&last["type"], &last["response"]["status"]),
        (&json!("response.failed"), &json!("cancelled"))
    );
    assert_eq!(last["response"]["output"], cancelled["output"]);
    // Deleting ends what runs as well.
    let other = bench.post(RESPONSES, &wanted).await.expect(200);
    bench.until("the other runs alone", |model| model.running == 1).await;
    bench.call("DELETE", &format!("{RESPONSES}/{}", id_of(&other))).await.expect(200);
    bench.until("nothing runs", |model| model.running + model.waiting == 0).await;
}

#[tokio::test]
async fn only_the_background_can_be_cancelled() {
    let bench = Bench::new(hello()).await;
    let kept = bench.post(RESPONSES, &body(&json!({}))).await.expect(200);
    bench.call("POST", &format!("{RESPONSES}/{}/cancel", id_of(&kept))).await.expect(400);
}

#[tokio::test]
async fn a_stored_answer_is_told_again() {
    let bench = Bench::new(ScriptedFactory::answering(["Hel", "lo"])).await;
    let kept = bench.post(RESPONSES, &body(&json!({}))).await.expect(200);
    let path = format!("{RESPONSES}/{}", id_of(&kept));
    let told = bench.get(&format!("{path}?stream=true")).await.expect(200);
    let frames = frames(&told.text);
    assert_eq!(frames.last().map(|frame| &frame["response"]), Some(&kept.json()));
    for (query, param) in
        [("?stream=1", "stream"), ("?stream=true&starting_after=x", "starting_after")]
    {
        let error = bench.get(&format!("{path}{query}")).await.expect(400).json();
        assert_eq!(error["error"]["param"], param);
    }
}

#[tokio::test]
async fn input_tokens_are_counted() {
    let bench = Bench::new(hello()).await;
    let count = bench.post("/v1/responses/input_tokens", &body(&json!({}))).await.expect(200);
    assert_eq!(count.json(), json!({ "object": "response.input_tokens", "input_tokens": 5 }));
    assert!(bench.control.started().is_empty());
}

#[tokio::test]
async fn failures_before_and_after_the_first_token() {
    let too_long = Error::new(ErrorKind::ContextLengthExceeded, "9 tokens, but 4 fit.");
    let script = Script { prepare_error: Some(too_long), ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    for stream in [false, true] {
        let error = bench.post("/responses", &body(&json!({ "stream": stream }))).await.expect(400);
        assert_eq!(error.json()["error"]["code"], "context_length_exceeded");
    }
    let begun = bench.post(RESPONSES, &body(&json!({ "background": true }))).await.expect(200);
    let failed = until_final(&bench, &id_of(&begun)).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("context_length_exceeded"))
    );

    let broken = Error::new(ErrorKind::Internal, "It broke.").with_cause("a secret");
    let script = Script { fail_after: Some((1, broken)), ..Script::answering(["Hel", "lo"]) };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    bench.post(RESPONSES, &body(&json!({}))).await.expect(500);
    let stream = bench.post(RESPONSES, &body(&json!({ "stream": true }))).await.expect(200);
    let frames = frames(&stream.text);
    let kinds: Vec<&str> = frames.iter().rev().take(2).filter_map(|f| f["type"].as_str()).collect();
    assert_eq!(kinds, ["response.failed", "error"]);
    assert!(!stream.text.contains("secret"));
    let unknown = body(&json!({ "model": "ai/none" }));
    let error = bench.post("/engines/responses", &unknown).await.expect(404).json();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["param"]),
        (&json!("model_not_found"), &json!("model"))
    );
}

#[tokio::test]
async fn a_preload_loads_and_answers_nothing() {
    let bench = Bench::new(hello()).await;
    let mut request = request("POST", RESPONSES, json!({ "model": "tiny" }).to_string().into());
    request.headers_mut().insert("x-preload-only", "true".parse().expect("a value"));
    assert_eq!(bench.send(request).await.expect(200).text, "");
    assert_eq!((bench.control.loads(), bench.control.prompts().len()), (1, 0));
}
