//! One conversation in every dialect, with a real small model: what is said depends on what was
//! asked, not on the words it was asked in.

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::{Daemon, from_env};

const SYSTEM: &str = "You are a terse guide.";
const QUESTION: &str = "Name three rivers in Europe and say where they end.";

/// What an answer says, in no dialect's terms.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    text: String,
    prompt_tokens: u64,
    /// `None`: the dialect has no word for it.
    cached_tokens: Option<u64>,
    output_tokens: u64,
    /// Whether it was cut by its limit.
    cut: bool,
}

/// One way to ask.
struct Dialect {
    name: &'static str,
    path: &'static str,
    body: fn() -> Value,
    whole: fn(&Value) -> Said,
    /// From the data of the stream's events or lines.
    stream: fn(&[Value]) -> Said,
    /// Where in the body the settings of the sampling are; none: at its top.
    settings: Option<&'static str>,
}

const DIALECTS: [Dialect; 4] = [
    Dialect {
        name: "chat completions",
        path: "/engines/v1/chat/completions",
        body: || {
            json!({
                "messages": [
                    { "role": "system", "content": SYSTEM },
                    { "role": "user", "content": QUESTION },
                ],
                "max_completion_tokens": 24,
                "stream_options": { "include_usage": true },
            })
        },
        whole: |answer| {
            let choice = &answer["choices"][0];
            let mut said = openai(&answer["usage"], &choice["finish_reason"]);
            said.text = text(&choice["message"]["content"]);
            said
        },
        stream: |events| {
            let last = &events[events.len() - 1];
            let mut ends = events.iter().map(|event| &event["choices"][0]["finish_reason"]);
            let finish = ends.rfind(|reason| !reason.is_null());
            let mut said = openai(&last["usage"], finish.expect("a finish reason"));
            let pieces = events.iter().map(|event| &event["choices"][0]["delta"]["content"]);
            said.text = pieces.filter_map(Value::as_str).collect();
            said
        },
        settings: None,
    },
    Dialect {
        name: "responses",
        path: "/v1/responses",
        body: || json!({ "instructions": SYSTEM, "input": QUESTION, "max_output_tokens": 24 }),
        whole: response,
        stream: |events| {
            let said = response(&events[events.len() - 1]["response"]);
            let pieces = events.iter().filter(|e| e["type"] == "response.output_text.delta");
            let text: String = pieces.filter_map(|event| event["delta"].as_str()).collect();
            assert_eq!(text, said.text, "the pieces and the whole");
            said
        },
        settings: None,
    },
    Dialect {
        name: "Ollama",
        path: "/api/chat",
        body: || {
            json!({
                "messages": [
                    { "role": "system", "content": SYSTEM },
                    { "role": "user", "content": QUESTION },
                ],
                "options": { "num_predict": 24 },
            })
        },
        whole: |answer| ollama(answer, text(&answer["message"]["content"])),
        stream: |lines| {
            let pieces = lines.iter().filter_map(|line| line["message"]["content"].as_str());
            ollama(&lines[lines.len() - 1], pieces.collect())
        },
        settings: Some("options"),
    },
    Dialect {
        name: "messages",
        path: "/anthropic/v1/messages",
        body: || {
            json!({
                "system": SYSTEM,
                "messages": [{ "role": "user", "content": QUESTION }],
                "max_tokens": 24,
            })
        },
        whole: |answer| message(answer, text(&answer["content"][0]["text"])),
        stream: |events| {
            let pieces = events.iter().filter_map(|event| event["delta"]["text"].as_str());
            let end = events.iter().find(|event| event["type"] == "message_delta");
            let end = end.expect("an end");
            let usage = &end["usage"];
            let answer = json!({ "stop_reason": end["delta"]["stop_reason"], "usage": usage });
            message(&answer, pieces.collect())
        },
        settings: None,
    },
];

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a count, not {value}"))
}

fn openai(usage: &Value, finish: &Value) -> Said {
    assert_eq!(
        number(&usage["total_tokens"]),
        number(&usage["prompt_tokens"]) + number(&usage["completion_tokens"])
    );
    Said {
        text: String::new(),
        prompt_tokens: number(&usage["prompt_tokens"]),
        cached_tokens: Some(number(&usage["prompt_tokens_details"]["cached_tokens"])),
        output_tokens: number(&usage["completion_tokens"]),
        cut: finish == "length",
    }
}

fn response(response: &Value) -> Said {
    let usage = &response["usage"];
    Said {
        text: text(&response["output"][0]["content"][0]["text"]),
        prompt_tokens: number(&usage["input_tokens"]),
        cached_tokens: Some(number(&usage["input_tokens_details"]["cached_tokens"])),
        output_tokens: number(&usage["output_tokens"]),
        cut: response["incomplete_details"]["reason"] == "max_output_tokens",
    }
}

