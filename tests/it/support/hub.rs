//! A stand-in for the Hugging Face Hub and the servers that it redirects to for large files, on two
//! ports of the loopback address. It answers as the Hub does (names in any case by a redirect,
//! listings in pages, refusals with `x-error-code`), records what it was asked, and can be told to
//! answer anything else. Uses nothing of modeld.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

/// The token that may see everything.
pub const GOOD_TOKEN: &str = "hf_good";
/// Entries of one page of a listing.
const PAGE: usize = 3;

/// A repository.
#[derive(Clone)]
pub struct Repo {
    /// As the Hub writes it.
    pub id: String,
    pub commit: String,
    pub last_modified: String,
    pub gated: bool,
    pub files: Vec<RepoFile>,
}

/// A file of a repository.
#[derive(Clone)]
pub struct RepoFile {
    pub path: String,
    pub bytes: Bytes,
    /// Kept as a large file, with a digest in the listing and its bytes on the other server.
    pub large: bool,
}

impl Repo {
    /// An open repository at a commit that its files decide.
    pub fn new(id: &str, files: Vec<RepoFile>) -> Self {
        let mut hash = Sha256::new();
        for file in &files {
            hash.update(&file.path);
            hash.update(&file.bytes);
        }
        Self {
            id: id.to_owned(),
            commit: hex(&hash.finalize()).chars().take(40).collect(),
            last_modified: "2025-06-15T12:30:45.678Z".to_owned(),
            gated: false,
            files,
        }
    }

    fn tree(&self) -> Vec<Value> {
        let entry = |file: &RepoFile| {
            let mut entry = json!({
                "type": "file",
                "oid": "0".repeat(40),
                "size": file.bytes.len(),
                "path": file.path,
            });
            if file.large {
                entry["lfs"] = json!({
                    "oid": file.digest(),
                    "size": file.bytes.len(),
                    "pointerSize": 135,
                });
            }
            entry
        };
        self.files.iter().map(entry).collect()
    }
}

impl RepoFile {
    /// A file that git itself holds.
    pub fn small(path: &str, bytes: impl Into<Bytes>) -> Self {
        Self { path: path.to_owned(), bytes: bytes.into(), large: false }
    }

    /// A file in the store of large ones.
    pub fn large(path: &str, bytes: impl Into<Bytes>) -> Self {
        Self { large: true, ..Self::small(path, bytes) }
    }

    /// The 64 hexadecimal digits of its digest.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// By the server of large files, not by the Hub.
    pub by_cdn: bool,
    /// Path and query.
    pub target: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What to answer instead of what the Hub would.
#[derive(Clone)]
pub struct Instead {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Instead {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub fn json(body: &Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.to_string().into() }
    }
}

/// Both servers; they end with it.
pub struct StandIn {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    state: Arc<State>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    repos: Mutex<Vec<Repo>>,
    seen: Mutex<Vec<Seen>>,
    /// By the beginning of the target.
    instead: Mutex<HashMap<String, Instead>>,
}

impl StandIn {
    pub async fn start(repos: Vec<Repo>) -> Self {
        let state = Arc::new(State { repos: Mutex::new(repos), ..State::default() });
        let hub = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let cdn = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", hub.local_addr().expect("an address"));
        let cdn_url = format!("http://{}", cdn.local_addr().expect("an address"));
        let servers = vec![
            tokio::spawn(serve(hub, Arc::clone(&state), Some(cdn_url))),
            tokio::spawn(serve(cdn, Arc::clone(&state), None)),
        ];
        Self { url, state, servers }
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// Changes the repositories.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Repo>)) {
        change(&mut self.state.repos.lock().expect("no panic"));
    }

    /// Answers targets that begin so in another way.
    pub fn instead(&self, target: &str, answer: Instead) {
        self.state.instead.lock().expect("no panic").insert(target.to_owned(), answer);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.servers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// `cdn` is the other server's address; the other server itself has none.
async fn serve(listener: TcpListener, state: Arc<State>, cdn: Option<String>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, cdn) = (Arc::clone(&state), cdn.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let answer = state.answer(&request, cdn.as_deref());
            async move { Ok::<_, Infallible>(answer) }
        });
        let stream = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(async move {
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
        });
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>, cdn: Option<&str>) -> Response<Full<Bytes>> {
        let text = |name: header::HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let seen = Seen {
            by_cdn: cdn.is_none(),
            target: target.to_owned(),
            authorization: text(header::AUTHORIZATION),
            range: text(header::RANGE),
        };
        self.seen.lock().expect("no panic").push(seen.clone());
        let instead = self.instead.lock().expect("no panic");
        // The longest that fits, so that one file of a repository can be told from all.
        let special = instead.iter().filter(|(start, _)| seen.target.starts_with(start.as_str()));
        if let Some((_, answer)) = special.max_by_key(|(start, _)| start.len()) {
            let mut response = Response::builder().status(answer.status);
            for (name, value) in &answer.headers {
                response = response.header(*name, value);
            }
            return response.body(Full::new(answer.body.clone())).expect("a response");
        }
        drop(instead);
        match cdn {
            Some(cdn) => self.hub(&seen, cdn),
            None => self.cdn(&seen),
        }
    }

