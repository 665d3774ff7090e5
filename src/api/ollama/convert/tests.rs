use std::sync::Arc;

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::super::types::{ChatRequest, EmbedRequest, GenerateRequest as Wire};
use super::*;
use crate::domain::{
    ChatPrompt, Constraint, Digest, Error, ErrorKind, GenerateRequest, KeepAlive, ModelEntry,
    Prompt, Result, Role, Thinking, Wishes,
};
use crate::models::{Abilities, OllamaLayers, Portrait, StoredMessage};

fn portrait() -> Portrait {
    let entry =
        ModelEntry { id: Digest::of(b"x"), tags: Vec::new(), created: 0, config: Arc::default() };
    Portrait {
        entry,
        bytes: 0,
        added: None,
        facts: None,
        template: String::new(),
        abilities: Abilities { completion: true, ..Abilities::default() },
        has_projector: false,
        ollama: OllamaLayers::default(),
    }
}

fn with(base: Value, changes: Value) -> Vec<u8> {
    let (mut base, Value::Object(changes)) = (base, changes) else { panic!("an object") };
    base.as_object_mut().expect("an object").extend(changes);
    base.to_string().into_bytes()
}

fn chat_of(portrait: &Portrait, changes: Value) -> Result<Converted> {
    let base = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    let request: ChatRequest = crate::api::json::decode(&with(base, changes))?;
    chat(request, "m", portrait)
}

fn generate_of(portrait: &Portrait, changes: Value) -> Result<Converted> {
    let base = json!({ "model": "m", "prompt": "Hi" });
    let request: Wire = crate::api::json::decode(&with(base, changes))?;
    generate(request, "m", portrait)
}

fn asked(converted: Result<Converted>) -> GenerateRequest {
    match converted.expect("a request").task {
        Task::Answer(request) => *request,
        other => panic!("{other:?}"),
    }
}

