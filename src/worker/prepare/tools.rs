//! What a request says about tools, put in the terms of what can be done.

use std::collections::HashSet;

use serde_json::Value;

use crate::domain::{ChatPrompt, Constraint, Error, ErrorKind, Tool, ToolChoice};
use crate::schema;
use crate::worker::quote::has_marks;

/// The longest regular expression in a schema, in bytes: llama.cpp recurses on them.
const MAX_PATTERN: usize = 4_096;

/// How calls are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// There are none.
    None,
    /// As the model's template has it.
    Native,
    /// In modeld's own format.
    Generic,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// The answer has to be a call.
    pub(super) must: bool,
    /// It may be several.
    pub(super) parallel: bool,
}

/// Leaves the tools that the model is shown.
///
/// # Errors
/// `Unsupported` for a constraint that cannot be held together with tools; `InvalidValue` for a
/// tool that does not exist.
pub(super) fn offer(chat: &mut ChatPrompt, constraint: &Constraint) -> Result<Asked, Error> {
    match chat.tool_choice.clone() {
        ToolChoice::None => chat.tools.clear(),
        ToolChoice::Named(name) => {
            chat.tools.retain(|tool| tool.name == name);
            chat.tools.truncate(1);
            chat.parallel_tool_calls = false;
            if chat.tools.is_empty() {
                let message = format!("there is no tool named {name}: name one of tools");
                return Err(Error::invalid("tool_choice", message));
            }
        }
        ToolChoice::Required if chat.tools.is_empty() => {
            let message = "a call is required, but there are no tools: give some";
            return Err(Error::invalid("tool_choice", message));
        }
        ToolChoice::Auto | ToolChoice::Required => {}
    }
    let must = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
    let json =
        matches!(constraint, Constraint::None | Constraint::JsonObject | Constraint::JsonSchema(_));
    if !chat.tools.is_empty() && !must && !json {
        let message = "with tools, an answer can be held to a JSON schema and to nothing else: \
                       leave out the tools or the constraint";
        return Err(Error::unsupported("response_format", message));
    }
    Ok(Asked { must, parallel: chat.parallel_tool_calls })
}

/// Whether llama.cpp would take rules of its grammars for one another: it names them after the tools,
/// in letters, digits and hyphens, beside `tool-call` and others of its own.
pub(super) fn are_confused(tools: &[Tool]) -> bool {
    const TAKEN: [&str; 6] = ["call", "calls", "call-first", "call-root", "choice", "choices"];
    let mut names: HashSet<String> = HashSet::with_capacity(tools.len());
    for tool in tools {
        let mut name = String::with_capacity(tool.name.len());
        for letter in tool.name.chars() {
            match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => name.push(letter),
                _ if name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        if TAKEN.contains(&name.as_str()) || !names.insert(name) {
            return true;
        }
    }
    // An argument's rule is named after the tool and the argument.
    names.iter().any(|name| {
        name.match_indices("-arg-").any(|(at, _)| name.get(..at).is_some_and(|n| names.contains(n)))
    })
}

/// The same request without thoughts, whatever else it says of them.
pub(super) fn without_thinking(mut chat: ChatPrompt) -> ChatPrompt {
    chat.thinking.enabled = Some(false);
    chat.template_kwargs.remove("enable_thinking");
    chat.template_kwargs.remove("thinking");
    chat
}

/// How far the schemas of tools that are not strict are taken at their word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Latitude {
    /// Without what cannot be guaranteed.
    Loosened,
    /// Any object is an argument; the schema is told to the model.
    Any,
}

/// The tools with such a latitude. Strict ones stay as they are.
pub(super) fn with_latitude(mut tools: Vec<Tool>, latitude: Latitude) -> Vec<Tool> {
    for tool in tools.iter_mut().filter(|tool| !tool.strict) {
        let Ok(asked) = serde_json::from_str::<Value>(&tool.parameters) else { continue };
        let given = match latitude {
            Latitude::Loosened => schema::loosen(&asked),
            Latitude::Any => {
                let mut any = schema::any_object();
                if let Some(members) = any.as_object_mut() {
                    let told = format!("obeys {}", tool.parameters);
                    members.insert("description".to_owned(), told.into());
                }
                any
            }
        };
        tool.parameters = given.to_string();
    }
    tools
}

/// What the C++ side must not see of tools and variables.
///
/// # Errors
/// `InvalidValue` with the place.
pub(super) fn validate(chat: &ChatPrompt) -> Result<(), Error> {
    for (index, tool) in chat.tools.iter().enumerate() {
        let at = |what: &str| format!("tools[{index}].{what}");
        let named = |what: &str| format!("the parameters of the tool {} {what}", tool.name);
        // Parsing also bounds the nesting (128), on which llama.cpp recurses.
        let Ok(schema @ Value::Object(_)) = serde_json::from_str(&tool.parameters) else {
            let message = named("are no JSON object, nested at most 127 deep");
            return Err(Error::invalid(at("parameters"), message));
        };
        if has_marks(&schema) || tool.parameters.contains("\\u0000") {
            let message = named(
                "hold NUL or code points that are no characters (U+10FFFE, U+FDD0, …): remove them",
            );
            return Err(Error::invalid(at("parameters"), message));
        }
        if tool.description.contains('\0') || tool.name.contains('\0') {
            let message = format!("the tool {} holds a NUL character: remove it", tool.name);
            return Err(Error::invalid(at("description"), message));
        }
        if has_long_pattern(&schema) {
            let message = named(&format!("hold a pattern of over {MAX_PATTERN} bytes: shorten it"));
            return Err(Error::invalid(at("parameters"), message));
        }
    }
    for (name, value) in &chat.template_kwargs {
        let parsed = serde_json::from_str::<Value>(value);
        if name.contains('\0') || parsed.is_err() || parsed.is_ok_and(|value| has_marks(&value)) {
            return Err(Error::invalid(
                format!("chat_template_kwargs.{name}"),
                "a variable of the template is a JSON value without NUL and code points that are no \
                 characters (U+10FFFE, U+FDD0, …), nested at most 127 deep",
            ));
        }
    }
    Ok(())
}

