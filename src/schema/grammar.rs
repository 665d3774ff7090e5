use std::collections::HashMap;

use llguidance::JsonCompileOptions;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use serde_json::{Map, Value, json};

use super::clean::{Cleaned, clean};
use super::fault::SchemaFault;
use super::{cost, inline, pattern};
use crate::domain::Constraint;

/// The longest schema as JSON text, in bytes.
const MAX_SCHEMA: usize = 256 << 10;
/// How deep its JSON may be nested, notes included.
const MAX_JSON_DEPTH: usize = 128;
/// The longest Lark grammar and list of choices, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// The longest regular expression, and line of a Lark grammar, in bytes: some take quadratic time.
const MAX_REGEX: usize = 16 << 10;
/// Copies that repetitions may make, written out: a microsecond each.
const MAX_REPEATED: u64 = 20_000;
/// How deep brackets may be nested in a text.
const MAX_NESTING: usize = 128;
/// The most choices.
const MAX_CHOICES: usize = 1_000;

/// Between the tokens of JSON: nothing, one space, or one line break with some indentation. Never
/// more, so a model that only wants to write spaces comes to an end; and enough for JSON as people
/// and models write it. Nothing before the first token.
const WHITESPACE: &str = r" |\n {0,16}";
/// Every escape of JSON but `\u` and `\/`: each text has one spelling, so no property can be
/// repeated under another, and no half of a surrogate pair can break a reader.
const ESCAPES: &str = "nrbtf\\\"";

