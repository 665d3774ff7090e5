use serde_json::Value;

use super::clean::Cleaned;

/// So many subschemas may come of it; what is left stays a reference.
const MAX_COPIED: usize = 5_000;

/// Puts what is referred to in the place of references that are alternatives of `oneOf`: llguidance
/// has to see that the alternatives exclude each other (generators write unions with a tag so).
pub(super) fn one_of(cleaned: &mut Cleaned) {
    let definitions: Vec<Value> =
        cleaned.definitions.iter().map(|(_, schema)| schema.clone()).collect();
    let mut copier = Copier { definitions: &definitions, copied: 0, within: Vec::new() };
    copier.walk(&mut cleaned.root);
    for (_, definition) in &mut cleaned.definitions {
        copier.walk(definition);
    }
}

/// How deep unions of unions are put into one another.
const MAX_DEPTH: usize = 32;

struct Copier<'a> {
    definitions: &'a [Value],
    copied: usize,
    /// Definitions that are being copied.
    within: Vec<usize>,
}

impl Copier<'_> {
    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(members) => {
                for (keyword, value) in members.iter_mut() {
                    match (keyword.as_str(), value) {
                        ("const" | "enum", _) => {}
                        ("oneOf", Value::Array(alternatives)) => {
                            alternatives.iter_mut().for_each(|one| self.alternative(one));
                        }
                        (_, value) => self.walk(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn alternative(&mut self, schema: &mut Value) {
        let Some(number) = only_reference(schema) else { return self.walk(schema) };
        let Some(definition) = self.definitions.get(number) else { return };
        let size = size(definition);
        let deep = self.within.len() >= MAX_DEPTH || self.within.contains(&number);
        if deep || self.copied.saturating_add(size) > MAX_COPIED {
            return;
        }
        self.copied += size;
        let mut copy = definition.clone();
        self.within.push(number);
        if only_reference(&copy).is_some() {
            self.alternative(&mut copy);
        } else {
            self.walk(&mut copy);
        }
        self.within.pop();
        *schema = copy;
    }
}

/// The definition that a schema refers to, where it does nothing else.
fn only_reference(schema: &Value) -> Option<usize> {
    let members = schema.as_object().filter(|members| members.len() == 1)?;
    members.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?.parse().ok()
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 1,
        Value::Object(members) => members.values().map(size).sum::<usize>() + 1,
        _ => 1,
    }
}
