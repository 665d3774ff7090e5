use std::collections::{HashMap, HashSet};
use std::time::Duration;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::api::lines::{self, LINES_AHEAD, Work, line};
use crate::api::ollama::error::Envelope;
use crate::api::refusal::{Reply, log};
use crate::domain::{Digest, Error, ErrorKind, LayerProgress, Result, TransferEvent, TransferPlan};
use crate::service::{Direction, Moved, Step, Transfer};

use super::types::Progress;

/// How often a layer that moves is told of.
const PACE: Duration = Duration::from_millis(100);
/// How often a silent stream shows that it is alive, and finds out whether somebody reads.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the first bytes may take before the 200 is committed: a transfer that fails until then
/// keeps its true status. A push learns only so whether the registry lets it.
const PULL_PATIENCE: Duration = Duration::from_secs(1);
const PUSH_PATIENCE: Duration = Duration::from_secs(10);

/// Answers with the progress of a transfer, line by line or as its last line alone. `in_words` puts
/// a failure before the first line into Ollama's words.
pub(super) async fn answer(
    transfer: Transfer,
    streamed: bool,
    in_words: impl Fn(Error) -> Error + Send + 'static,
) -> Reply {
    if !streamed {
        transfer.finish().await.map_err(in_words)?;
        return Ok(axum::Json(status("success")).into_response());
    }
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let out = Outlet::new(sender.clone());
    let work: Work = Box::pin(async move {
        follow(transfer, out).await.map_err(in_words)?;
        Ok(line(&status("success")))
    });
    stream(work, sender, receiver).await
}

/// Answers with the lines of some work.
pub(super) async fn stream(
    work: Work,
    sender: mpsc::Sender<Bytes>,
    receiver: mpsc::Receiver<Bytes>,
) -> Reply {
    lines::stream(work, sender, receiver, failed).await
}

/// A line that says something and no more.
pub(super) fn status(text: &str) -> Progress<'_> {
    Progress { status: text.into(), ..Progress::default() }
}

fn failed(message: String) -> Bytes {
    line(&Envelope::new(&Error::new(ErrorKind::Internal, message)))
}

/// Where lines go. Nothing leaves before the first one that has to.
pub(super) struct Outlet {
    to: mpsc::Sender<Bytes>,
    held: Vec<u8>,
    open: bool,
}

impl Outlet {
    pub(super) fn new(to: mpsc::Sender<Bytes>) -> Self {
        Self { to, held: Vec::new(), open: false }
    }

    /// Says lines, or keeps them for later.
    ///
    /// # Errors
    /// `Cancelled` where nobody reads any more.
    async fn say(&mut self, lines: Vec<u8>) -> Result<()> {
        self.held.extend(lines);
        if self.open { self.flush().await } else { Ok(()) }
    }

    async fn open(&mut self) -> Result<()> {
        self.open = true;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.to.send(std::mem::take(&mut self.held).into()).await.map_err(|_| nobody())
    }
}

fn nobody() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody reads the progress any more")
}

/// Says every step of a transfer, except that it succeeded. Ends, and with it the transfer, when
/// nobody reads any more.
///
/// # Errors
/// What ended the transfer.
pub(super) async fn follow(mut transfer: Transfer, mut out: Outlet) -> Result<Moved> {
    let direction = transfer.direction();
    let mut lines = Lines::new(direction);
    let patience = match direction {
        Direction::Pull => PULL_PATIENCE,
        Direction::Push => PUSH_PATIENCE,
    };
    let patience = Instant::now() + patience;
    out.say(lines.begin()).await?;
    loop {
        let quiet = if out.open { Instant::now() + KEEP_ALIVE } else { patience };
        let reader = out.to.clone();
        let step = tokio::select! {
            step = transfer.next() => step,
            () = reader.closed() => return Err(nobody()),
            () = sleep_until(quiet) => {
                if out.open {
                    out.say(lines.last.clone()).await?;
                }
                out.open().await?;
                continue;
            }
        };
        match step {
            Some(Step::Event(event)) => {
                let moves = matches!(event, TransferEvent::Layer(_));
                out.say(lines.take(event)).await?;
                if moves {
                    out.open().await?;
                }
            }
            Some(Step::Ended(Ok(moved))) => {
                out.say(lines.end()).await?;
                out.open().await?;
                return Ok(moved);
            }
            Some(Step::Ended(Err(error))) => {
                if out.open {
                    log(&error);
                }
                return Err(error);
            }
            None => return Err(Error::internal("a transfer ended without a word")),
        }
    }
}

