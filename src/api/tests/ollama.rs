//! Ollama's dialect over the real router.

use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Answer, Bench, TINY, request};
use crate::api::ListenerClass;
use crate::domain::{Delta, Error, ErrorKind, FinishReason, Prompt, Role, ToolCallDelta};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::gguf::testing::Writer;
use crate::protocol::Purpose;

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

fn changed(mut body: Value, changes: &Value) -> Value {
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

/// A good request with some fields replaced.
fn chat(changes: &Value) -> Value {
    let body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }] });
    changed(body, changes)
}

fn generate(changes: &Value) -> Value {
    changed(json!({ "model": "tiny", "prompt": "Hi" }), changes)
}

async fn hello() -> Bench {
    // One piece: several would be joined or not, as they come.
    Bench::new(ScriptedFactory::answering(["Hello"])).await
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Text with the value of every such number or time replaced.
fn redact(text: &str) -> String {
    let mut out = text.to_owned();
    for (start, end) in [
        ("\"created_at\":\"", '"'),
        ("\"modified_at\":\"", '"'),
        ("\"expires_at\":\"", '"'),
        ("\"modeld\":\"", '"'),
        ("\"digest\":\"", '"'),
        ("\"total_duration\":", ','),
        ("\"load_duration\":", ','),
        ("\"prompt_eval_duration\":", ','),
        ("\"eval_duration\":", '}'),
    ] {
        let mut pieces = out.split(start);
        let mut redacted = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.find(end).and_then(|at| piece.get(at..)).expect("an end");
            redacted += &format!("{start}…{rest}");
        }
        out = redacted;
    }
    out
}

fn error(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    body["error"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn answers_whole_and_streamed() {
    let bench = hello().await;
    let mut all = Vec::new();
    for (path, body) in [(CHAT, chat(&json!({}))), (GENERATE, generate(&json!({})))] {
        let stream = bench.post(path, &body).await.expect(200);
        assert_eq!(stream.header("content-type"), Some("application/x-ndjson"));
        let body = changed(body, &json!({ "stream": false }));
        let whole = bench.post(path, &body).await.expect(200);
        assert_eq!(whole.header("content-type"), Some("application/json"));
        for answer in [&stream, &whole] {
            assert!(answer.header("x-queue-position").is_some());
            assert!(answer.header("x-truncated-tokens").is_none());
        }
        all.extend([stream.text, whole.text]);
    }
    insta::assert_snapshot!(redact(&all.join("\n")));
}

#[tokio::test]
async fn ends_are_told_apart() {
    let stop = FinishReason::StopString("END".into());
    for (script, options, reason, count) in [
        (Script::answering(["a", "b"]), json!({}), "stop", 3),
        (Script::answering(["a", "b"]), json!({ "num_predict": 1 }), "length", 1),
        (Script { finish: stop, ..Script::answering(["a"]) }, json!({ "stop": "END" }), "stop", 2),
    ] {
        let bench = Bench::new(ScriptedFactory::new(script)).await;
        let answer = bench.post(CHAT, &chat(&json!({ "options": options }))).await.expect(200);
        let last = lines(&answer).pop().expect("a line");
        assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!(reason)));
        assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(5), &json!(count)));
    }
}

#[tokio::test]
async fn calls_and_thoughts_come_whole() {
    let call = Delta::ToolCall(ToolCallDelta {
        index: 0,
        id: Some("abcdefgh1".into()),
        name: Some("clock".into()),
        arguments: "{\"zone\":\"CET\"}".into(),
    });
    let script = Script::deltas([Delta::Reasoning("Hm.".into()), call]);
    let bench = Bench::new(ScriptedFactory::new(script.ending(FinishReason::ToolCalls))).await;
    let tools = json!([{ "type": "function", "function": { "name": "clock" } }]);
    let answer = bench.post(CHAT, &chat(&json!({ "tools": tools }))).await.expect(200);
    let lines = lines(&answer);
    assert_eq!(lines[0]["message"]["thinking"], "Hm.");
    let call = &lines[1]["message"]["tool_calls"][0];
    assert_eq!(call["id"], "call_abcdefgh1");
    assert_eq!(call["function"]["arguments"], json!({ "zone": "CET" }));
    assert_eq!(lines.last().expect("a line")["done_reason"], "stop");
}

