//! Ollama's API with real models, on its own port.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::minilm::{MiniLm, dot};
use crate::support::{Daemon, from_env, models};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

fn with(mut body: Value, changes: &Value) -> Value {
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

/// The real model, on Ollama's port.
fn daemon(test: &str) -> Option<Daemon> {
    let path = from_env(test, "MODELD_TEST_MODEL")?;
    let daemon = Daemon::builder().ollama().args(&["--context", "512"]).start();
    daemon.cli_ok(&["package", "--gguf", &path, "ai/smollm2"]);
    Some(daemon)
}

/// The lines of a stream.
fn lines(client: &Client, path: &str, body: &Value) -> Vec<Value> {
    let answer = client.post(path, body).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_generation_is_counted_repeatable_and_ends_as_asked() {
    let Some(daemon) = daemon("a_generation_is_counted_repeatable_and_ends_as_asked") else {
        return;
    };
    let client = daemon.tcp_client();
    let options = json!({ "temperature": 0, "seed": 7, "num_predict": 24 });
    let ask = json!({ "model": "SmolLM2", "prompt": "Count to five.", "options": options });
    let all = lines(&client, GENERATE, &ask);
    let text: String = all.iter().filter_map(|line| line["response"].as_str()).collect();
    let last = all.last().expect("a line");
    for field in [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ] {
        assert!(last[field].as_u64() > Some(0), "{field}: {last}");
    }
    let whole = with(ask.clone(), &json!({ "stream": false }));
    let whole = client.post(GENERATE, &whole).expect(200).json();
    assert_eq!((&whole["response"], &whole["model"]), (&json!(text), &json!("SmolLM2")));
    let prompt = whole["prompt_eval_count"].as_u64().expect("a count");
    // The tokens of the prompt and of the answer, its end left out.
    let context = whole["context"].as_array().expect("tokens").len() as u64;
    assert!(context > prompt && context <= prompt + 24, "{context}, {prompt}");

    let short = with(options.clone(), &json!({ "num_predict": 3 }));
    let cut = json!({ "stream": false, "options": short });
    let cut = client.post(GENERATE, &with(ask.clone(), &cut)).expect(200).json();
    assert_eq!((&cut["done_reason"], &cut["eval_count"]), (&json!("length"), &json!(3)));

    let word = text.split_whitespace().nth(1).expect("two words").to_owned();
    let stop = json!({ "stream": false, "options": with(options, &json!({ "stop": [word] })) });
    let stopped = client.post(GENERATE, &with(ask, &stop)).expect(200).json();
    let before = text.split(&word).next();
    assert_eq!(
        (stopped["done_reason"].as_str(), stopped["response"].as_str()),
        (Some("stop"), before)
    );
}

#[test]
fn forms_calls_and_raw_prompts_are_real() {
    let Some(daemon) = daemon("forms_calls_and_raw_prompts_are_real") else { return };
    let client = daemon.tcp_client();
    let ask = json!({
        "model": "smollm2:latest", "stream": false, "options": { "temperature": 0, "num_predict": 60 },
        "messages": [{ "role": "user", "content": "What is the weather in Rome?" }],
    });
    let schema = json!({
        "type": "object", "required": ["city"],
        "properties": { "city": { "enum": ["Rome", "Paris"] } },
    });
    let painted = with(ask.clone(), &json!({ "format": schema }));
    let painted = client.post(CHAT, &painted).expect(200).json();
    let text = painted["message"]["content"].as_str().expect("a text");
    let value: Value = serde_json::from_str(text).expect("JSON");
    assert!(["Rome", "Paris"].contains(&value["city"].as_str().expect("a city")), "{text}");

    let function = json!({ "name": "weather", "parameters": {
        "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
    }});
    let tools = json!({ "tools": [{ "type": "function", "function": function }] });
    let called = client.post(CHAT, &with(ask.clone(), &tools)).expect(200).json();
    for call in called["message"]["tool_calls"].as_array().into_iter().flatten() {
        assert!(call["function"]["arguments"].is_object(), "{call}");
    }

    let raw = json!({
        "model": "smollm2", "prompt": "one two three", "raw": true, "stream": false,
        "logprobs": true, "top_logprobs": 3, "options": { "temperature": 0, "num_predict": 4 },
    });
    let raw = client.post(GENERATE, &raw).expect(200).json();
    let tokens = raw["logprobs"].as_array().expect("tokens");
    assert_eq!((tokens.len(), tokens[0]["top_logprobs"].as_array().map(Vec::len)), (4, Some(3)));
    let said: String = tokens.iter().filter_map(|token| token["token"].as_str()).collect();
    assert_eq!(raw["response"].as_str(), Some(said.as_str()));

    let gap = json!({ "model": "smollm2", "prompt": "a", "suffix": "b" });
    let refused = client.post(GENERATE, &gap);
    // A model that knows the tokens fills the gap.
    assert!([200, 400].contains(&refused.status), "{}", refused.text());
    let picture = base64::engine::general_purpose::STANDARD.encode(png());
    let see = json!({ "messages": [{ "role": "user", "content": "?", "images": [picture] }] });
    let refused = client.post(CHAT, &with(ask, &see)).expect(400).json();
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("images")), "{refused}");
}

