use serde_json::{Value, json};

use super::support::{Bench, replace_ids};
use crate::domain::{EmbedInput, Error, ErrorKind, Prompt};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::gguf::testing::Writer;
use crate::protocol::Purpose;

const EMBED: &str = "/engines/v1/embeddings";

/// A daemon with an embedder and a reranker, which answer `vectors` to whatever they are asked.
async fn bench(vectors: &[Vec<f32>]) -> Bench {
    let factory = ScriptedFactory::new(Script::vectors(vectors.to_vec()));
    let bench = Bench::new(factory.with_info(|info| info.purpose = Purpose::Embed)).await;
    bench.add("ai/embedder", &Writer::tiny().u32("llama.pooling_type", 1)).await;
    bench.add("ai/reranker", &Writer::tiny().u32("llama.pooling_type", 4)).await;
    bench
}

fn embed(changes: &Value) -> Value {
    let mut body = json!({ "model": "ai/embedder", "input": "Hi" });
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

#[tokio::test]
async fn embeddings_as_numbers_and_as_base64() {
    let bench = bench(&[vec![3.0, 4.0], vec![0.0, -2.0]]).await;
    let body = embed(&json!({ "input": ["a", "b"] }));
    let floats = bench.post(EMBED, &body).await.expect(200);
    for name in ["x-queue-position", "x-queue-wait-ms", "openai-processing-ms"] {
        assert!(floats.header(name).is_some(), "{name}");
    }
    let body = embed(&json!({ "input": ["a", "b"], "encoding_format": "base64" }));
    let base64 = bench.post("/v1/embeddings", &body).await.expect(200);
    let body = embed(&json!({ "input": ["a", "b"], "dimensions": 1 }));
    let cut = bench.post("/engines/llama.cpp/v1/embeddings", &body).await.expect(200);
    insta::assert_snapshot!([floats.text, base64.text, cut.text].join("\n"));
    let inputs = ["a", "b"].map(|text| EmbedInput::Text(text.to_owned()));
    assert_eq!(bench.control.prompts()[0], Prompt::Embed(inputs.to_vec()));
}

#[tokio::test]
async fn documents_are_ranked_and_pairs_scored() {
    let bench = bench(&[vec![-1.5], vec![2.5], vec![0.0]]).await;
    let ask =
        json!({ "model": "ai/reranker", "query": "q", "documents": ["a", { "text": "b" }, "c"] });
    let plain = bench.post("/rerank", &ask).await.expect(200);
    let mut best = ask.clone();
    best["top_n"] = json!(1);
    best["return_documents"] = json!(true);
    let best = bench.post("/v2/rerank", &best).await.expect(200);
    for path in ["/v1/rerank", "/engines/rerank", "/engines/llama.cpp/rerank"] {
        bench.post(path, &ask).await.expect(200);
    }
    let pairs = json!({ "model": "ai/reranker", "text_1": "q", "text_2": ["a", "b", "c"] });
    let score = bench.post("/score", &pairs).await.expect(200);
    insta::assert_snapshot!(replace_ids(&[plain.text, best.text, score.text].join("\n")));
    let prompts = bench.control.prompts();
    assert!(prompts.iter().all(|prompt| *prompt == prompts[0]), "{prompts:?}");
}

#[tokio::test]
async fn tokens_of_a_text_and_a_text_of_tokens() {
    let tokens = vec![(1, b"Hel".to_vec()), (2, vec![0xf0])];
    let script = Script { tokens, ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let mut all = Vec::new();
    for (path, body) in [
        ("/tokenize", json!({ "model": "ai/tiny", "content": "Hello", "with_pieces": true })),
        (
            "/v1/tokenize",
            json!({ "model": "ai/tiny", "prompt": "Hello", "return_token_strs": true }),
        ),
        (
            "/engines/v1/tokenize",
            json!({ "model": "ai/tiny", "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        ("/detokenize", json!({ "model": "ai/tiny", "tokens": [1, 2] })),
    ] {
        all.push(bench.post(path, &body).await.expect(200).text);
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[tokio::test]
async fn what_a_model_cannot_do_is_said_with_what_it_can() {
    let bench = bench(&[vec![1.0]]).await;
    let mut all = Vec::new();
    for (path, body) in [
        (EMBED, embed(&json!({ "model": "ai/tiny" }))),
        (EMBED, embed(&json!({ "model": "ai/reranker" }))),
        ("/rerank", json!({ "model": "ai/embedder", "query": "q", "documents": ["d"] })),
        ("/score", json!({ "model": "ai/tiny", "text_1": "q", "text_2": "d" })),
        (EMBED, embed(&json!({ "dimensions": 2 }))),
        (EMBED, embed(&json!({ "input": [] }))),
        (EMBED, embed(&json!({ "input": ["a", ""] }))),
        (EMBED, embed(&json!({ "encoding_format": "int8" }))),
        (EMBED, json!({ "model": "ai/embedder" })),
        (EMBED, json!({ "input": "a" })),
        ("/v1/rerank", json!({ "model": "ai/reranker", "query": "q" })),
        ("/tokenize", json!({ "model": "ai/tiny" })),
        ("/detokenize", json!({ "model": "ai/tiny" })),
    ] {
        let answer = bench.post(path, &body).await.expect(400);
        all.push(format!("{path} {body}\n  {}", answer.text));
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[tokio::test]
async fn an_input_that_is_too_long_is_named_as_the_client_knows_it() {
    let error = Error::new(ErrorKind::ContextLengthExceeded, "input 1 has 600 tokens")
        .with_param("input[1]");
    let script = Script { prepare_error: Some(error), ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    bench.add("ai/embedder", &Writer::tiny().u32("llama.pooling_type", 1)).await;
    bench.add("ai/reranker", &Writer::tiny().u32("llama.pooling_type", 4)).await;
    let answer = bench.post(EMBED, &embed(&json!({ "input": ["a", "b"] }))).await.expect(400);
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    assert_eq!(answer.json()["error"]["param"], "input[1]");
    let body = json!({ "model": "ai/reranker", "query": "q", "documents": ["a", "b"] });
    let answer = bench.post("/rerank", &body).await.expect(400);
    assert_eq!(answer.json()["error"]["param"], "documents[1]");
}

#[tokio::test]
async fn fewer_vectors_than_inputs_are_no_answer() {
    let bench = bench(&[vec![1.0]]).await;
    let answer = bench.post(EMBED, &embed(&json!({ "input": ["a", "b"] }))).await.expect(500);
    assert_eq!(answer.json()["error"]["type"], "server_error");
}
