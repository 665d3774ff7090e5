//! Requests by the thousand that nobody wrote: mutations of good ones, and schemas grown at random.
//! None may be answered with a 5xx, none may harm the daemon or the worker, and the daemon's memory
//! stays where it was.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::support::{Daemon, is_long, models};

/// Resident memory that the daemon may have gained, in KiB: allocators keep some of what bursts took.
const GROWTH: u64 = 24 << 10;

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A connection that is kept, as clients keep theirs.
struct Line {
    path: std::path::PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Line {
    fn new(daemon: &Daemon) -> Self {
        Self { path: daemon.socket.clone(), stream: None }
    }

    /// The status and the body of the answer.
    fn post(&mut self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        for _ in 0..2 {
            let socket = &self.path;
            let stream = self.stream.get_or_insert_with(|| connect(socket));
            // A connection that the daemon has closed in the meantime is made anew.
            let sent = stream.get_mut().write_all(&[head.as_bytes(), body].concat());
            if sent.is_ok()
                && let Some((status, body, keep)) = read_answer(stream)
            {
                if !keep {
                    self.stream = None;
                }
                return (status, body);
            }
            self.stream = None;
        }
        panic!("no answer to {} bytes at {path}", body.len());
    }
}

fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    BufReader::new(stream)
}

/// Status, body, and whether the connection stays.
fn read_answer(stream: &mut BufReader<UnixStream>) -> Option<(u16, Vec<u8>, bool)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut chunked, mut keep) = (0, false, true);
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let header = line.trim().to_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("transfer-encoding", _)) => chunked = true,
            Some(("connection", "close")) => keep = false,
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if !chunked {
        body.resize(length, 0);
        stream.read_exact(&mut body).ok()?;
        return Some((status, body, keep));
    }
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some((status, body, keep));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// Good requests, by route.
fn seeds() -> Vec<(&'static str, Value)> {
    let user = json!({ "role": "user", "content": "Hi" });
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": {
        "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] } } });
    vec![
        (
            "/v1/chat/completions",
            json!({ "model": "ai/hello", "messages": [user], "max_tokens": 4, "temperature": 0.5,
                "top_p": 0.9, "seed": 1, "n": 2, "stop": ["x"], "logprobs": true, "top_logprobs": 2,
                "logit_bias": { "5": 1 }, "presence_penalty": 0.5, "stream": false,
                "stream_options": { "include_usage": true }, "reasoning_effort": "low",
                "chat_template_kwargs": { "a": 1 }, "parallel_tool_calls": true }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "ai/hello", "messages": [
                { "role": "system", "content": [{ "type": "text", "text": "a" }] }, user,
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
                { "role": "tool", "tool_call_id": "c", "content": "1" }],
                "tools": [tool], "tool_choice": "auto", "max_completion_tokens": 4 }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "ai/hello", "messages": [user], "max_tokens": 4, "response_format": {
                "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": {
                    "type": "object", "properties": { "a": { "enum": [1, "x"] } },
                    "required": ["a"], "additionalProperties": false } } } }),
        ),
        (
            "/v1/completions",
            json!({ "model": "ai/hello", "prompt": ["a", "b"], "max_tokens": 2, "echo": true,
                "logprobs": 1, "n": 1, "best_of": 2, "suffix": null, "user": "u" }),
        ),
        ("/v1/completions", json!({ "model": "ai/hello", "prompt": [5, 6], "max_tokens": 2 })),
        (
            "/v1/embeddings",
            json!({ "model": "ai/hello", "input": ["a"], "encoding_format": "base64", "dimensions": 4 }),
        ),
        (
            "/v1/rerank",
            json!({ "model": "ai/hello", "query": "q", "documents": ["a", "b"], "top_n": 1 }),
        ),
        (
            "/v1/responses",
            json!({ "model": "ai/hello", "input": [{ "role": "user", "content": [
                { "type": "input_text", "text": "Hi" }] }], "instructions": "be kind",
                "max_output_tokens": 16, "text": { "format": { "type": "text" } }, "tools": [
                    { "type": "function", "name": "f", "parameters": { "type": "object" } }],
                "reasoning": { "effort": "low" }, "store": false, "metadata": { "a": "b" } }),
        ),
        (
            "/v1/messages",
            json!({ "model": "ai/hello", "max_tokens": 4, "system": [{ "type": "text", "text": "s" }],
                "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hi" }] }],
                "tools": [{ "name": "f", "input_schema": { "type": "object" } }],
                "tool_choice": { "type": "auto" }, "stop_sequences": ["x"], "thinking": {
                    "type": "enabled", "budget_tokens": 1024 }, "metadata": { "user_id": "u" } }),
        ),
        (
            "/v1/messages/count_tokens",
            json!({ "model": "ai/hello", "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        ("/tokenize", json!({ "model": "ai/hello", "content": "Hi" })),
        ("/detokenize", json!({ "model": "ai/hello", "tokens": [5, 6] })),
    ]
}

/// Any JSON value, most of them of a kind that somewhere is wrong.
fn any(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 12 } else { 15 }) {
        0 => Value::Null,
        1 => json!(dice.one_in(2)),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(dice.roll()),
        5 => json!(i64::MIN),
        6 => json!(1e308),
        7 => json!(0.5),
        8 => json!(""),
        9 => json!(*dice.pick(&["\u{0}", "x", "ai/hello", "auto", "\u{10ffff}", "data:,", "$ref"])),
        10 => json!("é".repeat(dice.below(300))),
        11 => json!([]),
        12 => (0..dice.below(4)).map(|_| any(dice, depth - 1)).collect(),
        _ => {
            let mut map = Map::new();
            for _ in 0..dice.below(4) {
                let key =
                    *dice.pick(&["type", "text", "role", "content", "name", "a", "id", "url"]);
                map.insert(key.to_owned(), any(dice, depth - 1));
            }
            Value::Object(map)
        }
    }
}

