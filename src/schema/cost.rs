use std::collections::HashMap;

use serde_json::{Map, Value};

use super::clean::Cleaned;
use super::fault::{Place, SchemaFault};

/// Combining schemas (`allOf`, or a keyword besides `anyOf`) copies each side for every alternative
/// of the other. So many subschemas may come of it, in all.
const MAX_COMBINED: u64 = 50_000;
/// Alternatives of one `oneOf`: each is compared with each.
const MAX_ONE_OF: usize = 128;
/// The sum over all objects of the squares of their numbers of optional properties: each may be
/// followed by any later one.
const MAX_ORDERS: u64 = 100_000;
/// References are resolved inside one another: the levels of all definitions together.
const MAX_LEVELS: u64 = 2_000;

/// Refuses schemas that would take llguidance too long, and those that no finite answer obeys.
pub(super) fn check(cleaned: &Cleaned) -> Result<(), SchemaFault> {
    let mut levels = depth(&cleaned.root);
    for (_, definition) in &cleaned.definitions {
        levels = levels.saturating_add(depth(definition));
    }
    if levels > MAX_LEVELS {
        return Err(SchemaFault::whole(format!(
            "the definitions are nested {levels} levels deep together, over the limit of {MAX_LEVELS}"
        )));
    }
    let mut costs = Costs { cleaned, shapes: HashMap::new(), combined: 0, orders: 0 };
    costs.check(&cleaned.root, &mut Place::default())?;
    for (pointer, definition) in &cleaned.definitions {
        costs.check(definition, &mut Place::of(pointer))?;
    }
    finite(cleaned)
}

/// The definition that a cleaned `$ref` names; `None`: the root.
fn target(reference: &Value) -> Option<usize> {
    reference.as_str()?.strip_prefix("#/$defs/")?.parse().ok()
}

/// The subschemas directly below one.
fn children(members: &Map<String, Value>) -> impl Iterator<Item = (&str, Option<String>, &Value)> {
    members.iter().flat_map(|(keyword, value)| {
        let below: Vec<(Option<String>, &Value)> = match (keyword.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(members)) => {
                members.iter().map(|(name, value)| (Some(name.clone()), value)).collect()
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(list)) => {
                list.iter().enumerate().map(|(at, value)| (Some(at.to_string()), value)).collect()
            }
            ("items" | "additionalProperties", value) => vec![(None, value)],
            _ => Vec::new(),
        };
        below.into_iter().map(|(step, value)| (keyword.as_str(), step, value))
    })
}

/// Levels of schemas in schemas; the walk has bounded it.
fn depth(schema: &Value) -> u64 {
    let Value::Object(members) = schema else { return 1 };
    children(members).map(|(_, _, child)| depth(child)).max().unwrap_or(0) + 1
}

/// How many alternatives a schema has at its top, and how many subschemas.
#[derive(Debug, Clone, Copy)]
struct Shape {
    alternatives: u64,
    weight: u64,
}

struct Costs<'a> {
    cleaned: &'a Cleaned,
    /// Of definitions (`None`: the root); `None` while one is being measured.
    shapes: HashMap<Option<usize>, Option<Shape>>,
    combined: u64,
    orders: u64,
}

impl Costs<'_> {
    fn check(&mut self, schema: &Value, place: &mut Place) -> Result<(), SchemaFault> {
        let Value::Object(members) = schema else { return Ok(()) };
        for (keyword, step, child) in children(members) {
            place.enter(keyword);
            if let Some(step) = &step {
                place.enter(step);
            }
            self.check(child, place)?;
            if step.is_some() {
                place.leave();
            }
            place.leave();
        }
        if let Some(Value::Object(properties)) = members.get("properties") {
            let required = members.get("required").and_then(Value::as_array).map_or(0, Vec::len);
            let optional = properties.len().saturating_sub(required) as u64;
            self.orders = self.orders.saturating_add(optional.saturating_mul(optional));
            if self.orders > MAX_ORDERS {
                return Err(place.fault(format!(
                    "too many optional properties: the squares of their numbers add up to over \
                     {MAX_ORDERS}; put them into required, with null where they may be missing"
                )));
            }
        }
        if let Some(Value::Array(alternatives)) = members.get("oneOf")
            && alternatives.len() > MAX_ONE_OF
        {
            return Err(place.fault(format!(
                "oneOf has {} alternatives, over the limit of {MAX_ONE_OF}; use anyOf",
                alternatives.len()
            )));
        }
        if combines(members) {
            let shape = self.shape(schema);
            self.combined =
                self.combined.saturating_add(shape.alternatives.saturating_mul(shape.weight));
            if self.combined > MAX_COMBINED {
                return Err(place.fault(format!(
                    "combining these schemas would make over {MAX_COMBINED} of them; write fewer \
                     alternatives into allOf, or besides anyOf and enum"
                )));
            }
        }
        Ok(())
    }

    fn shape(&mut self, schema: &Value) -> Shape {
        let Value::Object(members) = schema else {
            return Shape { alternatives: 1, weight: 1 };
        };
        let mut alternatives = 1u64;
        let mut weight = 1u64;
        for (keyword, _, child) in children(members) {
            if !matches!(keyword, "anyOf" | "oneOf" | "allOf") {
                weight = weight.saturating_add(self.shape(child).weight);
            }
        }
        for (keyword, value) in members {
            let times = match (keyword.as_str(), value) {
                ("anyOf" | "oneOf", Value::Array(list)) => {
                    let mut sum = 0u64;
                    for child in list {
                        let shape = self.shape(child);
                        sum = sum.saturating_add(shape.alternatives);
                        weight = weight.saturating_add(shape.weight);
                    }
                    sum
                }
                ("allOf", Value::Array(list)) => {
                    let mut product = 1u64;
                    for child in list {
                        let shape = self.shape(child);
                        product = product.saturating_mul(shape.alternatives);
                        weight = weight.saturating_add(shape.weight);
                    }
                    product
                }
                ("enum" | "type", Value::Array(list)) => list.len() as u64,
                ("$ref", reference) => {
                    let shape = self.definition(target(reference));
                    weight = weight.saturating_add(shape.weight);
                    shape.alternatives
                }
                _ => 1,
            };
            alternatives = alternatives.saturating_mul(times.max(1));
        }
        if !members.contains_key("type") && constrains_by_type(members) {
            alternatives = alternatives.saturating_mul(6);
        }
        Shape { alternatives, weight }
    }

    fn definition(&mut self, number: Option<usize>) -> Shape {
        let cycle = Shape { alternatives: 1, weight: 0 };
        if let Some(known) = self.shapes.get(&number) {
            return known.unwrap_or(cycle);
        }
        let cleaned = self.cleaned;
        let schema = match number {
            None => Some(&cleaned.root),
            Some(number) => cleaned.definitions.get(number).map(|(_, schema)| schema),
        };
        self.shapes.insert(number, None);
        let shape = schema.map_or(cycle, |schema| self.shape(schema));
        self.shapes.insert(number, Some(shape));
        shape
    }
}

