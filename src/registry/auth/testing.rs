//! What the tests of this module share: a server that records what it is asked, helper scripts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) authorization: Option<String>,
    pub(super) body: String,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

pub(super) fn reply(status: u16, body: impl Into<String>) -> Reply {
    Reply { status, headers: Vec::new(), body: body.into() }
}

/// 401 with these challenges, one a line.
pub(super) fn demand(challenges: &[&str]) -> Reply {
    let headers = challenges.iter().map(|line| ("www-authenticate", (*line).to_owned()));
    Reply { headers: headers.collect(), ..reply(401, "") }
}

/// A server on a loopback port; ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers with what `handler` says to the server's own URL (without a slash at its end) and a
    /// request.
    pub(super) async fn start(
        handler: impl Fn(&str, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, record) = (Arc::new(handler), Arc::clone(&seen));
        let url = Arc::new(format!("http://{address}"));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (handler, record) = (Arc::clone(&handler), Arc::clone(&record));
                let url = Arc::clone(&url);
                let service = service_fn(move |request| {
                    let (handler, record) = (Arc::clone(&handler), Arc::clone(&record));
                    let url = Arc::clone(&url);
                    async move {
                        let seen = see(request).await;
                        record.lock().unwrap().push(seen.clone());
                        let Reply { status, headers, body } = handler(&url, &seen);
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, seen, task }
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn see(request: Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    let authorization = head.headers.get(http::header::AUTHORIZATION);
    Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    }
}

/// A directory with the credential helper `docker-credential-NAME`, which is this shell script.
pub(super) fn helper_script(name: &str, script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("docker-credential-{name}"));
    // Another process writes it: one that is started by another test while the file is open for
    // writing here would keep it open, and it could not be executed.
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 700 \"$2\"", "sh"])
        .arg(script)
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    dir
}