/// The limits under which every grammar is compiled and followed.
pub fn limits() -> ParserLimits {
    ParserLimits {
        // 20 ms.
        initial_lexer_fuel: 1_000_000,
        // Up to 2 kB each.
        max_lexer_states: 100_000,
        max_grammar_size: 200_000,
        // What a client wrote does not belong into errors that are logged.
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// What llguidance has to compile for a constraint; `None` where that is not its business (nothing,
/// and llama.cpp's own grammars).
///
/// # Errors
/// A [`SchemaFault`] for what cannot be guaranteed. What llguidance itself makes of the grammar is
/// not asked here.
pub fn grammar(constraint: &Constraint) -> Result<Option<TopLevelGrammar>, SchemaFault> {
    match constraint {
        Constraint::None | Constraint::Gbnf(_) => Ok(None),
        Constraint::JsonObject => json_grammar(&json!({ "type": "object" })).map(Some),
        Constraint::JsonSchema(text) => {
            if text.len() > MAX_SCHEMA {
                return Err(too_long("a schema", text.len(), MAX_SCHEMA));
            }
            let schema = serde_json::from_str(text)
                .map_err(|error| SchemaFault::whole(format!("the schema is no JSON: {error}")))?;
            json_grammar(&schema).map(Some)
        }
        Constraint::Regex(regex) => {
            text_fits("a regular expression", regex)?;
            if pattern::repeated(regex) > MAX_REPEATED {
                return Err(too_repetitive());
            }
            Ok(Some(TopLevelGrammar::from_regex(regex)))
        }
        Constraint::Choice(choices) => choice_grammar(choices).map(Some),
        Constraint::Lark(lark) => {
            text_fits("a grammar", lark)?;
            lark_repetitions(lark)?;
            lark_schemas(lark)?;
            Ok(Some(TopLevelGrammar::from_lark(lark.clone())))
        }
    }
}

/// The grammar of a schema.
pub(super) fn json_grammar(schema: &Value) -> Result<TopLevelGrammar, SchemaFault> {
    fits(schema)?;
    let mut cleaned = clean(schema)?;
    if cleaned.root == Value::Bool(false) {
        return Err(SchemaFault::whole("no answer obeys the schema false"));
    }
    cost::check(&cleaned)?;
    inline::one_of(&mut cleaned);
    let Cleaned { root, definitions } = cleaned;
    let mut whole = match root {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    if !definitions.is_empty() {
        let numbered = definitions.into_iter().enumerate();
        let definitions: Map<String, Value> =
            numbered.map(|(number, (_, schema))| (number.to_string(), schema)).collect();
        whole.insert("$defs".to_owned(), Value::Object(definitions));
    }
    let mut whole = Value::Object(whole);
    let options = JsonCompileOptions {
        whitespace_flexible: true,
        whitespace_pattern: Some(WHITESPACE.to_owned()),
        json_allowed_escapes: Some(ESCAPES.to_owned()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut whole);
    Ok(TopLevelGrammar::from_json_schema(whole))
}

/// One of some texts: an alternation of them, escaped.
fn choice_grammar(choices: &[String]) -> Result<TopLevelGrammar, SchemaFault> {
    if choices.is_empty() {
        return Err(SchemaFault::whole("the list of choices is empty"));
    }
    if choices.len() > MAX_CHOICES {
        return Err(SchemaFault::whole(format!(
            "{} choices are over the limit of {MAX_CHOICES}",
            choices.len()
        )));
    }
    let bytes = choices.iter().map(String::len).fold(0usize, usize::saturating_add);
    if bytes > MAX_TEXT {
        return Err(too_long("a list of choices", bytes, MAX_TEXT));
    }
    if let Some(at) = choices.iter().position(String::is_empty) {
        return Err(SchemaFault {
            pointer: format!("/{at}"),
            message: "a choice is empty; leave it out".to_owned(),
        });
    }
    let escaped: Vec<String> = choices.iter().map(|choice| escape(choice)).collect();
    Ok(TopLevelGrammar::from_regex(&escaped.join("|")))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
            continue;
        }
        // These two begin something when escaped; regex_to_lark takes care of slashes.
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>' | '/') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Terminals are built into one another: their repetitions multiply.
fn lark_repetitions(lark: &str) -> Result<(), SchemaFault> {
    let mut definitions: Vec<(&str, u64, Vec<&str>)> = Vec::new();
    for line in lark.lines() {
        let head = line.split_once(':').map(|(head, _)| head.split(['.', '{', '[']).next());
        let name = head.flatten().map(str::trim).filter(|name| !name.is_empty() && is_name(name));
        if let Some(name) = name {
            definitions.push((name, 1, Vec::new()));
        }
        let Some((_, copies, used)) = definitions.last_mut() else { continue };
        *copies = (*copies).max(pattern::repeated(line));
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        used.extend(words.filter(|word| is_terminal(word)));
    }
    let numbers: HashMap<&str, usize> =
        definitions.iter().enumerate().map(|(number, (name, ..))| (*name, number)).collect();
    // The longest chains first reach their end after as many rounds as they are long.
    let mut totals: Vec<u64> = definitions.iter().map(|(_, copies, _)| *copies).collect();
    for _ in 0..definitions.len().min(64) {
        let mut changed = false;
        for (number, (name, copies, used)) in definitions.iter().enumerate() {
            let inner = used.iter().filter(|word| *word != name).filter_map(|word| {
                numbers.get(word).and_then(|number| totals.get(*number)).copied()
            });
            let total = copies.saturating_mul(inner.max().unwrap_or(1));
            if total > MAX_REPEATED {
                return Err(too_repetitive());
            }
            if let Some(place) = totals.get_mut(number)
                && is_terminal(name)
                && *place != total
            {
                *place = total;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let name = text.strip_prefix(['?', '!']).unwrap_or(text);
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn is_terminal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
}

fn too_repetitive() -> SchemaFault {
    SchemaFault::whole(format!(
        "repetitions within repetitions make over {MAX_REPEATED} copies; use * or +"
    ))
}

/// Schemas within a Lark grammar are bounded like others.
fn lark_schemas(lark: &str) -> Result<(), SchemaFault> {
    for (at, found) in lark.match_indices("%json") {
        let rest = lark.get(at + found.len()..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        if let Some(Ok(schema)) = values.next() {
            fits(&schema)?;
            cost::check(&clean(&schema)?)?;
        }
    }
    Ok(())
}

fn too_long(what: &str, bytes: usize, limit: usize) -> SchemaFault {
    SchemaFault::whole(format!("{what} of {bytes} bytes is over the limit of {limit}"))
}

/// Bounds a text whose reader recurses with its brackets.
fn text_fits(what: &str, text: &str) -> Result<(), SchemaFault> {
    if text.len() > MAX_TEXT {
        return Err(too_long(what, text.len(), MAX_TEXT));
    }
    if let Some(line) = text.lines().find(|line| line.len() > MAX_REGEX) {
        return Err(too_long("a line", line.len(), MAX_REGEX));
    }
    if text.trim().is_empty() {
        return Err(SchemaFault::whole(format!("{what} is empty")));
    }
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(SchemaFault::whole(format!(
                "{what} has brackets nested deeper than {MAX_NESTING}"
            )));
        }
    }
    Ok(())
}

/// Bounds size and depth without recursion, before anything walks the schema.
fn fits(schema: &Value) -> Result<(), SchemaFault> {
    let mut bytes = 0usize;
    let mut todo = vec![(schema, 0usize)];
    while let Some((value, depth)) = todo.pop() {
        if depth > MAX_JSON_DEPTH {
            return Err(SchemaFault::whole(format!(
                "the schema's JSON is nested deeper than {MAX_JSON_DEPTH}: use $ref"
            )));
        }
        bytes = bytes.saturating_add(match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(_) => 8,
            Value::String(text) => text.len().saturating_add(3),
            Value::Array(items) => {
                todo.extend(items.iter().map(|item| (item, depth + 1)));
                3
            }
            Value::Object(members) => {
                todo.extend(members.values().map(|member| (member, depth + 1)));
                members.keys().map(|name| name.len().saturating_add(4)).sum::<usize>() + 3
            }
        });
        if bytes > MAX_SCHEMA {
            return Err(SchemaFault::whole(format!(
                "the schema is over the limit of {MAX_SCHEMA} bytes as JSON"
            )));
        }
    }
    Ok(())
}
