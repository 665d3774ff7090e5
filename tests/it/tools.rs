//! Tools and thoughts through a real worker, with models that write what they are told to, in the
//! formats of seven families.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use modeld::domain::{
    ChatPrompt, Constraint, Delta, Event, FinishReason, JobId, Limits, Message, Prompt, Role, Tool,
    ToolChoice,
};
use modeld::engine::worker::{WorkerConfig, WorkerFactory};
use modeld::engine::{Engine, EngineFactory, Start, outbox};
use modeld::protocol::{LoadSpec, Purpose};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::support::gguf::Gguf;
use crate::support::models::{self, Piece, Then};

/// A loaded worker.
struct Worker {
    runtime: Runtime,
    engine: Arc<dyn Engine>,
    next: u64,
    _dir: TempDir,
    _factory: WorkerFactory,
}

/// What a client makes of an answer.
#[derive(Debug)]
struct Answer {
    content: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    /// Pieces of calls.
    pieces: usize,
    finish: FinishReason,
}

impl Worker {
    fn start(file: &Gguf, template: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let weights = dir.path().join("model.gguf");
        let chat_template = dir.path().join("template.jinja");
        std::fs::write(&weights, file.bytes()).expect("written");
        std::fs::write(&chat_template, template).expect("written");
        let spec = LoadSpec {
            name: "ai/scripted".into(),
            purpose: Purpose::Generate,
            weights,
            mmproj: None,
            adapters: vec![],
            chat_template: Some(chat_template),
            readable: vec![dir.path().to_owned()],
            context_size: 4096,
            max_sequences: 2,
            threads: 1,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = WorkerConfig {
            program: Path::new(env!("CARGO_BIN_EXE_modeld")).to_owned(),
            ..WorkerConfig::default()
        };
        let factory = WorkerFactory::new(config).expect("a factory");
        let (progress, _) = watch::channel(Default::default());
        let engine = runtime.block_on(factory.load(spec, progress)).expect("loaded");
        Self { runtime, engine, next: 0, _dir: dir, _factory: factory }
    }

    #[track_caller]
    fn ask(&mut self, chat: ChatPrompt, constraint: Constraint) -> Answer {
        self.try_ask(chat, constraint).expect("an answer")
    }

    fn try_ask(
        &mut self,
        chat: ChatPrompt,
        constraint: Constraint,
    ) -> Result<Answer, modeld::domain::Error> {
        self.next += 1;
        let (job, engine) = (JobId(self.next), Arc::clone(&self.engine));
        let answer = async move {
            engine.prepare(job, Prompt::Chat(chat), constraint).await?;
            let (sender, mut events) = outbox();
            let limits = Limits { max_tokens: Some(400), ..Limits::default() };
            engine.start(job, Start { limits, ..Start::default() }, sender);
            let mut answer = Answer {
                content: String::new(),
                reasoning: String::new(),
                calls: Vec::new(),
                pieces: 0,
                finish: FinishReason::Length,
            };
            while let Some(event) = events.next().await {
                match event? {
                    Event::Delta { delta, .. } => answer.take(delta),
                    Event::Ended { finish, .. } => answer.finish = finish,
                    _ => {}
                }
            }
            Ok(answer)
        };
        let limit = Duration::from_secs(60);
        self.runtime.block_on(async { tokio::time::timeout(limit, answer).await.expect("in time") })
    }
}

impl Answer {
    fn take(&mut self, delta: Delta) {
        match delta {
            Delta::Content(text) => self.content.push_str(&text),
            Delta::Reasoning(text) => self.reasoning.push_str(&text),
            Delta::ToolCall(piece) => {
                self.pieces += 1;
                if let Some(name) = piece.name {
                    assert_eq!(piece.index as usize, self.calls.len(), "each begins once");
                    assert!(piece.id.is_some_and(|id| id.len() >= 9));
                    self.calls.push((name, String::new()));
                }
                self.calls[piece.index as usize].1.push_str(&piece.arguments);
            }
            Delta::Logprobs(_) => {}
        }
    }

    /// The call's name and arguments.
    #[track_caller]
    fn call(&self, index: usize) -> (&str, Value) {
        let (name, arguments) = &self.calls[index];
        (name, serde_json::from_str(arguments).expect("the pieces join to JSON"))
    }