fn png() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 200, 17]))
        .write_to(&mut out, image::ImageFormat::Png)
        .expect("encoded");
    out.into_inner()
}

#[test]
fn what_does_not_fit_is_cut_only_where_the_client_says_so() {
    let Some(daemon) = daemon("what_does_not_fit_is_cut_only_where_the_client_says_so") else {
        return;
    };
    let client = daemon.tcp_client();
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let mut messages = vec![turn("system", "Be brief.")];
    for _ in 0..20 {
        messages.push(turn("user", &"many words about nothing ".repeat(8)));
        messages.push(turn("assistant", "Yes."));
    }
    messages.push(turn("user", "Say hello."));
    let ask = json!({
        "model": "smollm2", "messages": messages, "stream": false,
        "options": { "temperature": 0, "num_predict": 8 },
    });
    let refused = client.post(CHAT, &ask).expect(400).json();
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("512")), "{refused}");
    let answer = client.post(CHAT, &with(ask, &json!({ "truncate": true }))).expect(200);
    let cut: u64 =
        answer.header("x-truncated-tokens").expect("a number").parse().expect("a number");
    let kept = answer.json()["prompt_eval_count"].as_u64().expect("a count");
    assert!(cut > 300 && kept > 300 && kept <= 504, "{cut} cut, {kept} kept");

    let prompt = format!("{}Say hello.", "many words about nothing ".repeat(200));
    for raw in [false, true] {
        let ask = json!({
            "model": "smollm2", "prompt": prompt, "raw": raw, "stream": false, "truncate": true,
            "options": { "temperature": 0, "num_predict": 8 },
        });
        let answer = client.post(GENERATE, &ask).expect(200);
        let kept = answer.json()["prompt_eval_count"].as_u64().expect("a count");
        assert!((480..=504).contains(&kept), "{kept} kept");
        assert!(answer.header("x-truncated-tokens").is_some());
    }
}

#[test]
fn a_conversation_goes_on_from_its_tokens() {
    let Some(daemon) = daemon("a_conversation_goes_on_from_its_tokens") else { return };
    let client = daemon.tcp_client();
    let ask = |prompt: &str, context: &Value| {
        let body = json!({
            "model": "smollm2", "prompt": prompt, "context": context, "stream": false,
            "options": { "temperature": 0, "num_predict": 16 },
        });
        client.post(GENERATE, &body).expect(200).json()
    };
    let first = ask("My favourite colour is green.", &json!(null));
    let second = ask("What did I say?", &first["context"]);
    let before = first["context"].as_array().expect("tokens").len() as u64;
    assert!(second["prompt_eval_count"].as_u64() > Some(before), "{second}");
    let after = second["context"].as_array().expect("tokens");
    assert_eq!(&after[..before as usize], &first["context"].as_array().expect("tokens")[..]);
}

#[test]
fn vectors_have_length_one_and_their_inputs_order() {
    let name = "vectors_have_length_one_and_their_inputs_order";
    let Some(path) = from_env(name, "MODELD_TEST_MINILM") else { return };
    let minilm = MiniLm::open(std::path::Path::new(&path));
    let daemon = Daemon::builder().ollama().model("ai/minilm", &minilm.embedder()).start();
    let client = daemon.tcp_client();
    let embed = |changes: &Value| {
        let body = with(json!({ "model": "minilm", "input": ["a dog", "a fox", ""] }), changes);
        client.post("/api/embed", &body).expect(200)
    };
    let vectors = |answer: &Value| -> Vec<Vec<f32>> {
        let list = answer["embeddings"].as_array().expect("a list");
        let floats = |vector: &Value| -> Vec<f32> {
            let values = vector.as_array().expect("numbers").iter();
            values.map(|value| value.as_f64().expect("a number") as f32).collect()
        };
        list.iter().map(floats).collect()
    };
    let all = vectors(&embed(&json!({})).json());
    assert_eq!(all.len(), 3);
    for vector in &all {
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4);
    }
    let one = vectors(&embed(&json!({ "input": "a fox" })).json());
    assert!(dot(&one[0], &all[1]) > 0.9999);
    let cut = vectors(&embed(&json!({ "dimensions": 8 })).json());
    assert!(cut[0].len() == 8 && (dot(&cut[0], &cut[0]) - 1.0).abs() < 1e-4);

    let long = "one two three ".repeat(300);
    let body = json!({ "model": "minilm", "input": long });
    let refused = client.post("/api/embed", &body).expect(400).json();
    let error = refused["error"].as_str().expect("a text");
    assert!(error.starts_with("the input length exceeds the context length"), "{error}");
    let answer = embed(&json!({ "input": ["short", long], "truncate": true }));
    let cut: u64 = answer.header("x-truncated-tokens").expect("told").parse().expect("a number");
    assert!(cut > 100, "{cut}");
    let older = json!({ "model": "minilm", "prompt": "a dog" });
    let older = client.post("/api/embeddings", &older).expect(200).json();
    assert_eq!(older["embedding"].as_array().map(Vec::len), Some(all[0].len()));
}

