//! Vectors and scores of a real model, held against plain loops over the same weights.

use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::minilm::{CONTEXT, MiniLm, dot};
use crate::support::{Daemon, from_env};

const EMBED: &str = "/engines/v1/embeddings";
const MODEL: &str = "ai/minilm";

const TEXTS: [&str; 10] = [
    "That is a happy person",
    "That is a very happy person",
    "Today is a sunny day",
    "Où est l'élève français à Orléans ? Über die Straße, señor: garçon naïf.",
    "東京は日本の首都です。",
    "北京大学 and Peking University",
    "crab 🦀 and unicorn 🦄!",
    "fn main() { let x: Vec<u32> = (0..10).map(|n| n * 2).collect(); }",
    "antidisestablishmentarianism, pneumonoultramicroscopicsilicovolcanoconiosis; https://a.example/b?c=d&e=f#g",
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of \
     times, it was the age of wisdom, it was the age of foolishness, it was the epoch of belief, \
     it was the epoch of incredulity, it was the season of Light, it was the season of Darkness.",
];

fn minilm(test: &str) -> Option<MiniLm> {
    Some(MiniLm::open(Path::new(&from_env(test, "MODELD_TEST_MINILM")?)))
}

fn embed(client: &Client, input: Value) -> Vec<Vec<f32>> {
    let answer = client.post(EMBED, &json!({ "model": MODEL, "input": input })).expect(200).json();
    let data = answer["data"].as_array().expect("data");
    data.iter().map(|vector| floats(&vector["embedding"])).collect()
}

fn floats(list: &Value) -> Vec<f32> {
    let list = list.as_array().expect("numbers");
    list.iter().map(|value| value.as_f64().expect("a number") as f32).collect()
}

#[test]
fn vectors_are_those_of_an_independent_implementation() {
    let Some(minilm) = minilm("vectors_are_those_of_an_independent_implementation") else { return };
    let daemon = Daemon::with(MODEL, &minilm.embedder());
    let client = daemon.client();

    let body = json!({ "model": MODEL, "input": TEXTS });
    let answer = client.post(EMBED, &body).expect(200).json();
    let together: Vec<Vec<f32>> =
        answer["data"].as_array().expect("data").iter().map(|v| floats(&v["embedding"])).collect();
    let mut tokens = 0;
    for (text, vector) in TEXTS.iter().zip(&together) {
        let ids = minilm.tokenize(text);
        tokens += ids.len();
        let body = json!({ "model": MODEL, "prompt": text });
        let said = client.post("/tokenize", &body).expect(200).json();
        assert_eq!(said["tokens"], json!(ids), "the tokens of {text:?}");
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4, "{text:?} has length 1");
        let cosine = dot(vector, &minilm.embed(text));
        assert!(cosine >= 0.9999, "{text:?}: {cosine}");
    }
    assert_eq!(answer["usage"], json!({ "prompt_tokens": tokens, "total_tokens": tokens }));
    let alike = dot(&together[0], &together[1]);
    assert!(alike > 0.9 && dot(&together[0], &together[2]) < 0.4, "{alike}");

    for (text, vector) in TEXTS.iter().zip(&together) {
        let alone = embed(&client, json!(text)).remove(0);
        assert!(dot(&alone, vector) >= 0.99999, "{text:?} alone is not what it is among others");
        let by_tokens = embed(&client, json!([minilm.tokenize(text)])).remove(0);
        assert!(dot(&by_tokens, vector) >= 0.99999, "the tokens of {text:?} are not {text:?}");
    }
    let copies = vec![TEXTS[0]; 300];
    let many = embed(&client, json!(copies));
    assert_eq!(many.len(), 300);
    assert!(many.iter().all(|vector| dot(vector, &together[0]) >= 0.99999), "300 of the same");

    forms(&client, &together[3]);
    limits(&client);
}