/// Keywords that speak about values of one type.
fn constrains_by_type(members: &Map<String, Value>) -> bool {
    members.keys().any(|keyword| {
        !matches!(
            keyword.as_str(),
            "anyOf" | "oneOf" | "allOf" | "$ref" | "const" | "enum" | "type"
        )
    })
}

/// Whether llguidance has to intersect anything here.
fn combines(members: &Map<String, Value>) -> bool {
    let mut parts = usize::from(members.contains_key("type") || constrains_by_type(members));
    for keyword in ["anyOf", "oneOf", "const", "enum", "$ref"] {
        parts += usize::from(members.contains_key(keyword));
    }
    if let Some(Value::Array(all)) = members.get("allOf") {
        parts += all.len();
    }
    parts > 1
}

/// Whether an answer can come to an end: a required property that requires itself cannot.
fn finite(cleaned: &Cleaned) -> Result<(), SchemaFault> {
    let mut known = vec![false; cleaned.definitions.len()];
    let mut root = false;
    loop {
        let mut changed = false;
        for (number, (_, definition)) in cleaned.definitions.iter().enumerate() {
            let now = ends(definition, root, &known);
            if let Some(before) = known.get_mut(number)
                && now
                && !*before
            {
                *before = true;
                changed = true;
            }
        }
        let now = ends(&cleaned.root, root, &known);
        changed |= now && !root;
        root = now;
        if root {
            return Ok(());
        }
        if !changed {
            return Err(SchemaFault::whole(
                "no finite answer obeys this schema: a $ref leads back to itself through required \
                 parts only; make one of them optional or nullable",
            ));
        }
    }
}

fn ends(schema: &Value, root: bool, known: &[bool]) -> bool {
    let Value::Object(members) = schema else { return schema != &Value::Bool(false) };
    let all = |list: &Value| match list {
        Value::Array(list) => list.iter().all(|child| ends(child, root, known)),
        _ => true,
    };
    let any = |list: &Value| match list {
        Value::Array(list) => list.iter().any(|child| ends(child, root, known)),
        _ => true,
    };
    // Another type can avoid what objects or arrays require.
    let may_be = |kind: &str| match members.get("type") {
        Some(Value::String(only)) => only == kind,
        _ => false,
    };
    members.iter().all(|(keyword, value)| match keyword.as_str() {
        "$ref" => match target(value) {
            None => root,
            Some(number) => known.get(number).copied().unwrap_or(true),
        },
        "anyOf" | "oneOf" => any(value),
        "allOf" => all(value),
        "required" if may_be("object") => match (value, members.get("properties")) {
            (Value::Array(names), Some(Value::Object(properties))) => names.iter().all(|name| {
                let property = name.as_str().and_then(|name| properties.get(name));
                property.is_none_or(|property| ends(property, root, known))
            }),
            _ => true,
        },
        "minItems" if may_be("array") => {
            let least = value.as_u64().unwrap_or(0);
            let prefix = match members.get("prefixItems") {
                Some(Value::Array(prefix)) => prefix.as_slice(),
                _ => &[],
            };
            let needed = usize::try_from(least).unwrap_or(usize::MAX);
            prefix.iter().take(needed).all(|item| ends(item, root, known))
                && (needed <= prefix.len()
                    || members.get("items").is_none_or(|item| ends(item, root, known)))
        }
        _ => true,
    })
}