fn conversation(request: GenerateRequest) -> ChatPrompt {
    match request.prompt {
        Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

fn messages(converted: Result<Converted>) -> Vec<(Role, String)> {
    let chat = conversation(asked(converted));
    chat.messages.into_iter().map(|message| (message.role, message.content)).collect()
}

fn refused(converted: Result<Converted>) -> Error {
    converted.expect_err("refused")
}

fn png() -> String {
    let mut out = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(3, 2, image::Rgb([9, 200, 17]))
        .write_to(&mut out, image::ImageFormat::Png)
        .expect("encoded");
    BASE64_STANDARD.encode(out.into_inner())
}

#[test]
fn a_chat_streams_unless_told_otherwise() {
    for (stream, streams) in [(json!(null), true), (json!(true), true), (json!(false), false)] {
        let converted = chat_of(&portrait(), json!({ "stream": stream })).expect("a request");
        assert_eq!(converted.stream, streams, "{stream}");
        assert!(!converted.truncate && converted.context.is_empty());
    }
}

#[test]
fn a_model_is_named_under_either_field() {
    let name = |model: &str, name: &str| model_name(&Some(model.into()), &Some(name.into()));
    assert_eq!(name("a", "b").as_deref(), Some("a"));
    assert_eq!(name(" ", "b").as_deref(), Some("b"));
    assert_eq!((name("", ""), model_name(&None, &None)), (None, None));
}

#[test]
fn what_a_request_says_of_the_model_goes_along() {
    let changes = json!({ "keep_alive": "30m", "options": { "num_ctx": 4096 } });
    let keep_alive = Some(KeepAlive::For(Duration::from_secs(1800)));
    let wishes = Wishes { keep_alive, context: Some(4096) };
    assert_eq!(chat_of(&portrait(), changes.clone()).expect("a request").wishes, wishes);
    assert_eq!(generate_of(&portrait(), changes).expect("a request").wishes, wishes);
}

#[test]
fn nothing_to_say_loads_or_unloads() {
    for (keep_alive, task) in [
        (json!(null), Task::Load),
        (json!(-1), Task::Load),
        (json!("5m"), Task::Load),
        (json!(0), Task::Unload),
        (json!("0s"), Task::Unload),
    ] {
        let changes = json!({ "messages": [], "prompt": "", "keep_alive": keep_alive });
        let chat = chat_of(&portrait(), changes.clone()).expect("a request");
        assert_eq!(chat.task, task, "{keep_alive}");
        assert_eq!(generate_of(&portrait(), changes).expect("a request").task, task);
    }
    let gap = json!({ "prompt": "", "suffix": "}", "keep_alive": 0 });
    assert!(matches!(asked(generate_of(&portrait(), gap)).prompt, Prompt::Fill { .. }));
}

#[test]
fn what_a_model_brings_along_stands_before_the_conversation() {
    let stored =
        |role: &str, content: &str| StoredMessage { role: role.into(), content: content.into() };
    let ollama = OllamaLayers {
        system: Some("Be brief.".into()),
        messages: vec![stored("user", "1"), stored("assistant", "2"), stored("nobody", "3")],
        ..OllamaLayers::default()
    };
    let model = Portrait { ollama, ..portrait() };
    let text = |role, content: &str| (role, content.to_owned());
    let few_shots = [text(Role::User, "1"), text(Role::Assistant, "2")];
    let expected = |system: &str| {
        [&[text(Role::System, system)][..], &few_shots, &[text(Role::User, "Hi")]].concat()
    };
    assert_eq!(messages(chat_of(&model, json!({}))), expected("Be brief."));
    assert_eq!(messages(generate_of(&model, json!({}))), expected("Be brief."));
    let own = json!({ "system": "Sing.", "messages": [
        { "role": "SYSTEM", "content": "Sing." }, { "role": "User", "content": "Hi" },
    ]});
    assert_eq!(messages(chat_of(&model, own.clone())), expected("Sing."));
    assert_eq!(messages(generate_of(&model, own)), expected("Sing."));
    // A conversation that goes on has begun with it.
    let on = generate_of(&model, json!({ "context": [1, 2] }));
    assert_eq!(messages(on), [text(Role::User, "Hi")]);
}

#[test]
fn results_find_the_calls_that_they_answer() {
    let call = |name: &str, arguments: Value| json!({ "function": { "name": name, "arguments": arguments } });
    let conversation = json!({ "messages": [
        { "role": "user", "content": "Look." },
        { "role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [
            call("clock", json!({ "zone": "CET" })), call("weather", json!("{\"at\":1}")),
            { "id": "mine", "function": { "name": "clock" } },
        ]},
        { "role": "tool", "tool_name": "weather", "content": "sun" },
        { "role": "tool", "content": "noon" },
        { "role": "tool", "tool_call_id": "mine", "content": "one" },
    ]});
    let chat = self::conversation(asked(chat_of(&portrait(), conversation)));
    let calls: Vec<(&str, &str)> = chat.messages[1]
        .tool_calls
        .iter()
        .map(|call| (call.id.as_str(), call.arguments.as_str()))
        .collect();
    let expected =
        [("call00001", "{\"zone\":\"CET\"}"), ("call00002", "{\"at\":1}"), ("mine", "{}")];
    assert_eq!(calls, expected);
    assert_eq!(chat.messages[1].reasoning.as_deref(), Some("Hm."));
    let answered: Vec<_> = chat.messages[2..]
        .iter()
        .map(|message| (message.tool_call_id.as_deref(), message.name.as_deref()))
        .collect();
    let expected = [("call00002", "weather"), ("call00001", "clock"), ("mine", "clock")];
    assert_eq!(answered, expected.map(|(id, name)| (Some(id), Some(name))));
}

#[test]
fn tools_keep_the_order_of_their_properties() {
    let function = json!({ "name": "f", "description": "d", "parameters": {
        "type": "object", "properties": { "z": { "type": ["string", "null"] }, "a": {} },
    }});
    let changes = json!({ "tools": [{ "type": "function", "function": function }] });
    let chat = conversation(asked(chat_of(&portrait(), changes)));
    assert!(chat.parallel_tool_calls);
    let parameters = &chat.tools[0].parameters;
    assert!(parameters.find("\"z\"") < parameters.find("\"a\""), "{parameters}");
    for (tools, param) in [
        (json!([{ "type": "web" }]), "tools[0].type"),
        (json!([{ "type": "function" }]), "tools[0].function"),
        (json!([{ "function": {} }]), "tools[0].function.name"),
        (
            json!([{ "function": { "name": "f" } }, { "function": { "name": "f" } }]),
            "tools[1].function.name",
        ),
    ] {
        let error = refused(chat_of(&portrait(), json!({ "tools": tools })));
        assert_eq!(error.param.as_deref(), Some(param));
    }
}

#[test]
fn images_stand_before_the_text_with_and_without_a_prefix() {
    let png = png();
    let images = json!([png, format!("data:image/png;base64,{png}")]);
    let message = json!([{ "role": "user", "content": "What?", "images": images }]);
    for converted in [
        chat_of(&portrait(), json!({ "messages": message })),
        generate_of(&portrait(), json!({ "images": images })),
    ] {
        assert!(!converted.as_ref().expect("a request").tells_context);
        let chat = conversation(asked(converted));
        let offsets: Vec<usize> = chat.messages[0].media.iter().map(|media| media.offset).collect();
        assert_eq!(offsets, [0, 0]);
    }
    let broken = json!([{ "role": "user", "content": "", "images": ["%%"] }]);
    let error = refused(chat_of(&portrait(), json!({ "messages": broken })));
    assert_eq!(error.param.as_deref(), Some("messages[0].images[0]"));
    let raw = refused(generate_of(&portrait(), json!({ "images": images, "raw": true })));
    assert_eq!(raw.param.as_deref(), Some("images"));
}

#[test]
fn formats() {
    let schema = json!({
        "type": "object",
        "properties": { "a": { "type": "integer" } },
        "additionalProperties": false,
    });
    for (format, constraint) in [
        (json!(null), Constraint::None),
        (json!(""), Constraint::None),
        (json!("json"), Constraint::JsonObject),
        (schema.clone(), Constraint::JsonSchema(schema.to_string())),
    ] {
        assert_eq!(asked(chat_of(&portrait(), json!({ "format": format }))).constraint, constraint);
    }
    for format in [json!("xml"), json!(1), json!([]), json!({ "type": "nothing" })] {
        let error = refused(generate_of(&portrait(), json!({ "format": format })));
        assert_eq!(error.param.as_deref(), Some("format"), "{format}");
    }
    let begun = json!({ "format": "json", "messages": [{ "role": "assistant", "content": "{" }] });
    assert_eq!(refused(chat_of(&portrait(), begun)).param.as_deref(), Some("format"));
}

#[test]
fn prompts_of_a_generation() {
    let prompt = |changes: Value| asked(generate_of(&portrait(), changes)).prompt;
    assert_eq!(prompt(json!({ "raw": true })), Prompt::Text("Hi".into()));
    let gap = Prompt::Fill { prefix: "Hi".into(), suffix: "}".into() };
    assert_eq!(prompt(json!({ "suffix": "}" })), gap);
    assert!(matches!(prompt(json!({ "template": "", "system": "" })), Prompt::Chat(_)));
    for (changes, tells) in
        [(json!({}), true), (json!({ "raw": true }), false), (json!({ "suffix": "}" }), false)]
    {
        let converted = generate_of(&portrait(), changes).expect("a request");
        assert_eq!(converted.tells_context, tells);
    }
    let on = generate_of(&portrait(), json!({ "context": [1, 2, 3] })).expect("a request");
    assert_eq!(on.context, [1, 2, 3]);
}

#[test]
fn what_a_generation_does_not_do_is_refused() {
    for changes in [
        json!({ "raw": true, "system": "s" }),
        json!({ "raw": true, "context": [1] }),
        json!({ "raw": true, "template": "t" }),
    ] {
        let error = refused(generate_of(&portrait(), changes));
        assert_eq!(error.message, "raw mode does not support template, system, or context");
    }
    for (template, word) in [("{{ .Prompt }}", "Go"), ("{{ messages }}", "package")] {
        let error = refused(generate_of(&portrait(), json!({ "template": template })));
        assert_eq!(
            (error.kind, error.param.as_deref()),
            (ErrorKind::Unsupported, Some("template"))
        );
        assert!(error.message.contains(word), "{}", error.message);
    }
    let debug = refused(generate_of(&portrait(), json!({ "_debug_render_only": true })));
    assert_eq!(debug.param.as_deref(), Some("_debug_render_only"));
    assert!(chat_of(&portrait(), json!({ "_debug_render_only": false })).is_ok());
}

#[test]
fn models_are_asked_for_what_they_can() {
    let thinks = Abilities { completion: true, thinking: true, ..Abilities::default() };
    let thinks = Portrait { abilities: thinks, ..portrait() };
    let thinking = |changes: Value| conversation(asked(chat_of(&thinks, changes))).thinking;
    let on = Thinking { enabled: Some(true), ..Thinking::default() };
    assert_eq!(thinking(json!({})), on);
    assert_eq!(thinking(json!({ "think": false })).enabled, Some(false));
    assert_eq!(thinking(json!({ "think": "low" })).effort.as_deref(), Some("low"));
    let error = refused(chat_of(&portrait(), json!({ "think": true })));
    assert_eq!(error.message, "\"m\" does not support thinking");
    let embeds = Abilities { embedding: true, ..Abilities::default() };
    let embeds = Portrait { abilities: embeds, ..portrait() };
    for (error, what) in [
        (refused(chat_of(&embeds, json!({}))), "chat"),
        (refused(generate_of(&embeds, json!({}))), "generate"),
    ] {
        assert_eq!(error.kind, ErrorKind::UnsupportedModel);
        assert!(error.message.starts_with(&format!("\"m\" does not support {what}")));
    }
}

#[test]
fn probabilities_are_told_when_asked_for() {
    let logprobs = |changes: Value| asked(chat_of(&portrait(), changes)).output.logprobs;
    assert_eq!(logprobs(json!({})), None);
    assert_eq!(logprobs(json!({ "top_logprobs": 3 })), None);
    assert_eq!(logprobs(json!({ "logprobs": true })), Some(0));
    assert_eq!(logprobs(json!({ "logprobs": true, "top_logprobs": 20 })), Some(20));
    for wrong in [-1, 21] {
        let error = refused(chat_of(&portrait(), json!({ "top_logprobs": wrong })));
        assert_eq!(error.message, "top_logprobs must be between 0 and 20");
    }
}

#[test]
fn inputs_to_embed() {
    let of = |changes: Value| {
        let base = json!({ "model": "m" });
        let request: EmbedRequest = crate::api::json::decode(&with(base, changes))?;
        embed(request, &portrait())
    };
    let inputs = |input: Value| of(json!({ "input": input })).map(|embedding| embedding.inputs);
    for nothing in [json!(null), json!(""), json!([])] {
        assert_eq!(inputs(nothing), Ok(Vec::new()));
    }
    assert_eq!(inputs(json!("a")), Ok(vec!["a".to_owned()]));
    assert_eq!(inputs(json!(["a", ""])), Ok(vec!["a".to_owned(), String::new()]));
    for wrong in [json!(1), json!({}), json!([1]), json!([["a"]])] {
        let error = inputs(wrong).expect_err("refused");
        assert!(error.message.starts_with("invalid input type"), "{}", error.message);
    }
    let dimensions = |count: Value| of(json!({ "dimensions": count })).map(|all| all.dimensions);
    assert_eq!((dimensions(json!(0)), dimensions(json!(7))), (Ok(None), Ok(Some(7))));
    assert!(dimensions(json!(-1)).is_err());
}