/// Base64 and fewer dimensions say the same as the numbers.
fn forms(client: &Client, vector: &[f32]) {
    let ask = |more: &Value| {
        let mut body = json!({ "model": MODEL, "input": TEXTS[3] });
        let fields = body.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        client.post(EMBED, &body)
    };
    let answer = ask(&json!({ "encoding_format": "base64" })).expect(200).json();
    let text = answer["data"][0]["embedding"].as_str().expect("base64").to_owned();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let back: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().expect("4 bytes")))
        .collect();
    assert_eq!(back.len(), vector.len());
    assert!(dot(&back, vector) >= 0.99999, "base64 and numbers differ");
    let answer = ask(&json!({ "dimensions": 16 })).expect(200).json();
    let cut = floats(&answer["data"][0]["embedding"]);
    let length = dot(&vector[..16], &vector[..16]).sqrt();
    assert_eq!(cut.len(), 16);
    assert!((dot(&cut, &vector[..16]) / length - 1.0).abs() < 1e-4, "the first 16, of length 1");
    let refused = ask(&json!({ "dimensions": 385 })).expect(400).json();
    assert_eq!(refused["error"]["param"], "dimensions");
}

/// What does not fit is refused with its numbers, and what just fits is not.
fn limits(client: &Client) {
    let words = |count: usize| "word ".repeat(count);
    embed(client, json!(words(CONTEXT - 2)));
    let body = json!({ "model": MODEL, "input": ["short", words(CONTEXT - 1)] });
    let error = client.post(EMBED, &body).expect(400).json()["error"].take();
    assert_eq!(error["code"], "context_length_exceeded");
    assert_eq!(error["param"], "input[1]");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("513") && message.contains("512"), "{message}");
    let body = json!({ "model": MODEL, "input": [[101, 30522, 102]] });
    let error = client.post(EMBED, &body).expect(400).json()["error"].take();
    assert!(error["message"].as_str().is_some_and(|m| m.contains("30522")), "{error}");
    let body = json!({ "model": MODEL, "content": words(2 * CONTEXT) });
    let count = &client.post("/tokenize", &body).expect(200).json()["count"];
    assert_eq!(*count, json!(2 * CONTEXT), "a question is not refused for its length");
    let body = json!({ "model": MODEL, "tokens": [101, 7592, 2088, 102] });
    let text = client.post("/detokenize", &body).expect(200).json()["content"].take();
    assert!(text.as_str().is_some_and(|text| text.contains("hello world")), "{text}");
}

#[test]
fn scores_are_those_of_an_independent_implementation() {
    let Some(minilm) = minilm("scores_are_those_of_an_independent_implementation") else { return };
    let daemon = Daemon::with(MODEL, &minilm.reranker());
    let client = daemon.client();
    let query = "shutil copy file";
    let documents = [
        "Today is a sunny day",
        "Copy data and mode bits of a file",
        "東京は日本の首都です。",
        "fn main() {}",
    ];
    let body = json!({ "model": MODEL, "query": query, "documents": documents });
    let results = client.post("/rerank", &body).expect(200).json()["results"].take();
    let results = results.as_array().expect("results");
    assert_eq!(results.len(), documents.len());
    let mut last = f64::INFINITY;
    let mut logits = Vec::new();
    for result in results {
        let score = result["relevance_score"].as_f64().expect("a score");
        assert!(score <= last, "the best first: {results:?}");
        last = score;
        let index = result["index"].as_u64().expect("an index") as usize;
        let logit = (score / (1.0 - score)).ln() as f32;
        let wanted = minilm.score(query, documents[index]);
        assert!((logit - wanted).abs() < 0.05, "{}: {logit}, not {wanted}", documents[index]);
        logits.push(logit);
    }
    let spread = logits[0] - logits[logits.len() - 1];
    assert!(spread > 0.2, "documents that score the same prove nothing: {logits:?}");
    let body = json!({ "model": MODEL, "text_1": query, "text_2": documents });
    let scores = client.post("/v1/score", &body).expect(200).json()["data"].take();
    for result in results {
        let index = result["index"].as_u64().expect("an index") as usize;
        let same = scores[index]["score"].as_f64().expect("a score");
        let score = result["relevance_score"].as_f64().expect("a score");
        assert!((same - score).abs() < 1e-3, "{same} {score}");
    }
}