#[tokio::test]
async fn a_failure_before_the_first_line_has_a_status_and_a_later_one_a_line() {
    let too_long = Error::new(ErrorKind::ContextLengthExceeded, "9 tokens, but 4 fit.");
    let script = Script { prepare_error: Some(too_long), ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let refused = bench.post(CHAT, &chat(&json!({}))).await.expect(400);
    assert_eq!(error(&refused), "9 tokens, but 4 fit.");
    let broken = Error::new(ErrorKind::EngineCrashed, "It broke.").with_cause("a secret");
    let script = Script { fail_after: Some((1, broken)), ..Script::answering(["a", "b"]) };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let answer = bench.post(CHAT, &chat(&json!({}))).await.expect(200);
    let lines = lines(&answer);
    assert_eq!(lines[0]["message"]["content"], "a");
    assert_eq!(lines.last(), Some(&json!({ "error": "It broke." })));
}

#[tokio::test]
async fn what_is_wrong_is_said_in_ollamas_words() {
    let bench = hello().await;
    bench.add("ai/embedder", &Writer::tiny().u32("llama.pooling_type", 1)).await;
    let none = json!({ "model": "none" });
    for (path, body, status, message) in [
        (CHAT, none.clone(), 404, "model 'none' not found"),
        (GENERATE, none.clone(), 404, "model 'none' not found"),
        ("/api/show", none.clone(), 404, "model 'none' not found"),
        ("/api/embed", none.clone(), 404, "model \"none\" not found, try pulling it first"),
        ("/api/embeddings", none, 404, "model \"none\" not found, try pulling it first"),
        (CHAT, json!({}), 400, "model is required"),
        ("/api/embeddings", json!({ "model": "" }), 400, "model is required"),
        ("/api/show", json!({}), 400, "model is required"),
        (GENERATE, json!({}), 404, "model '' not found"),
        ("/api/embed", json!({ "model": " " }), 404, "model '' not found"),
        (CHAT, chat(&json!({ "top_logprobs": 21 })), 400, "top_logprobs must be between 0 and 20"),
        (CHAT, chat(&json!({ "think": true })), 400, "\"tiny\" does not support thinking"),
        (
            CHAT,
            chat(&json!({ "options": { "top_k": "x" } })),
            400,
            "option \"top_k\" must be of type integer",
        ),
        (
            GENERATE,
            generate(&json!({ "raw": true, "system": "s" })),
            400,
            "raw mode does not support template, system, or context",
        ),
    ] {
        let answer = bench.post(path, &body).await.expect(status);
        assert_eq!(error(&answer), message, "{path} {body}");
    }
    let embedder = json!({ "model": "embedder", "prompt": "Hi" });
    let refused = error(&bench.post(GENERATE, &embedder).await.expect(400));
    assert!(refused.starts_with("\"embedder\" does not support generate"), "{refused}");
    let refused = error(&bench.post("/api/embed", &json!({ "model": "tiny", "input": "a" })).await);
    assert!(refused.starts_with("\"tiny\" does not support embeddings"), "{refused}");
    let parts = chat(&json!({ "messages": [{ "role": "user", "content": [{}] }] }));
    let refused = error(&bench.post(CHAT, &parts).await.expect(400));
    assert!(refused.contains("messages[0].content"), "{refused}");
}

#[tokio::test]
async fn bodies_are_json_whatever_they_claim_to_be() {
    let bench = hello().await;
    let mut form = request("POST", CHAT, Body::from(chat(&json!({})).to_string()));
    let kind = "application/x-www-form-urlencoded".parse().expect("a value");
    form.headers_mut().insert("content-type", kind);
    form.extensions_mut().insert(ListenerClass::Ollama { local: ([127, 0, 0, 1], 1).into() });
    form.headers_mut().insert("host", "localhost".parse().expect("a value"));
    bench.send(form).await.expect(200);
    let empty = bench.call("POST", CHAT).await.expect(400);
    assert_eq!(error(&empty), "missing request body");
    let broken = bench.send(request("POST", CHAT, Body::from("{"))).await.expect(400);
    assert!(error(&broken).contains("not valid JSON"));
    assert!(error(&bench.get("/api/nothing").await.expect(404)).contains("/api/nothing"));
    assert!(error(&bench.get(CHAT).await.expect(405)).contains("GET"));
    let dots = bench.get("/api/../models").await.expect(404);
    assert!(error(&dots).contains(".."));
}

#[tokio::test]
async fn the_same_model_goes_by_all_of_its_names() {
    let bench = hello().await;
    bench.add("registry.ollama.ai/library/llama3:8b", &Writer::tiny().u32("a.b", 1)).await;
    for name in [
        "tiny",
        "tiny:latest",
        "TINY",
        "Tiny:LATEST",
        "ai/tiny",
        "docker.io/ai/tiny:latest",
        "llama3:8b",
        "LLAMA3:8B",
        "registry.ollama.ai/library/llama3:8b",
    ] {
        let body = chat(&json!({ "model": name, "stream": false }));
        let answer = bench.post(CHAT, &body).await.expect(200).json();
        assert_eq!(answer["model"], name);
        let openai = json!({ "model": name, "messages": [{ "role": "user", "content": "Hi" }] });
        bench.post("/v1/chat/completions", &openai).await.expect(200);
    }
    // Only a bare word is guessed at.
    let other = chat(&json!({ "model": "library/llama3:8b" }));
    bench.post(CHAT, &other).await.expect(200);
    let other = chat(&json!({ "model": "docker.io/ai/llama3:8b" }));
    bench.post(CHAT, &other).await.expect(404);
}

#[tokio::test]
async fn the_store_is_shown_under_names_that_mean_the_same() {
    let bench = hello().await;
    bench.add("registry.ollama.ai/library/tiny:latest", &Writer::tiny().u32("a.b", 1)).await;
    bench.add("huggingface.co/org/repo:q4", &Writer::tiny().u32("a.c", 1)).await;
    let tags = bench.get("/api/tags").await.expect(200).json();
    let mut names: Vec<&str> = Vec::new();
    for model in tags["models"].as_array().expect("a list") {
        let name = model["name"].as_str().expect("a text");
        names.push(name);
        assert_eq!(model["model"], name);
        let shown = bench.post("/api/show", &json!({ "model": name })).await.expect(200).json();
        assert!(shown["model_info"].is_object(), "{shown}");
        let digest = model["digest"].as_str().expect("a text");
        let openai = bench.get(&format!("/models/{name}")).await.expect(200).json();
        assert_eq!(openai["id"], format!("sha256:{digest}"), "{name}");
    }
    names.sort_unstable();
    let all = ["hf.co/org/repo:q4", "registry.ollama.ai/library/tiny:latest", "tiny:latest"];
    assert_eq!(names, all);
}

#[tokio::test]
async fn an_empty_store_is_an_empty_list() {
    let bench = hello().await;
    bench.models.remove(TINY, false).await.expect("removed");
    for path in ["/api/tags", "/api/ps"] {
        assert_eq!(bench.get(path).await.expect(200).text, "{\"models\":[]}");
    }
}

#[tokio::test]
async fn a_model_is_described() {
    let bench = hello().await;
    let tags = bench.get("/api/tags").await.expect(200);
    let shown = bench.post("/api/show", &json!({ "name": "TINY" })).await.expect(200);
    let verbose = json!({ "model": "tiny", "verbose": true });
    let verbose = bench.post("/api/show", &verbose).await.expect(200).json();
    assert_eq!(verbose["tensors"][1]["name"], "output_norm.weight");
    assert_eq!(verbose["model_info"]["tokenizer.ggml.tokens"][2], "a");
    let version = bench.get("/api/version").await.expect(200);
    bench.call("HEAD", "/api/version").await.expect(200);
    insta::assert_snapshot!(redact(&[tags.text, shown.text, version.text].join("\n")));
}

#[tokio::test]
async fn one_client_is_told_the_name_that_it_asked_for() {
    let bench = hello().await;
    let body = Body::from(json!({ "model": "tiny" }).to_string());
    let mut request = request("POST", "/api/show", body);
    let agent = "GitHubCopilotChat/0.29".parse().expect("a value");
    request.headers_mut().insert("user-agent", agent);
    let shown = bench.send(request).await.expect(200).json();
    assert_eq!(shown["model_info"]["general.basename"], "tiny");
}

#[tokio::test]
async fn nothing_to_say_loads_and_unloads() {
    let bench = hello().await;
    for (path, mut body, place) in [
        (GENERATE, json!({ "model": "tiny" }), "response"),
        (CHAT, json!({ "model": "tiny", "messages": [] }), "message"),
    ] {
        let loaded = bench.post(path, &body).await.expect(200);
        assert_eq!(loaded.header("content-type"), Some("application/json"));
        let loaded = loaded.json();
        assert_eq!((&loaded["done"], &loaded["done_reason"]), (&json!(true), &json!("load")));
        assert!(loaded.get(place).is_some(), "{loaded}");
        let running = bench.get("/api/ps").await.expect(200).json();
        let model = &running["models"][0];
        assert_eq!(
            (&model["name"], &model["context_length"]),
            (&json!("tiny:latest"), &json!(4096))
        );
        assert!(model["size"].as_u64().is_some_and(|size| size > 0), "{model}");
        let expires = model["expires_at"].as_str().expect("a time");
        assert!(expires.parse::<jiff::Timestamp>().expect("a time") > jiff::Timestamp::now());
        body["keep_alive"] = json!(0);
        let unloaded = bench.post(path, &body).await.expect(200).json();
        assert_eq!(unloaded["done_reason"], "unload");
        assert_eq!(bench.get("/api/ps").await.expect(200).text, "{\"models\":[]}");
    }
    let waiting = bench.post("/api/embed", &json!({ "model": "tiny" })).await.expect(200).json();
    assert_eq!(waiting, json!({ "model": "tiny", "embeddings": [] }));
}

#[tokio::test]
async fn the_tokens_of_a_conversation_come_back() {
    let bench = hello().await;
    let body = generate(&json!({ "stream": false }));
    let answer = bench.post(GENERATE, &body).await.expect(200).json();
    // The script counts five tokens for anything.
    assert_eq!(answer["context"], json!([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]));
    let body = generate(&json!({ "stream": false, "context": [0, 7, 8] }));
    let answer = bench.post(GENERATE, &body).await.expect(200).json();
    let prompt = bench.control.prompts().pop().expect("a prompt");
    assert_eq!(
        prompt,
        Prompt::Tokens(vec![0, 7, 8, 1, 2, 3, 4]),
        "what begins it is not said twice"
    );
    assert_eq!(answer["context"].as_array().map(Vec::len), Some(7 + 5));
    let raw = generate(&json!({ "stream": false, "raw": true }));
    assert_eq!(bench.post(GENERATE, &raw).await.expect(200).json().get("context"), None);
}

/// A daemon whose prompts have ten tokens for each message, and their texts one for each letter.
async fn counting() -> Bench {
    let factory = ScriptedFactory::choosing(|prompt| {
        let letters = |text: &str| -> Vec<(i32, Vec<u8>)> {
            text.bytes().map(|byte| (i32::from(byte), vec![byte])).collect()
        };
        let tokens = match prompt {
            Prompt::Chat(chat) => {
                chat.messages.iter().flat_map(|message| letters(&message.content)).collect()
            }
            Prompt::Text(text) => letters(text),
            Prompt::Tokens(tokens) => tokens.iter().map(|token| (*token, Vec::new())).collect(),
            Prompt::Fill { prefix, suffix } => letters(&format!("{prefix}{suffix}")),
            Prompt::Embed(_) => Vec::new(),
        };
        let count = u32::try_from(tokens.len()).expect("few");
        Script { prompt_tokens: count.max(1), tokens, ..Script::answering(["ok"]) }
    });
    Bench::new(factory.context_size(40)).await
}

fn spoken(bench: &Bench) -> Vec<(Role, String)> {
    match bench.control.prompts().pop() {
        Some(Prompt::Chat(chat)) => {
            chat.messages.into_iter().map(|message| (message.role, message.content)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_cut_unless_the_client_says_so() {
    let bench = counting().await;
    let say = |role: &str, text: &str| json!({ "role": role, "content": text });
    let messages = json!([
        say("system", "1234567890"),
        say("user", "1234567890"),
        say("assistant", "1234567890"),
        say("user", "1234567890"),
        say("assistant", "1234567890"),
        say("user", "the last1"),
    ]);
    for truncate in [json!(null), json!(false)] {
        let body = chat(&json!({ "messages": messages, "truncate": truncate }));
        let refused = error(&bench.post(CHAT, &body).await.expect(400));
        assert!(refused.contains("59") && refused.contains("40"), "{refused}");
    }
    let body = chat(&json!({ "messages": messages, "truncate": true }));
    let answer = bench.post(CHAT, &body).await.expect(200);
    assert_eq!(answer.header("x-truncated-tokens"), Some("40"));
    let kept = [(Role::System, "1234567890".to_owned()), (Role::User, "the last1".to_owned())];
    assert_eq!(spoken(&bench), kept);
    // With a short answer, more of it fits.
    let options = json!({ "num_predict": 1 });
    let body = changed(body, &json!({ "options": options }));
    let answer = bench.post(CHAT, &body).await.expect(200);
    assert_eq!(answer.header("x-truncated-tokens"), Some("20"));
    assert_eq!(spoken(&bench).len(), 4);
    let fits = chat(&json!({ "truncate": true }));
    let answer = bench.post(CHAT, &fits).await.expect(200);
    assert_eq!(answer.header("x-truncated-tokens"), Some("0"));
    // The last turn stays, whatever it takes.
    let long = chat(&json!({ "truncate": true, "messages": [say("user", &"x".repeat(50))] }));
    bench.post(CHAT, &long).await.expect(400);
}

#[tokio::test]
async fn of_a_prompt_the_beginning_goes() {
    let bench = counting().await;
    let prompt = format!("{}the end", "x".repeat(50));
    bench.post(GENERATE, &generate(&json!({ "prompt": prompt }))).await.expect(400);
    let body = generate(&json!({ "prompt": prompt, "truncate": true }));
    let answer = bench.post(GENERATE, &body).await.expect(200);
    assert_eq!(answer.header("x-truncated-tokens"), Some("27"));
    let kept = |from: usize| prompt.get(from..).expect("plain letters").to_owned();
    assert_eq!(spoken(&bench), [(Role::User, kept(27))]);
    let raw = changed(body, &json!({ "raw": true, "options": { "num_predict": 1 } }));
    let answer = bench.post(GENERATE, &raw).await.expect(200);
    assert_eq!(answer.header("x-truncated-tokens"), Some("18"));
    assert_eq!(bench.control.prompts().pop(), Some(Prompt::Text(kept(18))));
}

#[tokio::test]
async fn vectors_are_normalised_but_in_the_older_form() {
    let script = Script::vectors([vec![3.0, 4.0], vec![0.0, -2.0]]);
    let factory = ScriptedFactory::new(script).with_info(|info| info.purpose = Purpose::Embed);
    let bench = Bench::new(factory).await;
    bench.add("ai/embedder", &Writer::tiny().u32("llama.pooling_type", 1)).await;
    let embed =
        |changes: &Value| changed(json!({ "model": "embedder", "input": ["a", "b"] }), changes);
    let answer = bench.post("/api/embed", &embed(&json!({}))).await.expect(200).json();
    let near = |values: &Value, expected: &[f64]| {
        let values: Vec<f64> =
            values.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        values.len() == expected.len()
            && values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
    };
    assert!(near(&answer["embeddings"][0], &[0.6, 0.8]), "{answer}");
    assert!(near(&answer["embeddings"][1], &[0.0, -1.0]), "{answer}");
    assert!(answer["total_duration"].as_u64() > Some(0) && answer["load_duration"].is_u64());
    let cut = bench.post("/api/embed", &embed(&json!({ "dimensions": 1 }))).await.expect(200);
    assert!(near(&cut.json()["embeddings"][0], &[1.0]));
    let more = bench.post("/api/embed", &embed(&json!({ "dimensions": 99 }))).await.expect(200);
    assert!(near(&more.json()["embeddings"][0], &[0.6, 0.8]));
    let wrong = bench.post("/api/embed", &embed(&json!({ "input": 7 }))).await.expect(400);
    assert!(error(&wrong).starts_with("invalid input type"));
}

#[tokio::test]
async fn the_root_says_whose_port_it_is() {
    let bench = hello().await;
    let local = ([127, 0, 0, 1], 11434).into();
    for (class, text) in [
        (ListenerClass::Ollama { local }, "Ollama is running"),
        (ListenerClass::Tcp { local }, "modeld is running\n"),
    ] {
        for (method, text) in [("GET", text), ("HEAD", "")] {
            let mut request = request(method, "/", Body::empty());
            request.headers_mut().insert("host", "localhost:11434".parse().expect("a value"));
            request.extensions_mut().insert(class);
            let answer = bench.send(request).await.expect(200);
            assert_eq!(answer.text, text, "{method}");
        }
    }
    for (header, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let mut request = request("GET", "/api/tags", Body::empty());
        request.headers_mut().insert("host", "localhost:11434".parse().expect("a value"));
        request.headers_mut().insert(header, value.parse().expect("a value"));
        request.extensions_mut().insert(ListenerClass::Ollama { local });
        error(&bench.send(request).await.expect(403));
    }
}