/// Puts the steps of one transfer into lines.
struct Lines {
    direction: Direction,
    plan: TransferPlan,
    /// When each layer was last told of.
    told: HashMap<Digest, Instant>,
    done: HashSet<Digest>,
    /// What is repeated while nothing happens.
    last: Vec<u8>,
}

impl Lines {
    fn new(direction: Direction) -> Self {
        let plan = TransferPlan::default();
        Self { direction, plan, told: HashMap::new(), done: HashSet::new(), last: Vec::new() }
    }

    fn begin(&mut self) -> Vec<u8> {
        self.say(&match self.direction {
            Direction::Pull => status("pulling manifest"),
            Direction::Push => status("retrieving manifest"),
        })
    }

    /// The lines of news; none where they are not worth one.
    fn take(&mut self, event: TransferEvent) -> Vec<u8> {
        match event {
            TransferEvent::Planned(plan) => {
                self.plan = plan;
                Vec::new()
            }
            TransferEvent::Status(text) => self.say(&status(&text)),
            TransferEvent::Warning(text) => self.say(&status(&format!("warning: {text}"))),
            TransferEvent::Layer(progress) => self.layer(progress),
        }
    }

    /// What comes after the last byte. Layers that did not have to move are told of as well.
    fn end(&mut self) -> Vec<u8> {
        let rest: Vec<(Digest, u64)> = self
            .plan
            .layers
            .iter()
            .filter(|(layer, _)| !self.done.contains(layer))
            .copied()
            .collect();
        let mut all: Vec<u8> = rest
            .into_iter()
            .flat_map(|(layer, size)| self.layer(LayerProgress { layer, size, current: size }))
            .collect();
        let closing: &[&str] = match self.direction {
            Direction::Pull => &["verifying sha256 digest", "writing manifest"],
            Direction::Push => &["pushing manifest"],
        };
        all.extend(closing.iter().flat_map(|text| self.say(&status(text))));
        all
    }

    fn layer(&mut self, progress: LayerProgress) -> Vec<u8> {
        let LayerProgress { layer, size, current } = progress;
        let now = Instant::now();
        let recent = self.told.get(&layer).is_some_and(|at| now.duration_since(*at) < PACE);
        let verb = match self.direction {
            Direction::Pull => "pulling",
            Direction::Push => "pushing",
        };
        let all = self.say(&Progress {
            status: format!("{verb} {}", layer.short()).into(),
            digest: Some(layer.to_string()),
            total: Some(size),
            completed: Some(current).filter(|current| *current > 0),
        });
        if recent && current < size {
            return Vec::new();
        }
        if current >= size && !self.done.insert(layer) {
            return Vec::new();
        }
        self.told.insert(layer, now);
        all
    }

    fn say(&mut self, progress: &Progress<'_>) -> Vec<u8> {
        self.last = line(progress).to_vec();
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: Vec<u8>) -> String {
        String::from_utf8(lines).expect("UTF-8")
    }

    #[tokio::test(start_paused = true)]
    async fn the_lines_of_a_pull() {
        let mut lines = Lines::new(Direction::Pull);
        let [first, second] = [b"1", b"2"].map(|bytes| Digest::of(bytes));
        let moved =
            |layer, size, current| TransferEvent::Layer(LayerProgress { layer, size, current });
        let layers = vec![(first, 3000), (second, 100)];
        let mut all = text(lines.begin());
        all += &text(lines.take(TransferEvent::Planned(TransferPlan { id: None, layers })));
        all += &text(lines.take(TransferEvent::Status("waiting for 1 other".into())));
        all += &text(lines.take(TransferEvent::Warning("hm".into())));
        all += &text(lines.take(moved(first, 3000, 0)));
        // Too soon to be told.
        all += &text(lines.take(moved(first, 3000, 7)));
        tokio::time::advance(PACE).await;
        all += &text(lines.take(moved(first, 3000, 1500)));
        all += &text(lines.take(moved(first, 3000, 3000)));
        all += &text(lines.take(moved(first, 3000, 3000)));
        all += &text(lines.end());
        insta::assert_snapshot!(all);
    }

    #[tokio::test]
    async fn the_lines_of_a_push_and_of_a_failure() {
        let mut lines = Lines::new(Direction::Push);
        let layer = Digest::of(b"1");
        let mut all = text(lines.begin());
        all +=
            &text(lines.take(TransferEvent::Layer(LayerProgress { layer, size: 9, current: 9 })));
        all += &text(lines.end());
        all += &text(failed("the registry\nis gone".into()).to_vec());
        insta::assert_snapshot!(all);
    }
}