    /// One call of one of these tools, with arguments that hold their schema; with arguments that
    /// are text between marks a model need not come to an end.
    #[track_caller]
    fn is_one_call(&self, family: &Family, names: &[&str]) {
        assert_eq!(self.calls.len(), 1, "{}: {self:?}", family.name);
        assert!(names.contains(&self.calls[0].0.as_str()), "{}: {self:?}", family.name);
        if family.name != "coder" {
            assert_eq!(self.finish, FinishReason::ToolCalls, "{}: {self:?}", family.name);
            let (_, arguments) = self.call(0);
            let cities = [json!({ "city": "Paris" }), json!({ "city": "Rome" })];
            assert!(cities.contains(&arguments), "{}: {self:?}", family.name);
        }
    }
}

fn hi() -> ChatPrompt {
    ChatPrompt::new(vec![Message::text(Role::User, "How is it in Paris?")])
}

/// Two tools with so few possible arguments that any model comes to an end.
fn tools(choice: ToolChoice, parallel: bool) -> ChatPrompt {
    let schema = json!({
        "type": "object",
        "properties": { "city": { "type": "string", "enum": ["Paris", "Rome"] } },
        "required": ["city"],
    });
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: "Says <|im_end|> how it is.".to_owned(),
        parameters: schema.to_string(),
        strict: false,
    };
    ChatPrompt {
        tools: vec![tool("get_weather"), tool("get_mood")],
        tool_choice: choice,
        parallel_tool_calls: parallel,
        ..hi()
    }
}

/// A family: its template, the end of its prompts, and how its models call `get_weather`.
struct Family {
    name: &'static str,
    template: &'static str,
    last: char,
    call: &'static [&'static str],
}

const FAMILIES: [Family; 7] = [
    Family {
        name: "hermes",
        template: include_str!("../templates/hermes.jinja"),
        last: '\n',
        call: &[
            "<tool_call>\n",
            "{\"name\": \"get_weather\", ",
            "\"arguments\": {\"city\":",
            " \"Paris\"}}",
            "\n</tool_call>",
        ],
    },
    Family {
        name: "llama3",
        template: include_str!("../templates/llama3.jinja"),
        last: '\n',
        call: &["{\"name\": \"get_weather\", ", "\"parameters\": {\"city\":", " \"Paris\"}}"],
    },
    Family {
        name: "mistral",
        template: include_str!("../templates/mistral.jinja"),
        last: ']',
        call: &[
            "[TOOL_CALLS]",
            "[{\"name\": \"get_weather\", ",
            "\"arguments\": {\"city\":",
            " \"Paris\"}, ",
            "\"id\": \"abcdef123\"}]",
        ],
    },
    Family {
        name: "deepseek",
        template: include_str!("../templates/deepseek.jinja"),
        last: '\n',
        call: &[
            "Hm.",
            "</think>",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "function",
            "<｜tool▁sep｜>",
            "get_weather",
            "\n```json\n",
            "{\"city\": ",
            "\"Paris\"}",
            "\n```",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
        ],
    },
    Family {
        name: "harmony",
        template: include_str!("../templates/harmony.jinja"),
        last: 't',
        call: &[
            "<|channel|>",
            "commentary",
            " to=functions.",
            "get_weather",
            "<|message|>",
            "{\"city\":",
            " \"Paris\"}",
        ],
    },
    Family {
        name: "coder",
        template: include_str!("../templates/coder.jinja"),
        last: '\n',
        call: &[
            "<tool_call>",
            "\n<function=get_weather>",
            "\n<parameter=city>",
            "\nParis",
            "\n</parameter>",
            "\n</function>",
            "\n</tool_call>",
        ],
    },
    Family {
        name: "functionary",
        template: include_str!("../templates/functionary.jinja"),
        last: '>',
        call: &["get_weather\n", "{\"city\":", " \"Paris\"}"],
    },
];

