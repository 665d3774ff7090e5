use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connect::Route;
use super::{ClientError, Lines, Sse};
use crate::config::DaemonHost;

/// What a request carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The largest answer that is read in one piece.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The largest error message that is read.
const MAX_MESSAGE: usize = 64 * 1024;

/// A daemon to talk to; cheap to clone. Nothing is connected until the first request.
#[derive(Clone)]
pub struct Client {
    route: Route,
}

/// An answer whose status is a success and whose body is still to come. Dropping it closes the
/// connection, which cancels what the daemon does for it.
pub struct Response {
    status: StatusCode,
    body: Incoming,
    what: String,
}

impl Client {
    /// A client of the daemon at `host`.
    pub fn new(host: &DaemonHost) -> Self {
        Self { route: Route::new(host) }
    }

    /// Where the daemon is looked for.
    pub fn place(&self) -> &str {
        &self.route.place
    }

    /// The daemon's endpoint as programs are told it: `unix:///path` or a `/v1/` URL.
    pub fn endpoint(&self) -> String {
        self.route.endpoint()
    }

    /// Reads a JSON answer.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, None, empty()).await?.json().await
    }

    /// Asks for an answer of type `accept`; it is read by the caller, as it comes.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn get_stream(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<Response, ClientError> {
        let mut request = self
            .request(Method::GET, path)?
            .body(empty())
            .map_err(|e| ClientError::Invalid(e.to_string()))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        self.send_request(request).await
    }

    /// Sends JSON and reads JSON.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.post_stream(path, body).await?.json().await
    }

    /// Sends JSON; the answer is read by the caller, as it comes.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn post_stream(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response, ClientError> {
        let json =
            serde_json::to_vec(body).map_err(|e| ClientError::Invalid(format!("{path}: {e}")))?;
        let headers = Some(("application/json", None));
        self.send(Method::POST, path, headers, full(json)).await
    }

    /// Sends JSON that takes the place of what was there, and reads a JSON answer.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let json =
            serde_json::to_vec(body).map_err(|e| ClientError::Invalid(format!("{path}: {e}")))?;
        let headers = Some(("application/json", None));
        self.send(Method::PUT, path, headers, full(json)).await?.json().await
    }

    /// Sends nothing but the path, which says it all.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn post_empty(&self, path: &str) -> Result<Response, ClientError> {
        self.send(Method::POST, path, None, empty()).await
    }

    /// Sends `length` bytes as they come.
    ///
    /// # Errors
    /// Every [`ClientError`]; `Upload` when the stream fails, with what it said.
    pub async fn upload<S>(
        &self,
        path: &str,
        content_type: &'static str,
        length: Option<u64>,
        bytes: S,
    ) -> Result<Response, ClientError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let (failed, mut failure) = tokio::sync::oneshot::channel();
        let mut failed = Some(failed);
        let frames = bytes.map(move |chunk| {
            if let Err(error) = &chunk
                && let Some(failed) = failed.take()
            {
                let _ = failed.send(error.to_string());
            }
            chunk.map(Frame::data)
        });
        let body = StreamBody::new(frames).boxed_unsync();
        let sent = self.send(Method::POST, path, Some((content_type, length)), body).await;
        // The broken connection is only what the daemon saw; the cause is on this side.
        match failure.try_recv() {
            Ok(cause) => Err(ClientError::Upload(cause)),
            Err(_) => sent,
        }
    }

    /// Deletes; the answer has nothing to say.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn delete_empty(&self, path: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, path, None, empty()).await?.bytes().await.map(drop)
    }

    /// Deletes, and reads a JSON answer.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Upload`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::DELETE, path, None, empty()).await?.json().await
    }

    pub(super) async fn send_request(
        &self,
        request: Request<Body>,
    ) -> Result<Response, ClientError> {
        let what = format!("{} {}", request.method(), path_of(&request));
        let answer = self.route.send(request).await?;
        let (parts, body) = answer.into_parts();
        let response = Response { status: parts.status, body, what };
        if parts.status.is_success() {
            return Ok(response);
        }
        let retry_after =
            parts.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Err(response.into_error(retry_after).await)
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<http::request::Builder, ClientError> {
        Ok(Request::builder()
            .method(method)
            .uri(self.route.uri(path)?)
            .header(USER_AGENT, concat!("modeld/", env!("CARGO_PKG_VERSION")))
            .header(HOST, self.route.host())
            .header(ACCEPT, "*/*"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Option<u64>)>,
        body: Body,
    ) -> Result<Response, ClientError> {
        let mut request = self.request(method, path)?;
        if let Some((content_type, length)) = content {
            request = request.header(CONTENT_TYPE, content_type);
            if let Some(length) = length {
                request = request.header(CONTENT_LENGTH, length);
            }
        }
        let request = request.body(body).map_err(|e| ClientError::Invalid(e.to_string()))?;
        self.send_request(request).await
    }
}

impl Response {
    /// The status, a success.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its length in bytes, where the daemon said it.
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Its next piece; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Broken`], also where it is shorter than was said.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|e| ClientError::broken(&e))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads all of it as JSON.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`], [`ClientError::Broken`].
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let what = self.what.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|e| ClientError::Unreadable { what, problem: e.to_string() })
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`] over 64 MiB, [`ClientError::Broken`].
    pub async fn bytes(self) -> Result<Bytes, ClientError> {
        collect(self.body, MAX_ANSWER, &self.what).await
    }

    /// Its lines, as they come.
    pub fn lines(self) -> Lines<Incoming> {
        Lines::new(self.body)
    }

    /// Its server-sent events, as they come.
    pub fn events(self) -> Sse<Incoming> {
        Sse::new(self.lines())
    }

    async fn into_error(self, retry_after: Option<u64>) -> ClientError {
        let status = self.status;
        let said = match collect(self.body, MAX_MESSAGE, &self.what).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
        let mut message = message_in(&said);
        if message.is_empty() {
            message = format!("{}: the daemon answered {status}", self.what);
        }
        ClientError::Status { status: status.as_u16(), message, retry_after }
    }
}

/// The sentence for people in an error body: native routes send it bare, the dialects wrap it.
pub(super) fn message_in(body: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Wrapped {
        error: Inner,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        message: String,
    }
    match serde_json::from_str::<Wrapped>(body) {
        Ok(wrapped) => wrapped.error.message,
        Err(_) => body.trim().to_owned(),
    }
}

async fn collect(body: Incoming, most: usize, what: &str) -> Result<Bytes, ClientError> {
    http_body_util::Limited::new(body, most).collect().await.map(|b| b.to_bytes()).map_err(|e| {
        if e.is::<http_body_util::LengthLimitError>() {
            let problem = format!("it is longer than {most} bytes");
            ClientError::Unreadable { what: what.to_owned(), problem }
        } else {
            ClientError::broken(&*e)
        }
    })
}

fn path_of(request: &Request<Body>) -> &str {
    request.uri().path()
}

fn empty() -> Body {
    full(Vec::new())
}

pub(super) fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}
