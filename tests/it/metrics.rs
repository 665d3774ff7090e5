//! What is counted, read the way Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::daemon::send;
use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";
const MODEL: &str = "{model=\"docker.io/ai/hello:latest\"}";

/// Samples by name and labels, out of text that is held to every rule of the format.
#[track_caller]
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'), "the last line ends");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(!words.is_empty() && helped.insert(name.to_owned()), "{line}: twice");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name), "{name} has no help before its type");
            assert!(families.insert(name.into(), kind.into()).is_none(), "{name}: two types");
            current = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let legal = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
        assert!(
            name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{line}"
        );
        let base = match families[&current].as_str() {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or_else(|| panic!("{line}: no part of a histogram")),
            "counter" => {
                assert!(name.ends_with("_total"), "{line}: a counter's name");
                name
            }
            _ => name,
        };
        assert_eq!(base, current, "{line} stands below another family");
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}: labels end"));
        let mut names = BTreeSet::new();
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (key, text) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}: {label}"));
            assert!(names.insert(key) && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert!(!text.trim_end_matches('"').contains('"'), "{line}: an unescaped quote");
        }
        assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
    }
    assert_eq!(helped, families.keys().cloned().collect(), "each has a help and a type");
    samples
}

fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    parse(&daemon.client().get("/metrics").expect(200).text())
}

#[track_caller]
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, series: &str) -> f64 {
    let value = |samples: &BTreeMap<String, f64>| samples.get(series).copied().unwrap_or(0.0);
    value(after) - value(before)
}

#[test]
fn counters_move_by_what_was_done() {
    let mut daemon = Daemon::builder().model("ai/hello", &models::hello()).tcp().start();
    let client = daemon.client();
    let before = scrape(&daemon);
    let body = json!({ "model": "ai/hello", "temperature": 0,
                       "messages": [{ "role": "user", "content": "Hi" }] });
    let (mut prompt, mut cached, mut answer) = (0.0, 0.0, 0.0);
    for _ in 0..3 {
        let usage = client.post(CHAT, &body).expect(200).json()["usage"].clone();
        prompt += usage["prompt_tokens"].as_f64().unwrap();
        answer += usage["completion_tokens"].as_f64().unwrap();
        cached += usage["prompt_tokens_details"]["cached_tokens"].as_f64().unwrap_or(0.0);
    }
    client.post(CHAT, &json!({ "model": "ai/none", "messages": [] })).expect(400);
    client.get("/nowhere/at/all").expect(404);
    let after = scrape(&daemon);
    let of_model = |name: &str| moved(&before, &after, &format!("{name}{MODEL}"));
    assert_eq!(of_model("modeld_prompt_tokens_total"), prompt);
    assert_eq!(of_model("modeld_prompt_cached_tokens_total"), cached);
    assert!(cached > 0.0, "the second and third share a prefix");
    assert_eq!(of_model("modeld_generated_tokens_total"), answer);
    assert_eq!(of_model("modeld_queue_wait_seconds_count"), 3.0);
    assert_eq!(of_model("modeld_time_to_first_token_seconds_count"), 3.0);
    assert_eq!(of_model("modeld_time_per_output_token_seconds_count"), 3.0);
    assert_eq!(of_model("modeld_model_load_seconds_count"), 1.0);
    assert!(of_model("modeld_model_memory_bytes") > 0.0);
    assert_eq!(of_model("modeld_requests_running"), 0.0);
    let series = |name: &str| moved(&before, &after, name);
    let http = |route: &str, method: &str, status: u16| {
        let dialect = if route == "none" { "native" } else { "openai" };
        series(&format!(
            "modeld_http_requests_total{{dialect=\"{dialect}\",method=\"{method}\",\
             route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(http(CHAT, "POST", 200), 3.0);
    assert_eq!(http(CHAT, "POST", 400), 1.0);
    assert_eq!(http("none", "GET", 404), 1.0);
    let name = MODEL.trim_end_matches('}');
    assert_eq!(series(&format!("modeld_generations_total{name},outcome=\"finished\"}}")), 3.0);
    assert_eq!(series(&format!("modeld_model_loads_total{name},outcome=\"loaded\"}}")), 1.0);
    assert_eq!(after["modeld_models_loaded"], 1.0);
    let llama = "{backend=\"llama.cpp\",model=\"docker.io/ai/hello:latest\"}";
    assert_eq!(series(&format!("llamacpp:prompt_tokens_total{llama}")), prompt - cached);
    let build = format!("modeld_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(after[&build], 1.0);
    // Readable on TCP, as lists are.
    let text = daemon.tcp_client().get("/metrics").expect(200);
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(&text.text());
    client.send("POST", "/metrics", &[], b"").expect(405);

    // A process that dies is counted; one that is asked to go is not.
    let worker = daemon.worker();
    send(worker, rustix::process::Signal::KILL);
    let deaths = format!("modeld_worker_deaths_total{MODEL}");
    wait_until(std::time::Duration::from_secs(10), "the death is counted", || {
        scrape(&daemon).get(&deaths) == Some(&1.0)
    });
    client.post(CHAT, &body).expect(200);
    client.post("/engines/unload", &json!({ "all": true })).expect(200);
    assert_eq!(scrape(&daemon)[&deaths], 1.0);
    assert_eq!(scrape(&daemon)["modeld_models_loaded"], 0.0);
}

#[test]
fn a_client_that_leaves_is_counted_as_such() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let body = json!({ "model": "ai/endless", "stream": true,
                       "messages": [{ "role": "user", "content": "Count" }] });
    let mut events = daemon.client().stream(CHAT, &body);
    events.first_text();
    let running = "modeld_requests_running{model=\"docker.io/ai/endless:latest\"}";
    assert_eq!(scrape(&daemon)[running], 1.0);
    drop(events);
    let left =
        "modeld_generations_total{model=\"docker.io/ai/endless:latest\",outcome=\"cancelled\"}";
    wait_until(std::time::Duration::from_secs(10), "it is counted", || {
        scrape(&daemon).get(left) == Some(&1.0)
    });
}

#[test]
fn what_is_disabled_counts_nothing() {
    let daemon = Daemon::builder().args(&["--no-metrics"]).start();
    let refused = daemon.client().get("/metrics").expect(404).text();
    assert!(refused.contains("--no-metrics"), "{refused}");
}
