//! Small servers, a resolver and a canary for the tests of everything that speaks to registries.
//! All of it is on loopback.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::Lookup;

/// The authority that signed the certificate of [`TestServer::start_tls`], which is for
/// `localhost`, `127.0.0.1` and `registry.example`.
pub(in crate::registry) const CA_PEM: &str = include_str!("testdata/ca.pem");

/// The body of a test server's answer.
pub(in crate::registry) type TestBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request as a test server saw it.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Seen {
    pub(in crate::registry) method: Method,
    /// Path and query; of a proxy's request, the whole URL.
    pub(in crate::registry) target: String,
    pub(in crate::registry) headers: HeaderMap,
    pub(in crate::registry) body: Bytes,
}

impl Seen {
    /// A header's text; empty where it is absent.
    pub(in crate::registry) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

/// An HTTP server that records what it is asked.
pub(in crate::registry) struct TestServer {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

impl TestServer {
    /// Without TLS.
    pub(in crate::registry) async fn start(
        answer: impl Fn(&Seen) -> Response<TestBody> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, answer).await
    }

    /// With a certificate that [`CA_PEM`] has signed.
    pub(in crate::registry) async fn start_tls(
        answer: impl Fn(&Seen) -> Response<TestBody> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(acceptor()), answer).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Response<TestBody> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = seen.clone();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, recorder, answer) = (tls.clone(), recorder.clone(), answer.clone());
                tokio::spawn(async move {
                    match tls {
                        // A client that refuses the certificate is no fault of the server.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, recorder, answer).await;
                            }
                        }
                        None => serve(stream, recorder, answer).await,
                    }
                });
            }
        });
        Self { address, scheme, seen, task: task.abort_handle() }
    }

    /// A URL on it, by `127.0.0.1`.
    pub(in crate::registry) fn url(&self, path: &str) -> Url {
        self.url_as("127.0.0.1", path)
    }

    /// A URL on it by another name.
    pub(in crate::registry) fn url_as(&self, host: &str, path: &str) -> Url {
        Url::parse(&format!("{}://{host}:{}{path}", self.scheme, self.port())).unwrap()
    }

    pub(in crate::registry) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked so far.
    pub(in crate::registry) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    recorder: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen) -> Response<TestBody> + Send + Sync + 'static>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (recorder, answer) = (recorder.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
            let seen = Seen {
                method: head.method,
                target: head.uri.to_string(),
                headers: head.headers,
                body,
            };
            recorder.lock().unwrap().push(seen.clone());
            Ok::<_, Infallible>(answer(&seen))
        }
    });
    // Clients under test break off as they like.
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

fn acceptor() -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let chain = CertificateDer::pem_slice_iter(include_bytes!("testdata/server.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// An answer in full.
pub(in crate::registry) fn reply(
    status: u16,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<TestBody> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    with_body(status, headers, body)
}

/// An answer that sends `first` and then nothing for ever.
pub(in crate::registry) fn stalling(first: &'static [u8]) -> Response<TestBody> {
    let piece = stream::iter([Ok(Frame::data(Bytes::from_static(first)))]);
    with_body(200, &[], StreamBody::new(piece.chain(stream::pending()).boxed()).boxed_unsync())
}

fn with_body(status: u16, headers: &[(&str, &str)], body: TestBody) -> Response<TestBody> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(body).unwrap()
}

/// A port that answers every connection with `reply`, whatever it is asked, and closes; with
/// nothing, it never answers.
pub(in crate::registry) async fn raw_port(reply: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if reply.is_empty() {
                held.push(stream);
                continue;
            }
            let mut asked = [0_u8; 4096];
            if stream.read(&mut asked).await.is_ok() {
                stream.write_all(reply).await.ok();
            }
        }
    });
    port
}

/// Counts who connects to a port of this machine, by whichever address.
pub(in crate::registry) struct Canary {
    port: u16,
    listeners: Vec<TcpListener>,
}

impl Canary {
    pub(in crate::registry) async fn start() -> Self {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = v4.local_addr().unwrap().port();
        let mut listeners = vec![v4];
        // Not every machine has IPv6.
        listeners.extend(TcpListener::bind(("::1", port)).await);
        Self { port, listeners }
    }

    pub(in crate::registry) fn port(&self) -> u16 {
        self.port
    }

    /// How many connected. Whoever did is in the queue before the one that this makes.
    pub(in crate::registry) async fn connections(self) -> usize {
        let mut count = 0;
        for listener in self.listeners {
            let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            while listener.accept().await.unwrap().1 != own.local_addr().unwrap() {
                count += 1;
            }
        }
        count
    }
}

/// How often a name was asked for, and the answers to it.
type Told = (usize, Vec<Vec<IpAddr>>);

/// A resolver that knows what it was told, and nothing else.
#[derive(Default)]
pub(in crate::registry) struct FakeLookup {
    names: Mutex<HashMap<String, Told>>,
}

impl FakeLookup {
    /// Answers `name` with each of `answers` in turn, and then with the last one.
    pub(in crate::registry) fn answer(&self, name: &str, answers: &[&[&str]]) {
        let answers =
            answers.iter().map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect());
        self.names.lock().unwrap().insert(name.to_owned(), (0, answers.collect()));
    }

    /// How often `name` was asked for.
    pub(in crate::registry) fn asked(&self, name: &str) -> usize {
        self.names.lock().unwrap().get(name).map_or(0, |(count, _)| *count)
    }
}

impl Lookup for FakeLookup {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut names = self.names.lock().unwrap();
        let found = names.get_mut(name).map(|(count, answers)| {
            *count += 1;
            answers.get(*count - 1).or(answers.last()).cloned().unwrap_or_default()
        });
        Box::pin(async move { found.ok_or_else(|| io::Error::other("unknown name")) })
    }
}