fn ollama(last: &Value, text: String) -> Said {
    assert_eq!(last["done"], true, "{last}");
    Said {
        text,
        prompt_tokens: number(&last["prompt_eval_count"]),
        cached_tokens: None,
        output_tokens: number(&last["eval_count"]),
        cut: last["done_reason"] == "length",
    }
}

/// Anthropic counts what was cached apart from the rest.
fn message(answer: &Value, text: String) -> Said {
    let usage = &answer["usage"];
    let cached_tokens = number(&usage["cache_read_input_tokens"]);
    Said {
        text,
        prompt_tokens: number(&usage["input_tokens"]) + cached_tokens,
        cached_tokens: Some(cached_tokens),
        output_tokens: number(&usage["output_tokens"]),
        cut: answer["stop_reason"] == "max_tokens",
    }
}

impl Dialect {
    #[track_caller]
    fn ask(&self, client: &Client, more: &Value, stream: bool) -> Said {
        let mut body = (self.body)();
        body["model"] = "ai/smollm2".into();
        for (field, value) in more.as_object().expect("fields") {
            match self.settings {
                None => body[field] = value.clone(),
                Some(settings) => body[settings][field] = value.clone(),
            }
        }
        body["stream"] = stream.into();
        if !stream {
            if let Some(fields) = body.as_object_mut() {
                fields.remove("stream_options");
            }
            return (self.whole)(&client.post(self.path, &body).expect(200).json());
        }
        if self.settings.is_some() {
            let lines = client.post(self.path, &body).expect(200).text();
            let lines = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            return (self.stream)(&lines.collect::<Vec<_>>());
        }
        let events = client.stream(self.path, &body);
        let events: Vec<Value> =
            events.filter(|event| event.data != "[DONE]").map(|event| event.json()).collect();
        (self.stream)(&events)
    }
}

/// Asks in every dialect, streamed and not, over both listeners, one after another.
#[track_caller]
fn all(daemon: &Daemon, more: &Value) -> Vec<(String, Said)> {
    let mut answers = Vec::new();
    for (listener, client) in [("socket", daemon.client()), ("tcp", daemon.tcp_client())] {
        for dialect in &DIALECTS {
            for stream in [false, true] {
                let what = format!("{} over {listener}, stream: {stream}", dialect.name);
                answers.push((what, dialect.ask(&client, more, stream)));
            }
        }
    }
    answers
}

fn daemon(test: &str) -> Option<Daemon> {
    let path = from_env(test, "MODELD_TEST_MODEL")?;
    let daemon = Daemon::builder().tcp().start();
    daemon.cli_ok(&["package", "--gguf", &path, "ai/smollm2"]);
    Some(daemon)
}

#[test]
fn a_conversation_is_the_same_in_every_dialect() {
    let Some(daemon) = daemon("a_conversation_is_the_same_in_every_dialect") else { return };
    // Greedy, so that no seed is needed, which Anthropic's dialect has none of.
    let answers = all(&daemon, &json!({ "temperature": 0 }));
    let (_, first) = &answers[0];
    assert!(first.text.len() > 20, "{first:?}");
    assert!(first.cut && first.output_tokens == 24, "{first:?}");
    assert_eq!(first.cached_tokens, Some(0), "nobody has asked before");
    for (what, said) in &answers[1..] {
        assert_eq!(said.text, first.text, "{what}");
        assert_eq!(said.prompt_tokens, first.prompt_tokens, "{what}");
        assert_eq!((said.cut, said.output_tokens), (true, 24), "{what}");
        // The last token is computed again: its logits are needed.
        let cached = said.cached_tokens.unwrap_or(first.prompt_tokens - 1);
        assert_eq!(cached, first.prompt_tokens - 1, "{what}");
    }
}

#[test]
fn a_seed_means_the_same_in_the_dialects_that_have_one() {
    let test = "a_seed_means_the_same_in_the_dialects_that_have_one";
    let Some(daemon) = daemon(test) else { return };
    let client = daemon.client();
    let asked = [json!({ "seed": 7 }), json!({ "seed": 7, "temperature": 1, "top_p": 0.9 })];
    let mut texts = Vec::new();
    for more in &asked {
        let answers: Vec<Said> = DIALECTS[..3]
            .iter()
            .flat_map(|dialect| [false, true].map(|stream| dialect.ask(&client, more, stream)))
            .collect();
        for said in &answers {
            assert_eq!(said.text, answers[0].text, "{more}");
        }
        texts.push(answers[0].text.clone());
    }
    assert_ne!(texts[0], texts[1], "the settings have a say");
}
