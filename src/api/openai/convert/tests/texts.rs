use serde_json::json;

use super::*;
use crate::domain::OutputOptions;

fn text(changes: Value) -> Converted {
    let body = body(changes);
    convert_text(&body).unwrap_or_else(|error| panic!("{error} for {body}"))
}

fn body(changes: Value) -> Value {
    let mut body = json!({ "model": "m", "prompt": "Once" });
    if let (Some(body), Value::Object(changes)) = (body.as_object_mut(), changes) {
        body.extend(changes);
    }
    body
}

#[test]
fn a_text_request_defaults_to_sixteen_tokens() {
    let limit = |changes: Value| text(changes).requests[0].limits.max_tokens;
    assert_eq!(limit(json!({})), Some(16));
    assert_eq!(limit(json!({ "max_tokens": -1 })), None);
    assert_eq!(limit(json!({ "max_tokens": 0, "echo": true })), Some(0));
    assert_eq!(limit(json!({ "echo": true })), Some(16));
}

#[test]
fn every_form_of_a_prompt() {
    let of = |prompt: Value| {
        let converted = text(json!({ "prompt": prompt }));
        converted.requests.into_iter().map(|request| request.prompt).collect::<Vec<_>>()
    };
    let a = || Prompt::Text("a".into());
    let tokens = || Prompt::Tokens(vec![1, i32::MAX]);
    assert_eq!(of(json!("a")), [a()]);
    assert_eq!(of(json!("")), [Prompt::Text(String::new())]);
    assert_eq!(of(json!(["a"])), [a()]);
    assert_eq!(of(json!([1, i32::MAX])), [tokens()]);
    assert_eq!(of(json!([[1, i32::MAX]])), [tokens()]);
    assert_eq!(of(json!(["a", [1, i32::MAX], "a"])), [a(), tokens(), a()]);
    assert_eq!(of(json!(vec!["a"; 128])).len(), 128);
    let filled = text(json!({ "prompt": ["a", "b"], "suffix": "c" }));
    let fill = |prefix: &str| Prompt::Fill { prefix: prefix.into(), suffix: "c".into() };
    let prompts: Vec<_> = filled.requests.into_iter().map(|request| request.prompt).collect();
    assert_eq!(prompts, [fill("a"), fill("b")]);
    assert_eq!(text(json!({ "suffix": "" })).requests[0].prompt, Prompt::Text("Once".into()));
}

#[test]
fn answers_are_counted_and_laid_out() {
    let plain = text(json!({ "prompt": ["Onç", [1, 2]], "n": 2, "logprobs": 3 }));
    let output = OutputOptions { choices: 2, logprobs: Some(3), echo: false };
    assert!(plain.requests.iter().all(|request| request.output == output));
    let layout = &plain.layout;
    assert_eq!((layout.told, layout.generated, layout.choices()), (2, 2, 4));
    // Characters of the prompt, where somebody knows them.
    assert_eq!([0, 1, 2, 3].map(|choice| layout.offset(choice)), [3, 3, 0, 0]);

    let best = text(json!({ "n": 2, "best_of": 5, "echo": true }));
    // Nobody asked for probabilities, but the best are chosen by them.
    let output = OutputOptions { choices: 5, logprobs: Some(0), echo: true };
    assert_eq!(best.requests[0].output, output);
    let layout = &best.layout;
    assert_eq!((layout.told, layout.generated, layout.logprobs), (2, 5, false));
    assert_eq!(layout.offset(0), 0);
    assert_eq!(text(json!({ "logprobs": 0 })).requests[0].output.logprobs, Some(0));
    assert_eq!(text(json!({ "best_of": 3 })).layout.told, 1);
    assert!(text(json!({ "n": 2, "best_of": 2, "stream": true })).stream);
}

#[test]
fn text_requests_that_are_wrong() {
    let many: Vec<Vec<i32>> = vec![vec![1]; 129];
    for (param, changes) in [
        ("prompt", json!({ "prompt": 5 })),
        ("prompt", json!({ "prompt": {} })),
        ("prompt", json!({ "prompt": [] })),
        ("prompt[0]", json!({ "prompt": [{}] })),
        ("prompt[0]", json!({ "prompt": [null] })),
        ("prompt[1]", json!({ "prompt": ["a", 5] })),
        ("prompt[1]", json!({ "prompt": [5, "a"] })),
        ("prompt[0]", json!({ "prompt": [[]] })),
        ("prompt[0][1]", json!({ "prompt": [[1, "a"]] })),
        ("prompt[0]", json!({ "prompt": [-1] })),
        ("prompt[0]", json!({ "prompt": [1.5] })),
        ("prompt[0]", json!({ "prompt": [1u64 << 31] })),
        ("prompt", json!({ "prompt": many })),
        ("prompt", json!({ "prompt": vec!["x"; 9], "n": 128 })),
        ("prompt", json!({ "prompt": "a\u{0}" })),
        ("prompt[1]", json!({ "prompt": ["a", "a\u{0}"] })),
        ("suffix", json!({ "suffix": "\u{0}" })),
        ("suffix", json!({ "suffix": "x", "prompt": [1] })),
        ("echo", json!({ "echo": true, "suffix": "x" })),
        ("echo", json!({ "echo": "yes" })),
        ("logprobs", json!({ "logprobs": 6 })),
        ("logprobs", json!({ "logprobs": -1 })),
        ("logprobs", json!({ "logprobs": true })),
        ("max_tokens", json!({ "max_tokens": 0 })),
        ("max_tokens", json!({ "max_tokens": -2, "echo": true })),
        ("n", json!({ "n": 0 })),
        ("n", json!({ "n": 129 })),
        ("best_of", json!({ "best_of": 129 })),
        ("best_of", json!({ "best_of": 1, "n": 2 })),
        ("best_of", json!({ "best_of": 2, "stream": true })),
    ] {
        let error = refused(convert_text(&body(changes.clone())), &changes);
        let at = (error.kind, error.param.as_deref());
        assert_eq!(at, (ErrorKind::InvalidValue, Some(param)), "{changes}: {error}");
    }
    let error = refused(convert_text(&body(json!({ "prompt": null }))), &json!("none"));
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::MissingField, Some("prompt")));
}

#[test]
fn nulls_change_nothing() {
    let fields = crate::api::openai::TEXT[0].fields.iter().map(|field| field.name);
    let nulls: serde_json::Map<_, _> = fields
        .filter(|field| !["model", "prompt"].contains(field))
        .map(|field| (field.to_owned(), Value::Null))
        .collect();
    let (plain, nulls) = (text(json!({})), text(Value::Object(nulls)));
    assert_eq!(plain.requests, nulls.requests);
    assert_eq!(plain.layout, nulls.layout);
}
