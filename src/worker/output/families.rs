//! How llama.cpp renders and reads the calls of seven families of models, whose templates are in
//! `tests/templates`.

use crate::domain::{ChatPrompt, Delta, FinishReason, Message, Role, Tool, ToolChoice};
use crate::worker::llama::{ChatParser, ChatTemplates, Rendered, tiny};

use super::answer::Answer;
use super::{Format, Reader};

/// A family and what its models write.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) template: &'static str,
    /// Some words and then one call: get_weather of Paris, in 3 days.
    pub(super) one: &'static str,
    /// Two calls: the same, and get_time without arguments; empty: the format has no such thing.
    pub(super) two: &'static str,
    /// A thought, then the one call; empty: models of the family do not think.
    pub(super) thought: &'static str,
    /// Whether `one` begins with the words "Let me see."
    pub(super) words: bool,
}

const ARGUMENTS: &str = r#"{"city": "Paris \"é\"", "days": 3}"#;

pub(super) const FAMILIES: [Family; 7] = [
    Family {
        name: "hermes",
        template: include_str!("../../../tests/templates/hermes.jinja"),
        one: "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris \\\"é\\\"\", \"days\": 3}}\n</tool_call>",
        two: "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris \\\"é\\\"\", \"days\": 3}}\n</tool_call>\n<tool_call>\n{\"name\": \"get_time\", \"arguments\": {}}\n</tool_call>",
        thought: "<think>\nHm, the weather.\n</think>\n\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris \\\"é\\\"\", \"days\": 3}}\n</tool_call>",
        words: true,
    },
    Family {
        name: "llama3",
        template: include_str!("../../../tests/templates/llama3.jinja"),
        one: "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris \\\"é\\\"\", \"days\": 3}}",
        two: "",
        thought: "",
        words: false,
    },
    Family {
        name: "mistral",
        template: include_str!("../../../tests/templates/mistral.jinja"),
        one: "Let me see.[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris \\\"é\\\"\", \"days\": 3}, \"id\": \"abcdef123\"}]",
        two: "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris \\\"é\\\"\", \"days\": 3}, \"id\": \"abcdef123\"}, {\"name\": \"get_time\", \"arguments\": {}, \"id\": \"abcdef124\"}]",
        thought: "",
        words: true,
    },
    Family {
        name: "deepseek",
        template: include_str!("../../../tests/templates/deepseek.jinja"),
        one: "\n</think>\n\nLet me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Paris \\\"é\\\"\", \"days\": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        two: "\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Paris \\\"é\\\"\", \"days\": 3}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        thought: "Hm, the weather.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Paris \\\"é\\\"\", \"days\": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        words: true,
    },
    Family {
        name: "harmony",
        template: include_str!("../../../tests/templates/harmony.jinja"),
        one: "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Paris \\\"é\\\"\", \"days\": 3}",
        two: "",
        thought: "<|channel|>analysis<|message|>Hm, the weather.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Paris \\\"é\\\"\", \"days\": 3}",
        words: true,
    },
    Family {
        name: "coder",
        template: include_str!("../../../tests/templates/coder.jinja"),
        one: "Let me see.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis \"é\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        two: "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis \"é\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
        thought: "",
        words: true,
    },
    Family {
        name: "functionary",
        template: include_str!("../../../tests/templates/functionary.jinja"),
        one: "get_weather\n{\"city\": \"Paris \\\"é\\\"\", \"days\": 3}",
        two: "",
        thought: "",
        words: false,
    },
];

/// A request with both tools.
pub(super) fn request(choice: ToolChoice, parallel: bool) -> ChatPrompt {
    let tool = |name: &str, parameters: &str| Tool {
        name: name.to_owned(),
        description: format!("Does {name}."),
        parameters: parameters.to_owned(),
        strict: false,
    };
    let weather = r#"{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city","days"]}"#;
    ChatPrompt {
        tools: vec![
            tool("get_weather", weather),
            tool("get_time", r#"{"type":"object","properties":{}}"#),
        ],
        tool_choice: choice,
        parallel_tool_calls: parallel,
        ..ChatPrompt::new(vec![Message::text(Role::User, "How is it in Paris?")])
    }
}

pub(super) fn render(template: &str, chat: &ChatPrompt) -> Rendered {
    let templates = ChatTemplates::new(tiny::model(None), Some(template)).expect("a template");
    templates.render(chat).expect("rendered")
}

pub(super) fn format(rendered: &Rendered) -> Format {
    let reader = Reader::Template(ChatParser::new(rendered).expect("a parser"));
    Format { reader, stops: Vec::new(), parallel_calls: true }
}

/// What a client makes of an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heard {
    pub(super) content: String,
    pub(super) reasoning: String,
    /// Name and arguments.
    pub(super) calls: Vec<(String, String)>,
    pub(super) ids: Vec<String>,
}

/// The answer that consists of these pieces, each parsed when it comes.
pub(super) fn hear(
    format: &Format,
    pieces: &[&str],
    reason: FinishReason,
) -> (Heard, FinishReason) {
    let mut answer = Answer::new(format);
    let mut heard = Heard::default();
    for piece in pieces {
        answer.push(piece);
        answer.update(format).into_iter().for_each(|delta| heard.take(delta));
    }
    let (deltas, reason) = answer.end(format, reason);
    deltas.into_iter().for_each(|delta| heard.take(delta));
    (heard, reason)
}

