use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, header};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use utoipa::ToSchema;

use crate::api::refusal::{Reply, log};
use crate::api::reply::{JSON, TEXT, answer};
use crate::domain::{Digest, Error, ErrorKind, LayerProgress, TransferEvent};
use crate::gguf::human_bytes;
use crate::service::{Direction, Moved, Step, Transfer};

/// How often a layer that moves is told of.
const PACE: Duration = Duration::from_millis(100);
/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the first bytes may take before the 200 is committed: a transfer that fails until then
/// keeps its true status. A push learns only so whether the registry lets it.
const PULL_PATIENCE: Duration = Duration::from_secs(1);
const PUSH_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a message. Docker's client reads lines of less than 64 KiB.
const MAX_MESSAGE: usize = 8 << 10;

/// One line of a progress stream, as Docker's client reads it.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Progress)]
pub(super) struct Line {
    /// `progress`, `warning`, and at the end `success` or `error`.
    r#type: &'static str,
    message: String,
    /// Bytes of all layers.
    total: u64,
    layer: Layer,
    /// `pull` or `push`.
    mode: &'static str,
    /// An extension: the id of a model that was pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = native::LayerProgress)]
struct Layer {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    size: u64,
    current: u64,
}

/// Answers with the progress of `transfer`, line by line, always with an end; with a refusal where
/// it fails before anything moves.
pub(super) async fn answer_with(mut transfer: Transfer, headers: &HeaderMap) -> Reply {
    let direction = transfer.direction();
    let mut lines = Lines::new(direction);
    let patience = match direction {
        Direction::Pull => PULL_PATIENCE,
        Direction::Push => PUSH_PATIENCE,
    };
    let mut waited = pin!(sleep(patience));
    let mut begun = Vec::new();
    loop {
        let step = tokio::select! {
            step = transfer.next() => step,
            () = &mut waited => break,
        };
        let Some(step) = step else { break };
        if let Step::Ended(Err(error)) = step {
            return Err(adapted(error).into());
        }
        let moves = matches!(step, Step::Event(TransferEvent::Layer(_)) | Step::Ended(_));
        begun.extend(lines.take(step));
        if moves {
            break;
        }
    }
    let first = (!begun.is_empty()).then(|| Ok(Bytes::from(begun)));
    let rest = stream::unfold((transfer, lines), next_line);
    let body = Body::from_stream(stream::StreamExt::chain(stream::iter(first), rest));
    Ok(stream_of(headers, body))
}

fn stream_of(headers: &HeaderMap, body: Body) -> Response {
    let json = headers.get(header::ACCEPT).is_some_and(|value| value == "application/json");
    answer(HeaderMap::new(), if json { JSON } else { TEXT }, body)
}

type Piece = Result<Bytes, std::convert::Infallible>;

async fn next_line(
    (mut transfer, mut lines): (Transfer, Lines),
) -> Option<(Piece, (Transfer, Lines))> {
    let alive = Instant::now() + KEEP_ALIVE;
    loop {
        let quiet = alive.saturating_duration_since(Instant::now());
        let bytes = match timeout(quiet, transfer.next()).await {
            Ok(step) => lines.take(step?),
            Err(_) => lines.again(),
        };
        if !bytes.is_empty() {
            return Some((Ok(bytes.into()), (transfer, lines)));
        }
    }
}

/// Puts the steps of one transfer into lines.
struct Lines {
    direction: Direction,
    total: u64,
    /// When each layer was last told of.
    told: HashMap<Digest, Instant>,
    /// What is repeated while nothing happens.
    last: Vec<u8>,
}

impl Lines {
    fn new(direction: Direction) -> Self {
        Self { direction, total: 0, told: HashMap::new(), last: Vec::new() }
    }

    /// The line of a step; nothing where it is not worth one.
    fn take(&mut self, step: Step) -> Vec<u8> {
        match step {
            Step::Event(TransferEvent::Planned(plan)) => {
                self.total = plan.total();
                Vec::new()
            }
            Step::Event(TransferEvent::Status(text)) => {
                self.last = self.line("progress", &text, Layer::default(), None);
                self.last.clone()
            }
            Step::Event(TransferEvent::Warning(text)) => {
                self.line("warning", &text, Layer::default(), None)
            }
            Step::Event(TransferEvent::Layer(progress)) => self.layer(progress),
            Step::Ended(Ok(Moved::Pushed)) => {
                self.line("success", "Model pushed successfully", Layer::default(), None)
            }
            Step::Ended(Ok(Moved::Pulled(pulled))) => {
                let message = if pulled.cached {
                    format!("Using cached model: {}", human_bytes(pulled.bytes))
                } else {
                    "Model pulled successfully".to_owned()
                };
                self.line("success", &message, Layer::default(), Some(pulled.id.to_string()))
            }
            Step::Ended(Err(error)) => {
                log(&error);
                let message = format!("Error: {}", adapted(error).message);
                self.line("error", &message, Layer::default(), None)
            }
        }
    }

