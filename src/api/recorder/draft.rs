use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};

use super::cut::Cutter;
use super::fold::{Fold, MAX_TEXT};
use super::{Record, Recorder};

/// The longest header that is kept, in characters.
const MAX_HEADER: usize = 300;

/// A record in the making, shared by the bodies of a request and its answer. It is complete when the
/// answer is, or when the last of them is dropped.
#[derive(Clone)]
pub(super) struct Draft(Arc<Shared>);

struct Shared {
    recorder: Recorder,
    /// `None`: it is complete.
    state: Mutex<Option<State>>,
}

struct State {
    method: String,
    path: String,
    user_agent: String,
    origin: String,
    begun: SystemTime,
    request: Cutter,
    response: Option<(StatusCode, Fold)>,
}

impl Draft {
    pub(super) fn new(recorder: Recorder, method: &str, path: &str, headers: &HeaderMap) -> Self {
        let header = |name| {
            let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            value.map(|value| value.chars().take(MAX_HEADER).collect()).unwrap_or_default()
        };
        let state = State {
            method: method.to_owned(),
            path: path.to_owned(),
            user_agent: header(header::USER_AGENT),
            origin: header(header::ORIGIN),
            begun: SystemTime::now(),
            request: Cutter::new(MAX_TEXT),
            response: None,
        };
        Self(Arc::new(Shared { recorder, state: Mutex::new(Some(state)) }))
    }

    /// More of the request came.
    pub(super) fn asked(&self, bytes: &[u8]) {
        self.with(|state| state.request.push(bytes));
    }

    /// The answer begins.
    pub(super) fn begins(&self, status: StatusCode, headers: &HeaderMap) {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let fold = Fold::of(kind.unwrap_or_default());
        self.with(|state| state.response = Some((status, fold)));
    }

    /// More of the answer goes out.
    pub(super) fn answered(&self, bytes: &[u8]) {
        self.with(|state| {
            if let Some((_, fold)) = &mut state.response {
                fold.push(bytes);
            }
        });
    }

    /// The answer is over.
    pub(super) fn complete(&self) {
        self.0.complete();
    }

    /// It is no record.
    pub(super) fn forget(&self) {
        drop(self.0.state.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = state.as_mut() {
            change(state);
        }
    }
}

impl Shared {
    fn complete(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(state) = state else { return };
        let State { method, path, user_agent, origin, begun, request, response } = state;
        let model = request.model().unwrap_or_default().to_owned();
        // Without an answer its client has left.
        let (status, response) = match response {
            Some((status, fold)) => (status, fold.finish()),
            None => (StatusCode::REQUEST_TIMEOUT, String::new()),
        };
        let status = status.as_u16();
        let request = request.finish();
        self.recorder.keep(Record {
            model,
            method,
            path,
            request,
            response,
            status,
            user_agent,
            origin,
            begun,
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.complete();
    }
}
