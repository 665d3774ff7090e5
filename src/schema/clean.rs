use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::fault::{Place, SchemaFault};
use super::format::{self, Format};
use super::keyword::{Fate, fate};
use super::{literal, name, number, pattern};

const MAX_DEPTH: u32 = 64;
const MAX_NODES: usize = 5_000;
const MAX_PROPERTIES: usize = 500;
const MAX_ENUM: usize = 5_000;
const MAX_PATTERNS: usize = 100;
/// Copies that the repetitions of all patterns make, written out.
const MAX_REPEATED: u64 = 20_000;
/// Bounds with a fraction: each becomes a long expression.
const MAX_FRACTIONS: usize = 200;
const TYPES: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];

/// A schema in the subset that llguidance enforces exactly: no annotations, references only as
/// `#` and `#/$defs/N`.
#[derive(Debug)]
pub(super) struct Cleaned {
    /// The whole.
    pub(super) root: Value,
    /// What is referred to: where it stood, and what it says.
    pub(super) definitions: Vec<(String, Value)>,
}

/// Bounds a schema, whose size and depth as JSON are known to be fair, and rewrites it.
pub(super) fn clean(schema: &Value) -> Result<Cleaned, SchemaFault> {
    let mut walk = Walk {
        whole: schema,
        place: Place::default(),
        depth: 0,
        nodes: 0,
        enumerated: 0,
        patterns: 0,
        repeated: 0,
        fractions: 0,
        targets: Vec::new(),
        numbers: HashMap::new(),
    };
    let root = walk.schema(schema)?;
    let mut definitions = Vec::new();
    while let Some((pointer, target)) = walk.targets.get(definitions.len()).cloned() {
        walk.place = Place::of(&pointer);
        let definition = walk.schema(target)?;
        definitions.push((pointer, definition));
    }
    Ok(Cleaned { root, definitions })
}