fn has_long_pattern(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let long = value.as_str().is_some_and(|text| text.len() > MAX_PATTERN);
            (key == "pattern" && long) || has_long_pattern(value)
        }),
        Value::Array(items) => items.iter().any(has_long_pattern),
        _ => false,
    }
}

/// The error of a tool that llama.cpp has no grammar for.
pub(super) fn unusable(index: usize, tool: &Tool, reason: &str) -> Error {
    Error::invalid(
        format!("tools[{index}].parameters"),
        format!(
            "the parameters of the tool {} cannot be made into a grammar ({reason}): simplify \
             their schema",
            tool.name
        ),
    )
}

/// An error of compiling the grammar of these tools: theirs, not ours.
pub(super) fn blamed(error: Error, tools: &[Tool]) -> Error {
    if !matches!(error.kind, ErrorKind::Internal | ErrorKind::InvalidValue) {
        return error;
    }
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).take(8).collect();
    // An internal error says nothing but in the log.
    let reason = match error.kind {
        ErrorKind::InvalidValue => format!(" ({})", error.message),
        _ => String::new(),
    };
    let message = format!(
        "the parameters of the tools ({}) cannot be made into a grammar{reason}: simplify their \
         schemas",
        names.join(", ")
    );
    let refused = Error::invalid("tools", message);
    match error.cause {
        Some(cause) => refused.with_cause(cause),
        None => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(choice: ToolChoice) -> ChatPrompt {
        let tool = |name: &str| Tool {
            name: name.to_owned(),
            parameters: "{}".to_owned(),
            ..Tool::default()
        };
        ChatPrompt {
            tools: vec![tool("a"), tool("b")],
            tool_choice: choice,
            parallel_tool_calls: true,
            ..ChatPrompt::default()
        }
    }

    #[test]
    fn a_choice_leaves_the_tools_that_it_allows() {
        let offered = |choice| {
            let mut chat = chat(choice);
            let asked = offer(&mut chat, &Constraint::None).expect("offered");
            (chat.tools.len(), asked.must, asked.parallel)
        };
        assert_eq!(offered(ToolChoice::Auto), (2, false, true));
        assert_eq!(offered(ToolChoice::None), (0, false, true));
        assert_eq!(offered(ToolChoice::Required), (2, true, true));
        assert_eq!(offered(ToolChoice::Named("b".into())), (1, true, false));
        let error = offer(&mut chat(ToolChoice::Named("c".into())), &Constraint::None);
        assert_eq!(error.expect_err("unknown").param.as_deref(), Some("tool_choice"));
        let mut none = ChatPrompt { tools: vec![], ..chat(ToolChoice::Required) };
        assert!(offer(&mut none, &Constraint::None).is_err());
    }

    #[test]
    fn names_that_make_the_same_rule_are_confused() {
        let confused = |names: &[&str]| {
            let tool = |name: &&str| Tool { name: (*name).to_owned(), ..Tool::default() };
            are_confused(&names.iter().map(tool).collect::<Vec<_>>())
        };
        for names in [&["get_it", "get-it"][..], &["call"], &["a-arg-b", "a"], &["é", "è"]] {
            assert!(confused(names), "{names:?}");
        }
        for names in [&["get_it", "get_its"][..], &["recall", "calling"], &["a-arg-b"], &[]] {
            assert!(!confused(names), "{names:?}");
        }
    }

    #[test]
    fn a_constraint_beside_tools_is_json_or_refused() {
        let regex = Constraint::Regex("a".into());
        let error = offer(&mut chat(ToolChoice::Auto), &regex).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some("response_format"));
        assert!(offer(&mut chat(ToolChoice::Required), &regex).is_ok(), "the call comes first");
        assert!(offer(&mut chat(ToolChoice::Auto), &Constraint::JsonObject).is_ok());
    }

    #[test]
    fn schemas_that_would_recurse_too_deep_are_refused_with_the_tools_name() {
        let refused = |parameters: String| {
            let mut chat = chat(ToolChoice::Auto);
            chat.tools[1].parameters = parameters;
            let error = validate(&chat).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some("tools[1].parameters"));
            assert!(error.message.contains("tool b"), "{}", error.message);
        };
        refused(format!("{}1{}", "{\"items\":".repeat(60_000), "}".repeat(60_000)));
        refused(format!("{{\"pattern\":\"{}\"}}", "(".repeat(60_000)));
        refused("[]".into());
        refused("{\"a\":\"\u{10ffff}\"}".into());
    }
}