    fn hub(&self, seen: &Seen, cdn: &str) -> Response<Full<Bytes>> {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let repos = self.repos.lock().expect("no panic");
        let is_known = seen.authorization.as_deref() == Some(&format!("Bearer {GOOD_TOKEN}"));
        if path == "/api/models" {
            return found(&repos, query);
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (is_api, parts) = match parts.as_slice() {
            ["api", "models", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let [org, name, rest @ ..] = parts else { return refused(404, "EntryNotFound") };
        let asked = format!("{org}/{name}");
        let Some(repo) = repos.iter().find(|repo| repo.id.eq_ignore_ascii_case(&asked)) else {
            return refused(if is_known { 404 } else { 401 }, "RepoNotFound");
        };
        if repo.id != asked {
            let to = seen.target.replacen(&asked, &repo.id, 1);
            return redirect(307, &to);
        }
        match (is_api, rest) {
            (true, []) => json_answer(&json!({
                "_id": "0", "id": repo.id, "sha": repo.commit, "private": false,
                "lastModified": repo.last_modified,
                "gated": if repo.gated { json!("manual") } else { json!(false) },
            })),
            (true, ["tree", commit]) if *commit == repo.commit => page(repo, path, query),
            (false, ["resolve", commit, file @ ..]) if *commit == repo.commit => {
                if repo.gated && !is_known {
                    let status = if seen.authorization.is_some() { 403 } else { 401 };
                    return refused(status, "GatedRepo");
                }
                match repo.files.iter().find(|known| known.path == file.join("/")) {
                    Some(file) if file.large => {
                        redirect(302, &format!("{cdn}/large/{}?signature=x", file.digest()))
                    }
                    Some(file) => bytes(&file.bytes, seen.range.as_deref()),
                    None => refused(404, "EntryNotFound"),
                }
            }
            _ => refused(404, "RevisionNotFound"),
        }
    }

    fn cdn(&self, seen: &Seen) -> Response<Full<Bytes>> {
        let repos = self.repos.lock().expect("no panic");
        let mut files = repos.iter().flat_map(|repo| &repo.files);
        let file = files.find(|file| {
            file.large && seen.target == format!("/large/{}?signature=x", file.digest())
        });
        match file {
            Some(file) => bytes(&file.bytes, seen.range.as_deref()),
            None => refused(403, "AccessDenied"),
        }
    }
}

/// Those whose ids hold `search`.
fn found(repos: &[Repo], query: &str) -> Response<Full<Bytes>> {
    let search = query.split('&').find_map(|pair| pair.strip_prefix("search=")).unwrap_or_default();
    let hits = repos
        .iter()
        .filter(|repo| repo.id.to_ascii_lowercase().contains(&search.to_ascii_lowercase()));
    let hits: Vec<Value> = hits
        .map(|repo| {
            json!({
                "_id": "0", "id": repo.id, "modelId": repo.id, "likes": 3, "downloads": 1000,
                "private": false, "tags": ["gguf", "en"], "lastModified": repo.last_modified,
            })
        })
        .collect();
    json_answer(&Value::Array(hits))
}

fn page(repo: &Repo, path: &str, query: &str) -> Response<Full<Bytes>> {
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="));
    let start = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0usize);
    let tree = repo.tree();
    let mut entries: Vec<Value> = tree.iter().skip(start).take(PAGE).cloned().collect();
    entries.push(json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": "x"}));
    let mut response = json_answer(&Value::Array(entries));
    if start + PAGE < tree.len() {
        let link = format!("<{path}?recursive=true&cursor={}>; rel=\"next\"", start + PAGE);
        response.headers_mut().insert(header::LINK, link.parse().expect("a header"));
    }
    response
}

/// The file in full, or the range of it that was asked for.
fn bytes(file: &Bytes, range: Option<&str>) -> Response<Full<Bytes>> {
    let etag = format!("\"{}\"", hex(&Sha256::digest(file)));
    let response = Response::builder().header(header::ETAG, etag);
    let asked = range.and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let first: usize = first.parse().ok()?;
        let last = if last.is_empty() { file.len() - 1 } else { last.parse().ok()? };
        Some((first, last.min(file.len().saturating_sub(1))))
    });
    let response = match asked {
        None => response.body(Full::new(file.clone())),
        Some((first, last)) if first <= last => response
            .status(206)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", file.len()))
            .body(Full::new(file.slice(first..=last))),
        Some(_) => response.status(416).body(Full::default()),
    };
    response.expect("a response")
}

fn json_answer(body: &Value) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.to_string().into()))
}

fn redirect(status: u16, to: &str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(header::LOCATION, to);
    response.body(Full::default()).expect("a response")
}

fn refused(status: u16, code: &str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("x-error-code", code);
    response.body(Full::from("{\"error\":\"no\"}")).expect("a response")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