fn scripted(last: char, script: &[&'static str]) -> Gguf {
    let pieces: Vec<Piece> = script.iter().copied().map(Piece::Text).collect();
    models::scripted_after(last, &pieces, Then::End)
}

#[test]
fn every_family_may_call_a_tool() {
    // DeepSeek's marks have U+2581 in them, which the vocabulary of these models writes as spaces.
    for family in FAMILIES.iter().filter(|family| family.name != "deepseek") {
        let mut worker = Worker::start(&scripted(family.last, family.call), family.template);
        let answer = worker.ask(tools(ToolChoice::Auto, true), Constraint::None);
        assert_eq!(answer.finish, FinishReason::ToolCalls, "{}: {answer:?}", family.name);
        assert_eq!(answer.call(0), ("get_weather", json!({ "city": "Paris" })), "{}", family.name);
        assert_eq!(answer.calls.len(), 1, "{}: {answer:?}", family.name);
        assert_eq!(answer.content, "", "{}", family.name);
        assert!(answer.pieces >= 1, "{}: {answer:?}", family.name);
    }
}

#[test]
fn a_model_that_would_rather_talk_has_to_call() {
    for family in &FAMILIES {
        let babble = scripted(family.last, &["I would ", "rather ", "talk, "]);
        let mut worker = Worker::start(&babble, family.template);
        let answer = worker.ask(tools(ToolChoice::Required, false), Constraint::None);
        if family.name == "deepseek" {
            // It always thinks first, and this model comes to no end with that.
            assert_eq!(answer.finish, FinishReason::Length, "{}: {answer:?}", family.name);
            assert_eq!(answer.content, "", "{}: {answer:?}", family.name);
            continue;
        }
        answer.is_one_call(family, &["get_weather", "get_mood"]);
        let named = ToolChoice::Named("get_mood".into());
        let answer = worker.ask(tools(named, true), Constraint::None);
        answer.is_one_call(family, &["get_mood"]);
        let answer = worker.ask(tools(ToolChoice::None, true), Constraint::None);
        assert!(answer.calls.is_empty(), "{}: {answer:?}", family.name);
    }
}

#[test]
fn tools_whose_names_make_one_rule_are_told_apart() {
    let family = &FAMILIES[0];
    let babble = scripted(family.last, &["I would ", "rather ", "talk, "]);
    let mut worker = Worker::start(&babble, family.template);
    for names in [["get_it", "get-it"], ["call", "calls"], ["a", "a-arg-b"]] {
        for wanted in names {
            let mut chat = tools(ToolChoice::Named(wanted.to_owned()), false);
            for (tool, name) in chat.tools.iter_mut().zip(names) {
                tool.name = name.to_owned();
                let schema = json!({ "type": "object", "properties": {
                    "b": { "const": name } }, "required": ["b"], "additionalProperties": false });
                tool.parameters = schema.to_string();
            }
            for choice in [chat.tool_choice.clone(), ToolChoice::Required] {
                let chat = ChatPrompt { tool_choice: choice, ..chat.clone() };
                let answer = worker.ask(chat, Constraint::None);
                assert_eq!(answer.finish, FinishReason::ToolCalls, "{names:?}: {answer:?}");
                assert_eq!(answer.calls.len(), 1, "{names:?}: {answer:?}");
                let (name, arguments) = answer.call(0);
                assert_eq!(arguments, json!({ "b": name }), "{names:?}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_template_without_tools_gets_the_generic_format() {
    let call = [
        "{\"tool_calls\":",
        "[{\"name\":\"get_weather\",",
        "\"arguments\":{\"city\":",
        "\"Paris\"}}",
        "]}",
    ];
    let mut worker = Worker::start(&scripted('\n', &call), models::CHATML);
    let answer = worker.ask(tools(ToolChoice::Auto, true), Constraint::None);
    assert_eq!(answer.call(0), ("get_weather", json!({ "city": "Paris" })), "{answer:?}");
    assert_eq!(answer.finish, FinishReason::ToolCalls);

    let babble = scripted('\n', &["I would ", "rather ", "talk."]);
    let mut worker = Worker::start(&babble, models::CHATML);
    let answer = worker.ask(tools(ToolChoice::Auto, true), Constraint::None);
    assert_eq!(answer.content, "I would rather talk.");
    assert_eq!(answer.finish, FinishReason::Stop);
    for choice in [ToolChoice::Required, ToolChoice::Named("get_mood".into())] {
        let answer = worker.ask(tools(choice, false), Constraint::None);
        assert_eq!(answer.finish, FinishReason::ToolCalls, "{answer:?}");
        assert_eq!(answer.calls.len(), 1, "{answer:?}");
    }
    let schema = Constraint::JsonSchema(json!({ "enum": ["yes"] }).to_string());
    let answer = worker.ask(tools(ToolChoice::Auto, true), schema);
    assert!(answer.content == "\"yes\"" || !answer.calls.is_empty(), "{answer:?}");
}

#[test]
fn a_call_without_a_grammar_of_its_own_is_read() {
    // Llama 3 writes calls without a mark, so nothing constrains them unless they must be.
    let family = &FAMILIES[1];
    let mut worker = Worker::start(&scripted(family.last, family.call), family.template);
    let answer = worker.ask(tools(ToolChoice::Auto, true), Constraint::None);
    assert_eq!(answer.finish, FinishReason::ToolCalls, "{answer:?}");
    assert_eq!(answer.call(0), ("get_weather", json!({ "city": "Paris" })));
}

#[test]
fn thoughts_are_told_apart_from_what_is_said() {
    for (template, last, script) in [
        (
            FAMILIES[0].template,
            '\n',
            &["<think>", "Hm, ", "what?", "</think>", "So ", "it is."][..],
        ),
        (FAMILIES[3].template, '\n', &["Hm, ", "what?", "</think>", "So ", "it is."][..]),
        (
            FAMILIES[4].template,
            't',
            &[
                "<|channel|>",
                "analysis",
                "<|message|>",
                "Hm, what?",
                // In one token, a vocabulary without `<|return|>` would end the answer with it.
                "<|end",
                "|>",
                "<|start|>assistant",
                "<|channel|>final",
                "<|message|>So it is.",
            ][..],
        ),
    ] {
        let mut worker = Worker::start(&scripted(last, script), template);
        let answer = worker.ask(hi(), Constraint::None);
        assert_eq!(answer.reasoning, "Hm, what?", "{script:?} {answer:?}");
        assert_eq!(answer.content, "So it is.", "{script:?} {answer:?}");
        assert_eq!(answer.finish, FinishReason::Stop);
    }
}

#[test]
fn a_tool_that_cannot_be_is_refused_by_name() {
    let mut worker = Worker::start(&models::hello(), FAMILIES[0].template);
    let mut chat = tools(ToolChoice::Auto, true);
    chat.tools[1].parameters = format!("{}1{}", "{\"items\":".repeat(5_000), "}".repeat(5_000));
    let error = worker.try_ask(chat, Constraint::None).expect_err("refused");
    assert_eq!(error.param.as_deref(), Some("tools[1].parameters"));
    assert!(error.message.contains("get_mood"), "{}", error.message);
    let answer = worker.ask(hi(), Constraint::None);
    assert_eq!(answer.content, "Hello world! STOP here.", "the worker lives");
}

/// Schemas as tools of others bring them along, which no grammar can follow.
fn odd_schemas() -> [Value; 6] {
    [
        json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true }),
        json!({ "type": "any" }),
        json!({ "$ref": "https://example.com/city.json" }),
        json!({ "type": "string", "pattern": "^(?!x)(?<=a)\\w+$" }),
        json!({ "not": { "type": "null" }, "if": {}, "then": { "required": ["b"] } }),
        json!({ "$ref": "#/$defs/nowhere" }),
    ]
}

#[test]
fn a_tool_with_an_odd_schema_does_not_keep_the_others_from_being_called() {
    for template in [FAMILIES[0].template, FAMILIES[1].template, models::CHATML] {
        let babble = scripted('\n', &["I would ", "rather ", "talk, "]);
        let mut worker = Worker::start(&babble, template);
        for odd in odd_schemas() {
            let mut chat = tools(ToolChoice::Named("get_mood".into()), false);
            chat.tools[0].parameters =
                json!({ "type": "object", "properties": { "city": odd } }).to_string();
            let answer = worker.ask(chat.clone(), Constraint::None);
            let (name, arguments) = answer.call(0);
            assert_eq!(name, "get_mood", "{odd}: {answer:?}");
            assert!(arguments["city"] == "Paris" || arguments["city"] == "Rome", "{answer:?}");
            // Among those that may be called, and with `auto`, where it is not the one.
            for choice in [ToolChoice::Auto, ToolChoice::Required] {
                chat.tool_choice = choice;
                worker.try_ask(chat.clone(), Constraint::None).expect("an answer");
            }
            // A promise is kept or refused.
            if template == models::CHATML {
                chat.tools[0].strict = true;
                let error = worker.try_ask(chat, Constraint::None).expect_err("refused");
                assert_eq!(error.param.as_deref(), Some("tools"), "{odd}");
            }
        }
    }
}