impl Heard {
    pub(super) fn take(&mut self, delta: Delta) {
        match delta {
            Delta::Content(text) => self.content.push_str(&text),
            Delta::Reasoning(text) => {
                assert_eq!(self.content, "", "a thought after content");
                self.reasoning.push_str(&text);
            }
            Delta::ToolCall(piece) => {
                let index = piece.index as usize;
                if let Some(name) = piece.name {
                    assert_eq!(index, self.calls.len(), "calls begin in order, each once");
                    self.calls.push((name, String::new()));
                    self.ids.push(piece.id.expect("an id with the name"));
                }
                assert_eq!(index + 1, self.calls.len(), "a piece of a call that is over");
                self.calls[index].1.push_str(&piece.arguments);
            }
            Delta::Logprobs(_) => {}
        }
    }
}

fn weather() -> (String, String) {
    ("get_weather".to_owned(), ARGUMENTS.to_owned())
}

fn same_call(heard: &(String, String), expected: &(String, String)) -> bool {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    heard.0 == expected.0 && json(&heard.1) == json(&expected.1)
}

#[test]
fn every_family_is_known_to_call_tools() {
    for family in &FAMILIES {
        let templates =
            ChatTemplates::new(tiny::model(None), Some(family.template)).expect("a template");
        assert!(templates.calls_tools(), "{}", family.name);
    }
    let chatml = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    let templates = ChatTemplates::new(tiny::model(None), Some(chatml)).expect("a template");
    assert!(!templates.calls_tools());
    let plain = templates.render(&ChatPrompt::new(vec![Message::text(Role::User, "hi")]));
    assert!(plain.expect("rendered").plain, "its answers are content as they stand");
}

#[test]
fn one_call_is_read_wherever_the_text_is_split() {
    for family in &FAMILIES {
        let format = format(&render(family.template, &request(ToolChoice::Auto, true)));
        for (at, _) in family.one.char_indices() {
            let (head, tail) = family.one.split_at(at);
            let (heard, reason) = hear(&format, &[head, tail], FinishReason::Stop);
            let place = format!("{} after {head:?}: {heard:?}", family.name);
            assert_eq!(heard.calls.len(), 1, "{place}");
            assert!(same_call(&heard.calls[0], &weather()), "{place}");
            let words = if family.words { "Let me see." } else { "" };
            assert_eq!(heard.content, words, "{place}");
            assert_eq!(heard.reasoning, "", "{place}");
            assert_eq!(reason, FinishReason::ToolCalls, "{place}");
            assert!(heard.ids[0].len() >= 9, "{place}");
        }
    }
}

#[test]
fn a_call_in_single_characters_comes_in_pieces() {
    for family in &FAMILIES {
        let format = format(&render(family.template, &request(ToolChoice::Auto, true)));
        let mut buffer = [[0u8; 4]; 1024];
        let pieces: Vec<&str> =
            family.one.chars().zip(&mut buffer).map(|(c, place)| &*c.encode_utf8(place)).collect();
        let mut answer = Answer::new(&format);
        let mut heard = Heard::default();
        let mut fragments = 0;
        for piece in &pieces {
            answer.push(piece);
            for delta in answer.update(&format) {
                fragments += usize::from(matches!(&delta, Delta::ToolCall(_)));
                heard.take(delta);
            }
        }
        let before_the_end = fragments;
        let (deltas, _) = answer.end(&format, FinishReason::Stop);
        deltas.into_iter().for_each(|delta| heard.take(delta));
        assert!(same_call(&heard.calls[0], &weather()), "{}: {heard:?}", family.name);
        assert!(before_the_end > 5, "{}: {before_the_end} fragments", family.name);
    }
}

#[test]
fn two_calls_are_two_calls_and_one_where_one_is_allowed() {
    for family in FAMILIES.iter().filter(|family| !family.two.is_empty()) {
        let mut format = format(&render(family.template, &request(ToolChoice::Auto, true)));
        let middle = family.two.char_indices().nth(family.two.chars().count() / 2).expect("long").0;
        let (head, tail) = family.two.split_at(middle);
        let (heard, _) = hear(&format, &[head, tail], FinishReason::Stop);
        assert_eq!(heard.calls.len(), 2, "{}: {heard:?}", family.name);
        assert!(same_call(&heard.calls[0], &weather()), "{}: {heard:?}", family.name);
        assert_eq!(heard.calls[1], ("get_time".to_owned(), "{}".to_owned()), "{}", family.name);
        assert_ne!(heard.ids[0], heard.ids[1]);
        format.parallel_calls = false;
        let (heard, _) = hear(&format, &[head, tail], FinishReason::Stop);
        assert_eq!(heard.calls.len(), 1, "{}: {heard:?}", family.name);
    }
}

#[test]
fn a_thought_comes_before_the_call() {
    for family in FAMILIES.iter().filter(|family| !family.thought.is_empty()) {
        let format = format(&render(family.template, &request(ToolChoice::Auto, true)));
        for (at, _) in family.thought.char_indices() {
            let (head, tail) = family.thought.split_at(at);
            let (heard, reason) = hear(&format, &[head, tail], FinishReason::Stop);
            let place = format!("{} after {head:?}: {heard:?}", family.name);
            assert_eq!(heard.reasoning, "Hm, the weather.", "{place}");
            assert_eq!(heard.content, "", "{place}");
            assert!(same_call(&heard.calls[0], &weather()), "{place}");
            assert_eq!(reason, FinishReason::ToolCalls, "{place}");
        }
    }
}

#[test]
fn a_call_that_must_be_has_a_grammar_without_words_before_it() {
    for family in &FAMILIES {
        let rendered = render(family.template, &request(ToolChoice::Required, false));
        let only = rendered.calls_only.as_deref().unwrap_or_default();
        assert!(only.contains("root ::="), "{}: {rendered:?}", family.name);
        assert!(!rendered.grammar_lazy, "{}", family.name);
        assert_ne!(only, rendered.grammar, "{}", family.name);
    }
}
