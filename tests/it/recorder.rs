//! What the request recorder keeps, and that it keeps nothing unless asked to.

use serde_json::{Value, json};

use crate::support::http::Events;
use crate::support::{Daemon, models};

const CHAT: &str = "/engines/v1/chat/completions";
const REQUESTS: &str = "/engines/requests";

fn recording() -> Daemon {
    Daemon::builder().model("ai/hello", &models::hello()).args(&["--record-requests"]).start()
}

fn body(changes: Value) -> Value {
    let mut body = json!({
        "model": "ai/hello", "temperature": 0,
        "messages": [{ "role": "user", "content": "a marker" }],
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

fn groups(daemon: &Daemon, path: &str) -> Vec<Value> {
    daemon.client().get(path).expect(200).json().as_array().unwrap().clone()
}

fn follow(daemon: &Daemon, path: &str) -> Events {
    let answer = daemon.client().open("GET", path, &[("Accept", "text/event-stream")], b"");
    assert_eq!(answer.status, 200);
    answer.events()
}

#[test]
fn without_the_flag_nothing_is_kept_and_the_answer_says_how_to_turn_it_on() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    daemon.client().post(CHAT, &body(json!({}))).expect(200);
    let refused = daemon.client().get(REQUESTS).expect(409);
    assert!(refused.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(refused.text().contains("--record-requests"), "{}", refused.text());
    let cli = daemon.cli(&["requests"]);
    assert_eq!(cli.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&cli.stderr).contains("--record-requests"));
}

#[test]
fn whole_and_streamed_answers_are_recorded_alike() {
    let daemon = recording();
    let client = daemon.client();
    client.post(CHAT, &body(json!({}))).expect(200);
    let streamed = client.stream(CHAT, &body(json!({ "stream": true })));
    assert!(streamed.count() > 2);
    let id = client.get("/models/ai/hello").expect(200).json()["id"].clone();
    let all = groups(&daemon, REQUESTS);
    let [group] = all.as_slice() else { panic!("one model: {all:?}") };
    assert_eq!((&group["model"], &group["count"]), (&id, &json!(2)));
    assert_eq!(group["config"], json!({}));
    let texts: Vec<Value> = group["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            assert_eq!(record["model"], "ai/hello");
            assert_eq!(record["method"], "POST");
            assert_eq!(record["url"], CHAT);
            assert_eq!(record["status_code"], 200);
            assert!(record["timestamp"].as_u64().unwrap() > 1_700_000_000);
            assert!(record["id"].as_str().unwrap().starts_with(id.as_str().unwrap()));
            assert!(record["request"].as_str().unwrap().contains("a marker"));
            let answer = record["response"].as_str().unwrap();
            let answer: Value =
                serde_json::from_str(answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
            assert_eq!(answer["object"], "chat.completion");
            answer["choices"][0]["message"]["content"].clone()
        })
        .collect();
    assert_eq!(texts, ["Hello world! STOP here.", "Hello world! STOP here."]);
    let listed: Value =
        serde_json::from_str(&daemon.cli_ok(&["requests", "--model", "hello"])).unwrap();
    assert_eq!(listed, json!(all));
    assert_eq!(groups(&daemon, "/engines/requests?model=ai/other"), Vec::<Value>::new());
}

#[test]
fn every_dialect_folds_to_its_own_whole_answer() {
    let daemon = recording();
    let client = daemon.client();
    for (path, changes) in [
        ("/v1/completions", json!({ "prompt": "a marker\n", "messages": null, "stream": true })),
        ("/v1/messages", json!({ "max_tokens": 32, "stream": true })),
        ("/v1/responses", json!({ "input": "a marker", "messages": null, "stream": true })),
    ] {
        let mut body = body(changes);
        body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        client.stream(path, &body).count();
    }
    let all = groups(&daemon, REQUESTS);
    let answer = |n: usize| -> Value {
        serde_json::from_str(all[0]["records"][n]["response"].as_str().unwrap()).unwrap()
    };
    assert_eq!(answer(0)["object"], "text_completion");
    assert!(answer(0)["choices"][0]["text"].as_str().unwrap().contains("Hello"), "{}", answer(0));
    assert_eq!(answer(1)["type"], "message");
    assert_eq!(answer(1)["content"][0]["text"], "Hello world! STOP here.");
    assert_eq!(answer(2)["object"], "response");
    assert_eq!(answer(2)["status"], "completed");
}

#[test]
fn refusals_are_recorded_as_errors_and_images_are_cut() {
    let daemon = recording();
    let client = daemon.client();
    client.post(CHAT, &body(json!({ "model": "ai/missing" }))).expect(404);
    let image = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(1000));
    let content = json!([{ "type": "image_url", "image_url": { "url": image } }]);
    let messages = json!([{ "role": "user", "content": content }]);
    client.post(CHAT, &body(json!({ "messages": messages }))).expect(400);
    let all = groups(&daemon, REQUESTS);
    let missing = all.iter().find(|group| group["model"] == "ai/missing").expect("a group");
    let missing = &missing["records"][0];
    assert_eq!(missing["status_code"], 404);
    assert!(missing["error"].as_str().unwrap().contains("ai/missing"), "{missing}");
    assert!(missing.get("response").is_none(), "{missing}");
    let cut = all.iter().find(|group| group["model"] != "ai/missing").expect("a group");
    let request = cut["records"][0]["request"].as_str().unwrap();
    let kept: String = image.chars().take(100).collect();
    let note = format!("{kept}...[truncated {} chars]", image.len() - 100);
    assert!(request.contains(&note), "{request}");
}

#[test]
fn a_follower_hears_of_each_request_and_first_of_those_there_are() {
    let daemon = recording();
    let client = daemon.client();
    client.post(CHAT, &body(json!({ "max_tokens": 1 }))).expect(200);
    let mut all = follow(&daemon, "/engines/requests?include_existing=true&model=hello");
    let mut new = follow(&daemon, REQUESTS);
    assert_eq!(all.next().unwrap().name.as_deref(), Some("connected"));
    assert_eq!(new.next().unwrap().name.as_deref(), Some("connected"));
    let existing = all.next().unwrap();
    assert_eq!(existing.name.as_deref(), Some("existing_request"));
    assert_eq!(existing.json()[0]["count"], 1);
    client.post(CHAT, &body(json!({ "model": "ai/missing" }))).expect(404);
    client.post(CHAT, &body(json!({ "max_tokens": 2 }))).expect(200);
    let asked = |event: &Value| -> Value {
        serde_json::from_str(event[0]["records"][0]["request"].as_str().unwrap()).unwrap()
    };
    let event = all.next().unwrap();
    assert_eq!(event.name.as_deref(), Some("new_request"));
    assert_eq!(asked(&event.json())["max_tokens"], 2, "the filter left the other one out");
    assert_eq!(asked(&new.next().unwrap().json())["model"], "ai/missing");
    assert_eq!(asked(&new.next().unwrap().json())["max_tokens"], 2);
}

#[test]
fn records_are_the_owners_alone_and_never_on_the_disk() {
    let mut daemon = Daemon::builder()
        .model("ai/hello", &models::hello())
        .args(&["--record-requests", "--log", "trace"])
        .tcp()
        .start();
    let secret = "marker-7c1d9";
    let messages = json!([{ "role": "user", "content": secret }]);
    daemon.client().post(CHAT, &body(json!({ "messages": messages }))).expect(200);
    let page = [("Origin", "http://localhost:3000")];
    daemon.tcp_client().send("GET", REQUESTS, &page, b"").expect(403);
    assert!(daemon.client().get(REQUESTS).expect(200).text().contains(secret));
    // A follower does not hold the end up.
    let mut events = follow(&daemon, REQUESTS);
    events.next().expect("connected");
    let asked = std::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    let grep = std::process::Command::new("grep")
        .args(["-rl", secret])
        .arg(daemon.dir())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
}
