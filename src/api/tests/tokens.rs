//! Who may do what: listeners against tokens against what is asked, without sockets.

use axum::body::Body;
use http::Request;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::support::{Answer, Bench, CHAT, TINY, chat};
use crate::api::ListenerClass;
use crate::domain::{Error, ErrorKind, KeepAlive};
use crate::engine::scripted::ScriptedFactory;
use crate::tokens::{NewToken, Scope, TokenFile, Tokens};

struct Place {
    bench: Bench,
    inference: String,
    admin: String,
    expired: String,
    revoked: String,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn new(everywhere: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = TokenFile::within(dir.path());
        let make = |name: &str, scope, made: Timestamp| {
            let life = Some(std::time::Duration::from_secs(3600));
            let wanted = NewToken { name: Some(name.to_owned()), scope, life };
            let (_, text) = file.create(wanted, made).expect("a token");
            text.expose_secret().to_owned()
        };
        let now = Timestamp::now();
        let inference = make("inference", Scope::Inference, now);
        let admin = make("admin", Scope::Admin, now);
        let expired = make("expired", Scope::Admin, Timestamp::UNIX_EPOCH);
        let revoked = make("revoked", Scope::Admin, now);
        file.revoke("revoked").expect("a token");
        let tokens = Tokens::of(file);
        let factory = ScriptedFactory::answering(["Hi"]);
        let bench = Bench::with_tokens(factory, tokens, everywhere).await;
        Self { bench, inference, admin, expired, revoked, _dir: dir }
    }

    async fn ask(
        &self,
        class: ListenerClass,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if path.ends_with("completions") {
            chat(&json!({})).to_string()
        } else {
            String::new()
        };
        let mut request = request.body(Body::from(body)).expect("a request");
        request.extensions_mut().insert(class);
        self.bench.send(request).await
    }
}

const INFER: (&str, &str) = ("POST", CHAT);
const LIST: (&str, &str) = ("GET", "/models");
const MANAGE: (&str, &str) = ("POST", "/engines/unload");

fn local() -> std::net::SocketAddr {
    "127.0.0.1:12434".parse().expect("an address")
}

