use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Bench, CHAT, chat, redact, request};
use crate::domain::{Error, ErrorKind, Prompt};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::scheduler::SchedulerConfig;

fn hello() -> ScriptedFactory {
    // One piece: several would be joined or not, as they come.
    ScriptedFactory::answering(["Hello"])
}

#[tokio::test]
async fn a_chat_whole_and_streamed() {
    let bench = Bench::new(hello()).await;
    let whole = bench.post(CHAT, &chat(&json!({}))).await.expect(200);
    assert_eq!(whole.header("content-type"), Some("application/json"));
    let usage = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let stream = bench.post(CHAT, &chat(&usage)).await.expect(200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    for answer in [&whole, &stream] {
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert!(answer.header("x-request-id").is_some());
        for name in ["openai-processing-ms", "x-queue-position", "x-queue-wait-ms"] {
            let number = answer.header(name).map(str::parse::<u64>);
            assert!(matches!(number, Some(Ok(_))), "{name}: {number:?}");
        }
    }
    insta::assert_snapshot!("chat_whole", redact(&whole.text));
    insta::assert_snapshot!("chat_stream", redact(&stream.text));
}

#[tokio::test]
async fn a_text_completion_whole_and_streamed() {
    let bench = Bench::new(hello()).await;
    let body = json!({ "model": "tiny", "prompt": "Once" });
    let whole = bench.post("/v1/completions", &body).await.expect(200);
    insta::assert_snapshot!("text_whole", redact(&whole.text));
    let body = json!({ "model": "tiny", "prompt": "Once", "stream": true });
    let stream = bench.post("/engines/llama.cpp/v1/completions", &body).await.expect(200);
    insta::assert_snapshot!("text_stream", redact(&stream.text));
    let prompts = bench.control.prompts();
    assert!(prompts.iter().all(|prompt| *prompt == Prompt::Text("Once".into())), "{prompts:?}");
}

#[tokio::test]
async fn what_fails_before_the_first_token_keeps_its_status() {
    let too_long = Error::new(ErrorKind::ContextLengthExceeded, "9 tokens, but 4 fit.");
    let script = Script { prepare_error: Some(too_long), ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    for stream in [false, true] {
        let answer = bench.post(CHAT, &chat(&json!({ "stream": stream }))).await.expect(400);
        assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    }
    let broken = Error::new(ErrorKind::InvalidModel, "The file is damaged.");
    let bench = Bench::new(hello().failing_loads([broken])).await;
    let answer = bench.post(CHAT, &chat(&json!({ "stream": true }))).await.expect(422);
    assert_eq!(answer.json()["error"]["code"], "invalid_model");
}

#[tokio::test]
async fn what_fails_later_is_an_event_without_done_or_an_error_status() {
    let failure = Error::new(ErrorKind::Internal, "It broke.").with_cause("a secret");
    let script = Script { fail_after: Some((1, failure)), ..Script::answering(["Hel", "lo"]) };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let stream = bench.post(CHAT, &chat(&json!({ "stream": true }))).await.expect(200);
    insta::assert_snapshot!("chat_stream_that_fails", redact(&stream.text));
    let whole = bench.post(CHAT, &chat(&json!({}))).await.expect(500);
    assert_eq!(whole.json()["error"]["type"], "server_error");
    assert!(!whole.text.contains("secret") && !stream.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_long_gets_its_200_and_comments() {
    let bench = Bench::new(hello().load_time(Duration::from_secs(40))).await;
    let begun = tokio::time::Instant::now();
    let body = chat(&json!({ "stream": true })).to_string();
    let response = bench.begin(request("POST", CHAT, body.into())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(begun.elapsed().as_secs(), 10, "its patience");
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body");
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with(':')).collect();
    assert!(comments.iter().any(|line| line.contains("loading the model")), "{comments:?}");
    let data: Vec<&str> = text.lines().filter(|line| line.starts_with("data:")).collect();
    assert!(data[0].contains(r#""role":"assistant""#) && data.last() == Some(&"data: [DONE]"));
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_waits_for_its_model_as_long_as_it_takes() {
    let bench = Bench::new(hello().load_time(Duration::from_secs(400))).await;
    let answer = bench.post(CHAT, &chat(&json!({}))).await.expect(200);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello");
    let waited = answer.header("x-queue-wait-ms").and_then(|ms| ms.parse::<u64>().ok());
    assert!(waited.is_some_and(|ms| ms >= 400_000), "{waited:?}");
}

#[tokio::test]
async fn a_full_queue_answers_429_with_a_time() {
    let factory = ScriptedFactory::new(Script { hang: true, ..Script::default() });
    let config = SchedulerConfig { max_waiting: 1, ..SchedulerConfig::default() };
    let bench = Bench::with(factory.max_sequences(1), config).await;
    let body = || request("POST", CHAT, chat(&json!({ "stream": true })).to_string().into());
    let running = bench.begin(body()).await;
    let waiting = tokio::spawn({
        let (router, mut request) = (bench.router.clone(), body());
        request.extensions_mut().insert(crate::api::ListenerClass::Unix);
        async move { tower::ServiceExt::oneshot(router, request).await }
    });
    bench.until("one runs, one waits", |model| (model.running, model.waiting) == (1, 1)).await;
    let refused = bench.post(CHAT, &chat(&json!({}))).await.expect(429);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    let after = refused.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    assert!(after.is_some_and(|seconds| seconds >= 1), "{after:?}");
    waiting.abort();
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_is_408_and_not_retried() {
    let bench = Bench::new(ScriptedFactory::new(Script { hang: true, ..Script::default() })).await;
    let mut request = request("POST", CHAT, chat(&json!({})).to_string().into());
    request.headers_mut().insert("x-request-timeout", "2".parse().expect("a value"));
    let answer = bench.send(request).await.expect(408);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.json()["error"]["code"], "deadline_exceeded");
}

#[tokio::test]
async fn a_preload_loads_and_answers_nothing() {
    let bench = Bench::new(hello()).await;
    let body = json!({ "model": "tiny", "messages": [] }).to_string();
    let mut request = request("POST", CHAT, body.into());
    request.headers_mut().insert("x-preload-only", "true".parse().expect("a value"));
    assert_eq!(bench.send(request).await.expect(200).text, "");
    assert_eq!((bench.control.loads(), bench.control.prompts().len()), (1, 0));
}

#[tokio::test]
async fn errors_of_the_openai_family() {
    let bench = Bench::new(hello()).await;
    let embedder = crate::gguf::testing::Writer::tiny().u32("llama.pooling_type", 1);
    bench.add("ai/embedder", &embedder).await;
    let mut all = String::new();
    for (path, body) in [
        (CHAT, ""),
        (CHAT, "{\"model\":"),
        (CHAT, "{} {}"),
        (CHAT, "{}"),
        (CHAT, r#"{"model":"ai/none","messages":[{"role":"user","content":"Hi"}]}"#),
        (CHAT, r#"{"model":"ai/embedder","messages":[{"role":"user","content":"Hi"}]}"#),
        (CHAT, r#"{"model":"../x","messages":[{"role":"user","content":"Hi"}]}"#),
        (CHAT, r#"{"model":"ai/tiny","messages":[]}"#),
        (
            CHAT,
            r#"{"model":"ai/tiny","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
        ),
        (
            CHAT,
            r#"{"model":"ai/tiny","temperature":3,"messages":[{"role":"user","content":"Hi"}]}"#,
        ),
        ("/v1/completions", r#"{"model":"ai/tiny"}"#),
        ("/v1/no-such", "{}"),
        ("/engines/other/v1/completions", "{}"),
        ("/v1/models", "{}"),
    ] {
        let answer = bench.send(request("POST", path, body.to_owned().into())).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path} {body}");
        let error: Value = answer.json();
        assert!(error["error"]["message"].is_string(), "{error}");
        all += &format!("{path} {body}\n  {} {}\n", answer.status.as_u16(), answer.text);
    }
    insta::assert_snapshot!(all);
}
