//! With a vocabulary of bytes: whatever is chosen among the allowed tokens, the text obeys.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{Constraint, ErrorKind};
use crate::schema;
use crate::worker::compute::{Token, TokenConstraint, Vocab};
use crate::worker::llama::{Model, tiny};

/// Longer answers are given up: the choices are random, not the model's.
const MAX_TOKENS: usize = 4_000;

pub(super) fn schema(value: &Value) -> Constraint {
    Constraint::JsonSchema(value.to_string())
}

fn compiled(compiler: &Compiler, constraint: &Constraint) -> Box<dyn TokenConstraint> {
    compiler.compile(constraint).expect("it compiles").expect("a constraint")
}

/// Which tokens may come next.
pub(super) fn allowed(constraint: &mut dyn TokenConstraint, model: &Model) -> Vec<Token> {
    let size = usize::try_from(model.vocab_size()).expect("a size");
    let mut logits = vec![0f32; size];
    constraint.mask(&mut logits).expect("a mask");
    (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0).map(|(token, _)| token).collect()
}

/// A text of random allowed tokens, with a liking for those that bring it to an end.
pub(super) fn drive(
    constraint: &mut dyn TokenConstraint,
    model: &Model,
    rng: &mut fastrand::Rng,
) -> Option<String> {
    let mut text = Vec::new();
    for _ in 0..MAX_TOKENS {
        let next = allowed(constraint, model);
        assert!(!next.is_empty(), "a dead end after {:?}", String::from_utf8_lossy(&text));
        let (ends, others): (Vec<_>, Vec<_>) = next.iter().partition(|token| model.is_end(**token));
        if others.is_empty() || !ends.is_empty() && rng.u8(..) < 80 {
            assert!(!ends.is_empty());
            return Some(String::from_utf8(text).expect("whole characters"));
        }
        let closing: Vec<Token> = others
            .iter()
            .copied()
            .filter(|token| {
                let piece = model.token_text(*token);
                matches!(piece.as_slice(), b"\"" | b"}" | b"]" | b"\"}" | b"\"," | b"null")
            })
            .collect();
        let token = match closing.len() {
            0 => others[rng.usize(..others.len())],
            count if rng.u8(..) < 150 => closing[rng.usize(..count)],
            _ => others[rng.usize(..others.len())],
        };
        assert_eq!(constraint.allows(token), Ok(true), "{token} after {text:?}");
        constraint.accept(token).expect("an allowed token");
        model.piece(token, &mut text);
    }
    None
}

/// Schemas of every kind that is enforced.
pub(super) fn schemas() -> Vec<Value> {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let format = |name: &str| json!({"type": "string", "format": name});
    vec![
        json!({"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c d"]}, "minItems": 1, "maxItems": 3}},
            "required": ["name", "age", "tags"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "null"},
            "c": {"const": {"x": [1, "y\n", true]}}}, "additionalProperties": {"type": "integer", "maximum": 9, "minimum": 0}}),
        json!({"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 9},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["v", "next"], "additionalProperties": false}}, "$ref": "#/$defs/node"}),
        json!({"oneOf": [{"type": "string", "minLength": 2, "maxLength": 4}, {"type": "boolean"}]}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 10, "maximum": 99}, "b": {"const": "z"}}, "required": ["b"],
             "additionalProperties": false}]}),
        json!({"type": "array", "prefixItems": [{"const": 1}, {"type": "string", "maxLength": 3}],
            "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array",
            "items": [{"const": 1}, {"const": 2}], "additionalItems": false}),
        json!({"$defs": {"l": {"type": "object", "properties": {"k": {"const": "l"}}, "required": ["k"],
            "additionalProperties": false}, "p": {"type": "object", "properties": {"k": {"const": "p"},
            "t": {"$ref": "#/$defs/t"}}, "required": ["k"], "additionalProperties": false},
            "t": {"oneOf": [{"$ref": "#/$defs/l"}, {"$ref": "#/$defs/p"}]}}, "$ref": "#/$defs/t"}),
        json!({"type": "number", "minimum": -1.5, "maximum": 2.25}),
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "multipleOf": 0.25}),
        json!({"type": "integer", "multipleOf": 7, "minimum": -50, "maximum": 50}),
        json!({"type": ["string", "null", "integer"], "maxLength": 3, "minimum": 5, "maximum": 6}),
        json!({"enum": ["\"quoted\"", "back\\slash", "tab\t", "\u{1f980}", 3, 2.5, null, [1, {}]]}),
        json!({"type": "object", "patternProperties": {"^x[0-9]$": {"type": "integer", "minimum": 0, "maximum": 3}},
            "properties": {"x1": {"maximum": 1}}, "additionalProperties": false}),
        json!({"type": "object", "propertyNames": {"enum": ["red", "blue"]}, "additionalProperties": {"type": "boolean"}}),
        json!({"type": "object", "required": ["p"], "minProperties": 2, "maxProperties": 3, "properties": {"p": {"const": 0}},
            "additionalProperties": {"const": 1}}),
        text("^[a-c]{2,4}$"),
        text("b"),
        text("^a|b$"),
        text(r"^\d+\.\d{2}$"),
        text(r"^[^\s]{1,3}$"),
        format("date"),
        format("time"),
        format("date-time"),
        format("duration"),
        format("email"),
        format("uuid"),
        format("ipv4"),
        format("ipv6"),
        format("uri"),
        format("hostname"),
        json!({"type": "string", "format": "date", "pattern": "^20"}),
    ]
}

