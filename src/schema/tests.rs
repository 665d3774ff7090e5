use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Unoptimised tests on a busy machine get ten times what is promised.
const PATIENCE: Duration = Duration::from_millis(1000);

fn fault(schema: &Value) -> SchemaFault {
    match check(schema) {
        Err(fault) => fault,
        Ok(()) => panic!("accepted: {schema}"),
    }
}

#[test]
fn what_sdk_helpers_emit_passes() {
    for schema in [
        // Pydantic: references, optional fields as anyOf with null, notes.
        json!({
            "$defs": {
                "Step": {
                    "properties": {
                        "explanation": {"title": "Explanation", "type": "string"},
                        "output": {"title": "Output", "type": "string"}
                    },
                    "required": ["explanation", "output"],
                    "title": "Step", "type": "object", "additionalProperties": false
                },
                "Color": {"enum": ["red", "green"], "title": "Color", "type": "string"}
            },
            "properties": {
                "steps": {"items": {"$ref": "#/$defs/Step"}, "type": "array", "minItems": 1},
                "color": {"allOf": [{"$ref": "#/$defs/Color"}], "default": "red"},
                "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
                "when": {"format": "date-time", "type": "string"},
                "score": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
            },
            "required": ["steps", "color", "note", "when", "score"],
            "title": "MathResponse", "type": "object", "additionalProperties": false
        }),
        // Pydantic: a discriminated union.
        json!({
            "$defs": {
                "Cat": {"type": "object", "properties": {
                    "kind": {"const": "cat", "type": "string"}, "lives": {"type": "integer"}},
                    "required": ["kind", "lives"]},
                "Dog": {"type": "object", "properties": {
                    "kind": {"const": "dog", "type": "string"}}, "required": ["kind"]}
            },
            "type": "object",
            "properties": {"pet": {
                "discriminator": {"mapping": {"cat": "#/$defs/Cat"}, "propertyName": "kind"},
                "anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}},
            "required": ["pet"]
        }),
        // Pydantic, with Field(discriminator=...); one of them refers to the union again.
        json!({
            "$defs": {
                "Leaf": {"type": "object", "properties": {"kind": {"const": "leaf", "type": "string"}},
                    "required": ["kind"]},
                "Pair": {"type": "object", "properties": {"kind": {"const": "pair", "type": "string"},
                    "left": {"$ref": "#/$defs/Tree"}}, "required": ["kind"]},
                "Tree": {"discriminator": {"propertyName": "kind"},
                    "oneOf": [{"$ref": "#/$defs/Leaf"}, {"$ref": "#/$defs/Pair"}]}
            },
            "type": "object", "properties": {"tree": {"$ref": "#/$defs/Tree"}}, "required": ["tree"]
        }),
        // Zod: draft 7, safe integers, records, never, tuples.
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "n": {"type": "integer", "minimum": -9007199254740991i64,
                      "maximum": 9007199254740991i64},
                "pair": {"type": "array", "items": [{"type": "string"}, {"type": "number"}],
                         "additionalItems": {"not": {}}, "minItems": 2},
                "record": {"type": "object", "propertyNames": {"type": "string"},
                           "additionalProperties": {"type": "boolean"}},
                "by_color": {"type": "object", "propertyNames": {"enum": ["red", "blue"]},
                             "additionalProperties": {"type": "number"}}
            },
            "required": ["n", "pair", "record", "by_color"], "additionalProperties": false
        }),
        // schemars, and Go: widths of numbers.
        json!({"type": "object", "properties": {
            "a": {"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255},
            "b": {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX},
            "c": {"type": ["number", "null"], "format": "double"}}}),
        // A tree, and the whole again.
        json!({"$defs": {"node": {"type": "object", "properties": {
                   "value": {"type": "integer"},
                   "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                   "required": ["value", "children"], "additionalProperties": false}},
               "$ref": "#/$defs/node"}),
        json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
               "required": ["next"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a/b~c%": {"$ref": "#/definitions/x~1y~0z%25"}},
               "definitions": {"x/y~z%": {"type": "string", "pattern": "^[a-z]+$"}}}),
        json!({"type": "string", "format": "email"}),
        json!({"type": "number", "multipleOf": 0.01}),
        json!({"type": "number", "minimum": 0, "exclusiveMinimum": true}),
        json!({"type": "array", "uniqueItems": false, "items": {"type": "string"}}),
        json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
        json!({"type": "object", "x-order": ["a"], "minProperties": 1,
               "additionalProperties": {"type": "string"}}),
        json!({"enum": ["a", 1, null, true, {"k": [1.5]}]}),
        json!({"const": "caf\u{e9}\n"}),
        json!({"type": "string", "pattern": "^(a+)+$"}),
        json!({}),
        json!(true),
    ] {
        assert_eq!(check(&schema), Ok(()), "{schema}");
    }
}

#[test]
fn what_cannot_be_guaranteed_is_refused_at_its_place() {
    let cases = [
        (json!(3), "", "object or a boolean"),
        (json!(false), "", "false"),
        (json!({"properties": {"a": {"minLenght": 3}}}), "/properties/a/minLenght", "minLenght"),
        (json!({"type": "array", "uniqueItems": true}), "/uniqueItems", "uniqueItems"),
        (json!({"not": {"type": "string"}}), "/not", "not"),
        (json!({"if": {}, "then": {}}), "/if", "anyOf"),
        (json!({"contains": {"type": "string"}}), "/contains", "contains"),
        (json!({"dependentRequired": {"a": ["b"]}}), "/dependentRequired", "dependentRequired"),
        (json!({"$ref": "https://example.com/s.json"}), "/$ref", "another document"),
        (json!({"$ref": "#/$defs/none"}), "/$ref", "leads nowhere"),
        (json!({"$ref": "#name"}), "/$ref", "leads nowhere"),
        (json!({"type": "str"}), "/type", "string"),
        (json!({"type": []}), "/type", "type"),
        (json!({"enum": []}), "/enum", "empty"),
        (json!({"enum": ["a\u{1}"]}), "/enum/0", "U+0001"),
        (json!({"const": 1e300}), "/const", "2^53"),
        (json!({"type": "string", "minLength": 1e9}), "/minLength", "minLength"),
        (json!({"type": "string", "minLength": -1}), "/minLength", "whole number"),
        (json!({"type": "integer", "minimum": "1"}), "/minimum", "number"),
        (json!({"type": "number", "multipleOf": 0}), "/multipleOf", "multipleOf"),
        (json!({"type": "number", "multipleOf": 1e9}), "/multipleOf", "10,000"),
        (json!({"type": "string", "format": "phone"}), "/format", "\"phone\""),
        (json!({"type": "string", "pattern": "a(?=b)"}), "", "enforced"),
        (json!({"type": "string", "pattern": r"(a)\1"}), "", "enforced"),
        (json!({"type": "string", "pattern": "["}), "", "enforced"),
        (json!({"type": "string", "pattern": "[[a]"}), "/pattern", "bracket"),
        (json!({"type": "string", "pattern": 3}), "/pattern", "string"),
        (json!({"anyOf": []}), "/anyOf", "empty"),
        (json!({"properties": []}), "/properties", "object"),
        (json!({"properties": {"a/b": 3}}), "/properties/a~1b", "object or a boolean"),
        (json!({"type": "object", "minProperties": 3}), "", "minProperties 3"),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 5}]}), "", "oneOf"),
        (json!({"type": "integer", "minimum": 5, "maximum": 4}), "", "enforced"),
        (json!({"type": "string", "enum": [1, 2]}), "", "enforced"),
        (json!({"$ref": "#"}), "", "no finite answer"),
        (json!({"properties": {"a": {"$id": "x"}}}), "/properties/a/$id", "$id"),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
            "",
            "no finite answer",
        ),
        (
            json!({"$defs": {"d": {"items": {"not": {"type": "null"}}}}, "$ref": "#/$defs/d"}),
            "/$defs/d/items/not",
            "not",
        ),
    ];
    let mut wrong = Vec::new();
    for (schema, pointer, words) in cases {
        let fault = fault(&schema);
        let fine = fault.pointer == pointer && fault.message.contains(words);
        if !fine || fault.message.contains("panic") {
            wrong.push(format!("{schema}: at {:?}: {fault}", fault.pointer));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Schemas that try to take time, memory or stack.
fn hostile() -> Vec<(&'static str, Value)> {
    let nest = |depth: usize, wrap: fn(Value) -> Value| {
        (0..depth).fold(json!({"type": "string"}), |inner, _| wrap(inner))
    };
    let many = |count: usize, value: &Value| -> Map<String, Value> {
        (0..count).map(|n| (format!("p{n}"), value.clone())).collect()
    };
    let strings =
        |count: usize| (0..count).map(|n| json!(format!("value {n}"))).collect::<Vec<_>>();
    let any_of: Vec<Value> =
        (0..40).map(|n| json!({"type": "object", "properties": {format!("q{n}"): {}}})).collect();
    let half = |at: usize| {
        (0..6).fold(json!({"type": "integer"}), |inner, n| {
            json!({"type": "object", "properties": {"x": {"anyOf": [
                inner.clone(), {"type": "string", "maxLength": n + at}, {"type": "null"}]}}})
        })
    };
    let chain = |count: usize| {
        let defs: Map<String, Value> = (0..count)
            .map(|n| (format!("d{n}"), json!({"allOf": [{"$ref": format!("#/$defs/d{}", n + 1)}]})))
            .chain([(format!("d{count}"), json!({"type": "null"}))])
            .collect();
        json!({"$defs": defs, "$ref": "#/$defs/d0"})
    };
    let doubling = {
        let defs: Map<String, Value> = (0..40)
            .map(|n| {
                let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
                (format!("d{n}"), json!({"allOf": [next, next]}))
            })
            .chain([("d40".to_owned(), json!({"anyOf": [{"type": "null"}, {"type": "string"}]}))])
            .collect();
        json!({"$defs": defs, "$ref": "#/$defs/d0"})
    };
    let patterns: Map<String, Value> = (0..100)
        .map(|n| {
            (format!("p{n}"), json!({"type": "string", "pattern": format!("^(\\w+,){{{n}}}x+$")}))
        })
        .collect();
    let objects: Map<String, Value> = (0..9)
        .map(|n| {
            (
                format!("o{n}"),
                json!({"type": "object", "properties": many(490, &json!({"type": "string"}))}),
            )
        })
        .collect();
    vec![
        ("64 arrays", nest(60, |inner| json!({"type": "array", "items": inner}))),
        ("1,000 arrays", nest(100, |inner| json!({"items": inner}))),
        ("nested anyOf", nest(60, |inner| json!({"anyOf": [inner, {"type": "null"}]}))),
        ("nested allOf", nest(60, |inner| json!({"allOf": [inner, {"maxLength": 5}]}))),
        (
            "500 optional properties",
            json!({"properties": many(500, &json!({"type": "string"})), "type": "object"}),
        ),
        (
            "500 required",
            json!({"properties": many(500, &json!({"type": "integer"})), "type": "object",
            "required": (0..500).map(|n| format!("p{n}")).collect::<Vec<_>>(), "additionalProperties": false}),
        ),
        ("100,000 properties", json!({"properties": many(100_000, &json!({}))})),
        ("nearly 5,000 properties", json!({"type": "object", "properties": objects})),
        ("enum of 5,000", json!({"enum": strings(5_000)})),
        ("enum of 1,000 in a string", json!({"type": "string", "enum": strings(1_000)})),
        ("enum of a million", json!({"enum": vec![json!(1); 1_000_000]})),
        ("minLength 1e9", json!({"type": "string", "minLength": 1e9})),
        ("minLength 100,000", json!({"type": "string", "minLength": 100_000})),
        ("maxLength 10,000,000", json!({"type": "string", "maxLength": 10_000_000})),
        ("maxItems 10,000,000", json!({"type": "array", "maxItems": 10_000_000})),
        (
            "minItems 100,000",
            json!({"type": "array", "minItems": 100_000, "items": {"type": "null"}}),
        ),
        (
            "minItems over deep arrays",
            nest(20, |inner| json!({"type": "array", "minItems": 100_000, "items": inner})),
        ),
        ("long const", json!({"const": "x".repeat(200_000)})),
        (
            "many consts",
            json!({"enum": (0..30).map(|n| json!(format!("{n}{}", "x".repeat(8_000)))).collect::<Vec<_>>()}),
        ),
        (
            "300 optional properties",
            json!({"properties": many(300, &json!({"type": "string"})), "type": "object"}),
        ),
        ("catastrophic", json!({"type": "string", "pattern": "^(a+)+$"})),
        ("catastrophic 2", json!({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"})),
        ("exponential automaton", json!({"type": "string", "pattern": "^.*a.{30}$"})),
        ("repeated", json!({"type": "string", "pattern": "^((a{1000}){1000}){1000}$"})),
        (
            "unicode",
            json!({"type": "string", "pattern": "^(\\p{L}|\\p{N}|\\p{S}){100}$", "minLength": 50}),
        ),
        (
            "intersections",
            json!({"type": "string", "pattern": "^(.*a.{12}|.*b.{11})$", "minLength": 10, "format": "uri"}),
        ),
        ("100 patterns", json!({"type": "object", "properties": patterns})),
        (
            "pattern properties",
            json!({"type": "object", "patternProperties": {"a.*b.*c": {}, "d.*e.*f": {}}}),
        ),
        ("products", json!({"allOf": [{"anyOf": any_of}, {"anyOf": any_of}, {"anyOf": any_of}]})),
        ("deep products", json!({"allOf": [half(1), half(20)]})),
        (
            "oneOf of 128",
            json!({"oneOf": (0..128).map(|n| json!({"const": n})).collect::<Vec<_>>()}),
        ),
        ("oneOf of 5,000", json!({"oneOf": vec![json!({"type": "null"}); 4_000]})),
        ("a chain of 900 references", chain(900)),
        ("a chain of 3,000 references", chain(3_000)),
        ("doubling references", doubling),
        (
            "circle of references",
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        ),
        (
            "circle with siblings",
            json!({"$defs": {"a": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a", "minProperties": 1}}}}, "$ref": "#/$defs/a"}),
        ),
        (
            "wide numbers",
            json!({"type": "number", "minimum": -9007199254740991.0, "maximum": 9007199254740990.5, "multipleOf": 0.0007}),
        ),
        (
            "many numbers",
            json!({"type": "object", "properties": many(100, &json!({"type": "number", "minimum": -123456.789, "maximum": 987654321.123}))}),
        ),
        (
            "many dates",
            json!({"type": "object", "properties": many(100, &json!({"type": "string", "format": "date-time"}))}),
        ),
        (
            "many addresses",
            json!({"type": "object", "properties": many(100, &json!({"type": "string", "format": "uri", "maxLength": 50}))}),
        ),
        (
            "notes nested deep",
            json!({"type": "string", "default": nest(500, |inner| json!([inner]))}),
        ),
        (
            "references everywhere",
            json!({"$defs": {"a": {"type": "object", "properties": many(400, &json!({"$ref": "#/$defs/a"}))}}, "type": "object", "properties": many(400, &json!({"$ref": "#/$defs/a"}))}),
        ),
    ]
}

#[test]
fn hostile_schemas_are_answered_quickly() {
    let mut slow = Vec::new();
    for (name, schema) in hostile() {
        let begin = Instant::now();
        let answer = check(&schema);
        let time = begin.elapsed();
        println!(
            "{time:>12.1?}  {name}: {}",
            answer.map_or_else(|fault| fault.to_string(), |()| "ok".into())
        );
        if time > PATIENCE {
            slow.push((name, time));
        }
        let begin = Instant::now();
        let loose = loosen(&schema);
        if begin.elapsed() > 5 * PATIENCE {
            slow.push((name, begin.elapsed()));
        }
        assert_eq!(check(&loose), Ok(()), "{name}");
    }
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn a_schema_of_any_depth_is_refused_without_recursion() {
    let mut deep = json!(null);
    for _ in 0..60_000 {
        // Not json!, which would walk it.
        deep = Value::Object(Map::from_iter([("items".to_owned(), deep)]));
    }
    let answer = check(&deep);
    assert!(answer.is_err_and(|fault| fault.message.contains("deeper")));
    // Dropping it would recurse.
    while let Value::Object(members) = &mut deep {
        deep = members.remove("items").unwrap_or_default();
    }
}

#[test]
fn texts_are_checked_like_schemas() {
    for regex in ["yes|no", r"^\d{4}-\d{2}$", "[a-z]+@[a-z]+\\.com", "a/b", "x*", "(?i)hello"] {
        assert_eq!(check_regex(regex), Ok(()), "{regex}");
    }
    let deep = "(".repeat(50_000) + &")".repeat(50_000);
    for regex in ["", "(", "a(?=b)", r"(a)\1", "[z-a]", "a{5,2}", "(?P<x", deep.as_str()] {
        assert!(check_regex(regex).is_err(), "{regex:.20}");
    }
    let choices = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let odd = ["a.b*c", "\"q\" \\ /x/ [y] {z} <w> ^$ | # - & ~", "line\nbreak\t\u{1}", "\u{1f980}"];
    assert_eq!(check_choice(&choices(&odd)), Ok(()));
    assert_eq!(check_choice(&choices(&["yes", "yesterday", "yes"])), Ok(()));
    assert!(check_choice(&[]).is_err());
    assert_eq!(check_choice(&choices(&["a", ""])).expect_err("empty").pointer, "/1");
    assert!(check_choice(&vec!["x".to_owned(); 1_001]).is_err());
    assert!(check_choice(&["x".repeat(70_000)]).is_err());
    let lark = "start: \"a\" num\nnum: /[0-9]+/\n";
    assert_eq!(check_lark(lark), Ok(()));
    let embedded = "start: %json {\"type\": \"object\"}";
    assert_eq!(check_lark(embedded), Ok(()));
    for lark in ["", "start: missing", "start: (", "start: %json {\"uniqueItems\": true}"] {
        assert!(check_lark(lark).is_err(), "{lark}");
    }
    let multiplied = "start: C\nA: /a{1000}/\nB: A{1000}\nC: (B \"x\")~1000\n";
    assert!(check_lark(multiplied).expect_err("a billion").message.contains("copies"));
    let nested = format!("start: {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000));
    assert!(check_lark(&nested).is_err());
    assert_eq!(check_gbnf_text("root ::= \"a\"+"), Ok(()));
    assert!(check_gbnf_text("x ::= \"a\"").is_err());
}

#[test]
fn hostile_texts_are_answered_quickly() {
    let texts = [
        "(a+)+".repeat(1000),
        "((a{1000}){1000}){1000}".to_owned(),
        "((a{27}){27}){27}".to_owned(),
        "(a|b|ab)*c".repeat(200),
        r"\p{L}{1000}\w{1000}".repeat(20),
        ".*a.{200}".to_owned(),
        "(.*a){50}".to_owned(),
        "a|".repeat(30_000) + "b",
        "\u{1f980}?".repeat(2_000) + &"\u{1f980}".repeat(2_000),
    ];
    let mut slow = Vec::new();
    for text in texts {
        let begin = Instant::now();
        let answer = check_regex(&text);
        let time = begin.elapsed();
        println!(
            "{time:>12.1?}  {text:.30}: {}",
            answer.map_or_else(|fault| fault.to_string(), |()| "ok".into())
        );
        if time > PATIENCE {
            slow.push((text.chars().take(30).collect::<String>(), time));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// Something like a schema: mostly of known keywords, with values that mostly fit.
fn wild() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": ["integer", "null"]})),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!(7)),
        any::<i64>().prop_map(|n| json!({"type": "integer", "minimum": n})),
        any::<f64>().prop_map(|n| json!({"type": "number", "exclusiveMaximum": n})),
        (0u64..50, 0u64..50)
            .prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": b})),
        "[a-z(\\[|+*?^$.{},0-9-]{0,8}".prop_map(|p| json!({"type": "string", "pattern": p})),
        "\\PC{0,6}".prop_map(|text| json!({"const": text})),
        proptest::collection::vec(any::<i8>(), 0..4).prop_map(|list| json!({"enum": list})),
        prop::sample::select(vec!["date", "email", "uri", "int32", "what"])
            .prop_map(|name| json!({"type": "string", "format": name})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4);
        let named = proptest::collection::btree_map("[a-c]", inner.clone(), 0..3);
        prop_oneof![
            list.clone().prop_map(|list| json!({"anyOf": list})),
            list.clone().prop_map(|list| json!({"allOf": list})),
            list.clone().prop_map(|list| json!({"oneOf": list})),
            (list, inner.clone(), 0u64..4, 0u64..4).prop_map(|(prefix, rest, least, most)| json!({
                "type": "array", "prefixItems": prefix, "items": rest, "minItems": least, "maxItems": most})),
            (named.clone(), inner.clone(), proptest::collection::vec("[a-c]", 0..3)).prop_map(
                |(members, rest, required)| json!({"type": "object", "properties": members,
                    "additionalProperties": rest, "required": required})),
            (named, inner.clone()).prop_map(|(members, whole)| {
                json!({"$defs": members, "allOf": [whole, {"type": "object"}]})
            }),
            ("[a-z$]{1,12}", inner).prop_map(|(keyword, value)| json!({ keyword: value })),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_schema_is_accepted_or_refused_with_words(schema in wild()) {
        match check(&schema) {
            Ok(()) => prop_assert_eq!(loosen(&schema), schema),
            Err(fault) => {
                prop_assert!(!fault.message.is_empty());
                prop_assert!(!fault.message.contains("panic"), "{}: {}", schema, fault);
                let loose = loosen(&schema);
                prop_assert_eq!(check(&loose), Ok(()), "{} of {}", loose, schema);
            }
        }
    }

    #[test]
    fn any_text_is_accepted_or_refused(text in "[a-z\"\\[\\]()|*+?{},0-9:=\\n #<>!.\\\\-]{0,60}") {
        let _ = check_gbnf_text(&text);
        let _ = check_gbnf_text(&format!("root ::= {text}"));
        let _ = check_regex(&text);
    }
}
