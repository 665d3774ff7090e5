//! With the vocabulary of a real model, whose path is in `MODELD_TEST_MODEL`; without it they only
//! say so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::tests::{all_obey, allowed, drive, schema};
use super::{Compiler, vocabulary};
use crate::domain::Constraint;
use crate::worker::llama::Model;

fn model() -> Option<Arc<Model>> {
    let Some(path) = std::env::var_os("MODELD_TEST_MODEL") else {
        eprintln!("skipped: MODELD_TEST_MODEL names no GGUF file");
        return None;
    };
    Some(Model::load(&PathBuf::from(path), true, |_| true).expect("the test model loads"))
}

#[test]
fn any_allowed_answer_of_a_real_vocabulary_obeys_its_schema() {
    let Some(model) = model() else { return };
    all_obey(&model, 3);
}

#[test]
fn grammars_of_a_real_vocabulary_are_followed() {
    let Some(model) = model() else { return };
    let compiler = Compiler::new(Arc::clone(&model));
    let gbnf = Constraint::Gbnf("root ::= \"yes\" | \"no\" \"!\"*".into());
    for seed in 0..5 {
        let mut constraint = compiler.compile(&gbnf).expect("it compiles").expect("one");
        let text = drive(constraint.as_mut(), &model, &mut fastrand::Rng::with_seed(seed));
        let text = text.expect("an end");
        assert!(text == "yes" || text.trim_end_matches('!') == "no", "{text}");
    }
}

#[test]
fn what_it_costs() {
    let Some(model) = model() else { return };
    let begin = Instant::now();
    vocabulary::factory(&model).expect("a trie");
    println!("vocabulary of {} tokens: {:?}", model.vocab_size(), begin.elapsed());
    let compiler = Compiler::new(Arc::clone(&model));
    compiler.compile(&Constraint::JsonObject).expect("it compiles");
    let request = schema(&json!({"type": "object", "properties": {"name": {"type": "string"},
        "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["name", "age", "tags"], "additionalProperties": false}));
    let begin = Instant::now();
    let mut constraint = compiler.compile(&request).expect("it compiles").expect("one");
    println!("compiling a schema: {:?}", begin.elapsed());
    let text = r#"{"name": "Ada Lovelace", "age": 36, "tags": ["mathematics", "poetry"]}"#;
    let tokens = model.tokenize_part(text, 1000, false, false).expect("tokens");
    let mut logits = vec![0f32; usize::try_from(model.vocab_size()).expect("a size")];
    let (mut masks, mut checks, mut accepts) = Default::default();
    let mut worst = std::time::Duration::ZERO;
    for token in &tokens {
        let begin = Instant::now();
        constraint.mask(&mut logits).expect("a mask");
        let mask = begin.elapsed();
        worst = worst.max(mask);
        masks += mask;
        let begin = Instant::now();
        assert_eq!(constraint.allows(*token), Ok(true));
        checks += begin.elapsed();
        let begin = Instant::now();
        constraint.accept(*token).expect("allowed");
        accepts += begin.elapsed();
    }
    let count = u32::try_from(tokens.len()).expect("few");
    let (masks, checks, accepts): (std::time::Duration, std::time::Duration, std::time::Duration) =
        (masks, checks, accepts);
    println!(
        "a token: mask {:?} (worst {worst:?}), allows {:?}, accept {:?}",
        masks / count,
        checks / count,
        accepts / count
    );
    let gbnf = Constraint::Gbnf("root ::= \"{\" [^}]* \"}\"".into());
    let mut grammar = compiler.compile(&gbnf).expect("it compiles").expect("one");
    let begin = Instant::now();
    allowed(grammar.as_mut(), &model);
    println!("a mask by llama.cpp's grammar: {:?}", begin.elapsed());
}
