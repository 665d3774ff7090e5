//! Images in conversations, on a worker process of its own.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use modeld::domain::{
    ChatPrompt, Delta, ErrorKind, Event, JobId, Media, MediaAt, MediaKind, Message, Prompt, Role,
    Tool,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::projector::{ROWS, projector};
use crate::support::worker::{Worker, spec};
use crate::support::{Daemon, from_env, models};

fn png(color: [u8; 3]) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    RgbImage::from_pixel(30, 20, Rgb(color)).write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

/// "What is ⟨images⟩ this?"
fn question(images: &[Vec<u8>]) -> Prompt {
    let at = |bytes: &Vec<u8>| MediaAt {
        offset: 8,
        media: Media { kind: MediaKind::Image, bytes: bytes.clone() },
    };
    let media = images.iter().map(at).collect();
    let message = Message { media, ..Message::text(Role::User, "What is this?") };
    Prompt::Chat(ChatPrompt::new(vec![message]))
}

/// A small model that listens to its attention, with a projector.
struct Home {
    _dir: TempDir,
    weights: PathBuf,
    mmproj: PathBuf,
}

fn home(target: u64) -> Home {
    let dir = TempDir::new().unwrap();
    let [weights, mmproj] = ["model.gguf", "mmproj.gguf"].map(|name| dir.path().join(name));
    let mut model = models::tiny();
    for tensor in &mut model.tensors {
        if tensor.name.contains("attn_v") || tensor.name.contains("attn_output") {
            tensor.data.iter_mut().for_each(|value| *value *= 8.0);
        }
    }
    std::fs::write(&weights, model.bytes()).unwrap();
    std::fs::write(&mmproj, projector(target, 2, 64).bytes()).unwrap();
    Home { _dir: dir, weights, mmproj }
}

fn seeing() -> (Home, Worker) {
    let home = home(64);
    let (worker, info) = Worker::load(spec(&home.weights, Some(home.mmproj.clone()))).unwrap();
    assert!(info.vision && !info.audio);
    (home, worker)
}

#[test]
fn an_image_is_seen_and_found_again_and_another_one_is_another() {
    let (_home, mut worker) = seeing();
    let text = worker.ask(1, question(&[]), 40).unwrap();
    let red = worker.ask(2, question(&[png([255, 0, 0])]), 40).unwrap();
    assert_eq!(red.usage.prompt_tokens as usize, text.usage.prompt_tokens as usize + ROWS);
    assert_ne!(red.text, text.text);
    let again = worker.ask(3, question(&[png([255, 0, 0])]), 40).unwrap();
    assert_eq!(again.text, red.text);
    assert_eq!(again.usage.cached_tokens, red.usage.prompt_tokens - 1);
    let blue = worker.ask(4, question(&[png([0, 0, 255])]), 40).unwrap();
    assert_ne!(blue.text, red.text);
    let before_image = red.usage.cached_tokens;
    assert_eq!(blue.usage.cached_tokens, before_image, "only what stands before the image");
    let both = worker.ask(5, question(&[png([255, 0, 0]), png([0, 0, 255])]), 4).unwrap();
    assert_eq!(both.usage.cached_tokens as usize, before_image as usize + ROWS);
}

#[test]
fn what_cannot_be_seen_is_refused_and_the_worker_goes_on() {
    let (_home, mut worker) = seeing();
    let red = png([255, 0, 0]);
    let many = worker.ask(1, question(&vec![red.clone(); 17]), 1).unwrap_err();
    assert_eq!((many.kind, many.param.as_deref()), (ErrorKind::InvalidValue, Some("messages")));
    assert!(many.message.contains("17") && many.message.contains("16"), "{}", many.message);
    let broken = worker.ask(2, question(&[red[..red.len() / 2].to_vec()]), 1).unwrap_err();
    assert_eq!(broken.kind, ErrorKind::InvalidValue);
    assert_eq!(broken.param.as_deref(), Some("messages[0].content"));
    let Prompt::Chat(mut sound) = question(std::slice::from_ref(&red)) else { panic!("a chat") };
    sound.messages[0].media[0].media.kind = MediaKind::Audio;
    let deaf = worker.ask(3, Prompt::Chat(sound), 1).unwrap_err();
    assert_eq!((deaf.kind, deaf.param.as_deref()), (ErrorKind::Unsupported, Some("messages")));
    assert!(worker.ask(4, question(&vec![red; 16]), 1).is_ok());
}