#[test]
fn the_port_is_ollamas() {
    let daemon = Daemon::builder().ollama().model("ai/hello", &models::hello()).start();
    let client = daemon.tcp_client();
    assert_eq!(client.get("/").expect(200).text(), "Ollama is running");
    let version = client.get("/api/version").expect(200).json();
    assert!(version["version"].as_str().is_some_and(|text| text.split('.').count() == 3));
    let tags = client.get("/api/tags").expect(200).json();
    assert_eq!(tags["models"][0]["name"], "hello:latest");
    // The other APIs are there as well, and the socket goes on saying what it is.
    client.get("/v1/models").expect(200);
    assert_eq!(daemon.client().get("/").expect(200).text(), "modeld is running\n");
    let body = json!({ "model": "hello", "messages": [{ "role": "user", "content": "Hi" }] });
    let all = lines(&client, CHAT, &body);
    let text: String = all.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    assert_eq!(text, "Hello world! STOP here.");
}

#[test]
fn the_rust_library_works() {
    use futures_util::StreamExt as _;
    use ollama_rs::Ollama;
    use ollama_rs::generation::chat::ChatMessage;
    use ollama_rs::generation::chat::request::ChatMessageRequest;
    use ollama_rs::generation::completion::request::GenerationRequest;
    use ollama_rs::models::ModelOptions;

    let Some(daemon) = daemon("the_rust_library_works") else { return };
    let client = Ollama::builder().host("http://127.0.0.1").port(daemon.port().port()).build();
    let model = || "smollm2".to_owned();
    let options = ModelOptions::default().temperature(0.0).num_predict(12);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let models = client.list_local_models().await.expect("a list");
        assert_eq!(models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["smollm2:latest"]);
        let shown = client.show_model_info(model()).await.expect("a model");
        assert!(shown.model_info.contains_key("general.architecture"));

        let ask = GenerationRequest::new(model(), "Say hello.").options(options.clone());
        let whole = client.generate(ask.clone()).await.expect("an answer");
        assert!(whole.done && whole.eval_count == Some(12) && !whole.response.is_empty());
        let mut stream = client.generate_stream(ask).await.expect("a stream");
        let mut text = String::new();
        while let Some(pieces) = stream.next().await {
            pieces.expect("lines").iter().for_each(|piece| text += &piece.response);
        }
        assert_eq!(text, whole.response);

        let messages = vec![ChatMessage::user("Say hello.".to_owned())];
        let ask = ChatMessageRequest::new(model(), messages).options(options);
        let answer = client.send_chat_messages(ask).await.expect("an answer");
        assert!(!answer.message.content.is_empty());
        assert!(answer.final_data.is_some_and(|last| last.eval_count == 12));

        client.copy_model(model(), "another".to_owned()).await.expect("a copy");
        client.delete_model("another".to_owned()).await.expect("gone again");
        client.delete_model("another".to_owned()).await.expect_err("it is gone");
    });
}

#[test]
fn an_answer_goes_on_over_the_end_of_the_context_if_it_may() {
    let daemon = Daemon::builder().ollama().model("ai/endless", &models::endless()).start();
    let client = daemon.tcp_client();
    let options = json!({ "num_ctx": 128, "num_predict": 500, "num_keep": 8 });
    let ask =
        json!({ "model": "ai/endless", "prompt": "Count", "stream": false, "options": options });
    let ends = |changes: Value| {
        let answer = client.post(GENERATE, &with(ask.clone(), &changes)).expect(200).json();
        assert_eq!(answer["done_reason"], "length", "{answer}");
        answer["eval_count"].as_u64().expect("a count")
    };
    // At least a small context is always there.
    let within = ends(json!({}));
    assert_eq!(ends(json!({ "shift": false })), within);
    assert!(within < 500, "{within}");
    assert_eq!(ends(json!({ "shift": true })), 500);
}