    fn layer(&mut self, progress: LayerProgress) -> Vec<u8> {
        let LayerProgress { layer, size, current } = progress;
        let now = Instant::now();
        let recent = self.told.get(&layer).is_some_and(|at| now.duration_since(*at) < PACE);
        let done = match self.direction {
            Direction::Pull => "Downloaded",
            Direction::Push => "Uploaded",
        };
        let message = format!("{done}: {:.2} MB", current as f64 / f64::from(1 << 20));
        let wire = Layer { id: Some(layer.to_string()), size, current };
        self.last = self.line("progress", &message, wire, None);
        if recent && current < size {
            return Vec::new();
        }
        self.told.insert(layer, now);
        self.last.clone()
    }

    /// The latest line once more, or one that says as much as is known.
    fn again(&self) -> Vec<u8> {
        if self.last.is_empty() {
            return self.line("progress", "waiting for the registry", Layer::default(), None);
        }
        self.last.clone()
    }

    fn line(&self, kind: &'static str, text: &str, layer: Layer, model: Option<String>) -> Vec<u8> {
        let mut message = text.replace(['\n', '\r'], " ");
        if message.len() > MAX_MESSAGE {
            let whole = |end: &usize| message.is_char_boundary(*end);
            let end = (0..=MAX_MESSAGE).rev().find(whole).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        let mode = self.direction.word();
        let line = Line { r#type: kind, message, total: self.total, layer, mode, model };
        // Numbers and text alone: this cannot fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// The error as Docker's client understands it: it looks for these words, and for 422 where an
/// artifact is no model that can be run.
pub(super) fn adapted(error: Error) -> Error {
    let (kind, words) = match error.kind {
        ErrorKind::RegistryUnauthorized => (error.kind, "Unauthorized: "),
        ErrorKind::RegistryNotFound | ErrorKind::ModelNotFound => (error.kind, "Model not found: "),
        ErrorKind::UnsupportedModel => (ErrorKind::InvalidModel, ""),
        kind => (kind, ""),
    };
    Error { kind, message: format!("{words}{}", error.message), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Pulled, TransferPlan};

    fn text(lines: &mut Lines, step: Step) -> String {
        String::from_utf8(lines.take(step)).expect("UTF-8")
    }

    #[tokio::test(start_paused = true)]
    async fn the_lines_of_a_pull() {
        let mut lines = Lines::new(Direction::Pull);
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let layers = vec![(first, 3 << 20), (second, 100)];
        let moved = |layer, size, current| {
            Step::Event(TransferEvent::Layer(LayerProgress { layer, size, current }))
        };
        let mut all = text(&mut lines, Step::Event(TransferEvent::Status("waiting".into())));
        all += &text(
            &mut lines,
            Step::Event(TransferEvent::Planned(TransferPlan { id: None, layers })),
        );
        all += &text(&mut lines, moved(first, 3 << 20, 1 << 20));
        // Too soon to be told.
        all += &text(&mut lines, moved(first, 3 << 20, (1 << 20) + 1));
        all += &text(&mut lines, moved(second, 100, 100));
        tokio::time::advance(PACE).await;
        all += &text(&mut lines, moved(first, 3 << 20, 2_500_000));
        all += &text(&mut lines, moved(first, 3 << 20, 3 << 20));
        all += &text(&mut lines, Step::Event(TransferEvent::Warning("two\nlines".into())));
        let pulled = |cached| {
            let id = Digest::of(b"id");
            Step::Ended(Ok(Moved::Pulled(Pulled { id, tag: None, cached, bytes: 98_368_000 })))
        };
        all += &text(&mut lines, pulled(false));
        all += &text(&mut lines, pulled(true));
        let error = Error::new(ErrorKind::RegistryNotFound, "gone");
        all += &text(&mut lines, Step::Ended(Err(error)));
        all += &text(&mut Lines::new(Direction::Push), Step::Ended(Ok(Moved::Pushed)));
        insta::assert_snapshot!(all);
    }

    #[test]
    fn no_line_is_too_long_for_docker_s_client() {
        let mut lines = Lines::new(Direction::Pull);
        let long = text(&mut lines, Step::Event(TransferEvent::Warning("\u{1}".repeat(1 << 20))));
        assert!(long.len() < 64 << 10, "{}", long.len());
    }

    #[test]
    fn silence_repeats_what_is_known() {
        let mut lines = Lines::new(Direction::Push);
        let silent = String::from_utf8(lines.again()).expect("UTF-8");
        assert!(silent.contains("waiting for the registry"), "{silent}");
        let status = text(&mut lines, Step::Event(TransferEvent::Status("in the lane".into())));
        assert_eq!(lines.again(), status.into_bytes());
    }
}