#[test]
fn a_prompt_is_counted_as_it_is_computed() {
    let (_home, mut worker) = seeing();
    let Prompt::Chat(mut chat) = question(&[png([255, 0, 0]), png([0, 0, 255])]) else {
        panic!("a chat")
    };
    chat.tools = vec![Tool { name: "f".into(), parameters: "{}".into(), ..Tool::default() }];
    let prompt = Prompt::Chat(chat);
    let unseen = worker.count(1, prompt.clone()).unwrap();
    let computed = worker.prepare(JobId(2), prompt.clone()).unwrap();
    assert_eq!(unseen, computed as usize);
    assert!(unseen > 2 * ROWS);
    assert_eq!(worker.count(3, prompt).unwrap(), unseen, "of what was encoded before");
    let broken = worker.count(4, question(&[vec![0; 9]])).unwrap_err();
    assert_eq!(broken.param.as_deref(), Some("messages[0].content"));
}

#[test]
fn a_model_of_text_refuses_images() {
    let home = home(64);
    let (mut worker, info) = Worker::load(spec(&home.weights, None)).unwrap();
    assert!(!info.vision);
    let error = worker.ask(1, question(&[png([1, 2, 3])]), 1).unwrap_err();
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::Unsupported, Some("messages")));
    assert!(error.message.contains("has no projector for images"), "{}", error.message);
}

/// How each dialect asks about an image (none: about nothing), and where its count of tokens is.
fn asked(
    dialect: usize,
    model: &str,
    image: Option<&str>,
) -> (&'static str, Value, Vec<&'static str>) {
    let text = "What is this?";
    let base64 = image.and_then(|url| url.split_once("base64,")).map(|(_, data)| data);
    match dialect {
        0 => {
            let mut parts = vec![json!({ "type": "text", "text": text })];
            parts.extend(
                image.map(|url| json!({ "type": "image_url", "image_url": { "url": url } })),
            );
            let messages = json!([{ "role": "user", "content": parts }]);
            let body = json!({ "model": model, "messages": messages, "max_tokens": 2 });
            ("/engines/v1/chat/completions", body, vec!["/usage/prompt_tokens"])
        }
        1 => {
            let mut parts = vec![json!({ "type": "input_text", "text": text })];
            parts.extend(image.map(|url| json!({ "type": "input_image", "image_url": url })));
            let input = json!([{ "role": "user", "content": parts }]);
            let body = json!({ "model": model, "input": input, "max_output_tokens": 2 });
            ("/v1/responses", body, vec!["/usage/input_tokens"])
        }
        _ => {
            let source = |url: &str| match base64 {
                Some(data) => json!({ "type": "base64", "media_type": "image/png", "data": data }),
                None => json!({ "type": "url", "url": url }),
            };
            let mut parts = vec![json!({ "type": "text", "text": text })];
            parts.extend(image.map(|url| json!({ "type": "image", "source": source(url) })));
            let messages = json!([{ "role": "user", "content": parts }]);
            let body = json!({ "model": model, "messages": messages, "max_tokens": 2 });
            let counts = vec!["/usage/input_tokens", "/usage/cache_read_input_tokens"];
            ("/anthropic/v1/messages", body, counts)
        }
    }
}

