//! The models of the tests hold what the tests believe: checked with llama.cpp itself, without
//! modeld.

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use tempfile::TempDir;

use crate::support::gguf::Gguf;
use crate::support::models::{self, Piece, Then};

const PROMPT: &str = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";

/// The greedy answer to [`PROMPT`], as bytes.
fn answer(backend: &LlamaBackend, file: &Gguf, most: usize) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    let params = LlamaModelParams::default().with_n_gpu_layers(0);
    let model = LlamaModel::load_from_file(backend, &path, &params).unwrap();
    let params = LlamaContextParams::default()
        .with_n_ctx(std::num::NonZeroU32::new(512))
        .with_n_threads(1)
        .with_n_threads_batch(1);
    let mut context = model.new_context(backend, params).unwrap();
    let vocab = model.vocab();
    let prompt = vocab.tokenize(PROMPT.as_bytes(), true, true);
    let mut batch = LlamaBatch::new(512, 1);
    let last = prompt.len() - 1;
    for (position, token) in prompt.iter().enumerate() {
        batch.add(*token, position as i32, &[0], position == last).unwrap();
    }
    let (mut position, mut bytes) = (prompt.len() as i32, Vec::new());
    for _ in 0..most {
        context.decode(&mut batch).unwrap();
        let logits = context.get_logits_ith(batch.n_tokens() - 1);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        let token = llama_cpp_2::token::LlamaToken(best as i32);
        if vocab.is_eog(token) {
            return bytes;
        }
        bytes.extend(vocab.token_to_piece(token, false, None));
        batch.clear();
        batch.add(token, position, &[0], true).unwrap();
        position += 1;
    }
    bytes
}

#[test]
fn the_models_of_the_tests_say_what_they_should() {
    let mut backend = LlamaBackend::init().unwrap();
    backend.void_logs();
    assert_eq!(answer(&backend, &models::hello(), 50), b"Hello world! STOP here.");
    assert_eq!(answer(&backend, &models::crab(), 50), "crab 🦀!!".as_bytes());
    assert_eq!(answer(&backend, &models::endless(), 5), b"one, two, three, four, one, ");
    let broken = models::scripted(&[Piece::Text("ok"), Piece::Byte(0xff)], Then::End);
    assert_eq!(answer(&backend, &broken, 50), b"ok\xff");
    assert!(!answer(&backend, &models::tiny(), 8).is_empty());
}

#[test]
fn a_model_is_the_same_file_every_time() {
    assert_eq!(models::tiny().bytes(), models::tiny().bytes());
    let names: Vec<&str> = crate::support::hostile::broken_structure()
        .iter()
        .map(|(what, bytes)| {
            assert_ne!(*bytes, models::tiny().bytes(), "{what} is not hostile");
            *what
        })
        .collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

/// The client of the tests against canned bytes: what it must not do is to take half an answer
/// for a whole one.
#[test]
fn the_client_of_the_tests_reads_what_is_sent_and_nothing_else() {
    use std::io::{Read as _, Write as _};

    use crate::support::http::{Address, Answer, Client};

    let dir = TempDir::new().unwrap();
    let path = dir.path().join("canned.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let client = Client { address: Address::Unix(path) };
    let canned = |bytes: &'static str| {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut wire, _) = listener.accept().unwrap();
            let _ = wire.read(&mut [0; 4096]);
            wire.write_all(bytes.as_bytes()).unwrap();
        })
    };

    let server = canned("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-A: b\r\n\r\ngone!");
    let answer = client.get("/");
    assert_eq!((answer.status, answer.header("x-a")), (404, Some("b")));
    assert_eq!(answer.text(), "gone!");
    server.join().unwrap();

    let server = canned(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         8\r\ndata: a\n\r\n10\r\n\n: ping\n\ndata: b\r\n2\r\n\n\n\r\n0\r\n\r\n",
    );
    let events: Vec<String> =
        client.stream("/", &serde_json::json!({})).map(|event| event.data).collect();
    assert_eq!(events, ["a", "b"]);
    server.join().unwrap();

    let server = canned("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata");
    let mut answer: Answer = client.open("GET", "/", &[], b"");
    assert!(answer.body.read_to_end(&mut Vec::new()).is_err(), "half a body is an error");
    server.join().unwrap();

    let server = canned("");
    assert!(client.raw(b"GET / HTTP/1.1\r\n\r\n").is_none());
    server.join().unwrap();
}
