//! A schema that promises less where it asks for what cannot be guaranteed.

use serde_json::{Map, Value, json};

use super::check::{compile, on_large_stack};
use super::grammar::json_grammar;

/// Places that are eased one by one before the whole is.
const MAX_PLACES: usize = 256;
/// Keywords whose value is a schema for each of its names.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords whose value is a list of schemas.
const LISTED: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
/// Keywords whose value is a schema.
const SINGLE: [&str; 5] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
];
/// Keywords that become expressions, which are what compilers run out of patience with.
const EXPENSIVE: [&str; 14] = [
    "pattern",
    "format",
    "patternProperties",
    "propertyNames",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
];

/// The nearest schema to this one that [`check`](super::check) accepts and that everything obeys
/// that obeys this one: keywords that cannot be guaranteed are left out where they stand, then those
/// that are too much together; in the end any object will do.
///
/// For schemas that guide and promise nothing, as those of tools that are not strict, parsed with a
/// bound on their depth. Takes as long as four checks at most.
pub fn loosen(schema: &Value) -> Value {
    on_large_stack(|| Ok(eased(schema))).unwrap_or_else(|_| any_object())
}

/// What any object obeys.
pub fn any_object() -> Value {
    json!({ "type": "object" })
}

fn eased(schema: &Value) -> Value {
    let mut loose = schema.clone();
    let mut places = 0;
    let mut measures = [exclusive_to_any as fn(&mut Value), drop_expensive].into_iter();
    loop {
        let pointer = match json_grammar(&loose).map(compile) {
            Ok(Ok(())) => return loose,
            Ok(Err(_)) => None,
            Err(fault) => Some(fault.pointer).filter(|pointer| !pointer.is_empty()),
        };
        if let Some(pointer) = pointer
            && places < MAX_PLACES
        {
            places += 1;
            let steps = pointer.split('/').skip(1);
            let steps: Vec<_> = steps.map(|s| s.replace("~1", "/").replace("~0", "~")).collect();
            if ease(&mut loose, &steps) {
                continue;
            }
        }
        match measures.next() {
            Some(measure) => measure(&mut loose),
            None => return any_object(),
        }
    }
}

/// Takes the restriction away that stands at a place of a schema; whether there was one.
fn ease(schema: &mut Value, steps: &[String]) -> bool {
    let members = match (schema, steps) {
        (Value::Object(members), [_, ..]) => members,
        (Value::Object(members), []) if members.is_empty() => return false,
        // Whatever it is: anything obeys this one.
        (schema, _) => {
            *schema = json!({});
            return true;
        }
    };
    let [keyword, rest @ ..] = steps else { return false };
    let word = keyword.as_str();
    let inner = match (members.get_mut(word), rest) {
        // A pattern at fault, not what it allows.
        (Some(_), [_]) if word == "patternProperties" => None,
        (Some(Value::Object(named)), [name, rest @ ..]) if NAMED.contains(&word) => {
            named.get_mut(name).map(|schema| (schema, rest))
        }
        (Some(Value::Array(list)), [index, rest @ ..])
            if LISTED.contains(&word) || word == "items" =>
        {
            let index: Option<usize> = index.parse().ok();
            index.and_then(|index| list.get_mut(index)).map(|schema| (schema, rest))
        }
        (Some(single), [_, ..]) if SINGLE.contains(&word) && !single.is_array() => {
            Some((single, rest))
        }
        _ => None,
    };
    match inner {
        Some((schema, rest)) => ease(schema, rest),
        None => forget(members, word),
    }
}

/// Leaves a keyword out, and what would forbid what it allowed.
fn forget(members: &mut Map<String, Value>, keyword: &str) -> bool {
    if matches!(keyword, "patternProperties" | "properties") {
        members.shift_remove("additionalProperties");
        members.shift_remove("unevaluatedProperties");
    }
    if matches!(keyword, "prefixItems" | "items") {
        members.shift_remove("additionalItems");
        members.shift_remove("unevaluatedItems");
    }
    members.shift_remove(keyword).is_some()
}

fn exclusive_to_any(schema: &mut Value) {
    each(schema, &mut |members| {
        if let Some(alternatives) = members.shift_remove("oneOf") {
            members.entry("anyOf").or_insert(alternatives);
        }
    });
}

fn drop_expensive(schema: &mut Value) {
    each(schema, &mut |members| {
        for keyword in EXPENSIVE {
            forget(members, keyword);
        }
    });
}

/// Every schema in a schema, the inner ones first.
fn each(schema: &mut Value, act: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(members) = schema else { return };
    for (keyword, value) in members.iter_mut() {
        let word = keyword.as_str();
        match value {
            Value::Object(named) if NAMED.contains(&word) => {
                named.values_mut().for_each(|schema| each(schema, act));
            }
            Value::Array(list) if LISTED.contains(&word) || word == "items" => {
                list.iter_mut().for_each(|schema| each(schema, act));
            }
            single if SINGLE.contains(&word) => each(single, act),
            _ => {}
        }
    }
    act(members);
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn what_cannot_be_guaranteed_is_left_out_and_nothing_else() {
        for (asked, left) in [
            (json!({"uniqueItems": true}), json!({})),
            (json!({"not": {"type": "null"}}), json!({})),
            (json!({"type": "any", "description": "d"}), json!({"description": "d"})),
            (json!({"$ref": "https://example.com/x.json"}), json!({})),
            (json!({"type": "array", "contains": {}}), json!({"type": "array"})),
            (json!({"items": {"type": "float"}}), json!({"items": {}})),
            (json!({"items": [{"type": "float"}]}), json!({"items": [{}]})),
            (json!({"anyOf": [{"type": "float"}, 5]}), json!({"anyOf": [{}, {}]})),
            (json!({"type": "string", "pattern": "^(?!x)"}), json!({"type": "string"})),
            (json!({"patternProperties": {"(": {}}, "additionalProperties": false}), json!({})),
            (json!({"if": {}, "then": {"required": ["b"]}}), json!({})),
            (json!({"enum": [1, 1e300]}), json!({})),
        ] {
            let whole = |inner: Value| {
                json!({
                    "type": "object",
                    "properties": {"a": inner, "b": {"type": "integer", "minimum": 3}},
                    "required": ["a"],
                })
            };
            let loose = loosen(&whole(asked.clone()));
            // One that is fine as it is, or whose patterns do not compile together.
            let expected = whole(left);
            let without = json!({"type": "integer"});
            let mut fewer = expected.clone();
            fewer["properties"]["b"] = without;
            assert!(loose == expected || loose == fewer, "{asked}: {loose}");
            check(&loose).expect("it can be guaranteed");
        }
    }

    #[test]
    fn what_can_be_guaranteed_stays() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": "string", "pattern": "^a+$", "maxLength": 5}},
            "required": ["a"],
            "additionalProperties": false,
        });
        assert_eq!(loosen(&schema), schema);
    }

    #[test]
    fn properties_called_like_keywords_stay() {
        let schema = json!({
            "type": "object",
            "properties": {"pattern": {"type": "string", "not": {}}, "oneOf": {"type": "integer"}},
        });
        let loose = loosen(&schema);
        assert_eq!(loose["properties"]["oneOf"], json!({"type": "integer"}));
        assert!(loose["properties"]["pattern"].is_object());
    }

    #[test]
    fn what_cannot_be_helped_is_any_object() {
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({ "properties": { "a": deep } });
        }
        assert_eq!(loosen(&deep), any_object());
        assert_eq!(loosen(&json!(false)), any_object());
    }
}