/// A JSON value of random tokens, checked by an independent validator.
///
/// # Errors
/// What is wrong with it.
pub(super) fn obeys(
    compiler: &Compiler,
    model: &Model,
    schema: &Value,
    seed: u64,
) -> Result<(), String> {
    schema::check(schema).map_err(|fault| format!("{schema}: {fault}"))?;
    let validator =
        jsonschema::options().should_validate_formats(true).build(schema).expect("a schema");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut constraint = compiled(compiler, &self::schema(schema));
    let Some(text) = drive(constraint.as_mut(), model, &mut rng) else { return Ok(()) };
    let value: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        // JSON has no largest number, this reader has.
        Err(error) if error.to_string().contains("out of range") => return Ok(()),
        Err(error) => return Err(format!("{text:?} is no JSON: {error}")),
    };
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|error| error.to_string()).collect();
    if errors.is_empty() { Ok(()) } else { Err(format!("{schema}\n{text}\n{errors:?}")) }
}

/// Drives every schema `seeds` times.
pub(super) fn all_obey(model: &Arc<Model>, seeds: u64) {
    let compiler = Compiler::new(Arc::clone(model));
    let wrong: Vec<String> = schemas()
        .iter()
        .filter_map(|schema| {
            (0..seeds).find_map(|seed| obeys(&compiler, model, schema, seed).err())
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn any_allowed_answer_obeys_its_schema() {
    all_obey(&tiny::model(None), 25);
}

#[test]
fn json_mode_gives_an_object_without_space_before_it() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut constraint = compiled(&compiler, &Constraint::JsonObject);
        let Some(text) = drive(constraint.as_mut(), &model, &mut rng) else { continue };
        assert!(text.starts_with('{'), "{text:?}");
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => assert!(value.is_object()),
            Err(error) => assert!(error.to_string().contains("out of range"), "{text:?}: {error}"),
        }
    }
}

fn accept_text(
    constraint: &mut dyn TokenConstraint,
    model: &Model,
    text: &str,
) -> Result<(), String> {
    let tokens = model.tokenize_part(text, 100_000, false, true).expect("tokens");
    tokens.into_iter().try_for_each(|token| constraint.accept(token))
}

#[test]
fn whitespace_is_free_within_bounds() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    let schema =
        schema(&json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}},
        "required": ["a", "b"]}));
    for fine in [
        r#"{"a":1,"b":[]}"#,
        r#"{"a": 1, "b": [ 1 ]}"#,
        "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": []\n  }\n}",
    ] {
        let mut constraint = compiled(&compiler, &schema);
        assert_eq!(accept_text(constraint.as_mut(), &model, fine), Ok(()), "{fine}");
        assert_eq!(constraint.allows(tiny::EOS), Ok(true), "{fine}");
    }
    for endless in [" {", "{  ", "{\n\n", "{\n                 ", "{\t", r#"{"b""#] {
        let mut constraint = compiled(&compiler, &schema);
        assert!(accept_text(constraint.as_mut(), &model, endless).is_err(), "{endless:?}");
    }
}

