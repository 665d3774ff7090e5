use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api::{ApiState, ListenerClass, PeerInfo, router};
use crate::engine::scripted::{Control, ScriptedFactory};
use crate::gguf::testing::Writer;
use crate::models::{Models, PackageOptions, PackagePlan};
use crate::registry::Registry;
use crate::scheduler::{LoadedModel, Scheduler, SchedulerConfig};
use crate::service::Service;
use crate::store::Store;
use crate::tokens::Tokens;

pub(super) const CHAT: &str = "/engines/v1/chat/completions";
pub(super) const TINY: &str = "ai/tiny";

/// A daemon without sockets: `ai/tiny` is in its store.
pub(super) struct Bench {
    pub(super) router: Router,
    pub(super) control: Control,
    pub(super) models: Models,
    pub(super) scheduler: Scheduler,
    pub(super) draining: CancellationToken,
    dir: tempfile::TempDir,
}

/// An answer that has been read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Bench {
    pub(super) async fn new(factory: ScriptedFactory) -> Self {
        Self::with(factory, SchedulerConfig::default()).await
    }

    pub(super) async fn with(factory: ScriptedFactory, config: SchedulerConfig) -> Self {
        Self::build(factory, config, None).await
    }

    /// With a registry to pull from and push to.
    pub(super) async fn beside(registry: Arc<dyn Registry>) -> Self {
        let factory = ScriptedFactory::answering(["Hi"]);
        Self::build(factory, SchedulerConfig::default(), Some(registry)).await
    }

    /// With tokens, which are required over all TCP or not.
    pub(super) async fn with_tokens(factory: ScriptedFactory, tokens: Tokens, all: bool) -> Self {
        let bench = Self::new(factory).await;
        let service = Service::new(bench.models.clone(), bench.scheduler.clone());
        let state = ApiState::new(service, bench.draining.clone()).with_tokens(tokens, all);
        Self { router: router(state), ..bench }
    }

    async fn build(
        factory: ScriptedFactory,
        config: SchedulerConfig,
        registry: Option<Arc<dyn Registry>>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let models = Models::new(Store::open(&dir.path().join("models")).expect("a store"));
        let models = match registry {
            Some(registry) => models.with_registry(registry),
            None => models,
        };
        let control = factory.control();
        let scheduler = Scheduler::start(Arc::new(factory), config);
        let service = Service::new(models.clone(), scheduler.clone());
        let draining = CancellationToken::new();
        let router = router(ApiState::new(service, draining.clone()));
        let bench = Self { router, control, models, scheduler, draining, dir };
        bench.add(TINY, &Writer::tiny()).await;
        bench
    }

    /// Packages a GGUF file and answers the id of the model.
    pub(super) async fn add(&self, tag: &str, gguf: &Writer) -> String {
        let tar = self.package(gguf);
        let entry = self.models.load_archive(Box::new(std::io::Cursor::new(tar))).await;
        let id = entry.expect("a model").id.to_string();
        self.models.tag(&id, tag).await.expect("a tag");
        id
    }

    pub(super) fn package(&self, gguf: &Writer) -> Vec<u8> {
        let path = self.dir.path().join("model.gguf");
        std::fs::write(&path, gguf.build()).expect("a file");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_750_000_000);
        let file = std::fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(time).expect("a time");
        let options = PackageOptions { weights: path, ..PackageOptions::default() };
        let mut tar = Vec::new();
        let plan = PackagePlan::new(&options).expect("a plan");
        plan.write_tar(&mut tar, &mut |_| {}).expect("a tar");
        tar
    }

    /// Sends a request as the owner of the Unix socket.
    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.begin(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// As [`Bench::send`], without reading the body.
    pub(super) async fn begin(&self, mut request: Request<Body>) -> axum::response::Response {
        let extensions = request.extensions_mut();
        if extensions.get::<ListenerClass>().is_none() {
            extensions.insert(ListenerClass::Unix);
        }
        extensions.insert(PeerInfo::Unix { uid: 1000, pgid: Some(1) });
        let answered = self.router.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }

    /// Waits until the first loaded model is as `wanted` says.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&LoadedModel) -> bool) {
        let wait = async {
            while !self.scheduler.snapshot().models.first().is_some_and(&wanted) {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(10), wait).await;
        assert!(waited.is_ok(), "never: {what}");
    }

    pub(super) async fn call(&self, method: &str, path: &str) -> Answer {
        self.send(request(method, path, Body::empty())).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(request("POST", path, Body::from(body.to_string()))).await
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(super) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).body(body).expect("a request")
}

/// A good chat request with some fields replaced.
pub(super) fn chat(changes: &Value) -> Value {
    let mut body = json!({ "model": TINY, "messages": [{ "role": "user", "content": "Hi" }] });
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

/// Text with all that differs from run to run replaced: ids, times, versions.
pub(super) fn redact(text: &str) -> String {
    let mut out = text.to_owned();
    for (key, placeholder) in [
        ("\"id\":\"chatcmpl-", "ID"),
        ("\"id\":\"cmpl-", "ID"),
        ("\"system_fingerprint\":\"fp_", "FP"),
        ("\"version\":\"", "VERSION"),
    ] {
        out = replace_until(&out, key, '"', placeholder);
    }
    out = replace_until(&out, "\"created\":", ',', "TIME");
    replace_until(&out, "\"timings\":{", '}', "TIMINGS")
}

/// Replaces what stands between every `start` and the next `end`.
fn replace_until(text: &str, start: &str, end: char, placeholder: &str) -> String {
    let mut pieces = text.split(start);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.find(end).and_then(|at| piece.get(at..)).unwrap_or_default();
        out += start;
        out += placeholder;
        out += rest;
    }
    out
}

/// Text with the ids and times of what has no other moving parts replaced.
pub(super) fn replace_ids(text: &str) -> String {
    let text = replace_until(text, "\"id\":\"", '"', "ID");
    replace_until(&text, "\"created\":", ',', "TIME")
}
