use serde_json::{Map, Value, json};

use super::fault::{Place, SchemaFault};

/// Turns `propertyNames` into what can be enforced: a list of names becomes `properties`, a pattern
/// `patternProperties`. What every name obeys is dropped.
pub(super) fn property_names(
    names: &Value,
    out: &mut Map<String, Value>,
    place: &Place,
) -> Result<(), SchemaFault> {
    let Value::Object(names) = names else {
        return match names {
            Value::Bool(true) => Ok(()),
            _ => Err(place.fault("propertyNames: only a list of names or a pattern can be held")),
        };
    };
    let rest: Vec<&String> = names.keys().filter(|key| *key != "type").collect();
    let strings = names.get("type").is_none_or(|kind| kind == "string");
    let only = |key: &str| rest.len() == 1 && rest.first().is_some_and(|first| *first == key);
    let values = out.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
    if strings && rest.is_empty() {
        return Ok(());
    }
    let free = !out.contains_key("properties") && !out.contains_key("patternProperties");
    if !(strings && free) {
        return Err(place.fault(
            "propertyNames besides properties cannot be guaranteed; name the properties instead",
        ));
    }
    let allowed = match (names.get("enum"), names.get("const")) {
        (Some(Value::Array(allowed)), _) if only("enum") => {
            Some(allowed.iter().filter_map(Value::as_str).collect::<Vec<_>>())
        }
        (_, Some(Value::String(name))) if only("const") => Some(vec![name.as_str()]),
        _ => None,
    };
    if let Some(allowed) = allowed {
        let properties: Map<String, Value> =
            allowed.into_iter().map(|name| (name.to_owned(), values.clone())).collect();
        out.insert("properties".to_owned(), Value::Object(properties));
    } else if let Some(Value::String(pattern)) = names.get("pattern").filter(|_| only("pattern")) {
        out.insert("patternProperties".to_owned(), json!({ pattern: values }));
    } else {
        return Err(place.fault("propertyNames: only a list of names or a pattern can be held"));
    }
    out.insert("additionalProperties".to_owned(), Value::Bool(false));
    Ok(())
}

/// Whether `minProperties` can be held. A name may come twice in JSON and counts once, so only as
/// many properties can be promised as have names of their own, and one more.
pub(super) fn min_properties(
    out: &mut Map<String, Value>,
    place: &Place,
) -> Result<(), SchemaFault> {
    let Some(least) = out.get("minProperties").and_then(Value::as_u64) else { return Ok(()) };
    let required = match out.get("required") {
        Some(Value::Array(names)) => {
            let mut names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            names.sort_unstable();
            names.dedup();
            names.len() as u64
        }
        _ => 0,
    };
    if least <= required {
        out.shift_remove("minProperties");
        return Ok(());
    }
    if least == required + 1 {
        return Ok(());
    }
    Err(place.fault(format!(
        "minProperties {least} cannot be guaranteed with {required} required properties; name more \
         of them in required"
    )))
}