#[test]
fn end_tokens_are_allowed_exactly_where_the_text_may_end() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    let mut constraint = compiled(&compiler, &Constraint::Choice(vec!["ab".into(), "abc".into()]));
    for (text, may_end) in [("a", false), ("b", true), ("c", true)] {
        accept_text(constraint.as_mut(), &model, text).expect("allowed");
        let next = allowed(constraint.as_mut(), &model);
        for end in [tiny::EOS, tiny::TURN_END] {
            assert_eq!(constraint.allows(end), Ok(may_end), "{text}");
            assert_eq!(next.contains(&end), may_end, "{text}");
        }
        assert_eq!(constraint.allows(tiny::BOS), Ok(false));
        assert_eq!(constraint.allows(-1), Ok(false));
    }
    assert!(accept_text(constraint.as_mut(), &model, "d").is_err());
    assert!(constraint.accept(-5).is_err());
}

#[test]
fn choices_and_expressions_give_what_they_say() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    let odd = ["a.b", "\"q\" \\ /x/ [y] {z} <w> ^$|#-&~", "line\nbreak", "\u{1f980}", "no", "not"];
    let choices: Vec<String> = odd.iter().map(|text| (*text).to_owned()).collect();
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut constraint = compiled(&compiler, &Constraint::Choice(choices.clone()));
        let text = drive(constraint.as_mut(), &model, &mut rng).expect("an end");
        assert!(choices.contains(&text), "{text:?}");
        let mut constraint = compiled(&compiler, &Constraint::Regex(r"^[0-9]{2}-(a|b)+$".into()));
        let text = drive(constraint.as_mut(), &model, &mut rng).expect("an end");
        let (digits, letters) = text.split_once('-').expect("a dash");
        assert!(digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        assert!(!letters.is_empty() && letters.bytes().all(|byte| matches!(byte, b'a' | b'b')));
        let lark = "start: \"<\" name \">\"\nname: /[a-z]{1,3}/\n".to_owned();
        let mut constraint = compiled(&compiler, &Constraint::Lark(lark));
        let text = drive(constraint.as_mut(), &model, &mut rng).expect("an end");
        assert!(text.starts_with('<') && text.ends_with('>') && text.len() <= 5, "{text}");
    }
}

#[test]
fn forks_go_their_own_ways() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    let list = vec!["left".to_owned(), "less".to_owned()];
    let gbnf = "root ::= \"left\" | \"less\"".to_owned();
    for constraint in [Constraint::Choice(list), Constraint::Gbnf(gbnf)] {
        let mut first = compiled(&compiler, &constraint);
        accept_text(first.as_mut(), &model, "le").expect("allowed");
        let mut second = first.fork().expect("a fork");
        accept_text(first.as_mut(), &model, "ft").expect("allowed");
        accept_text(second.as_mut(), &model, "ss").expect("allowed");
        assert_eq!((first.allows(tiny::EOS), second.allows(tiny::EOS)), (Ok(true), Ok(true)));
    }
}

#[test]
fn a_gbnf_grammar_is_followed_to_its_end_and_broken_by_what_it_forbids() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    let gbnf = Constraint::Gbnf("root ::= [0-9]+ \"!\"?".to_owned());
    for seed in 0..20 {
        let mut constraint = compiled(&compiler, &gbnf);
        let text = drive(constraint.as_mut(), &model, &mut fastrand::Rng::with_seed(seed));
        let text = text.expect("an end");
        let digits = text.strip_suffix('!').unwrap_or(&text);
        assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    }
    let mut constraint = compiled(&compiler, &gbnf);
    assert_eq!(constraint.allows(tiny::EOS), Ok(false));
    accept_text(constraint.as_mut(), &model, "12!").expect("allowed");
    assert_eq!(allowed(constraint.as_mut(), &model), [tiny::EOS, tiny::TURN_END]);
    assert_eq!(constraint.accept(tiny::EOS), Ok(()));
    assert!(accept_text(constraint.as_mut(), &model, "3").is_err());
    // Broken: llama.cpp would abort now.
    assert!(constraint.allows(tiny::EOS).is_err());
    assert!(constraint.mask(&mut [0.0; 300]).is_err());
    assert!(constraint.accept(tiny::EOS).is_ok());
    assert!(constraint.fork().is_err());
    for token in [-1, i32::MAX, tiny::SIZE] {
        let mut constraint = compiled(&compiler, &gbnf);
        assert_eq!(constraint.allows(token), Ok(false));
        assert!(constraint.accept(token).is_err());
        assert!(constraint.allows(tiny::EOS).is_err());
    }
}

