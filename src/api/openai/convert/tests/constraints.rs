use serde_json::json;

use super::*;
use crate::domain::Constraint;

#[test]
fn every_way_to_constrain_an_answer() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let as_schema = || Constraint::JsonSchema(schema.to_string());
    let format = |value: Value| json!({ "response_format": value });
    let outputs = |value: Value| json!({ "structured_outputs": value });
    for (changes, expected) in [
        (format(json!({ "type": "text" })), Constraint::None),
        (format(json!({ "type": "json_object" })), Constraint::JsonObject),
        (format(json!({ "type": "json_object", "schema": schema })), as_schema()),
        (
            format(json!({ "type": "json_schema", "json_schema": {
                "name": "answer-1_A", "description": "d", "schema": schema, "strict": true,
            } })),
            as_schema(),
        ),
        (
            // Not strict is held to it all the same.
            format(json!({ "type": "json_schema", "json_schema": {
                "name": "a", "schema": schema, "strict": false,
            } })),
            as_schema(),
        ),
        (json!({ "json_schema": schema }), as_schema()),
        (json!({ "guided_json": schema }), as_schema()),
        (json!({ "guided_json": schema.to_string() }), as_schema()),
        (outputs(json!({ "json": schema })), as_schema()),
        (json!({ "grammar": "root ::= \"a\"" }), Constraint::Gbnf("root ::= \"a\"".into())),
        (json!({ "guided_grammar": "root ::= \"a\"" }), Constraint::Gbnf("root ::= \"a\"".into())),
        (json!({ "guided_grammar": "start: \"a\"" }), Constraint::Lark("start: \"a\"".into())),
        (outputs(json!({ "grammar": "start: \"a\"" })), Constraint::Lark("start: \"a\"".into())),
        (json!({ "guided_regex": "[ab]" }), Constraint::Regex("[ab]".into())),
        (outputs(json!({ "regex": "[ab]" })), Constraint::Regex("[ab]".into())),
        (json!({ "guided_choice": ["a", "b"] }), Constraint::Choice(vec!["a".into(), "b".into()])),
        (outputs(json!({ "choice": ["a"] })), Constraint::Choice(vec!["a".into()])),
        (outputs(json!({ "json_object": true })), Constraint::JsonObject),
    ] {
        assert_eq!(accepted(&with(changes.clone())).constraint, expected, "{changes}");
        // Text completions take the same.
        let mut body = json!({ "model": "m", "prompt": "x" });
        body.as_object_mut().expect("an object").extend(changes.as_object().expect("one").clone());
        let converted = convert_text(&body).unwrap_or_else(|error| panic!("{error} for {body}"));
        assert_eq!(converted.requests[0].constraint, expected, "{changes}");
    }
}

#[test]
fn what_is_no_constraint_is_refused_where_it_stands() {
    use ErrorKind::{InvalidValue, MissingField};
    let named = |inner: Value| json!({ "response_format": { "type": "json_schema", "json_schema": inner } });
    let path = "response_format.json_schema.name";
    all_refused(vec![
        (MissingField, "response_format.type", json!({ "response_format": {} })),
        (InvalidValue, "response_format.type", json!({ "response_format": { "type": "xml" } })),
        (InvalidValue, "response_format", json!({ "response_format": "json_object" })),
        (
            MissingField,
            "response_format.json_schema",
            json!({ "response_format": { "type": "json_schema" } }),
        ),
        (MissingField, path, named(json!({ "schema": {} }))),
        (InvalidValue, path, named(json!({ "name": "", "schema": {} }))),
        (InvalidValue, path, named(json!({ "name": "a b", "schema": {} }))),
        (InvalidValue, path, named(json!({ "name": "é", "schema": {} }))),
        (InvalidValue, path, named(json!({ "name": "x".repeat(65), "schema": {} }))),
        (MissingField, "response_format.json_schema.schema", named(json!({ "name": "a" }))),
        (
            InvalidValue,
            "response_format.json_schema.schema",
            named(json!({ "name": "a", "schema": [] })),
        ),
        (
            InvalidValue,
            "response_format.schema",
            json!({ "response_format": { "type": "json_object", "schema": 5 } }),
        ),
        (InvalidValue, "json_schema", json!({ "json_schema": 5 })),
        (InvalidValue, "guided_json", json!({ "guided_json": "{" })),
        (InvalidValue, "guided_json", json!({ "guided_json": "5" })),
        (InvalidValue, "grammar", json!({ "grammar": {} })),
        (InvalidValue, "grammar", json!({ "grammar": "a\u{0}" })),
        (InvalidValue, "grammar", json!({ "grammar": "x".repeat((256 << 10) + 1) })),
        (InvalidValue, "guided_choice", json!({ "guided_choice": [] })),
        (InvalidValue, "guided_choice", json!({ "guided_choice": vec!["x"; 4_097] })),
        (InvalidValue, "guided_choice[1]", json!({ "guided_choice": ["a", ""] })),
        (
            InvalidValue,
            "structured_outputs.choice[0]",
            json!({ "structured_outputs": { "choice": ["\u{0}"] } }),
        ),
        (InvalidValue, "structured_outputs.json", json!({ "structured_outputs": { "json": 1 } })),
    ]);
}

#[test]
fn one_constraint_is_enough() {
    let error = refused(
        convert(&with(json!({ "grammar": "root ::= \"a\"", "guided_regex": "a" }))),
        &json!("two"),
    );
    assert_eq!(error.param.as_deref(), Some("guided_regex"));
    assert!(error.message.contains("`grammar`"), "{error}");
    let error = refused(
        convert(&with(json!({
            "response_format": { "type": "json_object" },
            "structured_outputs": { "json_object": true },
        }))),
        &json!("two"),
    );
    assert_eq!(error.param.as_deref(), Some("structured_outputs.json_object"));
}

#[test]
fn a_fault_in_a_schema_is_told_with_its_place() {
    let body = with(json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "a", "schema": "text",
    } } }));
    let error = refused(convert(&body), &body);
    let whole = "`response_format.json_schema.schema`: a schema is an object or a boolean";
    assert_eq!(error.message, whole);
}