#[test]
fn every_dialect_shows_images_to_models_that_see() {
    let daemon = Daemon::with("ai/blind", &models::tiny());
    let weights = daemon.file("seeing.gguf", &models::tiny().bytes());
    let mmproj = daemon.file("mmproj.gguf", &projector(64, 2, 64).bytes());
    daemon.cli_ok(&["package", "--gguf", &weights, "--mmproj", &mmproj, "ai/seeing"]);
    let client = daemon.client();
    let red = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png([255, 0, 0])));
    let tokens = |dialect: usize, image: Option<&str>| {
        let (path, body, counts) = asked(dialect, "ai/seeing", image);
        let answer = client.post(path, &body).expect(200).json();
        let count = |place: &&str| answer.pointer(place).and_then(Value::as_u64).expect("a count");
        counts.iter().map(count).sum::<u64>()
    };
    for dialect in 0..3 {
        let seen = tokens(dialect, Some(&red));
        assert_eq!(seen, tokens(dialect, None) + ROWS as u64, "{dialect}");
        assert_eq!(seen, tokens(0, Some(&red)), "{dialect}: as in the first dialect");

        let refused = |model: &str, image: &str| {
            let (path, body, _) = asked(dialect, model, Some(image));
            client.post(path, &body).expect(400).json()["error"]["message"].to_string()
        };
        let blind = refused("ai/blind", &red);
        assert!(blind.contains("has no projector for images"), "{dialect}: {blind}");
        let remote = refused("ai/seeing", "https://example.org/cat.png");
        assert!(remote.contains("network") || remote.contains("base64"), "{dialect}: {remote}");
    }
}

#[test]
fn a_mark_that_a_user_types_is_text() {
    let (_home, mut worker) = seeing();
    let say = |text: &str| Prompt::Chat(ChatPrompt::new(vec![Message::text(Role::User, text)]));
    let plain = worker.ask(1, say("a\u{fffd}b"), 1).unwrap();
    let typed = worker.ask(2, say("a\u{fdd0}b"), 1).unwrap();
    assert_eq!(plain.usage.prompt_tokens, typed.usage.prompt_tokens);
    assert!(worker.ask(3, say("<__media__>"), 1).is_ok());
}

#[test]
fn a_projector_of_another_model_fails_the_load() {
    let home = home(32);
    let failed = Worker::load(spec(&home.weights, Some(home.mmproj.clone())));
    let Err(error) = failed else { panic!("it was loaded") };
    assert_eq!(error.kind, ErrorKind::InvalidModel);
    assert!(error.message.contains("projector"), "{}", error.message);
    assert!(!error.message.contains("mmproj.gguf"), "no paths: {}", error.message);
}

#[test]
fn a_stream_goes_on_beside_images() {
    let Some(model) = from_env("a_stream_goes_on_beside_images", "MODELD_TEST_MODEL") else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let mmproj = dir.path().join("mmproj.gguf");
    std::fs::write(&mmproj, projector(576, 24, 512).bytes()).unwrap();
    let (mut worker, _) = Worker::load(spec(model.as_ref(), Some(mmproj))).unwrap();
    let stream = JobId(1);
    worker.prepare(stream, question(&[])).unwrap();
    worker.start(stream, 1200);
    let mut gaps: Vec<Duration> = Vec::new();
    let mut last: Option<Instant> = None;
    let mut prepared_at = None;
    let images: Vec<_> = (0..16).map(|n| png([n * 16, 255 - n, n])).collect();
    let mut seen = 0;
    let answered_at = loop {
        let (at, job, event) = worker.event();
        if job == stream {
            if matches!(event, Event::Delta { delta: Delta::Content(_), .. }) {
                seen += 1;
                gaps.extend(last.replace(at).map(|last| at - last));
            }
            if matches!(event, Event::Finished(_)) {
                panic!("the stream ended before the images were read");
            }
        }
        if seen == 100 && prepared_at.is_none() {
            eprintln!("alone: {}", report(&gaps));
            gaps.clear();
            let sent = Instant::now();
            let tokens = worker.prepare(JobId(2), question(&images)).unwrap();
            prepared_at = Some(Instant::now());
            eprintln!("{tokens} tokens prepared in {:?}", sent.elapsed());
            worker.start(JobId(2), 1);
        }
        if job == JobId(2) && matches!(event, Event::Finished(_)) {
            break Instant::now();
        }
    };
    let took = prepared_at.map(|start| answered_at - start);
    eprintln!("beside the images: {}; computed in {took:?}", report(&gaps));
    assert!(gaps.len() > 16, "a token between any two images");
}

/// How long a reader waited for each token.
fn report(gaps: &[Duration]) -> String {
    let mut sorted = gaps.to_vec();
    sorted.sort();
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or_default();
    let (half, most, longest) = (at(50), at(90), sorted.last());
    format!(
        "{} tokens, median {half:?}, of ten nine within {most:?}, longest {longest:?}",
        gaps.len()
    )
}