struct Walk<'a> {
    whole: &'a Value,
    place: Place,
    depth: u32,
    nodes: usize,
    enumerated: usize,
    patterns: usize,
    repeated: u64,
    fractions: usize,
    targets: Vec<(String, &'a Value)>,
    numbers: HashMap<String, usize>,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, value: &'a Value) -> Result<Value, SchemaFault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.place.fault(format!("the schema has over {MAX_NODES} subschemas")));
        }
        match value {
            Value::Bool(flag) => Ok(Value::Bool(*flag)),
            Value::Object(members) => {
                if self.depth >= MAX_DEPTH {
                    let text = format!("the schema is nested deeper than {MAX_DEPTH}: use $ref");
                    return Err(self.place.fault(text));
                }
                self.depth += 1;
                let cleaned = self.object(members)?;
                self.depth -= 1;
                Ok(cleaned)
            }
            _ => Err(self.place.fault("a schema is an object or a boolean")),
        }
    }

    fn object(&mut self, members: &'a Map<String, Value>) -> Result<Value, SchemaFault> {
        if members.get("not").is_some_and(allows_everything) {
            return Ok(Value::Bool(false));
        }
        let mut out = Map::new();
        for (keyword, value) in members {
            self.place.enter(keyword);
            match fate(keyword) {
                Fate::Ignored => {}
                Fate::Enforced => self.keyword(keyword, value, members, &mut out)?,
                Fate::Refused(instead) => {
                    let text = format!("{keyword} cannot be guaranteed; {instead}");
                    return Err(self.place.fault(text));
                }
                Fate::Unknown => {
                    return Err(self.place.fault(format!(
                        "{} is no keyword of JSON Schema that is known here; leave it out, or begin \
                         its name with x- if it is a note",
                        shown(keyword)
                    )));
                }
            }
            self.place.leave();
        }
        number::old_exclusive(&mut out, "exclusiveMinimum", "minimum");
        number::old_exclusive(&mut out, "exclusiveMaximum", "maximum");
        name::min_properties(&mut out, &self.place)?;
        if let Some(names) = members.get("propertyNames") {
            self.place.enter("propertyNames");
            if let Some(text) = names.get("pattern").and_then(Value::as_str) {
                self.pattern(text)?;
            }
            name::property_names(names, &mut out, &self.place)?;
            self.place.leave();
        }
        self.format(members, &mut out)?;
        Ok(Value::Object(out))
    }

    /// One keyword; where it changes its name or its place, that is done here.
    fn keyword(
        &mut self,
        keyword: &str,
        value: &'a Value,
        members: &'a Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<(), SchemaFault> {
        let mut keep = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
        match keyword {
            "$ref" => keep(keyword, self.reference(value)?),
            "type" => keep(keyword, self.types(value)?),
            "const" => {
                literal::check(value, &mut self.place)?;
                keep(keyword, value.clone());
            }
            "enum" => keep(keyword, self.enumeration(value)?),
            "properties" | "patternProperties" => keep(keyword, self.members(keyword, value)?),
            "required" => keep(keyword, self.required(value)?),
            "additionalProperties" => keep(keyword, self.schema(value)?),
            "items" if value.is_array() => keep("prefixItems", self.list(keyword, value)?),
            "items" => keep(keyword, self.schema(value)?),
            // It means something besides a list of items only.
            "additionalItems" if members.get("items").is_some_and(Value::is_array) => {
                keep("items", self.schema(value)?);
            }
            "prefixItems" | "anyOf" | "oneOf" | "allOf" => {
                keep(keyword, self.list(keyword, value)?)
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
            | "maxProperties" => {
                if let Some(count) = number::count(value, keyword, &self.place)? {
                    keep(keyword, json!(count));
                }
            }
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => {
                keep(keyword, value.clone());
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                let bound = number::bound(value, keyword, &self.place)?;
                self.fractions += usize::from(bound.as_f64().is_some_and(|b| b.fract() != 0.0));
                if self.fractions > MAX_FRACTIONS {
                    let text = format!("the schema has over {MAX_FRACTIONS} bounds with fractions");
                    return Err(self.place.fault(text));
                }
                keep(keyword, bound);
            }
            "multipleOf" => keep(keyword, number::divisor(value, &self.place)?),
            "pattern" => {
                let text = self.text(keyword, value)?;
                self.pattern(text)?;
                keep(keyword, value.clone());
            }
            "uniqueItems" => self.unique(value, members)?,
            "unevaluatedProperties" | "unevaluatedItems" => {
                let (name, cleaned) = self.unevaluated(keyword, value, members)?;
                if !members.contains_key(name) {
                    keep(name, cleaned);
                }
            }
            "not" => {
                return Err(self.place.fault("not cannot be guaranteed; say what is allowed"));
            }
            "$id" if self.depth > 1 => {
                let text = "$id below the root changes what $ref means; leave it out";
                return Err(self.place.fault(text));
            }
            // `format` and `propertyNames` need their neighbours: see `object`.
            _ => {}
        }
        Ok(())
    }

    fn reference(&mut self, value: &Value) -> Result<Value, SchemaFault> {
        let reference = self.text("$ref", value)?;
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(self.place.fault(format!(
                "$ref {} leads to another document, which is not fetched; copy it into $defs",
                shown(reference)
            )));
        };
        if fragment.is_empty() || fragment == "/" {
            return Ok(json!("#"));
        }
        let unknown = || {
            format!(
                "$ref {} leads nowhere; it has to be a pointer like #/$defs/name",
                shown(reference)
            )
        };
        let pointer = percent_decode_str(fragment).decode_utf8();
        let pointer = pointer.map_err(|_| self.place.fault(unknown()))?.into_owned();
        let target = self.whole.pointer(&pointer).ok_or_else(|| self.place.fault(unknown()))?;
        let next = self.targets.len();
        let number = *self.numbers.entry(pointer.clone()).or_insert(next);
        if number == next {
            self.targets.push((pointer, target));
        }
        Ok(json!(format!("#/$defs/{number}")))
    }

    fn types(&self, value: &Value) -> Result<Value, SchemaFault> {
        let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
        match value {
            Value::String(_) if known(value) => Ok(value.clone()),
            Value::Array(names) if !names.is_empty() && names.iter().all(known) => {
                let mut unique: Vec<Value> = Vec::new();
                for name in names {
                    if !unique.contains(name) {
                        unique.push(name.clone());
                    }
                }
                Ok(Value::Array(unique))
            }
            _ => Err(self
                .place
                .fault(format!("type has to be one of {} or a list of them", TYPES.join(", ")))),
        }
    }

    fn enumeration(&mut self, value: &Value) -> Result<Value, SchemaFault> {
        let Value::Array(values) = value else {
            return Err(self.place.fault("enum has to be a list of values"));
        };
        if values.is_empty() {
            return Err(self.place.fault("enum is empty: no answer could obey it"));
        }
        self.enumerated = self.enumerated.saturating_add(values.len());
        if self.enumerated > MAX_ENUM {
            return Err(self.place.fault(format!("the schema has over {MAX_ENUM} enum values")));
        }
        for (index, value) in values.iter().enumerate() {
            self.place.enter(&index.to_string());
            literal::check(value, &mut self.place)?;
            self.place.leave();
        }
        Ok(value.clone())
    }

    fn members(&mut self, keyword: &str, value: &'a Value) -> Result<Value, SchemaFault> {
        let Value::Object(members) = value else {
            return Err(self.place.fault(format!("{keyword} has to be an object of schemas")));
        };
        if members.len() > MAX_PROPERTIES {
            return Err(self.place.fault(format!(
                "{} properties in one object are over the limit of {MAX_PROPERTIES}",
                members.len()
            )));
        }
        let mut out = Map::new();
        for (name, member) in members {
            self.place.enter(name);
            match keyword {
                "patternProperties" => self.pattern(name)?,
                _ => literal::check_text(name, &self.place)?,
            }
            out.insert(name.clone(), self.schema(member)?);
            self.place.leave();
        }
        Ok(Value::Object(out))
    }

    fn required(&self, value: &Value) -> Result<Value, SchemaFault> {
        let Value::Array(names) = value else {
            return Err(self.place.fault("required has to be a list of names"));
        };
        if names.len() > MAX_PROPERTIES {
            let text = format!("required names over {MAX_PROPERTIES} properties");
            return Err(self.place.fault(text));
        }
        for name in names {
            literal::check_text(self.text("a name in required", name)?, &self.place)?;
        }
        Ok(value.clone())
    }

    fn list(&mut self, keyword: &str, value: &'a Value) -> Result<Value, SchemaFault> {
        let Value::Array(schemas) = value else {
            return Err(self.place.fault(format!("{keyword} has to be a list of schemas")));
        };
        if schemas.is_empty() && keyword != "prefixItems" && keyword != "items" {
            return Err(self.place.fault(format!("{keyword} is empty")));
        }
        let mut out = Vec::with_capacity(schemas.len());
        for (index, schema) in schemas.iter().enumerate() {
            self.place.enter(&index.to_string());
            out.push(self.schema(schema)?);
            self.place.leave();
        }
        Ok(Value::Array(out))
    }

    fn unique(&self, value: &Value, members: &Map<String, Value>) -> Result<(), SchemaFault> {
        let few = members.get("maxItems").and_then(Value::as_u64).is_some_and(|most| most <= 1);
        match value {
            Value::Bool(false) => Ok(()),
            Value::Bool(true) if few => Ok(()),
            _ => Err(self.place.fault(
                "uniqueItems cannot be guaranteed; leave it out and drop repeated items yourself",
            )),
        }
    }

    /// Besides nothing that evaluates properties or items itself it is an ordinary rest.
    fn unevaluated(
        &mut self,
        keyword: &str,
        value: &'a Value,
        members: &Map<String, Value>,
    ) -> Result<(&'static str, Value), SchemaFault> {
        if ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|other| members.contains_key(*other)) {
            return Err(self.place.fault(format!(
                "{keyword} besides $ref, allOf, anyOf or oneOf cannot be guaranteed; use \
                 additionalProperties or items in each alternative"
            )));
        }
        let name = match keyword {
            "unevaluatedItems" => "items",
            _ => "additionalProperties",
        };
        Ok((name, self.schema(value)?))
    }

    fn format(
        &mut self,
        members: &Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<(), SchemaFault> {
        let Some(value) = members.get("format") else { return Ok(()) };
        self.place.enter("format");
        let name = self.text("format", value)?;
        let is_string = |kind: &Value| kind == "string";
        let strings = match members.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().any(is_string),
            Some(kind) => is_string(kind),
            None => true,
        };
        match format::format(name) {
            _ if !strings => {}
            Format::Stored => {}
            Format::Native => {
                self.count_pattern()?;
                out.insert("format".to_owned(), value.clone());
            }
            Format::Pattern(text) => {
                self.count_pattern()?;
                if out.contains_key("pattern") {
                    let both = out.entry("allOf").or_insert_with(|| json!([]));
                    if let Value::Array(both) = both {
                        both.push(json!({ "pattern": text }));
                    }
                } else {
                    out.insert("pattern".to_owned(), json!(text));
                }
            }
            // The pattern says how it looks; the name is a note then.
            Format::Unknown if members.contains_key("pattern") => {}
            Format::Unknown => {
                return Err(self.place.fault(format!(
                    "format {} cannot be guaranteed; describe it by pattern, or use one of {}",
                    shown(name),
                    format::ENFORCED
                )));
            }
        }
        self.place.leave();
        Ok(())
    }

    fn pattern(&mut self, text: &str) -> Result<(), SchemaFault> {
        self.count_pattern()?;
        pattern::check(text, &self.place)?;
        self.repeated = self.repeated.saturating_add(pattern::repeated(text));
        if self.repeated > MAX_REPEATED {
            return Err(self.place.fault(format!(
                "pattern: repetitions within repetitions make over {MAX_REPEATED} copies; use * or +"
            )));
        }
        Ok(())
    }

    fn count_pattern(&mut self) -> Result<(), SchemaFault> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            let text = format!("the schema has over {MAX_PATTERNS} patterns and formats");
            return Err(self.place.fault(text));
        }
        Ok(())
    }

    fn text<'v>(&self, what: &str, value: &'v Value) -> Result<&'v str, SchemaFault> {
        value.as_str().ok_or_else(|| self.place.fault(format!("{what} has to be a string")))
    }
}

/// `{}` or `true`, with whatever notes.
fn allows_everything(schema: &Value) -> bool {
    match schema {
        Value::Bool(flag) => *flag,
        Value::Object(members) => members.keys().all(|keyword| fate(keyword) == Fate::Ignored),
        _ => false,
    }
}

/// A client's own text in a message: quoted and cut.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}