#[test]
fn hostile_grammars_are_errors() {
    let compiler = Compiler::new(tiny::model(None));
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(200_000), ")".repeat(200_000));
    for gbnf in [
        nested.as_str(),
        "",
        "root",
        "x ::= \"a\"",
        "root ::= root \"a\"",
        "root ::= missing",
        "root ::= \"a\"{5,2}",
        "root ::= \"\\q\"",
        "root ::= [a-",
        "root ::= <no-such-token>",
        "root ::= ((\"a\"{2000}){2000}){2000}",
        "root ::= a\na ::= root",
    ] {
        let error = compiler.compile(&Constraint::Gbnf(gbnf.to_owned())).expect_err(gbnf);
        assert_eq!(error.kind, ErrorKind::InvalidValue);
        assert!(!error.message.is_empty());
        let derived = compiler.grammar(gbnf, None).expect_err("refused");
        assert_eq!(derived.kind, ErrorKind::Internal);
    }
    for constraint in [
        Constraint::JsonSchema("{".into()),
        Constraint::JsonSchema("{\"uniqueItems\":true}".into()),
        Constraint::Regex("(".into()),
        Constraint::Choice(vec![]),
        Constraint::Lark("start:: (".into()),
    ] {
        let error = compiler.compile(&constraint).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::InvalidValue, "{error:?}");
    }
    assert!(compiler.compile(&Constraint::None).expect("fine").is_none());
}

const CALL: &str = "root ::= \"<tool>\" [a-z]+ \"</tool>\"";

#[test]
fn a_lazy_grammar_waits_for_its_word() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    let word = [Trigger::Word("<tool>".into())];
    let mut constraint = compiler.grammar(CALL, Some(&word)).expect("a grammar");
    accept_text(constraint.as_mut(), &model, "Let me see. <tool").expect("anything goes");
    assert_eq!(constraint.allows(tiny::EOS), Ok(true));
    let mut other = constraint.fork().expect("a fork");
    accept_text(constraint.as_mut(), &model, ">").expect("the trigger");
    assert_eq!(constraint.allows(tiny::EOS), Ok(false));
    assert!(accept_text(other.as_mut(), &model, "s and so on").is_ok());
    assert_eq!(other.allows(tiny::EOS), Ok(true));
    let next = allowed(constraint.as_mut(), &model);
    assert_eq!(next.len(), 26, "{next:?}");
    accept_text(constraint.as_mut(), &model, "abc</tool>").expect("the call");
    assert_eq!(constraint.allows(tiny::EOS), Ok(true));
    assert!(accept_text(constraint.as_mut(), &model, "x").is_err());
}

#[test]
fn a_lazy_grammar_may_begin_within_a_token_or_at_one() {
    let model = tiny::model(None);
    let compiler = Compiler::new(Arc::clone(&model));
    // "<s>" is one token; the grammar counts from its second byte on.
    let inside = [Trigger::Pattern("<(s>)".into())];
    let grammar = "root ::= \"s>\" [0-9]";
    let mut constraint = compiler.grammar(grammar, Some(&inside)).expect("a grammar");
    accept_text(constraint.as_mut(), &model, "so ").expect("anything goes");
    constraint.accept(tiny::BOS).expect("the trigger");
    let next = allowed(constraint.as_mut(), &model);
    assert_eq!(next.len(), 10, "{next:?}");
    let token = [Trigger::Token(tiny::BOS)];
    let mut constraint = compiler.grammar("root ::= <s> \"!\"", Some(&token)).expect("a grammar");
    accept_text(constraint.as_mut(), &model, "so ").expect("anything goes");
    constraint.accept(tiny::BOS).expect("the trigger");
    let next = allowed(constraint.as_mut(), &model);
    assert_eq!(next.len(), 1, "{next:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_grammar_text_ends_the_process(text in "[a-z\"\\[\\]()|*+?{},0-9:=\\n #.\\\\-]{0,40}", tail in "[a-z ]{0,10}") {
        let model = tiny::model(None);
        let compiler = Compiler::new(Arc::clone(&model));
        if let Ok(Some(mut constraint)) = compiler.compile(&Constraint::Gbnf(format!("root ::= {text}"))) {
            let _ = constraint.mask(&mut vec![0.0; 261]);
            let _ = accept_text(constraint.as_mut(), &model, &tail);
            let _ = constraint.allows(tiny::EOS);
        }
    }
}
