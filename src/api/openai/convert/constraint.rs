//! What an answer has to look like, under all the names by which clients ask for it.

use serde_json::Value;

use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::domain::{Constraint, Error, Result};
use crate::schema;

use super::super::types::{NamedSchema, ResponseFormat, StructuredOutputs};

/// The longest grammar or regular expression, in bytes.
const MAX_GRAMMAR: usize = 256 << 10;
/// The most texts to choose from.
const MAX_CHOICES: usize = 4_096;
/// The longest name of a schema.
const MAX_NAME: usize = 64;

/// The fields that constrain an answer, as they came. One of them may ask for something.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) response_format: Option<Object<ResponseFormat>>,
    pub(super) grammar: Option<String>,
    pub(super) json_schema: Option<Value>,
    pub(super) guided_json: Option<Value>,
    pub(super) guided_regex: Option<String>,
    pub(super) guided_choice: Option<Vec<String>>,
    pub(super) guided_grammar: Option<String>,
    pub(super) structured_outputs: Option<Object<StructuredOutputs>>,
}

impl Asked {
    /// The one constraint.
    ///
    /// # Errors
    /// `InvalidValue` for a schema that cannot be guaranteed, with where and why; for a second
    /// constraint; for what is none. Checking a schema takes up to a tenth of a second.
    pub(super) fn constraint(self) -> Result<Constraint> {
        let Self {
            response_format,
            grammar,
            json_schema,
            guided_json,
            guided_regex,
            guided_choice,
            guided_grammar,
            structured_outputs,
        } = self;
        let mut found = Found::default();
        if let Some(Object(format)) = response_format {
            found.add("response_format", response(format)?)?;
        }
        found.add("grammar", gbnf(grammar)?)?;
        // llama-server's clients send "" for none.
        let json_schema = json_schema.filter(|schema| schema.as_str() != Some(""));
        let json_schema = json_schema.map(|schema| checked(&schema, "json_schema")).transpose()?;
        found.add("json_schema", json_schema)?;
        found.add("guided_json", json(guided_json, "guided_json")?)?;
        found.add("guided_regex", regex(guided_regex, "guided_regex")?)?;
        found.add("guided_choice", choice(guided_choice, "guided_choice")?)?;
        found.add("guided_grammar", any_grammar(guided_grammar, "guided_grammar")?)?;
        if let Some(Object(outputs)) = structured_outputs {
            structured(outputs, &mut found)?;
        }
        Ok(found.constraint)
    }
}

#[derive(Default)]
struct Found {
    constraint: Constraint,
    field: &'static str,
}

impl Found {
    fn add(&mut self, field: &'static str, constraint: Option<Constraint>) -> Result<()> {
        let Some(constraint) = constraint.filter(|constraint| *constraint != Constraint::None)
        else {
            return Ok(());
        };
        if self.constraint != Constraint::None {
            let message = format!("`{field}` and `{}` exclude each other; send one", self.field);
            return Err(Error::invalid(field, message));
        }
        *self = Self { constraint, field };
        Ok(())
    }
}

fn response(format: ResponseFormat) -> Result<Option<Constraint>> {
    let ResponseFormat { r#type, json_schema, schema } = format;
    let kind = r#type.ok_or_else(|| missing("response_format.type", "send \"text\""))?;
    match (kind.as_str(), schema) {
        ("text", _) => Ok(None),
        ("json_object", None) => Ok(Some(Constraint::JsonObject)),
        ("json_object", Some(schema)) => checked(&schema, "response_format.schema").map(Some),
        ("json_schema", _) => named(json_schema).map(Some),
        _ => {
            let message = "a response format is of type text, json_object or json_schema";
            Err(Error::invalid("response_format.type", message))
        }
    }
}

/// A schema with its name. Answers are held to it whether or not it is called strict.
fn named(schema: Option<Object<NamedSchema>>) -> Result<Constraint> {
    let Object(schema) = schema.ok_or_else(|| {
        missing("response_format.json_schema", "send the schema, or the type \"json_object\"")
    })?;
    let NamedSchema { name, description: _, schema, strict: _ } = schema;
    let path = "response_format.json_schema.name";
    let name = name.ok_or_else(|| missing(path, "give the schema a name"))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
        let message =
            format!("`{path}` must have 1 to {MAX_NAME} letters, digits, underscores or dashes");
        return Err(Error::invalid(path, message));
    }
    let path = "response_format.json_schema.schema";
    let schema = schema.ok_or_else(|| missing(path, "send the schema"))?;
    checked(&schema, path)
}