/// Changes one place of a value, deep or shallow.
fn mutate(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(map) if !map.is_empty() && !dice.one_in(8) => {
            let at = dice.below(map.len());
            let key = map.keys().nth(at).expect("a key").clone();
            // The model stays, mostly: without it nothing else is looked at.
            if key == "model" && !dice.one_in(16) {
                return;
            }
            match dice.below(6) {
                0 => drop(map.shift_remove(&key)),
                1 => drop(map.insert(format!("{key}x"), any(dice, 2))),
                2 => drop(map.insert(key, any(dice, 3))),
                _ => mutate(map.get_mut(&key).expect("present"), dice),
            }
        }
        Value::Array(list) if !list.is_empty() && !dice.one_in(6) => {
            let at = dice.below(list.len());
            match dice.below(5) {
                0 => drop(list.remove(at)),
                1 => list.push(any(dice, 2)),
                2 => list[at] = any(dice, 3),
                _ => mutate(&mut list[at], dice),
            }
        }
        other => *other = any(dice, 3),
    }
}

/// A body of one of the seeds with some damage.
fn damaged(dice: &mut Dice, seeds: &[(&'static str, Value)]) -> (&'static str, Vec<u8>) {
    let (path, good) = dice.pick(seeds);
    let mut value = good.clone();
    for _ in 0..=dice.below(3) {
        mutate(&mut value, dice);
    }
    let mut bytes = value.to_string().into_bytes();
    if dice.one_in(4) {
        // Damage below the level of JSON.
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << dice.below(8),
            _ => bytes.insert(at, dice.roll() as u8),
        }
    }
    (path, bytes)
}

#[cfg(target_os = "linux")]
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[test]
fn damaged_requests_are_no_fault_of_ours_and_cost_no_memory() {
    let count = if is_long() { 100_000 } else { 10_000 };
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    let seeds = seeds();
    let (mut dice, mut line) = (Dice(42), Line::new(&daemon));
    #[cfg(target_os = "linux")]
    let mut before = 0;
    for number in 0..count {
        #[cfg(target_os = "linux")]
        if number == count / 4 {
            before = resident(daemon.pid());
        }
        let (path, body) = damaged(&mut dice, &seeds);
        let (status, answer) = line.post(path, &body);
        let text = String::from_utf8_lossy(&answer);
        let sent = String::from_utf8_lossy(&body);
        assert!(status < 500, "request {number}: {status} {text}\n{path} {sent}");
        if status >= 400 {
            let error: Value = serde_json::from_str(&text).unwrap_or_default();
            let message = error["error"]["message"].as_str().or(error["message"].as_str());
            assert!(message.is_some_and(|m| !m.is_empty()), "{status} {text}\n{path} {sent}");
        }
    }
    #[cfg(target_os = "linux")]
    {
        let after = resident(daemon.pid());
        assert!(after <= before + GROWTH, "{before} KiB before, {after} KiB after");
    }
    assert!(daemon.is_alive());
}

/// A schema of any shape, good or bad.
fn schema(dice: &mut Dice, depth: usize) -> Value {
    let mut out = Map::new();
    let kinds = ["string", "integer", "number", "boolean", "null", "array", "object", "nothing"];
    if !dice.one_in(6) {
        out.insert("type".into(), json!(*dice.pick(&kinds)));
    }
    for _ in 0..dice.below(5) {
        let small = json!(dice.below(6));
        let sub = |dice: &mut Dice| {
            if depth == 0 { json!({ "type": "boolean" }) } else { schema(dice, depth - 1) }
        };
        let (key, value) = match dice.below(24) {
            0 => ("minLength", small),
            1 => ("maxLength", small),
            2 => ("minimum", json!(dice.below(200) as i64 - 100)),
            3 => ("maximum", json!(dice.below(200) as i64 - 100)),
            4 => ("multipleOf", json!(dice.below(7) as f64 / 2.0)),
            5 => ("pattern", json!(*dice.pick(&["^a+$", "(a+)+$", "[", "\\d{3}", "(?=x)", ".*"]))),
            6 => ("format", json!(*dice.pick(&["date", "email", "uuid", "nothing", "ipv4"]))),
            7 => ("enum", json!([any(dice, 1), any(dice, 1)])),
            8 => ("const", any(dice, 2)),
            9 => ("items", sub(dice)),
            10 => ("minItems", small),
            11 => ("maxItems", small),
            12 => ("prefixItems", json!([sub(dice), sub(dice)])),
            13 => ("uniqueItems", json!(true)),
            14 | 15 => ("properties", json!({ "a": sub(dice), "b": sub(dice) })),
            16 => ("required", json!(["a"])),
            17 => ("additionalProperties", if dice.one_in(2) { json!(false) } else { sub(dice) }),
            18 => ("anyOf", json!([sub(dice), sub(dice)])),
            19 => ("oneOf", json!([sub(dice), sub(dice)])),
            20 => ("allOf", json!([sub(dice), sub(dice)])),
            21 => ("not", sub(dice)),
            22 => (
                "$ref",
                json!(*dice.pick(&["#", "#/$defs/a", "#/properties/a", "https://x.example/"])),
            ),
            _ => ("$defs", json!({ "a": sub(dice) })),
        };
        out.insert(key.into(), value);
    }
    Value::Object(out)
}

#[test]
fn a_thousand_schemas_are_answered_or_refused_by_name() {
    let mut daemon = Daemon::with("ai/tiny", &models::tiny());
    let (mut dice, mut line) = (Dice(7), Line::new(&daemon));
    let (mut answered, mut refused) = (0, 0);
    for number in 0..1_000 {
        let schema = schema(&mut dice, 3);
        let body = json!({
            "model": "ai/tiny", "max_tokens": 24, "seed": number,
            "messages": [{ "role": "user", "content": "Hi" }],
            "response_format": { "type": "json_schema", "json_schema": {
                "name": "s", "strict": true, "schema": schema } },
        });
        let asked = Instant::now();
        let (status, answer) = line.post("/v1/chat/completions", body.to_string().as_bytes());
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        match status {
            200 => {
                answered += 1;
                let choice = &answer["choices"][0];
                if choice["finish_reason"] == "stop" {
                    let text = choice["message"]["content"].as_str().expect("a text");
                    let value: Value = match serde_json::from_str(text) {
                        Ok(value) => value,
                        // JSON, but no number that this program could hold.
                        Err(error) if error.to_string().starts_with("number out of range") => {
                            continue;
                        }
                        Err(error) => panic!("{error}: {text:?} for {schema}"),
                    };
                    // What nobody refers to may be no schema at all.
                    if let Ok(validator) = jsonschema::validator_for(&schema) {
                        assert!(validator.is_valid(&value), "{value} does not obey {schema}");
                    }
                }
            }
            400 => {
                refused += 1;
                let param = answer["error"]["param"].as_str().unwrap_or_default();
                assert!(param.starts_with("response_format"), "{answer} for {schema}");
                let quick = asked.elapsed() < Duration::from_secs(2);
                assert!(quick, "{:?} for {schema}", asked.elapsed());
            }
            _ => panic!("{status} {answer} for {schema}"),
        }
    }
    assert!(answered > 100 && refused > 100, "{answered} answered, {refused} refused");
    assert!(daemon.is_alive());
}