#[tokio::test]
async fn listeners_by_tokens_by_what_is_asked() {
    let place = Place::new(false).await;
    let strict = Place::new(true).await;
    let local = local();
    // What a request to infer, to list and to manage is answered.
    let (all, no, some) = ([200, 200, 400], [401, 401, 401], [200, 200, 403]);
    for (name, place, class, [none, foreign, inference, admin, revoked, expired]) in [
        ("socket", &place, ListenerClass::Unix, [all, all, all, all, all, all]),
        ("group", &place, ListenerClass::Group, [some, some, some, some, some, some]),
        // Nobody holds a connection here, so nobody is known to be the user.
        ("loopback", &place, ListenerClass::Tcp { local }, [some, some, some, all, some, some]),
        ("ollama", &place, ListenerClass::Ollama { local }, [some, some, some, all, some, some]),
        ("bridge", &place, ListenerClass::Containers { local }, [some; 6]),
        ("public", &place, ListenerClass::Public { local }, [no, no, some, all, no, no]),
        ("strict socket", &strict, ListenerClass::Unix, [all; 6]),
        ("strict group", &strict, ListenerClass::Group, [some; 6]),
        ("strict loopback", &strict, ListenerClass::Tcp { local }, [no, no, some, all, no, no]),
        ("strict ollama", &strict, ListenerClass::Ollama { local }, [no, no, some, all, no, no]),
        (
            "strict bridge",
            &strict,
            ListenerClass::Containers { local },
            [no, no, some, some, no, no],
        ),
        ("strict public", &strict, ListenerClass::Public { local }, [no, no, some, all, no, no]),
    ] {
        for (token, expected) in [
            (None, none),
            (Some("sk-made-up"), foreign),
            (Some(place.inference.as_str()), inference),
            (Some(place.admin.as_str()), admin),
            (Some(place.revoked.as_str()), revoked),
            (Some(place.expired.as_str()), expired),
        ] {
            let bearer = token.map(|token| format!("Bearer {token}"));
            for key in ["authorization", "x-api-key"] {
                let value = if key == "authorization" { bearer.as_deref() } else { token };
                let headers: Vec<_> = value.map(|value| (key, value)).into_iter().collect();
                for (what, status) in [INFER, LIST, MANAGE].into_iter().zip(expected) {
                    let answer = place.ask(class, what, &headers).await;
                    let got = answer.status.as_u16();
                    // An empty body is no request to unload anything.
                    assert_eq!(got, status, "{name} {key} {token:?} {what:?}: {}", answer.text);
                    let challenge = answer.header("www-authenticate");
                    assert_eq!(challenge, (status == 401).then_some("Bearer"), "{name} {what:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_missing_token_is_told_in_each_dialect() {
    let place = Place::new(true).await;
    let class = ListenerClass::Tcp { local: local() };
    let openai = place.ask(class, INFER, &[]).await.expect(401).json();
    assert_eq!(openai["error"]["type"], "invalid_request_error");
    assert_eq!(openai["error"]["code"], "invalid_api_key");
    let anthropic = place.ask(class, ("POST", "/v1/messages"), &[]).await.expect(401).json();
    assert_eq!(anthropic["error"]["type"], "authentication_error");
    let ollama = place.ask(class, ("POST", "/api/chat"), &[]).await.expect(401).json();
    assert!(ollama["error"].as_str().is_some_and(|text| text.contains("modeld token create")));
    let native = place.ask(class, LIST, &[]).await.expect(401);
    assert!(native.text.ends_with("`x-api-key`\n"), "{}", native.text);
    let expired = format!("Bearer {}", place.expired);
    let expired = place.ask(class, LIST, &[("authorization", &expired)]).await.expect(401);
    assert!(expired.text.starts_with("the token has expired"), "{}", expired.text);
    // Not even what is not there can be told from what is.
    place.ask(class, ("GET", "/no-such"), &[]).await.expect(401);
}

#[tokio::test]
async fn a_page_learns_that_it_needs_a_token_and_may_send_one() {
    let place = Place::new(true).await;
    let class = ListenerClass::Public { local: local() };
    let page = ("origin", "http://localhost:3000");
    let refused = place.ask(class, LIST, &[page]).await.expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some(page.1));
    assert!(
        refused.header("access-control-expose-headers").is_some_and(|h| h.contains("www-auth"))
    );
    let asks = ("access-control-request-method", "POST");
    let with = ("access-control-request-headers", "authorization,x-stainless-lang,x-api-key");
    let preflight = place.ask(class, ("OPTIONS", CHAT), &[page, asks, with]).await.expect(204);
    assert_eq!(preflight.header("access-control-allow-headers"), Some(with.1));
    let admin = format!("Bearer {}", place.admin);
    place.ask(class, LIST, &[page, ("authorization", &admin)]).await.expect(200);
    let foreign = ("origin", "https://evil.example");
    place.ask(class, LIST, &[foreign, ("authorization", &admin)]).await.expect(403);
}

#[tokio::test]
async fn a_private_network_is_opened_to_allowed_pages_alone() {
    let place = Place::new(false).await;
    let class = ListenerClass::Tcp { local: local() };
    let asks = ("access-control-request-method", "POST");
    let private = ("access-control-request-private-network", "true");
    let name = "access-control-allow-private-network";
    let ours = ("origin", "http://localhost:3000");
    let told = place.ask(class, ("OPTIONS", CHAT), &[ours, asks, private]).await.expect(204);
    assert_eq!(told.header(name), Some("true"));
    let vary: Vec<_> =
        told.headers.get_all("vary").iter().filter_map(|v| v.to_str().ok()).collect();
    assert!(
        vary.contains(&"Origin") && vary.concat().contains("Request-Private-Network"),
        "{vary:?}"
    );
    let plain = place.ask(class, ("OPTIONS", CHAT), &[ours, asks]).await.expect(204);
    assert_eq!(plain.header(name), None);
    let foreign = ("origin", "https://evil.example");
    let refused = place.ask(class, ("OPTIONS", CHAT), &[foreign, asks, private]).await.expect(403);
    assert_eq!(refused.header(name), None);
    // What is answered without an Origin must not be kept for a page.
    let bare = place.ask(class, LIST, &[]).await.expect(200);
    assert_eq!(
        (bare.header("vary"), bare.header("access-control-allow-origin")),
        (Some("Origin"), None)
    );
}

#[tokio::test]
async fn only_the_owner_says_how_long_a_model_stays() {
    let place = Place::new(false).await;
    let containers = ListenerClass::Containers { local: local() };
    let ollama = async |class: ListenerClass, extra: serde_json::Value| {
        let mut body = json!({"model": TINY, "prompt": "Hi", "stream": false});
        if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
            body.extend(extra.clone());
        }
        let request = Request::post("/api/generate").header("host", "localhost");
        let mut request = request.body(Body::from(body.to_string())).expect("a request");
        request.extensions_mut().insert(class);
        place.bench.send(request).await
    };
    let kept = || {
        let snapshot = place.bench.scheduler.snapshot();
        snapshot
            .models
            .first()
            .map(|model| model.keep_alive.map_or(KeepAlive::Forever, KeepAlive::For))
    };
    let default = Some(KeepAlive::For(std::time::Duration::from_secs(300)));
    for class in [containers, ListenerClass::Group, ListenerClass::Tcp { local: local() }] {
        ollama(class, json!({"keep_alive": -1})).await.expect(200);
        assert_eq!(kept(), default, "{class:?} pinned it");
        ollama(class, json!({"prompt": "", "keep_alive": -1})).await.expect(200);
        assert_eq!(kept(), default, "{class:?} pinned it by loading");
        ollama(class, json!({"keep_alive": 0})).await.expect(200);
        assert_eq!(kept(), default, "{class:?} let it go after an answer");
        ollama(class, json!({"prompt": "", "keep_alive": 0})).await.expect(403);
        assert_eq!(kept(), default, "{class:?} let it go");
    }
    ollama(ListenerClass::Unix, json!({"keep_alive": -1})).await.expect(200);
    assert_eq!(kept(), Some(KeepAlive::Forever));
    ollama(ListenerClass::Unix, json!({"prompt": "", "keep_alive": 0})).await.expect(200);
}

#[tokio::test]
async fn only_the_owner_lifts_a_quarantine() {
    let crash = || Error::new(ErrorKind::EngineCrashed, "it died");
    let factory = ScriptedFactory::answering(["Hi"]).failing_loads([crash(), crash(), crash()]);
    let bench = Bench::with_tokens(factory, Tokens::default(), false).await;
    let ask = async |class: ListenerClass, path: &str, body: String, preload: bool| {
        let mut request = Request::post(path).header("host", "localhost");
        if preload {
            request = request.header("x-preload-only", "true");
        }
        let mut request = request.body(Body::from(body)).expect("a request");
        request.extensions_mut().insert(class);
        bench.send(request).await.status.as_u16()
    };
    let chat = || chat(&json!({})).to_string();
    for _ in 0..3 {
        assert_ne!(ask(ListenerClass::Unix, CHAT, chat(), false).await, 200);
    }
    for class in [ListenerClass::Containers { local: local() }, ListenerClass::Group] {
        assert_eq!(ask(class, CHAT, chat(), false).await, 422, "{class:?}");
        assert_eq!(ask(class, CHAT, chat(), true).await, 422, "{class:?} by preloading");
        let load = json!({"model": TINY}).to_string();
        assert_eq!(ask(class, "/api/generate", load, false).await, 422, "{class:?} by loading");
    }
    let loads = bench.control.loads();
    assert_eq!(ask(ListenerClass::Unix, CHAT, chat(), true).await, 200);
    assert_eq!(bench.control.loads(), loads + 1);
}