/// A schema that answers can be held to.
fn checked(schema: &Value, param: &str) -> Result<Constraint> {
    check(schema, param)?;
    Ok(Constraint::JsonSchema(schema.to_string()))
}

/// Whether answers, or the arguments of a tool, can be held to this schema.
///
/// # Errors
/// `InvalidValue` with the place in the schema.
pub(super) fn check(schema: &Value, param: &str) -> Result<()> {
    schema::check(schema).map_err(|fault| {
        let at = match fault.pointer.as_str() {
            "" => String::new(),
            pointer => format!(" at {pointer}"),
        };
        Error::invalid(param, format!("`{param}`{at}: {}", fault.message))
    })
}

/// A schema as an object, or as the text of one.
fn json(schema: Option<Value>, param: &str) -> Result<Option<Constraint>> {
    let schema = match schema {
        None => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|fault| {
            let place = format!("line {}, column {}", fault.line(), fault.column());
            Error::invalid(param, format!("`{param}` is a text, but no JSON ({place})"))
        })?,
        Some(schema) => schema,
    };
    checked(&schema, param).map(Some)
}

fn gbnf(grammar: Option<String>) -> Result<Option<Constraint>> {
    Ok(text(grammar, "grammar")?.map(Constraint::Gbnf))
}

fn regex(pattern: Option<String>, param: &str) -> Result<Option<Constraint>> {
    Ok(text(pattern, param)?.map(Constraint::Regex))
}

/// vLLM takes two languages under one name; only GBNF writes its rules with `::=`.
fn any_grammar(grammar: Option<String>, param: &str) -> Result<Option<Constraint>> {
    Ok(text(grammar, param)?.map(|grammar| match grammar.contains("::=") {
        true => Constraint::Gbnf(grammar),
        false => Constraint::Lark(grammar),
    }))
}

fn text(text: Option<String>, param: &str) -> Result<Option<String>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > MAX_GRAMMAR {
        let message =
            format!("`{param}` has {} bytes; at most {MAX_GRAMMAR} are taken", text.len());
        return Err(Error::invalid(param, message));
    }
    no_nul(&text, || param.to_owned())?;
    Ok(Some(text))
}

fn choice(texts: Option<Vec<String>>, param: &str) -> Result<Option<Constraint>> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.is_empty() || texts.len() > MAX_CHOICES {
        let message =
            format!("`{param}` has {} texts; it must have 1 to {MAX_CHOICES}", texts.len());
        return Err(Error::invalid(param, message));
    }
    for (i, text) in texts.iter().enumerate() {
        if text.is_empty() {
            let message = "a text to choose must not be empty";
            return Err(Error::invalid(format!("{param}[{i}]"), message));
        }
        no_nul(text, || format!("{param}[{i}]"))?;
    }
    Ok(Some(Constraint::Choice(texts)))
}

fn structured(outputs: StructuredOutputs, found: &mut Found) -> Result<()> {
    let StructuredOutputs {
        json: schema,
        regex: pattern,
        choice: texts,
        grammar,
        json_object,
        structural_tag,
    } = outputs;
    if structural_tag.is_some() {
        let param = "structured_outputs.structural_tag";
        return Err(Error::unsupported(param, format!("`{param}` is not done; send a grammar")));
    }
    let object = json_object.unwrap_or(false).then_some(Constraint::JsonObject);
    found.add("structured_outputs.json", json(schema, "structured_outputs.json")?)?;
    found.add("structured_outputs.regex", regex(pattern, "structured_outputs.regex")?)?;
    found.add("structured_outputs.choice", choice(texts, "structured_outputs.choice")?)?;
    let grammar = any_grammar(grammar, "structured_outputs.grammar")?;
    found.add("structured_outputs.grammar", grammar)?;
    found.add("structured_outputs.json_object", object)
}
