//! What needs a vocabulary and no weights.

use std::sync::Arc;

use super::tiny::{self, BOS, EOS, SIZE, TURN_END};
use super::vocab::FillMarks;
use super::*;
use crate::domain::{ChatPrompt, Message, Role};
use crate::worker::compute::{Token, Vocab};

const PLAIN: &str = "{%- for m in messages -%}[{{ m.role }}]{{ m.content }}<|im_end|>{%- endfor -%}\
    {%- if add_generation_prompt -%}[assistant]{%- endif -%}";

fn chat(turns: &[(Role, &str)]) -> ChatPrompt {
    ChatPrompt::new(turns.iter().map(|(role, text)| Message::text(*role, *text)).collect())
}

fn render(template: &str, chat: &ChatPrompt) -> Result<String, RenderError> {
    let model = tiny::model(Some(template));
    Ok(ChatTemplates::new(model, None)?.render(chat)?.prompt)
}

fn text(model: &Model, tokens: &[Token]) -> String {
    let mut out = Vec::new();
    tokens.iter().for_each(|token| model.piece(*token, &mut out));
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn ids_outside_the_vocabulary_have_no_piece_and_end_nothing() {
    let model = tiny::model(None);
    assert_eq!(model.vocab_size(), SIZE);
    for token in [-1, i32::MIN, i32::MAX, SIZE] {
        assert_eq!(text(&model, &[token]), "");
        assert!(!model.is_end(token));
    }
    assert!(model.is_end(EOS) && model.is_end(TURN_END) && !model.is_end(BOS));
}

#[test]
fn pieces_put_together_are_the_text_without_control_tokens() {
    let model = tiny::model(None);
    let written = "F\u{fc}\u{df}e & \u{6f22}\u{5b57} \u{1f980}\0end";
    let tokens = model.tokenize(&format!("{written}<|im_end|>"), 1000).expect("tokens");
    assert_eq!(tokens.first(), Some(&BOS));
    assert_eq!(tokens.last(), Some(&TURN_END));
    assert_eq!(text(&model, &tokens), written);
}

#[test]
fn a_text_with_too_many_tokens_names_their_number() {
    let model = tiny::model(None);
    let over = model.tokenize(&"x".repeat(100), 50);
    assert_eq!(over, Err(TokenizeError::TooMany { tokens: 101, exact: true }));
    assert_eq!(model.tokenize(&"x".repeat(100), 101).map(|t| t.len()), Ok(101));
    // Refused without a look at it: no token is longer than "<|im_end|>".
    let huge = model.tokenize(&"x".repeat(1_000_000), 50);
    assert_eq!(huge, Err(TokenizeError::TooMany { tokens: 100_000, exact: false }));
    let endless = model.tokenize(&"x".repeat(MAX_TEXT + 1), u32::MAX);
    assert_eq!(endless, Err(TokenizeError::TooLong { bytes: MAX_TEXT + 1 }));
}

#[test]
fn a_template_that_writes_bos_itself_gives_one_bos() {
    let model = tiny::model(Some("{{ bos_token }}{{ messages[0].content }}"));
    let templates = ChatTemplates::new(Arc::clone(&model), None).expect("a template");
    let rendered = templates.render(&chat(&[(Role::User, "hi")])).expect("a prompt");
    let tokens = model.tokenize(&rendered.prompt, 100).expect("tokens");
    assert_eq!(tokens.iter().filter(|token| **token == BOS).count(), 1, "{tokens:?}");
}

#[test]
fn a_model_without_a_template_is_given_chatml() {
    let model = tiny::model(None);
    assert!(!model.has_chat_template());
    let templates = ChatTemplates::new(model, None).expect("the fallback");
    let rendered = templates.render(&chat(&[(Role::User, "hi")])).expect("a prompt");
    assert_eq!(rendered.prompt, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn a_replacement_stands_in_for_the_models_own_template() {
    let model = tiny::model(Some("{% if %}"));
    assert!(ChatTemplates::new(Arc::clone(&model), None).is_err());
    let templates = ChatTemplates::new(model, Some(PLAIN)).expect("a template");
    let rendered = templates.render(&chat(&[(Role::User, "hi")])).expect("a prompt");
    assert_eq!(rendered.prompt, "[user]hi<|im_end|>[assistant]");
}

#[test]
fn a_prefill_is_continued_and_not_closed() {
    let turns = chat(&[(Role::User, "Count."), (Role::Assistant, "One, two,")]);
    assert_eq!(render(PLAIN, &turns), Ok("[user]Count.<|im_end|>[assistant]One, two,".to_owned()));
}

#[test]
fn a_template_that_raises_blames_the_conversation_in_its_own_words() {
    let strict = "{%- for m in messages -%}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}\
        {{ raise_exception('Conversation roles must alternate') }}{%- endif -%}{{ m.content }}\
        {%- endfor -%}";
    let twice = chat(&[(Role::User, "a"), (Role::User, "b")]);
    let words = "Conversation roles must alternate".to_owned();
    assert_eq!(render(strict, &twice), Err(RenderError::Raised(words)));
    assert_eq!(render(strict, &chat(&[(Role::User, "a")])), Ok("a".to_owned()));
    // llama.cpp's own probing of the template is refused by it, which is not the client's fault.
    let picky = "{%- if messages[0].content != 'hello' -%}{{ raise_exception('only hello') }}\
        {%- endif -%}{{ messages[0].content }}";
    assert_eq!(render(picky, &chat(&[(Role::User, "hello")])), Ok("hello".to_owned()));
}

#[test]
fn a_broken_template_is_an_error_with_a_reason() {
    for source in
        ["{% if %}", "{{ messages | nonsense_filter }}", "{% for m in 5 %}{{ m }}{% endfor %}"]
    {
        match render(source, &chat(&[(Role::User, "hi")])) {
            Err(RenderError::Template(reason)) => {
                assert!(!reason.contains("std::exception"), "{source}: {reason}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn a_template_without_a_system_role_still_gets_its_text() {
    let no_system = "{%- for m in messages -%}{%- if m.role == 'system' -%}\
        {{ raise_exception('System role not supported') }}{%- endif -%}\
        [{{ m.role }}]{{ m.content }}{%- endfor -%}";
    let turns = chat(&[(Role::System, "Be brief."), (Role::User, "Hello")]);
    let prompt = render(no_system, &turns).expect("a prompt");
    assert!(prompt.contains("Be brief.") && prompt.contains("Hello"), "{prompt}");
}

#[test]
fn a_vocabulary_alone_cannot_compute_and_says_so() {
    let settings = ContextSettings { cells: 256, sequences: 1, threads: 1 };
    assert!(Context::new(tiny::model(None), settings, Arc::default()).is_err());
}

#[test]
fn files_that_are_no_models_are_errors_with_a_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broken.gguf");
    for bytes in [&b""[..], b"GGUF", b"not a model at all", &[0xff; 4096]] {
        std::fs::write(&path, bytes).expect("written");
        let error = Model::load(&path, false, |_| true).err().expect("an error");
        assert!(!error.is_empty());
    }
    assert!(Model::load(&directory.path().join("missing.gguf"), false, |_| true).is_err());
}

#[test]
fn the_marks_of_a_gap_are_found_where_there_are_any() {
    assert_eq!(tiny::model(None).fill_marks(), None);
    let model = tiny::filling_model();
    let [prefix, suffix, middle] = [b'P', b'S', b'M'].map(|byte| 4 + Token::from(byte));
    assert_eq!(model.fill_marks(), Some(FillMarks { prefix, suffix, middle }));
    assert_eq!(model.begin(), Some(BOS));
}
