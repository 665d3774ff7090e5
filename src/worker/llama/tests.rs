//! Against a real model, whose path is in `MODELD_TEST_MODEL`; without it they only say so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::{ChatPrompt, Message, Role};
use crate::worker::compute::{BatchToken, Compute, DecodeError, Token, Vocab};

fn model() -> Option<Arc<Model>> {
    let Some(path) = std::env::var_os("MODELD_TEST_MODEL") else {
        eprintln!("skipped: MODELD_TEST_MODEL names no GGUF file");
        return None;
    };
    Some(Model::load(&PathBuf::from(path), false, |_| true).expect("the test model loads"))
}

fn context(model: &Arc<Model>, cells: u32) -> Context {
    let settings = ContextSettings { cells, sequences: 4, threads: 2 };
    Context::new(Arc::clone(model), settings, Arc::default()).expect("a context")
}

fn prompt(tokens: &[Token], seq: u32) -> Vec<BatchToken> {
    let last = tokens.len() - 1;
    let item = |(pos, token): (usize, &Token)| BatchToken {
        token: *token,
        pos: u32::try_from(pos).expect("short"),
        seq,
        logits: pos == last,
    };
    tokens.iter().enumerate().map(item).collect()
}

fn greedy(row: &[f32]) -> Token {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a row");
    Token::try_from(best.0).expect("an id")
}

fn user(text: &str) -> ChatPrompt {
    ChatPrompt::new(vec![Message::text(Role::User, text)])
}

/// What `work` answers, and what this thread logs meanwhile.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(Arc::new(log.reopen().expect("the same file")))
        .finish();
    let answer = tracing::subscriber::with_default(subscriber, work);
    (answer, std::fs::read_to_string(log.path()).expect("text"))
}

/// The text after a prompt, and the tokens it took.
fn generate(context: &mut Context, vocab: &Model, tokens: &[Token], seq: u32, max: u32) -> String {
    context.decode(&prompt(tokens, seq)).expect("the prompt is decoded");
    let mut row = tokens.len() - 1;
    let mut text = Vec::new();
    for step in 0..max {
        let token = greedy(context.logits(row));
        if vocab.is_end(token) {
            break;
        }
        vocab.piece(token, &mut text);
        let pos = u32::try_from(tokens.len()).expect("short") + step;
        context.decode(&[BatchToken { token, pos, seq, logits: true }]).expect("a step");
        row = 0;
    }
    String::from_utf8(text).expect("whole characters")
}

#[test]
fn a_chat_is_rendered_tokenised_and_answered_in_words() {
    let Some(model) = model() else { return };
    let templates = ChatTemplates::new(Arc::clone(&model), None).expect("a template");
    let rendered = templates.render(&user("Who wrote Hamlet?")).expect("a prompt");
    assert!(rendered.prompt.ends_with("<|im_start|>assistant\n"), "{rendered:?}");
    let tokens = model.tokenize(&rendered.prompt, 4096).expect("tokens");
    let mut context = context(&model, 1024);
    let text = generate(&mut context, &model, &tokens, 0, 24);
    assert!(text.contains("Shakespeare"), "{text}");
}

#[test]
fn a_shared_prefix_gives_the_same_answer() {
    let Some(model) = model() else { return };
    let tokens = model.tokenize("One two three four five six seven eight", 100).expect("tokens");
    let mut context = context(&model, 512);
    let first = generate(&mut context, &model, &tokens, 0, 8);
    let shared = u32::try_from(tokens.len() - 1).expect("short");
    context.share_prefix(0, 1, shared);
    let last = *tokens.last().expect("tokens");
    context
        .decode(&[BatchToken { token: last, pos: shared, seq: 1, logits: true }])
        .expect("the last token alone");
    let next = greedy(context.logits(0));
    let mut piece = Vec::new();
    model.piece(next, &mut piece);
    assert!(first.as_bytes().starts_with(&piece), "{first:?} {piece:?}");
    assert!(context.truncate(1, 0));
}

#[test]
fn bad_batches_are_errors_and_the_context_stays_usable() {
    let Some(model) = model() else { return };
    let mut context = context(&model, 256);
    let good = BatchToken { token: 1, pos: 0, seq: 0, logits: true };
    let beyond = model.vocab_size();
    let cases = [
        vec![],
        vec![good; context.limits().max_batch + 1],
        vec![BatchToken { token: -1, ..good }],
        vec![BatchToken { token: beyond, ..good }],
        vec![BatchToken { token: i32::MAX, ..good }],
        vec![BatchToken { seq: 4, ..good }],
        vec![BatchToken { seq: 300, ..good }],
        vec![BatchToken { seq: u32::MAX, ..good }],
        vec![BatchToken { pos: u32::MAX, ..good }],
        vec![good, BatchToken { pos: 7, ..good }],
    ];
    for batch in cases {
        let answer = context.decode(&batch);
        assert!(matches!(answer, Err(DecodeError::Invalid(_))), "{answer:?}");
        assert!(context.logits(0).is_empty());
    }
    assert!(!context.truncate(300, 0));
    context.share_prefix(300, 0, 10);
    context.share_prefix(0, 300, 10);
    assert_eq!(context.decode(&[good]), Ok(()));
    assert_eq!(context.logits(0).len(), context.limits().vocab_size);
    assert!(context.logits(1).is_empty());
    assert!(context.logits(usize::MAX).is_empty());
}

#[test]
fn a_full_cache_is_said_and_changes_nothing() {
    let Some(model) = model() else { return };
    let mut context = context(&model, 256);
    let fill: Vec<Token> = vec![5; 200];
    context.decode(&prompt(&fill, 0)).expect("200 of 256");
    let more = prompt(&vec![5; 100], 1);
    assert_eq!(context.decode(&more), Err(DecodeError::NoCells { tokens: 100 }));
    assert!(context.truncate(0, 100));
    assert_eq!(context.decode(&more), Ok(()));
}

#[test]
fn a_raised_flag_ends_a_decode_that_takes_seconds() {
    let Some(model) = model() else { return };
    let abort = Arc::new(AtomicBool::new(false));
    let settings = ContextSettings { cells: 2048, sequences: 1, threads: 2 };
    let mut context = Context::new(Arc::clone(&model), settings, Arc::clone(&abort)).expect("one");
    let long: Vec<Token> = vec![5; 2048];
    let (running, started) = std::sync::mpsc::channel();
    let raiser = std::thread::spawn(move || {
        started.recv().expect("the decode begins");
        abort.store(true, Ordering::Release);
        abort
    });
    running.send(()).expect("the other thread listens");
    let (answer, log) = logged(|| context.decode(&prompt(&long, 0)));
    let abort = raiser.join().expect("no panic");
    assert_eq!(answer, Err(DecodeError::Aborted));
    // llama.cpp complains of what it was told to do, which is no trouble of anybody's.
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
    assert!(log.contains("DEBUG llama:") && log.contains("failed"), "{log}");
    assert_eq!(logs::take_errors(), [""; 0], "nor is it what a later failure is explained by");
    abort.store(false, Ordering::Release);
    assert!(context.truncate(0, 0));
    assert_eq!(context.decode(&prompt(&[5, 5], 0)), Ok(()));
}
